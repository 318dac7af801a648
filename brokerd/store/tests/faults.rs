//! What `disk` says when it cannot be used as it should.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;

use mqtt::{Message, PacketId, Qos};
use store::{Batch, Body, Claim, DiskSettings, Entry, Op, Outcome, Settings, Sid, State, Store, StoreError};

fn settings(directory: &std::path::Path) -> DiskSettings {
    DiskSettings { reserve: 0, ..DiskSettings::new(directory.to_owned()) }
}

fn claim() -> Claim {
    Claim { client_id: "one".into(), epoch: 1, node: "a".into(), is_clean: false, held: None }
}

fn enqueue(sid: Sid, seq: u64) -> Op {
    let body = Body::Inline(Arc::new(Message::new("a", &[], b"x")));
    let qos = Qos::AtLeastOnce;
    let entry = Entry { qos, retain: false, subscription_ids: Box::default(), shared: None, expires_at: None, body };
    Op::Enqueue { sid, epoch: 1, seq, entry }
}

#[tokio::test]
async fn a_directory_is_opened_once_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = store::disk(&settings(directory.path())).unwrap();
    let second = store::disk(&settings(directory.path())).unwrap_err();
    assert_eq!(second, StoreError::Locked(directory.path().display().to_string()));
    assert!(second.to_string().contains("in use by another process"));
    drop(first);
    store::disk(&settings(directory.path())).unwrap();
}

#[tokio::test]
async fn a_path_that_cannot_be_a_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"not a directory").unwrap();
    let error = store::disk(&settings(&path)).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    // A file system that nobody may write to, root neither.
    let path = std::path::Path::new("/proc/store");
    let error = store::disk(&settings(path)).unwrap_err().to_string();
    assert!(error.contains("`/proc/store`"), "{error}");
}

#[tokio::test]
async fn without_room_nothing_new_is_taken_and_all_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let sid = {
        let store = store::disk(&settings(directory.path())).unwrap();
        let sid = store.claim(&claim()).await.unwrap().sid;
        store.apply(&[&[enqueue(sid, 1), enqueue(sid, 2)]], true).await.unwrap();
        sid
    };
    let full = DiskSettings { reserve: u64::MAX, ..settings(directory.path()) };
    let backend = store::disk(&full).unwrap();
    let packet_id = PacketId::MIN;
    let ops = [
        Op::Ack { sid, epoch: 1, seq: 1 },
        enqueue(sid, 3),
        Op::Received { sid, epoch: 1, packet_id },
        Op::Sent { sid, epoch: 1, seq: 2, packet_id },
    ];
    let outcome = backend.apply(&[&ops], true).await.unwrap();
    assert_eq!(outcome, [Outcome { is_full: true, ..Outcome::default() }]);
    let claimed = backend.claim(&claim()).await.unwrap();
    let in_flight = claimed.queue.iter().filter(|one| one.packet_id.is_some()).count();
    assert_eq!((claimed.queue.len(), claimed.received.len(), in_flight), (1, 0, 1));
    let store = Store::embedded(backend, Settings::default()).unwrap();
    assert_eq!(store.state(), State::Full);
}

#[tokio::test]
async fn what_was_submitted_is_there_when_the_store_was_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::embedded(store::disk(&settings(directory.path())).unwrap(), Settings::default()).unwrap();
    let sid = store.claim(claim()).await.unwrap().sid;
    for seq in 1..=500 {
        store.submit(Batch { ops: vec![enqueue(sid, seq)], done: Box::new(|result| drop(result.unwrap())) }).unwrap();
    }
    drop(store);
    let store = store::disk(&settings(directory.path())).unwrap();
    assert_eq!(store.claim(&claim()).await.unwrap().queue.len(), 500);
}
