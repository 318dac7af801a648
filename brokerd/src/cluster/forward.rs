//! What the workers call: `router::Forward` over the queues, the leases and the barrier. Never blocks and never calls
//! the index; what it costs on the path of a message is a load or a short lock of one peer's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::core::Core;
use super::queue::{Queue, Released};
use crate::metrics::{Counters, Metric};
use crate::router::{
    Delivery, ForGroup, Forward, Mailboxes, OnDelivered, Outbound, Outcome, PeerSet, PeerSlot, Ticket, Weight,
};

/// A counter block behind a lock: the workers and the control runtime count here.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Arc<Counters>>);

impl Tally {
    pub(super) const fn new(block: Arc<Counters>) -> Self {
        Self(Mutex::new(block))
    }
    pub(super) fn add(&self, metric: Metric, n: u64) {
        if n > 0 {
            self.0.lock().add(metric, n);
        }
    }
}

/// What a worker reads or writes on the path of a message, by slot.
#[derive(Debug)]
pub(super) struct Hot {
    started: Instant,
    up: AtomicU64,
    /// Those of `up` that are gone, and whose sessions another node is about to take: they get what matches.
    held: AtomicU64,
    congested: AtomicU64,
    /// Nanoseconds after `started` until which this node is in sync with the peer.
    leases: [AtomicU64; PeerSet::CAPACITY],
    queues: [Mutex<Queue>; PeerSet::CAPACITY],
    queued: [Notify; PeerSet::CAPACITY],
}

impl Hot {
    pub(super) fn new(started: Instant, bound: usize) -> Self {
        Self {
            started,
            up: AtomicU64::new(0),
            held: AtomicU64::new(0),
            congested: AtomicU64::new(0),
            leases: std::array::from_fn(|_| AtomicU64::new(0)),
            queues: std::array::from_fn(|_| Mutex::new(Queue::new(bound))),
            queued: std::array::from_fn(|_| Notify::new()),
        }
    }

