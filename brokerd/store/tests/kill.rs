//! `disk` under kill -9 at random moments: what was acknowledged is there, a batch is there as a whole or not at all,
//! and order holds. `STORE_KILL_ROUNDS` is how often (10), `STORE_KILL_SEED` where the moments come from.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mqtt::{Message, MessageId, PacketId, Qos};
use store::{Backend, Batch, Body, Claim, DiskSettings, Entry, Op, Settings, Sid, Store};

/// Batches whose entries are left in a queue.
const LEFT: u64 = 3000;
/// Of the queue that a client drains.
const WINDOW: u64 = 50;
/// QoS 2 packet ids that are open at a time.
const OPEN: u64 = 20;

fn settings(directory: &Path) -> DiskSettings {
    // Small tables, so that a round sees them written and merged.
    DiskSettings { reserve: 0, memtable: 1 << 20, ..DiskSettings::new(directory.join("store")) }
}

fn payload(batch: u64) -> Vec<u8> {
    vec![batch as u8; (batch * 37 % 2000) as usize]
}

fn message(batch: u64) -> Arc<Message> {
    let mut message = Message::new("a/b", &[], &payload(batch));
    message.id = MessageId { origin: 1, worker: 1, sequence: batch };
    Arc::new(message)
}

fn packet_id(batch: u64) -> PacketId {
    PacketId::new((batch % 65_535) as u16 + 1).unwrap()
}

/// What one publish does: an entry for each of three sessions, two of them sharing the message, the publisher's packet
/// id, and the acknowledgement of what was sent long ago.
fn ops(batch: u64, [drained, full, inline]: [Sid; 3]) -> Vec<Op> {
    let enqueue = |sid, body| {
        let subscription_ids = Box::default();
        let entry =
            Entry { qos: Qos::ExactlyOnce, retain: false, subscription_ids, shared: None, expires_at: None, body };
        Op::Enqueue { sid, epoch: 1, seq: batch, entry }
    };
    let body = message(batch);
    let shared = || Body::Shared(body.id, body.heap_size() as u32);
    let mut ops = vec![
        Op::PutMessage(body.id, body.clone()),
        Op::Received { sid: drained, epoch: 1, packet_id: packet_id(batch) },
        enqueue(drained, shared()),
        enqueue(full, shared()),
        enqueue(inline, Body::Inline(body.clone())),
    ];
    if let Some(old) = batch.checked_sub(WINDOW) {
        ops.push(Op::Ack { sid: drained, epoch: 1, seq: old });
    }
    if let Some(old) = batch.checked_sub(OPEN) {
        ops.push(Op::ReceivedReleased { sid: drained, epoch: 1, packet_id: packet_id(old) });
    }
    if let Some(old) = batch.checked_sub(LEFT) {
        ops.extend([full, inline].map(|sid| Op::Ack { sid, epoch: 1, seq: old }));
    }
    ops
}

async fn sessions(store: &Arc<dyn Backend>) -> [Sid; 3] {
    let mut sids = [Sid(0); 3];
    for (sid, name) in sids.iter_mut().zip(["drained", "full", "inline"]) {
        let claim = Claim { client_id: name.into(), epoch: 1, node: "a".into(), is_clean: false, held: None };
        *sid = store.claim(&claim).await.unwrap().sid;
    }
    sids
}

