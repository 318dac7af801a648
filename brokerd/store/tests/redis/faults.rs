//! What becomes of changes when the server dies, stands still, has no memory, or does not let us in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mqtt::{Message, PacketId, Qos, Version};
use parking_lot::Mutex;
use store::{
    Backend, Batch, Body, Claim, Entry, Op, Outcome, RedisSettings, SessionRecord, Settings, Sid, State, Store,
    StoreError,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::server::Server;
use crate::settings;

const SETTINGS: Settings = Settings {
    commit: store::Commit::Group,
    max_ops: 10_000,
    max_bytes: 64 << 20,
    commit_ops: 64,
    commit_bytes: 4 << 20,
    timeout: Duration::from_millis(600),
};

async fn backend(server: &Server) -> Arc<dyn Backend> {
    store::redis(&RedisSettings { timeout: Duration::from_millis(300), ..settings(server) }).await.unwrap()
}

fn claim(client_id: &str) -> Claim {
    Claim { client_id: client_id.into(), epoch: 1, node: "a".into(), is_clean: false, held: None }
}

fn enqueue(sid: Sid, seq: u64) -> Op {
    let body = Body::Inline(Arc::new(Message::new("a", &[], &seq.to_be_bytes())));
    let qos = Qos::AtLeastOnce;
    let entry = Entry { qos, retain: false, subscription_ids: Box::default(), shared: None, expires_at: None, body };
    Op::Enqueue { sid, epoch: 1, seq, entry }
}

type Answer = oneshot::Receiver<Result<Outcome, StoreError>>;

fn submit(store: &Store, ops: Vec<Op>) -> Result<Answer, Batch> {
    let (answer, answered) = oneshot::channel();
    let done = Box::new(move |result| {
        let _ = answer.send(result);
    });
    store.submit(Batch { ops, done }).map(|()| answered)
}

/// Looks again and again, for what nobody announces.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited 20 s for: {what}");
}

async fn queue(backend: &Arc<dyn Backend>, sid: Sid) -> Vec<u64> {
    let stored = backend.fetch(sid, 0, usize::MAX, usize::MAX).await.unwrap();
    for one in &stored {
        assert_eq!(one.message.payload(), one.seq.to_be_bytes(), "the message is its own");
    }
    stored.iter().map(|one| one.seq).collect()
}

