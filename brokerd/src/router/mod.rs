//! Which subscribers, on this node and on others, a topic goes to. Never delivers anything itself, never knows a
//! session's state, and never imports `cluster`: it owns the trait `Forward`, which `cluster` implements.

mod groups;
mod index;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mqtt::message::SharedMessage;
use parking_lot::Mutex;

pub use groups::{Chosen, Groups, Strategy, Target, Terms, Weight, publisher_key};
pub use index::{Counts, Index};

/// A node of the cluster other than this one, numbered by this process; at most [`PeerSet::CAPACITY`] at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSlot(pub u8);

/// A set of peers, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSet(pub u64);

impl PeerSet {
    /// How many peers a node can have at a time: a cluster is at most 65 nodes.
    pub const CAPACITY: usize = 64;
    /// This set and `slot`.
    #[must_use]
    pub const fn with(self, slot: PeerSlot) -> Self {
        Self(self.0 | 1 << slot.0)
    }
    /// This set without `slot`.
    #[must_use]
    pub const fn without(self, slot: PeerSlot) -> Self {
        Self(self.0 & !(1 << slot.0))
    }
    /// Whether `slot` is in it.
    #[must_use]
    pub const fn contains(self, slot: PeerSlot) -> bool {
        self.0 & (1 << slot.0) != 0
    }
    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Those in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Its members, ascending.
    pub fn iter(self) -> impl Iterator<Item = PeerSlot> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let slot = u8::try_from(bits.trailing_zeros()).ok().filter(|slot| *slot < 64)?;
            bits &= bits - 1;
            Some(PeerSlot(slot))
        })
    }
}

/// One subscription of one local session, as the index holds it: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The session's place in its worker.
    pub session: u32,
    /// Tells this subscription from an earlier one in the same place. A delivery that comes through another worker is
    /// checked against it, so that nothing is delivered after UNSUBACK, nor to whoever has the place next.
    pub serial: u32,
    /// Subscription Identifier; 0 is none.
    pub subscription_id: u32,
    /// The worker that owns the session.
    pub worker: u16,
    /// QoS granted.
    pub qos: mqtt::Qos,
    /// Bits: 1 no local, 2 retain as published.
    pub flags: u8,
}

impl Subscriber {
    /// Flag bit: No Local.
    pub const NO_LOCAL: u8 = 1;
    /// Flag bit: Retain As Published.
    pub const RETAIN_AS_PUBLISHED: u8 = 2;
}

/// Where a topic goes. Kept and cleared by its user, so that matching allocates nothing once warm.
#[derive(Debug, Default)]
pub struct Matches {
    /// Matching subscriptions. A session appears once for each of its filters that matches.
    pub local: Vec<Subscriber>,
    /// How many filters contributed to `local`: at 1 no session appears twice.
    pub local_filters: usize,
    /// Nodes that hold a matching row, whether up or not.
    pub remote: PeerSet,
    /// Who gets the copy of each shared group: see [`Groups::choose`].
    pub shared: Vec<Chosen>,
}

impl Matches {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.local.clear();
        self.local_filters = 0;
        self.remote = PeerSet::default();
        self.shared.clear();
    }
}

/// Whom to tell when something that was waited for has happened: a worker and its own name for the waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The worker that waits.
    pub worker: u16,
    /// The worker's own number of what waits.
    pub token: u64,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every peer that was asked has it, or is down.
    Done,
    /// `cluster.subscribe_timeout` ended before every peer answered (SUBACK only).
    TimedOut,
    /// A peer refused for want of room.
    Full,
}

/// What a peer does for shared groups with a message. A peer that is told nothing serves none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Groups that it is to serve.
    pub serve: Vec<Arc<str>>,
    /// Groups that have their member already: told where it is flooded.
    pub served: Vec<Arc<str>>,
    /// The peers that are flooded with this message, itself included: they settle among them who serves the groups
    /// that the publisher's node does not know of.
    pub flooded: PeerSet,
    /// See [`publisher_key`].
    pub key: u64,
    /// Whether its plain subscribers have the message already.
    pub only_groups: bool,
    /// How often the message has found no member where it was sent.
    pub hops: u8,
}

/// A message on its way to one peer.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The message.
    pub message: SharedMessage,
    /// Who waits for the peer's acknowledgement: QoS 1 and 2 only.
    pub ticket: Option<Ticket>,
    /// Shared groups; `None` if the peer serves none.
    pub share: Option<Arc<Share>>,
    /// Where the peer is to retain it: the clock of that write. Else 0.
    pub retained_at: u64,
}

