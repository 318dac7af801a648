//! Measures a store in a directory, or in Redis where that is an address as in the configuration:
//! `measure PLACE write|recover|drain|fanout|groups|every|none [MESSAGES] [SESSIONS] [BATCH]`.
//! Phases run one process each, so that a recovery is one. Not part of the broker.
//!
//! With `postgres` or `mariadb` as directory: a server of its own, from Debian's packages, gone with the process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mqtt::{Message, MessageId, Qos, Version};
use store::contract::servers::{Kind, Server};
use store::{
    Backend, Batch, Body, Claim, Commit, DiskSettings, Entry, Op, ServerSettings, SessionRecord, Settings, Sid, Store,
};

const PAYLOAD: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let (directory, phase) = (arguments[1].clone(), arguments[2].as_str());
    let (messages, sessions) = (number(3, 1_000_000), number(4, 100_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let commit = match phase {
        "none" => Commit::None,
        "every" => Commit::Every,
        _ => Commit::Group,
    };
    let server = server(&directory);
    let begin = Instant::now();
    let front = Settings { commit, ..Settings::default() };
    let store = match &server {
        None if directory.contains("://") => in_redis(&directory, front),
        None => Store::embedded(store::disk(&settings(&directory)).unwrap(), front).unwrap(),
        Some(server) => Store::remote(runtime.block_on(remote(server)), front, runtime.handle()),
    };
    println!("open {:.2} s, {}", begin.elapsed().as_secs_f64(), memory());
    runtime.block_on(async {
        match phase {
            "write" => write(&store, messages, sessions, number(5, 64)).await,
            "recover" => recover(&store, begin).await,
            "drain" => drain(&store).await,
            "fanout" => fanout(&store).await,
            "none" | "every" | "groups" => groups(&store, commit).await,
            other => panic!("no phase {other}"),
        }
        let stats = store.stats();
        println!("disk {} MB, {}, commits {}", stats.backend.disk_bytes >> 20, memory(), stats.commits);
        println!("commit times {:?}", stats.commit_micros);
    });
    let begin = Instant::now();
    drop(store);
    println!("close {:.2} s", begin.elapsed().as_secs_f64());
}

/// On a thread of its own, as on the broker's control runtime.
fn in_redis(address: &str, front: Settings) -> Store {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut settings = store::RedisSettings::new(address.to_owned());
    settings.timeout = Duration::from_secs(30);
    let backend = runtime.block_on(store::redis(&settings)).unwrap();
    let store = Store::remote(backend, front, runtime.handle());
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    store
}

fn server(directory: &str) -> Option<Server> {
    match directory {
        "postgres" => Some(Server::start(Kind::Postgres)),
        "mariadb" => Some(Server::start(Kind::Mariadb)),
        _ => None,
    }
}

async fn remote(server: &Server) -> Arc<dyn Backend> {
    let settings = ServerSettings {
        database: server.database(),
        user: server.user().into(),
        ..ServerSettings::new(server.address())
    };
    match server.user() {
        "root" => store::mysql(&settings).await.unwrap(),
        _ => store::postgres(&settings).await.unwrap(),
    }
}

fn settings(directory: &str) -> DiskSettings {
    let mut settings = DiskSettings::new(directory.into());
    let megabytes = |name: &str, value: &mut u64| {
        if let Ok(text) = std::env::var(name) {
            *value = text.parse::<u64>().unwrap() << 20;
        }
    };
    megabytes("MEMTABLE", &mut settings.memtable);
    megabytes("JOURNAL", &mut settings.journal);
    megabytes("CACHE", &mut settings.cache);
    settings
}

/// Resident memory now, its part that is not of files, and the most so far.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().replace("\t", " ");
    format!("{} {} {}", line("VmRSS"), line("RssAnon"), line("VmHWM"))
}

fn message(sequence: u64) -> Arc<Message> {
    let mut message = Message::new("plant/7/line/3/temperature", &[], &[b'x'; PAYLOAD]);
    message.id = MessageId { origin: 1, worker: 1, sequence };
    message.qos = Qos::AtLeastOnce;
    Arc::new(message)
}

fn enqueue(sid: Sid, seq: u64, body: Body) -> Op {
    let entry = Entry {
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: Box::default(),
        shared: None,
        expires_at: None,
        body,
    };
    Op::Enqueue { sid, epoch: 1, seq, entry }
}

