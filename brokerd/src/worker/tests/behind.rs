//! A store that is behind: what it has no room for is kept, in the order of the turns, and nothing of it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use mqtt::MessageId;
use store::{
    Backend, BackendStats, Caps, Claim, Claimed, Commit, Delayed, Expired, Op, Outcome, Page, Retained, SessionHead,
    Settings, Sid, Store, StoreError, Stored, UnixMillis,
};
use tokio::sync::Semaphore;

use super::packets::*;
use super::*;

/// `memory`, whose commits wait until they may, and are answered as they are told.
#[derive(Debug)]
pub(super) struct Slow {
    pub(super) inner: Arc<dyn Backend>,
    pub(super) may: Arc<Semaphore>,
    pub(super) link: Arc<AtomicU8>,
}

/// How the server of [`Slow`] is reached.
pub(super) const WELL: u8 = 0;
/// What is sent does not arrive.
pub(super) const SENDS_NOTHING: u8 = 1;
/// What is sent arrives, and the answer does not.
pub(super) const HEARS_NOTHING: u8 = 2;

#[async_trait]
impl Backend for Slow {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }
    async fn apply(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, StoreError> {
        let _may = self.may.acquire().await;
        let link = self.link.load(Ordering::Acquire);
        let unknown = Err(StoreError::Unavailable("no answer".into()));
        if link == SENDS_NOTHING {
            return unknown;
        }
        let outcomes = self.inner.apply(batches, is_durable).await;
        if link == HEARS_NOTHING { unknown } else { outcomes }
    }
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.inner.claim(claim).await
    }
    async fn fetch(&self, sid: Sid, after: u64, n: usize, bytes: usize) -> Result<Vec<Stored>, StoreError> {
        self.inner.fetch(sid, after, n, bytes).await
    }
    async fn scan_sessions(&self, a: Option<Sid>, n: usize, q: bool) -> Result<Page<SessionHead, Sid>, StoreError> {
        self.inner.scan_sessions(a, n, q).await
    }
    async fn scan_retained(&self, after: Option<&str>, n: usize) -> Result<Page<Retained, Box<str>>, StoreError> {
        self.inner.scan_retained(after, n).await
    }
    async fn scan_delayed(&self, a: Option<MessageId>, n: usize) -> Result<Page<Delayed, MessageId>, StoreError> {
        self.inner.scan_delayed(a, n).await
    }
    async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        self.inner.expire(now, limit).await
    }
    async fn maintain(&self) -> Result<bool, StoreError> {
        self.inner.maintain().await
    }
    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}

/// A node whose store has room for one turn beside the one that it is at, and commits for as long as `may` has permits.
fn behind(max_ops: usize) -> (Node, Arc<Store>, Arc<Semaphore>) {
    behind_with(max_ops, Commit::Group)
}

fn behind_with(max_ops: usize, commit: Commit) -> (Node, Arc<Store>, Arc<Semaphore>) {
    let may = Arc::new(Semaphore::new(1));
    let backend = Arc::new(Slow { inner: store::memory(), may: may.clone(), link: Arc::default() });
    let store = Arc::new(Store::embedded(backend, Settings { max_ops, commit, ..Settings::default() }).unwrap());
    (Node::keeping(store.clone()), store, may)
}

fn kept(id: &'static str) -> Connect {
    Connect { client_id: id, ..Connect::kept(V5) }
}

/// The number of the last batch, how many of those the store has not taken, and the last that it has answered.
fn batches(node: &Node) -> (u64, usize, u64) {
    node.ask(0, |shard| (shard.journal.last(), shard.journal.ready.len(), shard.journal.answered))
}

fn publishes(node: &Node, publisher: &mut Client, text: &str) {
    let (before, ..) = batches(node);
    publisher.send(publish(V5, Q1, 1, text));
    node.until("the publication is in a batch", || batches(node).0 > before);
}

#[test]
fn what_the_store_has_no_room_for_is_kept_in_order_and_a_session_that_ends_meanwhile_is_gone() {
    let (node, store, may) = behind(1);
    let (away, gone) = (node.id_on(0, "away"), node.id_on(0, "gone"));
    node.client(kept(away)).subscribe("t", 1);
    node.client(kept(gone)).subscribe("other", 1);
    let mut publishers: Vec<Client> = (0..3).map(|n| node.id(node.id_on(0, ["p", "q", "r"][n]))).collect();
    node.until("all that was begun is kept", || batches(&node) == (batches(&node).0, 0, batches(&node).0));
    let (begun, ..) = batches(&node);

    let held = node.runtime.block_on(may.acquire()).unwrap();
    for (n, publisher) in publishers.iter_mut().enumerate() {
        publishes(&node, publisher, ["first", "second", "third"][n]);
    }
    let mut anew = node.stranger(V5);
    anew.send(Connect { clean: true, properties: Vec::new(), ..kept(gone) }.bytes());
    node.until("its end is in a batch", || batches(&node).0 >= begun + 4);
    let (_, waiting, answered) = batches(&node);
    assert!(waiting >= 2, "{waiting}: one is at the store, one in its queue");
    assert_eq!(answered, begun, "what was refused is not answered before what was taken");
    assert!(store.stats().refused > 0);

    drop(held);
    for publisher in &mut publishers {
        assert_eq!(publisher.line(), "PUBACK #1");
    }
    assert_eq!(anew.line(), "CONNACK 0x00");
    node.until("all is kept", || batches(&node) == (batches(&node).0, 0, batches(&node).0));
    node.runtime.block_on(async {
        store.flush().await.unwrap();
        let sessions = store.scan_sessions(None, 10, true).await.unwrap().items;
        let names: Vec<&str> = sessions.iter().map(|session| &*session.client_id).collect();
        assert_eq!((names, sessions[0].queue.len()), (vec![away], 3));
        let queued = store.fetch(sessions[0].sid, 0, 10, usize::MAX).await.unwrap();
        let texts: Vec<&[u8]> = queued.iter().map(|stored| stored.message.payload()).collect();
        assert_eq!(texts, [b"first".as_slice(), b"second", b"third"]);
    });
}