/// The process that is killed: publishes, many at a time, and writes down what was acknowledged.
#[tokio::test]
#[ignore = "started by the test below"]
async fn writer() {
    let Ok(directory) = std::env::var("STORE_KILL_DIRECTORY") else { return };
    let begin: u64 = std::env::var("STORE_KILL_BEGIN").unwrap().parse().unwrap();
    let backend = store::disk(&settings(Path::new(&directory))).unwrap();
    let sids = sessions(&backend).await;
    let store = Store::embedded(backend, Settings::default()).unwrap();
    // A file and not a pipe: a writer that waits for its reader would be killed while nothing is under way.
    let acks = std::fs::File::options().create(true).append(true).open(format!("{directory}/acks")).unwrap();
    let acks = Arc::new(Mutex::new(acks));
    println!("\nwriting");
    for batch in begin.. {
        let acks = acks.clone();
        let done = move |result: Result<store::Outcome, _>| {
            assert_eq!(result.unwrap(), store::Outcome::default());
            acks.lock().unwrap().write_all(&batch.to_be_bytes()).unwrap();
        };
        let mut one = Batch { ops: ops(batch, sids), done: Box::new(done) };
        while let Err(refused) = store.submit(one) {
            one = refused;
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        if store.stats().queued_ops > 500 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }
}

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Starts the writer and kills it. Some are killed while they open the store.
fn round(directory: &Path, begin: u64, random: &mut Random) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--ignored", "--nocapture"])
        .env("STORE_KILL_DIRECTORY", directory)
        .env("STORE_KILL_BEGIN", begin.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let is_early = random.below(5) == 0;
    let moment = if is_early { random.below(60_000) } else { random.below(400_000) };
    if !is_early {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_writing = lines.map_while(Result::ok).any(|line| line == "writing");
        assert!(is_writing, "the writer ended by itself");
    }
    std::thread::park_timeout(Duration::from_micros(moment)); // the moment is what is tested: there is no event to await
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The highest batch that was acknowledged; all below it were as well.
fn acknowledged(directory: &Path) -> u64 {
    let bytes = std::fs::read(directory.join("acks")).unwrap_or_default();
    let batches = bytes.chunks_exact(8).map(|chunk| u64::from_be_bytes(chunk.try_into().unwrap()));
    batches.max().unwrap_or(0)
}

/// Answers the last batch that is there.
async fn verify(directory: &Path, story: &str) -> u64 {
    let acknowledged = acknowledged(directory);
    let store = store::disk(&settings(directory)).unwrap_or_else(|error| panic!("{story}: {error}"));
    let [drained, full, inline] = sessions(&store).await;
    let fetch = async |sid| store.fetch(sid, 0, usize::MAX, usize::MAX).await.unwrap();
    let entries = fetch(inline).await;
    let last = entries.last().map_or(0, |entry| entry.seq);
    assert!(last >= acknowledged, "{story}: {acknowledged} was acknowledged, {last} is the last that is there");
    for (name, sid, left) in [("inline", inline, LEFT), ("full", full, LEFT), ("drained", drained, WINDOW)] {
        let entries = fetch(sid).await;
        let expected = (last + 1).saturating_sub(left).max(1)..=last;
        let found: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
        assert!(found.iter().copied().eq(expected.clone()), "{story}: {name} has not {expected:?}: {found:?}");
        let is_whole = entries.iter().all(|entry| entry.message.payload() == payload(entry.seq));
        assert!(is_whole, "{story}: a message in {name} is not what was written");
    }
    let claim = Claim { client_id: "drained".into(), epoch: 1, node: "a".into(), is_clean: false, held: None };
    let mut received = store.claim(&claim).await.unwrap().received;
    let mut expected: Vec<PacketId> = ((last + 1).saturating_sub(OPEN).max(1)..=last).map(packet_id).collect();
    received.sort_unstable();
    expected.sort_unstable();
    assert_eq!(received, expected, "{story}: QoS 2 packet ids after {last}");
    while store.maintain().await.unwrap() {}
    assert_eq!(store.stats().shared_messages, last.min(LEFT), "{story}: messages that are named");
    assert_eq!(store.stats().corrupt, 0, "{story}");
    last
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_kill_9() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (rounds, seed) = (number("STORE_KILL_ROUNDS", 10), number("STORE_KILL_SEED", 20_261_122));
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(seed);
    let mut last = 0;
    for n in 0..rounds {
        round(directory.path(), last + 1, &mut random);
        last = verify(directory.path(), &format!("seed {seed}, round {n} from {}", last + 1)).await;
    }
    println!("{rounds} rounds, {last} batches");
    assert!(last > 100 * rounds / 10, "the writer wrote too little to have shown anything: {last}");
}
