//! The store of a node: what is taken from it before anybody connects, and how what peers retain is written to it. Never
//! opens it: `opening` does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Batch, Op, SessionHead, Stamp, Store, StoreError};

use super::Foundation;
use super::opening::until_it_answers;
use crate::registry::delaying;
use crate::retain::{self, Change, Keeper, Retained, What};
use crate::worker::Restored;

/// Sessions and messages read at a time.
const PAGE: usize = 1000;
/// How far back times go that are read from the store: ten years.
const PAST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The zero of the node's clock: so early that times before its start can be told.
pub(super) fn beginning_of_time() -> Instant {
    let now = Instant::now();
    now.checked_sub(PAST).unwrap_or(now)
}

/// What each worker has from the process before.
pub(super) async fn restore(base: &Foundation) -> anyhow::Result<Vec<Restored>> {
    let mut restored: Vec<Restored> = (0..base.workers.workers()).map(|_| Restored::default()).collect();
    let Some(store) = &base.store else { return Ok(restored) };
    let begun = Instant::now();
    sessions(base, store, &mut restored).await?;
    let delayed = delayed(base, store, &mut restored).await?;
    let sessions: usize = restored.iter().map(|one| one.sessions.len()).sum();
    let millis = begun.elapsed().as_millis();
    tracing::info!(sessions, delayed, millis, "what the store kept is back");
    Ok(restored)
}

async fn sessions(base: &Foundation, store: &Store, restored: &mut [Restored]) -> Result<(), StoreError> {
    let is_shared = store.caps().is_shared;
    if is_shared {
        until_it_answers(&base.sign, async || store.fence(&base.name).await).await?; // the process before may have been killed with changes on their way
    }
    let mut after = None;
    loop {
        let page = until_it_answers(&base.sign, async || store.scan_sessions(after, PAGE, true).await).await?;
        // Where all nodes share the store, what others had is theirs, or comes later: see `adopt`.
        let is_own = |head: &SessionHead| !is_shared || *head.node == *base.name;
        for head in page.items.into_iter().filter(is_own) {
            if head.record.is_none() {
                drop_session(store, &head); // it was claimed and never saved: nobody was told of it
                continue;
            }
            let worker = usize::from(base.workers.worker_of(&head.client_id));
            restored[worker].sessions.push(head);
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Drops a session, unless somebody claims it first. What is refused here is dropped the next time.
pub(super) fn drop_session(store: &Store, head: &SessionHead) {
    let op = Op::DropSession { sid: head.sid, epoch: head.epoch };
    let _ = store.submit(Batch { ops: vec![op], done: Box::new(|_| ()) });
}

/// Retained messages and deletions are in their place when this returns: before anybody compares them with this node's.
pub(super) async fn retained(base: &Foundation) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    let Some(store) = &base.store else { return Ok(count) };
    loop {
        let page = until_it_answers(&base.sign, async || store.scan_retained(after.clone(), PAGE).await).await?;
        for kept in page.items {
            count += usize::from(retain(&base.retained, base.started, kept));
        }
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

async fn delayed(base: &Foundation, store: &Store, restored: &mut [Restored]) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let mut page = until_it_answers(&base.sign, async || store.scan_delayed(after, PAGE).await).await?;
        if store.caps().is_shared {
            // What other nodes hold is theirs, or comes later: see `adopt`.
            page.items.retain(|kept| kept.id.origin == delaying(&base.name));
        }
        count += page.items.len();
        for kept in page.items {
            let worker = usize::from(base.workers.worker_of(&kept.client_id));
            restored[worker].delayed.push(kept);
        }
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

/// Takes up what was retained, or deleted; whether it is news, and has room.
pub(super) fn retain(into: &Retained, started: Instant, kept: store::Retained) -> bool {
    if kept.topic.contains(['+', '#']) {
        return false; // no topic: a sign of life, see `pulse`
    }
    let what = kept.message.map_or(What::Deleted, |message| {
        let mut message = Arc::unwrap_or_clone(message);
        (message.retain, message.expires_at) = (true, kept.expires_at.map(|at| time_of(started, at)));
        What::Message(Arc::new(message))
    });
    let stamp = retain::Stamp { hlc: kept.stamp.hlc, node: kept.stamp.node };
    let change = Change { topic: (*kept.topic).into(), stamp, what };
    // As if learned when it was made: so it is forgotten in time, however often the node restarts.
    into.merge(&change, stamp.hlc).is_ok_and(|taken| taken.is_some())
}

/// A time of the wall clock on this node's.
fn time_of(started: Instant, at: store::UnixMillis) -> mqtt::Time {
    let now = millis(started.elapsed());
    let wall = super::wall_nanos() / 1_000_000;
    mqtt::Time(now.saturating_sub(wall.saturating_sub(at)).saturating_add(at.saturating_sub(wall)))
}

/// Answers when all that was submitted is kept, also where the queue is full.
pub(super) async fn flush(store: &Store) -> Result<(), StoreError> {
    loop {
        match store.flush().await {
            Err(StoreError::Full) => store.taken().await,
            result => return result,
        }
    }
}

/// Writes down what did not come from a session of this node.
pub(super) struct Shelf {
    pub(super) store: Arc<Store>,
    /// The zero of the node's clock.
    pub(super) started: Instant,
}

impl Keeper for Shelf {
    fn keep(&self, changes: Vec<Change>, done: Box<dyn FnOnce(bool) + Send>) {
        let (now, wall) = (mqtt::Time(millis(self.started.elapsed())), super::wall_nanos() / 1_000_000);
        let op = |Change { topic, stamp, what }: Change| {
            let (topic, stamp) = ((*topic).into(), Stamp { hlc: stamp.hlc, node: stamp.node });
            match what {
                What::Message(message) => {
                    let left = |at: mqtt::Time| wall.saturating_add(at.since(now)).saturating_sub(now.since(at));
                    let expires_at = message.expires_at.map(left);
                    Op::PutRetained { topic, stamp, message: Some(message), expires_at }
                }
                What::Deleted => Op::PutRetained { topic, stamp, message: None, expires_at: None },
                What::Forgotten => Op::DropRetained { topic, stamp },
            }
        };
        let ops = changes.into_iter().map(op).collect();
        let done = Box::new(move |result: Result<store::Outcome, StoreError>| {
            done(result.is_ok_and(|outcome| !outcome.is_full));
        });
        if let Err(refused) = self.store.submit(Batch { ops, done }) {
            (refused.done)(Err(StoreError::Full));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Foundation {
    /// What writes to the store, where there is one.
    pub(super) fn shelf(&self) -> Option<Arc<dyn Keeper>> {
        let store = self.store.clone()?;
        Some(Arc::new(Shelf { store, started: self.started }))
    }
}