/// Submits entry after entry; what was acknowledged is in `acked`.
async fn load(store: Arc<Store>, sid: Sid, acked: Arc<Mutex<BTreeSet<u64>>>, ended: oneshot::Receiver<()>) {
    let work = async {
        for seq in 1.. {
            let acked = acked.clone();
            let done = Box::new(move |result: Result<Outcome, StoreError>| {
                if result.is_ok_and(|outcome| outcome.fenced.is_empty() && !outcome.is_full) {
                    acked.lock().insert(seq);
                }
            });
            let mut batch = Batch { ops: vec![enqueue(sid, seq)], done };
            while let Err(refused) = store.submit(batch) {
                batch = refused;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = work => {}, _ = ended => {} }
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_the_server_was_killed_under_load() {
    let mut server = Server::start();
    let backend = backend(&server).await;
    let store = Arc::new(Store::remote(backend.clone(), SETTINGS, &Handle::current()));
    let sid = store.claim(claim("one")).await.unwrap().sid;
    let acked = Arc::new(Mutex::new(BTreeSet::new()));
    let (end, ended) = oneshot::channel();
    let writer = tokio::spawn(load(store.clone(), sid, acked.clone(), ended));
    for round in 1..=4 {
        let enough = acked.lock().len() + 500;
        until("acknowledgements", || acked.lock().len() >= enough).await;
        server.kill();
        until("the state is down", || matches!(store.state(), State::Down(_))).await;
        server.start_again();
        until("the state is well again, without a restart of ours", || store.state() == State::Ok).await;
        assert!(!acked.lock().is_empty(), "round {round}");
    }
    end.send(()).unwrap();
    writer.await.unwrap();
    until("the queue is carried out", || store.stats().queued_ops == 0).await;
    store.flush().await.unwrap();
    let kept: Vec<u64> = queue(&backend, sid).await;
    assert!(kept.is_sorted_by(|a, b| a < b), "each once, in order");
    let kept: BTreeSet<u64> = kept.into_iter().collect();
    let missing: Vec<u64> = acked.lock().difference(&kept).copied().collect();
    assert_eq!(missing, [0u64; 0], "acknowledged and not there, of {}", acked.lock().len());
}

#[tokio::test]
async fn a_server_that_is_back_is_found_though_nobody_submits_anything() {
    let mut server = Server::start();
    let store = Store::remote(backend(&server).await, SETTINGS, &Handle::current());
    store.claim(claim("one")).await.unwrap();
    server.kill();
    let answer = store.claim(claim("two")).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert!(matches!(store.state(), State::Down(_)));
    server.start_again();
    until("the state is well again", || store.state() == State::Ok).await;
}

#[tokio::test]
async fn a_server_that_stands_still_holds_back_who_submits_and_loses_nothing() {
    let server = Server::start();
    let backend = backend(&server).await;
    let settings = Settings { max_ops: 200, timeout: Duration::from_secs(20), ..SETTINGS };
    let store = Store::remote(backend.clone(), settings, &Handle::current());
    let sid = store.claim(claim("one")).await.unwrap().sid;
    server.stop();
    let mut answers = Vec::new();
    let mut seq = 0;
    let refused = loop {
        seq += 1;
        match submit(&store, vec![enqueue(sid, seq)]) {
            Ok(answer) => answers.push(answer),
            Err(refused) => break refused,
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(refused.ops.len(), 1, "what does not fit is given back");
    assert!(store.is_full() && answers.len() <= 300, "the queue is bounded: {}", answers.len());
    until("it is said to be down", || matches!(store.state(), State::Down(_))).await;
    server.go_on();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(Outcome::default()), "it was tried until it was done");
    }
    assert_eq!(queue(&backend, sid).await, (1..seq).collect::<Vec<_>>(), "each once, though some came twice");
    assert!(!store.is_full() && store.state() == State::Ok);
}

#[tokio::test]
async fn what_a_lost_connection_delivers_late_is_refused() {
    let server = Server::start();
    let backend = backend(&server).await;
    let sid = backend.claim(&claim("one")).await.unwrap().sid;
    let number = |key: &str| -> u64 { server.tell(&format!("GET {key}")).lines().nth(1).unwrap().parse().unwrap() };
    let keys = server.tell("KEYS {brokerd}:writer:*");
    let writer = keys.lines().find(|line| line.starts_with("{brokerd}")).unwrap();
    assert_eq!(number(writer), 1, "the claim");
    // As if a later call had been carried out while this one was on its way.
    server.tell(&format!("SET {writer} 1000"));
    let late = backend.apply(&[&[enqueue(sid, 1)]], true).await;
    assert!(matches!(&late, Err(StoreError::Unavailable(why)) if why.contains("LATE")), "{late:?}");
    let late = backend.claim(&Claim { is_clean: true, ..claim("one") }).await;
    assert!(late.is_err());
    assert_eq!(queue(&backend, sid).await, [0u64; 0]);
    server.tell(&format!("SET {writer} 2"));
    assert_eq!(backend.apply(&[&[enqueue(sid, 1)]], true).await.unwrap(), [Outcome::default()]);
}

#[tokio::test]
async fn without_memory_nothing_new_is_taken_and_all_else_is() {
    let server = Server::start();
    let backend = backend(&server).await;
    let (one, two) = (backend.claim(&claim("one")).await.unwrap().sid, backend.claim(&claim("two")).await.unwrap().sid);
    backend.apply(&[&[enqueue(one, 1), enqueue(one, 2)]], true).await.unwrap();
    server.tell("CONFIG SET maxmemory 1");
    let record = SessionRecord {
        client_id: "one".into(),
        version: Version::V5,
        expiry: 60,
        detached_at: None,
        principal: None,
        subscriptions: Vec::new(),
        will: None,
        next_seq: 3,
        first_serial: 0,
        serials: 0,
    };
    let packet_id = PacketId::MIN;
    let mixed = [
        enqueue(one, 3),
        Op::Ack { sid: one, epoch: 1, seq: 1 },
        Op::Sent { sid: one, epoch: 1, seq: 2, packet_id },
        Op::SaveSession { sid: one, epoch: 1, record: Box::new(record.clone()) },
    ];
    let harmless = [Op::DropSession { sid: two, epoch: 1 }];
    let outcomes = backend.apply(&[&mixed, &harmless], true).await.unwrap();
    assert_eq!(outcomes.iter().map(|outcome| outcome.is_full).collect::<Vec<_>>(), [true, false]);
    assert!(backend.is_full());
    let heads = backend.scan_sessions(None, 10, true).await.unwrap().items;
    assert_eq!(heads.len(), 1, "the other is gone");
    assert_eq!(heads[0].record, Some(record));
    assert_eq!(heads[0].queue.iter().map(|one| (one.seq, one.packet_id)).collect::<Vec<_>>(), [(2, Some(packet_id))]);
    // As the committer asks while there is nothing to do.
    backend.apply(&[&[]], false).await.unwrap();
    assert!(backend.is_full(), "there is no room yet");
    server.tell("CONFIG SET maxmemory 0");
    backend.apply(&[&[]], false).await.unwrap();
    assert!(!backend.is_full());
    assert_eq!(backend.apply(&[&[enqueue(one, 3)]], true).await.unwrap(), [Outcome::default()]);
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown() {
    let server = Server::with(&["--requirepass", "the right one"]);
    let wrong = RedisSettings { password: Some("hunter2hunter2".into()), ..settings(&server) };
    let error = store::redis(&wrong).await.unwrap_err().to_string();
    assert!(error.contains(&wrong.address) && !error.contains("hunter2"), "{error}");
    assert!(!format!("{wrong:?}").contains("hunter2"));
    let right = RedisSettings { password: Some("the right one".into()), ..settings(&server) };
    let backend = store::redis(&right).await.unwrap();
    assert!(!format!("{backend:?}").contains("the right one"), "{backend:?}");
    backend.claim(&claim("one")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let mut server = Server::start();
    server.kill();
    let error = store::redis(&settings(&server)).await.unwrap_err().to_string();
    assert!(error.contains("redis.sock"), "{error}");
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_is_given_them_again() {
    let server = Server::start();
    let store = Store::remote(backend(&server).await, SETTINGS, &Handle::current());
    let sid = store.claim(claim("one")).await.unwrap().sid;
    server.tell("SCRIPT FLUSH SYNC");
    assert_eq!(submit(&store, vec![enqueue(sid, 1)]).unwrap().await.unwrap(), Ok(Outcome::default()));
}

#[tokio::test]
async fn who_asks_first_after_a_restart_of_the_server_is_answered() {
    let mut server = Server::start();
    let backend = backend(&server).await;
    let sid = backend.claim(&claim("one")).await.unwrap().sid;
    backend.apply(&[&[enqueue(sid, 1)]], true).await.unwrap();
    assert_eq!(queue(&backend, sid).await, [1]);
    server.kill();
    server.start_again();
    assert_eq!(queue(&backend, sid).await, [1], "a read");
    assert_eq!(backend.claim(&claim("one")).await.unwrap().sid, sid, "and a claim, on the other connection");
}

#[tokio::test]
async fn with_tls_only_a_server_that_is_vouched_for_is_spoken_to() {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (files.path().join("certificate"), files.path().join("key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let _server = Server::with(
        &[
            ["--bind", "127.0.0.1"],
            ["--tls-port", &port],
            ["--tls-auth-clients", "no"],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &certificate],
        ]
        .concat(),
    );
    let vouched = RedisSettings {
        authorities: Some(made.cert.pem().into_bytes()),
        ..RedisSettings::new(format!("rediss://localhost:{port}"))
    };
    let backend = store::redis(&vouched).await.unwrap();
    backend.claim(&claim("one")).await.unwrap();
    let unknown = RedisSettings { authorities: None, ..vouched };
    let error = store::redis(&unknown).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}
