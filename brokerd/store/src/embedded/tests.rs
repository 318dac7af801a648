//! Records that cannot be read, and counting after a start.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::keys::Table;
use super::*;
use crate::backend::Claim;
use crate::op::{Body, Entry, Op};
use crate::record::Sid;
use mqtt::{Message, Qos};

fn memory() -> Embedded<Memory> {
    let caps = Caps { name: "memory", survives: Survives::Nothing, is_shared: false, is_atomic: true };
    Embedded::with(Memory::default(), caps, Live::default())
}

fn claim(store: &Embedded<Memory>) -> Sid {
    let claim = Claim { client_id: "one".into(), epoch: 1, node: "a".into(), is_clean: false, held: None };
    store.claim_session(&claim).unwrap().sid
}

fn enqueue(sid: Sid, seq: u64) -> Op {
    let body = Body::Inline(Arc::new(Message::new("a", &[], b"x")));
    let qos = Qos::AtLeastOnce;
    let entry = Entry { qos, retain: false, subscription_ids: Box::default(), shared: None, expires_at: None, body };
    Op::Enqueue { sid, epoch: 1, seq, entry }
}

fn seqs(store: &Embedded<Memory>, sid: Sid) -> Vec<u64> {
    store.fetch_page(sid, 0, 100, usize::MAX).unwrap().iter().map(|stored| stored.seq).collect()
}

#[test]
fn an_unreadable_record_is_counted_once_and_set_aside_and_stops_nothing_else() {
    let store = memory();
    let sid = claim(&store);
    store.apply_all(&[&[enqueue(sid, 1), enqueue(sid, 2), enqueue(sid, 3)]], true).unwrap();
    let mut batch = store.engine.batch();
    store.engine.put(&mut batch, Table::Queue, &keys::row(sid, 2), &[99, 1, 2]);
    store.engine.put(&mut batch, Table::Retained, b"a/b", &[1, 2]);
    store.engine.commit(batch, true).unwrap();
    for _ in 0..2 {
        assert_eq!(seqs(&store, sid), [1, 3]);
        assert!(store.retained_page(None, 10).unwrap().items.is_empty());
    }
    assert_eq!(store.corrupt.load(std::sync::atomic::Ordering::Relaxed), 2);
    store.maintain_some().unwrap();
    let mut aside = Vec::new();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    store
        .engine
        .scan(Table::Quarantine, all, &mut |key, value| {
            aside.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let queue_key = [&[Table::Queue as u8][..], &keys::row(sid, 2)].concat();
    assert_eq!(aside, [(queue_key, vec![99, 1, 2]), (vec![Table::Retained as u8, b'a', b'/', b'b'], vec![1, 2])]);
    assert_eq!(store.engine.get(Table::Queue, &keys::row(sid, 2)).unwrap(), None);
    assert_eq!(store.corrupt.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn rows_of_nobody_are_not_inherited() {
    let store = memory();
    let sid = claim(&store);
    store.apply_all(&[&[enqueue(sid, 1)]], true).unwrap();
    // As if a power cut had undone the claim.
    let mut batch = store.engine.batch();
    store.engine.remove(&mut batch, Table::Sessions, &keys::tagged(keys::OWNER, sid));
    store.engine.remove(&mut batch, Table::Sessions, &keys::client("one"));
    store.engine.commit(batch, true).unwrap();
    *store.live.lock() = Live::load(&store.engine).unwrap();
    let next = claim(&store);
    assert_ne!(next, sid, "another session has another number");
    assert_eq!(seqs(&store, next), [0u64; 0]);
    while store.maintain_some().unwrap() {}
    assert_eq!(seqs(&store, sid), [0u64; 0], "and the rows go");
}
