//! What is exported is what is imported, and what is not whole is not imported.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::Arc;

use mqtt::session::Granted;
use mqtt::{Message, MessageId, PacketId, Qos, Version};

use super::*;
use crate::{Batch, Body, Claim, Delayed, Entry, Op, Retained, SessionRecord, Settings, Sid, Stamp, Store, Stored};

fn store() -> Store {
    Store::embedded(crate::memory(), Settings::default()).unwrap()
}

fn message(topic: &str, number: u64, size: usize) -> Arc<Message> {
    let mut message = Message::new(topic, &[], &vec![7; size]);
    message.id = MessageId { origin: 1, worker: 0, sequence: number };
    message.qos = Qos::ExactlyOnce;
    Arc::new(message)
}

fn entry(body: Body) -> Entry {
    let qos = Qos::ExactlyOnce;
    Entry { qos, retain: false, subscription_ids: Box::new([7]), shared: None, expires_at: Some(1 << 50), body }
}

fn record(client: &str) -> Box<SessionRecord> {
    let granted = Granted {
        filter: "$share/g/a/+".into(),
        options: mqtt::packet::SubscriptionOptions::default(),
        id: 3,
        serial: 1,
    };
    Box::new(SessionRecord {
        client_id: client.into(),
        version: Version::V5,
        expiry: 3600,
        detached_at: Some(12),
        principal: Some("me".into()),
        subscriptions: vec![granted],
        will: None,
        next_seq: 9,
        first_serial: 0,
        serials: 1,
    })
}

async fn put(store: &Store, ops: Vec<Op>) {
    let (answer, answered) = tokio::sync::oneshot::channel();
    store.submit(Batch { ops, done: Box::new(move |result| drop(answer.send(result))) }).unwrap();
    let outcome = answered.await.unwrap().unwrap();
    assert!(outcome.fenced.is_empty() && !outcome.is_full);
}

async fn session(store: &Store, client: &str, epoch: u64, is_saved: bool) -> Sid {
    let claim = Claim { client_id: client.into(), epoch, node: "n1".into(), is_clean: false, held: None };
    let sid = store.claim(claim).await.unwrap().sid;
    if is_saved {
        put(store, vec![Op::SaveSession { sid, epoch, record: record(client) }]).await;
    }
    sid
}

/// Two sessions with one message for both, one of each stage, one large one; retained and delayed.
async fn filled() -> Store {
    let store = store();
    let id = |number| PacketId::new(number).unwrap();
    let both = message("a/both", 1, 100);
    for client in ["one", "two"] {
        let sid = session(&store, client, 5, true).await;
        let named = Body::Shared(both.id, u32::try_from(both.heap_size()).unwrap());
        let mut ops = vec![Op::PutMessage(both.id, both.clone())];
        ops.extend(
            [named, Body::Inline(message("a/b", 2, 3)), Body::Inline(message("a/c", 3, 600_000))]
                .into_iter()
                .zip(1..)
                .map(|(body, seq)| Op::Enqueue { sid, epoch: 5, seq, entry: entry(body) }),
        );
        ops.push(Op::Sent { sid, epoch: 5, seq: 1, packet_id: id(1) });
        ops.push(Op::Released { sid, epoch: 5, seq: 2, packet_id: id(2) });
        ops.push(Op::Received { sid, epoch: 5, packet_id: id(77) });
        put(&store, ops).await;
    }
    session(&store, "never saved", 5, false).await;
    let delayed = |number| Delayed {
        id: MessageId { origin: 1, worker: 0, sequence: number },
        due: 1 << 50,
        message: message("d", number, 9),
        expires_at: None,
        client_id: "one".into(),
        principal: None,
    };
    put(&store, vec![Op::PutDelayed(Box::new(delayed(4))), Op::PutDelayed(Box::new(delayed(5)))]).await;
    for topic in ["r/1", "r/2"] {
        let message = Some(message(topic, 6, 10));
        put(
            &store,
            vec![Op::PutRetained {
                topic: topic.into(),
                stamp: Stamp { hlc: 9, node: 1 },
                message,
                expires_at: Some(1 << 50),
            }],
        )
        .await;
    }
    put(
        &store,
        vec![Op::PutRetained {
            topic: "deleted".into(),
            stamp: Stamp { hlc: 9, node: 1 },
            message: None,
            expires_at: None,
        }],
    )
    .await;
    store
}

async fn archive(store: &Store, part: u16, parts: u16) -> Vec<u8> {
    let head = Head { part, parts, node: "n1".into() };
    let (mut bytes, mut cursor) = (Vec::new(), Some(Vec::new()));
    while let Some(at) = cursor {
        let piece = export(store, &head, &at).await.unwrap();
        bytes.extend(piece.bytes);
        cursor = piece.next;
    }
    bytes
}

struct File(tempfile::TempDir);

impl File {
    fn with(bytes: &[u8]) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        std::fs::write(file.path(), bytes).unwrap();
        file
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("archive")
    }
}

type Kept =
    (Vec<(Box<str>, u64, SessionRecord, Vec<crate::Waiting>, Vec<PacketId>, Vec<Stored>)>, Vec<Retained>, Vec<Delayed>);

