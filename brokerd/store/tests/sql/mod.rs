//! What the tests of the two SQL servers have in common.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mqtt::{Message, MessageId, Qos};
use store::contract::Place;
use store::contract::servers::{Kind, Server};
use store::{
    Backend, Batch, Body, Claim, Entry, Op, ServerSettings, Settings, Sid, State, Store, StoreError, UnixMillis,
};

pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Backend>, StoreError>> + Send>>;

/// How the backend of this test is opened.
fn open(settings: ServerSettings) -> Opening {
    #[cfg(feature = "postgres")]
    if settings.user == "brokerd" {
        return Box::pin(async move { store::postgres(&settings).await });
    }
    #[cfg(feature = "mysql")]
    if settings.user == "root" {
        return Box::pin(async move { store::mysql(&settings).await });
    }
    unreachable!("the backend is compiled in")
}

fn settings(server: &Server) -> ServerSettings {
    ServerSettings {
        database: server.database(),
        user: server.user().into(),
        timeout: Duration::from_secs(20), // many checks share two cores
        age: Duration::ZERO,
        ..ServerSettings::new(server.address())
    }
}

struct Database(ServerSettings);

impl Place for Database {
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>> {
        Box::pin(async { open(self.0.clone()).await.unwrap() })
    }
}

/// A database of its own.
pub(crate) fn place(server: &Server) -> Box<dyn Place> {
    Box::new(Database(settings(server)))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn start_at_once(server: &Server) {
    let settings = settings(server);
    let runtime = runtime();
    let starts: Vec<_> = (0..8).map(|_| runtime.spawn(open(settings.clone()))).collect();
    runtime.block_on(async {
        for start in starts {
            start.await.unwrap().expect("every node finds the tables");
        }
    });
}

fn enqueue(sid: Sid, seq: u64) -> Op {
    let mut message = Message::new("a/b", &[], &seq.to_be_bytes());
    message.id = MessageId { origin: 1, worker: 1, sequence: seq };
    let entry = Entry {
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: Box::default(),
        shared: None,
        expires_at: None::<UnixMillis>,
        body: Body::Inline(Arc::new(message)),
    };
    Op::Enqueue { sid, epoch: 1, seq, entry }
}

/// Publishes from four sides while the server is killed and started again, three times.
pub(crate) fn kill_under_load(server: &Server) {
    const SIDES: usize = 4;
    let runtime = runtime();
    let opened = settings(server);
    let backend = runtime.block_on(open(opened)).unwrap();
    let patient = Settings { timeout: Duration::from_secs(60), ..Settings::default() };
    let store = Arc::new(Store::remote(backend, patient, runtime.handle()));
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..SIDES).map(|_| AtomicU64::new(0)).collect());
    let goal = Arc::new(AtomicU64::new(u64::MAX));
    let sides: Vec<_> = (0..SIDES)
        .map(|side| runtime.spawn(publish(store.clone(), side, acknowledged.clone(), goal.clone())))
        .collect();
    let total = || acknowledged.iter().map(|one| one.load(Relaxed)).sum::<u64>();
    let wait_for = |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(std::time::Instant::now() < deadline, "{what}: {:?}, {} acknowledged", store.state(), total());
            pause();
        }
    };
    for _ in 0..3 {
        let before = total();
        wait_for("publishes go on", &|| total() > before + 200);
        server.kill();
        wait_for("the store says that it is down", &|| matches!(store.state(), State::Down(_)));
        let during = total();
        server.go_on();
        wait_for("the store is back by itself", &|| store.state() == State::Ok && total() > during);
    }
    goal.store(0, Relaxed);
    for (side, task) in sides.into_iter().enumerate() {
        let sid = runtime.block_on(task).unwrap();
        let kept = runtime.block_on(store.fetch(sid, 0, usize::MAX, usize::MAX)).unwrap();
        let seqs: Vec<u64> = kept.iter().map(|stored| stored.seq).collect();
        let all: Vec<u64> = (1..=acknowledged[side].load(Relaxed)).collect();
        assert_eq!(seqs, all, "side {side}: everything that was acknowledged is there, once and in order");
        assert!(kept.iter().all(|stored| stored.message.payload() == stored.seq.to_be_bytes()));
    }
}

/// One entry after the other, until there is no more goal.
async fn publish(store: Arc<Store>, side: usize, acknowledged: Arc<Vec<AtomicU64>>, goal: Arc<AtomicU64>) -> Sid {
    let claim =
        Claim { client_id: format!("side-{side}").into(), epoch: 1, node: "a".into(), is_clean: false, held: None };
    let sid = store.claim(claim).await.unwrap().sid;
    for seq in 1.. {
        let (done, answer) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        store.submit(Batch { ops: vec![enqueue(sid, seq)], done }).expect("the queue has room for one each");
        let outcome = answer.await.unwrap().expect("the server comes back before the store gives up");
        assert!(outcome.fenced.is_empty());
        acknowledged[side].store(seq, Relaxed);
        if seq >= goal.load(Relaxed) {
            break;
        }
    }
    sid
}

#[expect(clippy::disallowed_methods, reason = "what is waited for is another process")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// The server's certificate names it; another authority did not make it.
pub(crate) fn only_the_right_certificate_is_believed(kind: Kind) {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let (server, address) = Server::start_with_tls(kind, &own.cert.pem(), &own.signing_key.serialize_pem());
    let files = tempfile::tempdir().unwrap();
    let settings = settings(&server);
    let trusting = |name: &str, pem: String| {
        let path = files.path().join(name);
        std::fs::write(&path, pem).unwrap();
        ServerSettings { address: address.clone(), tls: store::Tls::Verified(path), ..settings.clone() }
    };
    let runtime = runtime();
    let opened = runtime.block_on(open(trusting("own.pem", own.cert.pem())));
    opened.expect("a server whose certificate is known is believed");
    let refused = runtime.block_on(open(trusting("other.pem", other.cert.pem()))).map(|_| ());
    let error = refused.expect_err("a server whose certificate is not known is not believed").to_string();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
}