    pub(super) fn up(&self) -> PeerSet {
        PeerSet(self.up.load(Ordering::Acquire))
    }
    pub(super) fn set_up(&self, slot: PeerSlot, is_up: bool) {
        let bit = PeerSet::default().with(slot).0;
        if is_up {
            self.up.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.up.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    pub(super) fn held(&self) -> PeerSet {
        PeerSet(self.held.load(Ordering::Acquire))
    }
    pub(super) fn set_held(&self, slot: PeerSlot, is_held: bool) {
        let bit = PeerSet::default().with(slot).0;
        if is_held {
            self.held.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.held.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// This node is in sync with a peer until then; `None` ends it at once.
    pub(super) fn set_lease(&self, slot: PeerSlot, until: Option<Instant>) {
        let nanos = until.map_or(0, |until| self.nanos(until));
        self.leases[place(slot)].store(nanos, Ordering::Release);
    }
    pub(super) fn is_in_sync(&self, slot: PeerSlot, now: Instant) -> bool {
        self.leases[place(slot)].load(Ordering::Acquire) > self.nanos(now)
    }
    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Wakes when there may be something to send to a peer. For its one sender.
    pub(super) const fn queued(&self, slot: PeerSlot) -> &Notify {
        &self.queued[slot.0 as usize % PeerSet::CAPACITY]
    }

    /// Does something to a peer's queue, and answers whether the node has ceased to be congested by it.
    pub(super) fn with_queue<T>(&self, slot: PeerSlot, act: impl FnOnce(&mut Queue) -> T) -> (T, bool) {
        let bit = PeerSet::default().with(slot).0;
        let mut queue = self.queues[place(slot)].lock();
        let answer = act(&mut queue);
        if queue.is_above() {
            self.congested.fetch_or(bit, Ordering::AcqRel);
        } else if queue.is_below_half() {
            let before = self.congested.fetch_and(!bit, Ordering::AcqRel);
            return (answer, before == bit);
        }
        (answer, false)
    }

    fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Acquire) != 0
    }
}

fn place(slot: PeerSlot) -> usize {
    usize::from(slot.0) % PeerSet::CAPACITY
}

/// Tells the workers that their tickets are settled, a worker at a time.
pub(super) fn settle(mailboxes: &dyn Mailboxes, mut settled: Vec<(Ticket, Outcome)>) {
    settled.sort_by_key(|(ticket, _)| ticket.worker); // stable: a worker's tickets stay in order
    for of_worker in settled.chunk_by(|one, next| one.0.worker == next.0.worker) {
        let tickets = of_worker.iter().map(|(ticket, outcome)| (ticket.token, *outcome)).collect();
        mailboxes.settled(of_worker[0].0.worker, tickets);
    }
}

impl Core {
    /// What a peer that is gone was to get: whoever waits for it waits no longer, but for what other members of shared
    /// groups get now.
    pub(super) fn give_back(&self, released: Released) {
        self.parts.tally.add(Metric::DroppedPeerDown, released.lost);
        settle(&*self.parts.mailboxes, released.settled);
        for Outbound { message, ticket, share, .. } in released.for_groups {
            let Some(share) = share else { continue };
            let mailboxes = self.parts.mailboxes.clone();
            let done = OnDelivered::new(move |outcome| {
                settle(&*mailboxes, ticket.map(|ticket| (ticket, outcome)).into_iter().collect());
            });
            let again = |group: &Arc<str>| Delivery {
                message: message.clone(),
                subscribers: Vec::new(),
                shared: Some(ForGroup { group: group.clone(), key: share.key, hops: share.hops }),
            };
            self.parts.mailboxes.deliver(0, share.serve.iter().map(again).collect(), Some(done));
        }
    }
}

impl Forward for Core {
    fn route_changed(&self, filter: &Arc<str>, present: bool) -> u64 {
        self.routes.change(filter, present)
    }

    fn group_changed(&self, group: &Arc<str>, weight: Weight) -> u64 {
        self.routes.change_group(group, weight)
    }

    fn when_live(&self, version: u64, ticket: Ticket) -> bool {
        let is_live = self.barrier.lock().when_live(version, ticket, Instant::now());
        if !is_live {
            self.barrier_moved.notify_one();
        }
        is_live
    }

    fn up(&self) -> PeerSet {
        self.hot.up()
    }

    fn held(&self) -> PeerSet {
        self.hot.held()
    }

    fn flood(&self) -> PeerSet {
        let up = self.hot.up();
        if up.is_empty() {
            return up;
        }
        let now = Instant::now();
        let up = self.hot.held().iter().fold(up, PeerSet::without);
        let synced = up.iter().filter(|slot| self.hot.is_in_sync(*slot, now));
        synced.fold(up, PeerSet::without)
    }

    fn forward(&self, peer: PeerSlot, batch: &mut Vec<Outbound>) {
        let count = batch.len() as u64;
        // Whether it is up is looked at under the queue's lock: what went down has been released, and stays empty.
        let (dropped, _) = self.hot.with_queue(peer, |queue| self.hot.up().contains(peer).then(|| queue.push(batch)));
        let Some(dropped) = dropped else {
            if self.parts.sessions_move {
                return self.orphan_at(peer, std::mem::take(batch));
            }
            let mut released = Released::default();
            batch.drain(..).for_each(|outbound| released.add(outbound, mqtt::Qos::ExactlyOnce));
            self.give_back(released);
            return;
        };
        self.parts.tally.add(Metric::DroppedPeerQueueFull, dropped);
        self.parts.tally.add(Metric::MessagesForward, count - dropped);
        self.hot.queued(peer).notify_one();
    }

    fn is_congested(&self) -> bool {
        self.hot.is_congested()
    }
}

/// Settles what waits for the barrier, as acknowledgements come and leases end. Runs until it is dropped.
pub(super) async fn run_barrier(core: &Core) {
    /// With nobody waiting there is nothing to look for.
    const IDLE: Duration = Duration::from_secs(60);
    loop {
        let now = Instant::now();
        let (settled, next) = core.barrier.lock().settle(now);
        let timed_out = settled.iter().filter(|(_, outcome)| *outcome == Outcome::TimedOut).count();
        core.parts.tally.add(Metric::SubackTimedOut, timed_out as u64);
        settle(&*core.parts.mailboxes, settled);
        let pause = next.map_or(IDLE, |next| next.saturating_duration_since(now));
        tokio::select! {
            () = core.barrier_moved.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