#[test]
fn who_subscribes_again_and_again_is_not_read_while_the_store_has_no_room_and_is_read_on_after() {
    let (node, _store, may) = behind(1);
    let mut client = node.client(kept(node.id_on(0, "client")));
    node.until("all that was begun is kept", || batches(&node) == (batches(&node).0, 0, batches(&node).0));
    let held = node.runtime.block_on(may.acquire()).unwrap();
    // No answer is waited for: each SUBSCRIBE is a change that is to be kept.
    let mut asked = 0;
    let is_paused = || node.ask(0, |shard| !shard.turn.paused.is_empty());
    node.until("it is not read", || {
        if !is_paused() {
            asked += 1;
            client.send(subscribe(V5, asked, 0, &[("t", 1)]));
        }
        is_paused()
    });
    let settle = || (0..50).for_each(|_| node.ask(0, |_| ())); // the turns end that have begun
    settle();
    let (_, waiting, _) = batches(&node);
    for id in asked + 1..=asked + 100 {
        client.send(subscribe(V5, id, 0, &[("t", 1)]));
    }
    settle();
    assert_eq!(batches(&node).1, waiting, "what it sends then stays in its socket");
    assert!(node.metric(crate::metrics::Metric::StorePaused) > 0);
    drop(held);
    for id in 1..=asked + 100 {
        let line = client.line();
        assert!(line.starts_with(&format!("SUBACK #{id}")), "{line}");
    }
}

#[test]
fn a_connect_that_needs_the_store_is_refused_while_much_waits_for_room_in_it_and_another_is_not() {
    let (node, _store, may) = behind(1);
    let away = node.id_on(0, "away");
    node.client(kept(away)).subscribe("t", 1);
    node.until("all that was begun is kept", || batches(&node) == (batches(&node).0, 0, batches(&node).0));
    let held = node.runtime.block_on(may.acquire()).unwrap();
    // Each is a turn of its own, and the last that it is read.
    let is_far = || node.ask(0, |shard| shard.is_far_behind());
    while !is_far() {
        let mut publisher = node.id(node.id_on(0, "publisher"));
        publishes(&node, &mut publisher, "x");
    }
    let mut late = node.stranger(V5);
    late.send(kept(away).bytes());
    let line = late.line();
    assert!(line.starts_with("CONNACK 0x88"), "{line}");
    node.id(node.id_on(0, "transient"));
    drop(held);
    node.until("all is kept", || batches(&node) == (batches(&node).0, 0, batches(&node).0));
    assert!(node.client(kept(away)).line().starts_with("PUBLISH"), "and it gets what waited");
}

#[test]
fn publishers_are_read_on_once_the_store_has_room_also_those_whose_receivers_are_at_other_workers() {
    for commit in [Commit::Group, Commit::Every, Commit::None] {
        publishers_are_read_on(commit);
    }
}

fn publishers_are_read_on(commit: Commit) {
    let (node, _store, may) = behind_with(1, commit);
    let away = node.id_on(1, "away");
    node.client(kept(away)).subscribe("t", 1);
    let mut near = node.id(node.id_on(1, "near"));
    let mut far = node.id(node.id_on(0, "far"));
    let held = node.runtime.block_on(may.acquire()).unwrap();
    let sent = 20;
    for publisher in [&mut near, &mut far] {
        for id in 1..=sent {
            publisher.send(publish(V5, Q1, id, "x"));
        }
    }
    let is_paused = |worker| node.ask(worker, |shard| !shard.turn.paused.is_empty());
    // Each learns it with the next that it is read.
    node.until("both are not read", || {
        for (worker, publisher) in [(1, &mut near), (0, &mut far)] {
            if !is_paused(worker) {
                publisher.send(publish(V5, Q0, 0, "y"));
            }
        }
        is_paused(0) && is_paused(1)
    });
    drop(held);
    for publisher in [&mut near, &mut far] {
        let acknowledged = (1..=sent).map(|_| publisher.line()).collect::<Vec<_>>();
        assert_eq!(acknowledged, (1..=sent).map(|id| format!("PUBACK #{id}")).collect::<Vec<_>>());
    }
    node.until("both are read", || !is_paused(0) && !is_paused(1));
}