/// What the router needs of the cluster. A single node plugs [`Alone`] in.
pub trait Forward: Send + Sync {
    /// A filter's first local subscription came (`present`) or its last one went. Called under the lock of the
    /// filter's shard, so that the order of versions is the order of changes: must not block or call the index.
    /// Answers the version of the route table that holds the change.
    fn route_changed(&self, filter: &Arc<str>, present: bool) -> u64;
    /// The weight of a shared group on this node changed. Called as [`Forward::route_changed`] is.
    fn group_changed(&self, group: &Arc<str>, weight: Weight) -> u64 {
        self.route_changed(group, weight.total > 0)
    }
    /// Asks to be told by [`Mailboxes::settled`] when every peer that can reach this node either matches with the
    /// rows of `version` or floods. Answers true, and tells nobody, where that is so already.
    fn when_live(&self, version: u64, ticket: Ticket) -> bool;
    /// The peers that are up. Rows of others are masked.
    fn up(&self) -> PeerSet;
    /// Those of them that are gone, and whose sessions are about to be another's: shared groups choose none of them.
    fn held(&self) -> PeerSet {
        PeerSet::default()
    }
    /// The peers that are up and that this node is not in sync with at this moment: they get everything.
    /// Reads a clock: call it after the socket read that brought the PUBLISH, once a turn.
    fn flood(&self) -> PeerSet;
    /// Queues a turn's messages for a peer, in order, and empties `batch`. Never blocks. QoS 0 is dropped and counted
    /// where the peer's queue is full; QoS 1 and 2 are taken, and [`Forward::is_congested`] says to stop reading.
    fn forward(&self, peer: PeerSlot, batch: &mut Vec<Outbound>);
    /// Whether a peer's queue is above its bound: workers stop reading from publishers until it is not.
    /// Workers are told by [`Mailboxes::uncongested`].
    fn is_congested(&self) -> bool;
}

/// A local delivery that comes from outside the receiving worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: SharedMessage,
    /// Every one is of this worker; sorted by session, so that overlapping filters of a session are neighbours.
    pub subscribers: Vec<Subscriber>,
    /// For a shared group: `subscribers` is the one member chosen, or nobody, and then the worker chooses again.
    pub shared: Option<ForGroup>,
}

/// The group that a delivery is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForGroup {
    /// `$share/name/filter`.
    pub group: Arc<str>,
    /// See [`publisher_key`].
    pub key: u64,
    /// See [`Share::hops`].
    pub hops: u8,
}

type Told = Box<dyn FnOnce(Outcome) + Send + Sync>;

/// Runs its function when dropped: shared by the deliveries of one batch, it tells that all of them were carried out
/// (or dropped with their worker), or that one could not be kept.
pub struct OnDelivered {
    done: Mutex<Option<Told>>,
    has_failed: AtomicBool,
    is_patient: bool,
}

impl OnDelivered {
    /// Will call `done` once, when the last clone of the returned handle is gone.
    #[must_use]
    pub fn new(done: impl FnOnce(Outcome) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { done: Mutex::new(Some(Box::new(done))), has_failed: AtomicBool::new(false), is_patient: false })
    }

    /// The same for who waits for as long as it takes.
    #[must_use]
    pub fn patient(done: impl FnOnce(Outcome) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { done: Mutex::new(Some(Box::new(done))), has_failed: AtomicBool::new(false), is_patient: true })
    }

    /// A delivery could not be kept.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    /// It may still be kept, but not in time: who waits is told that it was not, unless it waits for as long as it takes.
    pub fn give_up(&self) {
        if self.is_patient {
            return;
        }
        let done = self.done.lock().take();
        if let Some(done) = done {
            done(Outcome::Full);
        }
    }
}

impl Drop for OnDelivered {
    fn drop(&mut self) {
        let outcome = if self.has_failed.load(Ordering::Acquire) { Outcome::Full } else { Outcome::Done };
        if let Some(done) = self.done.get_mut().take() {
            done(outcome);
        }
    }
}

/// The workers' letter boxes, as the router and the cluster see them. Posting never blocks.
pub trait Mailboxes: Send + Sync {
    /// How many workers there are.
    fn workers(&self) -> usize;
    /// Hands deliveries to a worker. `done` is dropped when the worker has carried them out.
    fn deliver(&self, worker: u16, batch: Vec<Delivery>, done: Option<Arc<OnDelivered>>);
    /// Tells a worker that its tickets are settled.
    fn settled(&self, worker: u16, tickets: Vec<(u64, Outcome)>);
    /// Whether this worker's letter box holds more bytes than its bound: whoever reads from elsewhere stops reading.
    fn is_full(&self, worker: u16) -> bool;
    /// Whether the workers have what the store kept: before that nobody is subscribed.
    fn is_open(&self) -> bool {
        true
    }
    /// Completes when no letter box is full.
    fn drained(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Tells all workers that [`Forward::is_congested`] has become false.
    fn uncongested(&self);
}

/// The cluster of a node that has none.
#[derive(Debug, Default)]
pub struct Alone;

impl Forward for Alone {
    fn route_changed(&self, _: &Arc<str>, _: bool) -> u64 {
        0
    }
    fn when_live(&self, _: u64, _: Ticket) -> bool {
        true
    }
    fn up(&self) -> PeerSet {
        PeerSet::default()
    }
    fn flood(&self) -> PeerSet {
        PeerSet::default()
    }
    fn forward(&self, _: PeerSlot, batch: &mut Vec<Outbound>) {
        batch.clear();
    }
    fn is_congested(&self) -> bool {
        false
    }
}
