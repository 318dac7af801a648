//! What all nodes retain made the same: writes of others taken in, and differences found and repaired. Never looks into
//! a message, and never sends one to a client.
//!
//! A write is pushed to the peers that are up, with its stamp, as a forwarded message. What a peer missed it finds when a
//! link is open and now and then: it compares sums of buckets, lists what differs, and fetches what is later there. Each
//! side does so for itself. One peer at a time, one page at a time.

mod answer;
mod round;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mqtt::message::SharedMessage;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::forward::Tally;
use super::quiet::Quiet;
use crate::metrics::Metric;
use crate::registry::Clock;
use crate::retain::{Change, Full, Keeper, Retained, Stamp, What};
use crate::router::OnDelivered;

pub(super) use answer::answer;
#[cfg(test)]
pub(super) use round::round;
pub(super) use round::run;

/// Nodes whose last agreement is remembered: all that a cluster has, and some that it had.
const AGREEMENTS: usize = 256;

/// What the rest of the node gives, once.
pub struct RetainedParts {
    /// The set. What an earlier life of the node kept is in it already.
    pub store: Arc<Retained>,
    /// Writes down what peers bring, where that is kept.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// Since when (by the hybrid clock) this set has lacked what was deleted: the start, or as an earlier life said.
    pub since: u64,
    /// Where an earlier life kept the set: the last time (by the hybrid clock) that it ran.
    pub ended: Option<u64>,
}

/// This node's part.
pub(super) struct Replica {
    pub(super) store: Arc<Retained>,
    keeper: Option<Arc<dyn Keeper>>,
    clock: Arc<Clock>,
    tally: Tally,
    since: AtomicU64,
    restored: Option<Agreement>,
    agreements: Mutex<HashMap<Arc<str>, Agreement>>,
    said_full: Quiet,
    /// A link is open: wakes the comparing task.
    pub(super) wake: Notify,
}

/// When this node and another had the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Agreement {
    /// Up to this change of this node's set.
    serial: u64,
    /// By the other's clock.
    at: u64,
}

/// What became of changes that a peer brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// They were news.
    pub(super) new: usize,
    /// They were, and found no room, or a clock that is not believed.
    pub(super) refused: usize,
}

impl Replica {
    pub(super) fn new(parts: RetainedParts, clock: Arc<Clock>, tally: Tally) -> Self {
        let serial = parts.store.digests().1;
        Self {
            restored: parts.ended.map(|at| Agreement { serial, at }),
            since: AtomicU64::new(parts.since),
            store: parts.store,
            keeper: parts.keeper,
            clock,
            tally,
            agreements: Mutex::default(),
            said_full: Quiet::default(),
            wake: Notify::new(),
        }
    }

    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Acquire)
    }

    /// Takes what a peer brought. `done` is dropped once it is written down, where it is.
    pub(super) fn take(&self, changes: impl IntoIterator<Item = Change>, done: Option<Arc<OnDelivered>>) -> Taken {
        let (mut taken, mut kept) = (Taken::default(), Vec::new());
        for change in changes {
            match self.take_one(&change) {
                Ok(Some(what)) => kept.push(Change { what, ..change }),
                Ok(None) => {}
                Err(metric) => {
                    self.tally.add(metric, 1);
                    taken.refused += 1;
                }
            }
        }
        taken.new = kept.len();
        if let Some(keeper) = self.keeper.as_ref().filter(|_| !kept.is_empty()) {
            let tell = move |is_kept: bool| {
                if let (false, Some(done)) = (is_kept, &done) {
                    done.fail();
                }
            };
            keeper.keep(kept, Box::new(tell));
        }
        taken
    }

    /// A stamp too far ahead would stand against all that is written until then (cluster-traps 7).
    fn take_one(&self, change: &Change) -> Result<Option<What>, Metric> {
        self.clock.merge(change.stamp.hlc).map_err(|_| Metric::RetainedUnbelieved)?;
        self.store.merge(change, self.clock.now()).map_err(|Full| {
            if self.said_full.allows(Instant::now()) {
                tracing::error!(
                    topic = &*change.topic,
                    "`persistence.max_retained` or `max_retained_bytes` is reached: this node lacks what others retain"
                );
            }
            Metric::RetainedFull
        })
    }

    fn agreement(&self, peer: &str) -> Option<Agreement> {
        self.agreements.lock().get(peer).copied().or(self.restored)
    }

    fn has_agreed(&self, peer: &str) -> bool {
        self.agreements.lock().contains_key(peer)
    }

    /// This node has all that a peer had; what the peer knows of deletions, this node knows.
    fn agreed(&self, peer: &Arc<str>, agreement: Agreement, since: u64, horizon: u64) {
        self.since.fetch_min(since, Ordering::AcqRel);
        self.store.raise_horizon(horizon);
        let mut agreements = self.agreements.lock();
        if agreements.len() >= AGREEMENTS && !agreements.contains_key(peer) {
            let oldest = agreements.iter().min_by_key(|(_, agreement)| agreement.at).map(|(name, _)| name.clone());
            oldest.and_then(|name| agreements.remove(&name));
        }
        agreements.insert(peer.clone(), agreement);
    }
}

/// A forwarded message that is to be retained here too.
pub(super) fn change(message: &SharedMessage, stamp: u64) -> Change {
    let what = if message.payload().is_empty() { What::Deleted } else { What::Message(message.clone()) };
    Change { topic: message.topic().into(), stamp: Stamp { hlc: stamp, node: message.id.origin }, what }
}