/// Submits, and waits while the store has enough.
async fn submit(store: &Store, ops: Vec<Op>, done: &Arc<AtomicU64>) {
    let (count, counter) = (ops.len() as u64, done.clone());
    let mut batch = Batch {
        ops,
        done: Box::new(move |result| {
            assert!(result.unwrap().fenced.is_empty());
            counter.fetch_add(count, Relaxed);
        }),
    };
    while let Err(refused) = store.submit(batch) {
        batch = refused;
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

async fn write(store: &Store, messages: u64, sessions: u64, size: u64) {
    let begin = Instant::now();
    let mut sids = Vec::new();
    let together = std::env::var("CLAIMS").map_or(200, |text| text.parse().unwrap());
    for chunk in (0..sessions).collect::<Vec<_>>().chunks(together) {
        let claims = chunk.iter().map(|n| {
            store.claim(Claim {
                client_id: format!("device-{n:08}").into(),
                epoch: 1,
                node: "a".into(),
                is_clean: false,
                held: None,
            })
        });
        for claimed in all(claims).await {
            sids.push(claimed.unwrap().sid);
        }
    }
    println!("claim {:.0}/s, {together} at a time", sessions as f64 / begin.elapsed().as_secs_f64());
    let done = Arc::new(AtomicU64::new(0));
    for (n, sid) in sids.iter().enumerate() {
        submit(store, vec![Op::SaveSession { sid: *sid, epoch: 1, record: Box::new(record(n)) }], &done).await;
    }
    store.flush().await.unwrap();
    let begin = Instant::now();
    let mut random = 88_172_645_463_325_252u64;
    let mut next = vec![0u64; sids.len()];
    for turn in 0..messages / size {
        let ops = (0..size).map(|n| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = random as usize % sids.len();
            next[at] += 1;
            enqueue(sids[at], next[at], Body::Inline(message(turn * size + n)))
        });
        submit(store, ops.collect(), &done).await;
    }
    store.flush().await.unwrap();
    println!("enqueue {:.0}/s durable, {size} a batch", messages as f64 / begin.elapsed().as_secs_f64());
}

/// Side by side, as CONNECTs come.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut is_done = true;
        for (future, result) in waiting.iter_mut().filter(|(_, result)| result.is_none()) {
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => *result = Some(value),
                std::task::Poll::Pending => is_done = false,
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

fn record(n: usize) -> SessionRecord {
    SessionRecord {
        client_id: format!("device-{n:08}").into(),
        version: Version::V5,
        expiry: 86_400,
        detached_at: Some(1),
        principal: Some("fleet".into()),
        subscriptions: Vec::new(),
        will: None,
        next_seq: 1,
        first_serial: 0,
        serials: 0,
    }
}

async fn recover(store: &Store, begin: Instant) {
    for count in [false, true] {
        let (mut after, mut sessions, mut entries) = (None, 0, 0);
        loop {
            let page = store.scan_sessions(after, 5000, count).await.unwrap();
            sessions += page.items.len();
            entries += page.items.iter().map(|item| item.queue.len() as u64).sum::<u64>();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        println!(
            "{sessions} sessions, {entries} entries counted at {:.2} s, {}",
            begin.elapsed().as_secs_f64(),
            memory()
        );
    }
}

async fn drain(store: &Store) {
    let begin = Instant::now();
    let (mut after, mut drained) = (None, 0u64);
    let done = Arc::new(AtomicU64::new(0));
    loop {
        let page = store.scan_sessions(after, 1000, false).await.unwrap();
        for session in &page.items {
            let stored = store.fetch(session.sid, 0, 1000, 1 << 20).await.unwrap();
            assert!(stored.windows(2).all(|two| two[0].seq < two[1].seq));
            drained += stored.len() as u64;
            let ops = stored.iter().map(|one| Op::Ack { sid: session.sid, epoch: 1, seq: one.seq }).collect();
            submit(store, ops, &done).await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    store.flush().await.unwrap();
    println!("drain {drained}: {:.0}/s", drained as f64 / begin.elapsed().as_secs_f64());
    let disk = store.stats().backend.disk_bytes >> 20;
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("disk {disk} MB, 3 s later {} MB", store.stats().backend.disk_bytes >> 20);
}

async fn fanout(store: &Store) {
    let mut sids = Vec::new();
    for n in 0..10_000 {
        let client_id = format!("fan-{n:08}").into();
        sids.push(
            store
                .claim(Claim { client_id, epoch: 1, node: "a".into(), is_clean: false, held: None })
                .await
                .unwrap()
                .sid,
        );
    }
    let (begin, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    for turn in 1..=20 {
        let message = message(turn);
        let mut ops = vec![Op::PutMessage(message.id, message.clone())];
        ops.extend(sids.iter().map(|sid| enqueue(*sid, turn, Body::Shared(message.id, 300))));
        submit(store, ops, &done).await;
    }
    store.flush().await.unwrap();
    let took = begin.elapsed().as_secs_f64();
    println!("fan-out to 10,000: {:.1} ms each, {:.0} entries/s", took * 50.0, 200_000.0 / took);
}

async fn groups(store: &Store, commit: Commit) {
    let claim = Claim { client_id: "groups".into(), epoch: 1, node: "a".into(), is_clean: true, held: None };
    let sid = store.claim(claim).await.unwrap().sid;
    let mut seq = 0;
    for size in [1u64, 16, 64, 256, 1024] {
        let (begin, mut count, mut times) = (Instant::now(), 0, Vec::new());
        while begin.elapsed() < Duration::from_millis(1500) {
            let ops = (0..size).map(|n| enqueue(sid, seq + n + 1, Body::Inline(message(seq + n))));
            let start = Instant::now();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let done = Box::new(move |result: Result<_, _>| {
                let _ = sender.send(result.is_ok());
            });
            if store.submit(Batch { ops: ops.collect(), done }).is_err() {
                tokio::task::yield_now().await;
                continue;
            }
            assert!(receiver.await.unwrap());
            times.push(start.elapsed());
            (seq, count) = (seq + size, count + size);
        }
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        println!("{commit:?} {size}: {rate:.0}/s p50 {:.2} ms p99 {:.2} ms", at(50), at(99));
    }
}