async fn everything(store: &Store) -> Kept {
    store.flush().await.unwrap();
    let mut sessions = Vec::new();
    for head in store.scan_sessions(None, 100, true).await.unwrap().items {
        let Some(record) = head.record else { continue };
        let bodies = store.fetch(head.sid, 0, 100, usize::MAX).await.unwrap();
        sessions.push((head.client_id, head.epoch, record, head.queue, head.received, bodies));
    }
    let set_at = |retained: Retained| Retained { stamp: Stamp::default(), ..retained };
    let retained = store.scan_retained(None, 100).await.unwrap().items;
    let retained = retained.into_iter().filter(|one| one.message.is_some()).map(set_at).collect();
    (sessions, retained, store.scan_delayed(None, 100).await.unwrap().items)
}

#[tokio::test]
async fn what_is_exported_is_what_a_new_store_has_after_an_import_also_when_it_is_done_twice() {
    let old = filled().await;
    let file = File::with(&archive(&old, 1, 1).await);
    let checked = check(&file.path()).unwrap();
    let contents = Contents { sessions: 2, messages: 6, retained: 2, delayed: 2 };
    assert_eq!(checked.contents, contents);
    let new = store();
    for _ in 0..2 {
        let applied = apply(&new, "n2", &file.path(), &checked).await.unwrap();
        assert_eq!((applied.contents, applied.skipped, applied.sids.len()), (contents, 0, 2));
        assert_eq!(everything(&new).await, everything(&old).await);
    }
    let shared = |store: &Store| store.stats().backend.shared_messages;
    assert_eq!(shared(&new), shared(&old), "one message for two sessions is stored once");
}

#[tokio::test]
async fn an_archive_that_is_cut_or_changed_anywhere_is_refused() {
    let small = store();
    let sid = session(&small, "one", 5, true).await;
    let body = Body::Inline(message("a", 1, 5));
    put(&small, vec![Op::Enqueue { sid, epoch: 5, seq: 1, entry: entry(body) }]).await;
    let whole = archive(&small, 1, 1).await;
    assert!(check(&File::with(&whole).path()).is_ok());
    for at in 0..whole.len() {
        let cut = check(&File::with(&whole[..at]).path());
        assert!(matches!(cut, Err(ArchiveError::Truncated(_) | ArchiveError::Foreign)), "cut at {at}: {cut:?}");
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert!(check(&File::with(&changed).path()).is_err(), "changed at {at}");
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(matches!(check(&File::with(&longer).path()), Err(ArchiveError::Damaged { .. })));
    assert!(matches!(check(&File::with(b"PK\x03\x04 something else").path()), Err(ArchiveError::Foreign)));
    let later = [&b"BRKDARC\x02"[..], &whole[8..]].concat();
    assert!(matches!(check(&File::with(&later).path()), Err(ArchiveError::Version(2))));
}

#[tokio::test]
async fn of_a_client_in_the_archives_of_two_nodes_the_higher_epoch_counts_and_a_part_may_not_lack() {
    let (one, two) = (store(), store());
    session(&one, "both", 5, true).await;
    let sid = session(&two, "both", 6, true).await;
    let body = Body::Inline(message("a", 1, 5));
    put(&two, vec![Op::Enqueue { sid, epoch: 6, seq: 1, entry: entry(body) }]).await;
    let parts = [archive(&one, 1, 2).await, archive(&two, 2, 2).await];
    let file = File::with(&parts.concat());
    let checked = check(&file.path()).unwrap();
    assert_eq!(checked.contents.sessions, 1);
    let new = store();
    apply(&new, "n3", &file.path(), &checked).await.unwrap();
    assert_eq!(everything(&new).await, everything(&two).await);
    assert!(matches!(check(&File::with(&parts[0]).path()), Err(ArchiveError::Truncated(_))));
    assert!(matches!(check(&File::with(&parts[1]).path()), Err(ArchiveError::Damaged { .. })));
}

#[tokio::test]
async fn a_session_that_is_newer_than_the_archive_stays() {
    let old = store();
    session(&old, "pump", 5, true).await;
    let file = File::with(&archive(&old, 1, 1).await);
    let new = store();
    session(&new, "pump", 8, true).await;
    let applied = apply(&new, "n2", &file.path(), &check(&file.path()).unwrap()).await.unwrap();
    assert_eq!((applied.skipped, applied.sids.len()), (1, 0));
    assert_eq!(everything(&new).await.0[0].1, 8);
}

#[tokio::test]
async fn what_fails_on_its_way_in_leaves_nothing_behind() {
    let old = filled().await;
    let bytes = archive(&old, 1, 1).await;
    let file = File::with(&bytes);
    let checked = check(&file.path()).unwrap();
    std::fs::write(file.path(), &bytes[..bytes.len() - 3]).unwrap(); // what was checked is not what is there
    let new = store();
    assert!(apply(&new, "n2", &file.path(), &checked).await.is_err());
    assert_eq!(everything(&new).await, everything(&store()).await);
}

#[tokio::test]
async fn a_cursor_of_junk_is_refused() {
    let store = store();
    let head = Head { part: 1, parts: 1, node: "n1".into() };
    for junk in [&b"\xff"[..], b"\0\0\0\0\x09", b"\0\0\0\0"] {
        assert!(matches!(export(&store, &head, junk).await, Err(ArchiveError::Cursor)), "{junk:?}");
    }
}
