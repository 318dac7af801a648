//! A worker's own state: its sessions, their connections, and what leaves at the end of the turn. Only its thread
//! touches it; every method is one uninterrupted step.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use mqtt::codec::Limits;
use mqtt::session::{Outputs, ServerLimits, Session, SessionLimits, Tally};
use mqtt::{Message, MessageId, Time, Version};
use slab::Slab;
use store::{Sid, Store};
use tokio::sync::Notify;

use super::auto_subscribe::Automatic;
use super::claims::PendingClaims;
use super::conn::Conn;
use super::delayed::{Budget, DelayLimits, Delayed};
use super::exclusive::Exclusives;
use super::ids::Ids;
use super::joints::Joints;
use super::journal::Journal;
use super::mailbox::Boxes;
use super::marks::Marks;
use super::moving::Arrival;
use super::partials::Partials;
use super::records::WallClock;
use super::rewrite::Rewrite;
use super::takeovers::Takeovers;
use super::timers::Timers;
use super::turn::Turn;
use super::view::History;
use crate::access::{Access, Identity, Rules};
use crate::metrics::{Counters, Metric};
use crate::registry::{Clock, Elsewhere, Epoch};
use crate::retain::Retained;
use crate::router::{Forward, Index};

/// The shard in the hands of its worker's tasks. Never borrowed over an await.
pub(super) type Handle = Rc<RefCell<Shard>>;

/// What all workers of a node share.
pub(super) struct Shared {
    pub(super) boxes: Arc<Boxes>,
    pub(super) index: Arc<Index>,
    pub(super) retained: Arc<Retained>,
    /// The last values under `$SYS`: this node's own.
    pub(super) system: Arc<Retained>,
    pub(super) forward: Arc<dyn Forward>,
    pub(super) elsewhere: Arc<dyn Elsewhere>,
    /// What clients of this node have for themselves.
    pub(super) exclusives: Arc<Exclusives>,
    pub(super) access: Access,
    /// Where sessions are kept beyond the process, if anywhere.
    pub(super) store: Option<Arc<Store>>,
    /// What workers keep together there; `None` where there is one worker.
    pub(super) joints: Option<Arc<Joints>>,
    /// What all workers delay.
    pub(super) delayed: Arc<Budget>,
    pub(super) settings: Settings,
    pub(super) rewrite: Rewrite,
    pub(super) automatic: Vec<Automatic>,
    /// The zero of [`Time`].
    pub(super) started: Instant,
    /// The hybrid clock: stamps of retained messages.
    pub(super) hybrid: Arc<Clock>,
    /// This node's name.
    pub(super) node: Arc<str>,
    /// This node and generation, for message identities.
    pub(super) origin: u64,
}

impl Shared {
    pub(super) fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Both clocks, now.
    pub(super) fn clock(&self) -> WallClock {
        WallClock { now: self.now(), wall: super::attach::wall_millis() }
    }

    /// Where what a filter matches is retained: no wildcard reaches into `$SYS` from outside [MQTT-4.7.2-1].
    pub(super) fn retained_for(&self, filter: &str) -> &Retained {
        if filter.starts_with("$SYS/") { &self.system } else { &self.retained }
    }
}

/// The configuration as the workers need it.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) decode: Limits,
    pub(super) server: ServerLimits,
    pub(super) session: SessionLimits,
    pub(super) delayed: DelayLimits,
    pub(super) max_connect_size: u32,
    /// Of all workers together.
    pub(super) max_partial_bytes: usize,
    pub(super) connect_timeout: Duration,
    pub(super) max_offline_sessions: usize,
    /// Whether a 3.x client that publishes what it may not is closed.
    pub(super) deny_disconnects: bool,
}

/// A session and what surrounds it.
pub(super) struct Entry {
    pub(super) session: Session,
    /// Its number in the store, where it is kept; 0 where not, for no store gives that.
    number: u64,
    /// Tells this session from an earlier one in the same place.
    pub(super) incarnation: u32,
    pub(super) conn: Option<Conn>,
    pub(super) epoch: Epoch,
    /// That of the connection whose will it has.
    pub(super) will_epoch: Epoch,
    /// Whose session it is, and where from.
    pub(super) identity: Identity,
    pub(super) replays: super::subscribe::Replays,
    pub(super) history: History,
    /// The earliest timer that is set for it; [`NEVER`] where none is.
    pub(super) armed: Time,
    /// Whether another node has it by now, and this one brings it what still comes here.
    pub(super) is_departing: bool,
    /// Whether its client began with Clean Session or Clean Start.
    pub(super) clean_start: bool,
}

impl Entry {
    /// Its number in the store, where it is kept.
    pub(super) fn sid(&self) -> Option<Sid> {
        Some(Sid(self.number)).filter(|sid| sid.0 != 0)
    }

    pub(super) fn set_sid(&mut self, sid: Option<Sid>) {
        self.number = sid.map_or(0, |sid| sid.0);
    }

    /// The user name that the client gave, or is known by.
    pub(super) fn username(&self) -> Option<&str> {
        self.history.username(&self.identity.principal)
    }
}

/// No time at all.
pub(super) const NEVER: Time = Time(u64::MAX);

/// The shard.
pub(crate) struct Shard {
    pub(super) worker: u16,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    /// The rules in force, until [`Shard::review`] is told of others.
    pub(super) rules: Arc<Rules>,
    /// Each for itself on the heap: a place is small, and the memory of a session that ends is given back.
    pub(super) sessions: Slab<Box<Entry>>,
    pub(super) by_id: Ids,
    /// Kept sessions by their names in the store.
    pub(super) by_sid: HashMap<Sid, u32, foldhash::fast::RandomState>,
    /// Sessions that came from other nodes, by place and incarnation, while messages for them may come by two ways.
    pub(super) arrivals: HashMap<(u32, u32), Arrival, foldhash::fast::RandomState>,
    pub(super) offline: usize,
    pub(super) pending_claims: PendingClaims,
    /// The same of sessions whose node is gone, which no client waits for.
    pub(super) adopting: PendingClaims,
    pub(super) takeovers: Takeovers,
    pub(super) timers: Timers,
    pub(super) delayed: Delayed,
    pub(super) turn: Turn,
    /// What of it is to be kept.
    pub(super) journal: Journal,
    /// Scratch for one step of one session: its wire buffer is the connection's for the time of the step.
    pub(super) out: Outputs,
    /// What sockets are read into.
    pub(super) read_buffer: Box<[u8]>,
    /// What connections hold of packets that are not whole; apart, for who holds them may end at any time.
    pub(super) partials: Rc<RefCell<Partials>>,
    /// Wire buffers that no connection needs now.
    pub(super) spare: Vec<Vec<u8>>,
    /// Whether a session may have something that the sweep is for.
    pub(super) is_stirred: bool,
    /// Wakes the flush task.
    pub(super) dirty_notify: Rc<Notify>,
    /// Whether every client is being dropped: what they leave goes to peers.
    pub(super) is_stopping: bool,
    last_incarnation: u32,
    pub(super) last_sequence: u64,
    /// How far other workers, here and elsewhere, are heard.
    pub(super) heard: Marks,
}

/// Bytes read from a socket at a time.
const READ_BUFFER: usize = 64 * 1024;
/// Spare wire buffers kept.
const SPARE_BUFFERS: usize = 256;
/// A wire buffer that grew beyond this is not kept.
const SPARE_CAPACITY: usize = 64 * 1024;

impl Shard {
    pub(super) fn new(worker: u16, shared: Arc<Shared>, counters: Arc<Counters>) -> Self {
        let workers = shared.boxes.iter().len();
        Self {
            worker,
            counters,
            rules: shared.access.rules(),
            sessions: Slab::new(),
            by_id: Ids::default(),
            by_sid: HashMap::default(),
            arrivals: HashMap::default(),
            offline: 0,
            pending_claims: PendingClaims::default(),
            adopting: PendingClaims::default(),
            takeovers: Takeovers::default(),
            timers: Timers::default(),
            delayed: Delayed::default(),
            turn: Turn::new(workers),
            journal: Journal::new(
                shared.store.as_ref().is_some_and(|store| store.caps().is_shared),
                shared.joints.clone(),
            ),
            out: Outputs::default(),
            read_buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            partials: Rc::new(RefCell::new(Partials::new(shared.settings.max_partial_bytes / workers))),
            spare: Vec::new(),
            is_stirred: false,
            dirty_notify: Rc::new(Notify::new()),
            is_stopping: false,
            last_incarnation: 0,
            last_sequence: 0,
            heard: Marks::default(),
            shared,
        }
    }

    /// A new session, and its place.
    pub(super) fn create(
        &mut self,
        client_id: &Arc<str>,
        version: Version,
        identity: Identity,
        history: History,
    ) -> u32 {
        let session = Session::new(client_id.clone(), version, self.last_incarnation.wrapping_add(1), self.turn.now);
        self.counters.inc(Metric::SessionCreated);
        self.insert(session, identity, history)
    }

    /// A session's place.
    pub(super) fn insert(&mut self, session: Session, identity: Identity, history: History) -> u32 {
        self.last_incarnation = self.last_incarnation.wrapping_add(1);
        let client_id = session.client_id().clone();
        self.is_stirred |= !session.is_at_rest();
        let slot = self.sessions.insert(Box::new(Entry {
            session,
            number: 0,
            incarnation: self.last_incarnation,
            conn: None,
            epoch: Epoch::default(),
            will_epoch: Epoch::default(),
            identity,
            replays: super::subscribe::Replays::default(),
            history,
            armed: NEVER,
            is_departing: false,
            clean_start: false,
        }));
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        self.by_id.insert(&client_id, slot);
        slot
    }

    /// Where the session of a client id is, if there is one.
    pub(super) fn slot_of(&self, client_id: &str) -> Option<u32> {
        let is_its =
            |slot: u32| self.sessions.get(slot as usize).is_some_and(|entry| **entry.session.client_id() == *client_id);
        self.by_id.find(client_id, is_its)
    }

    /// The entry in a place, if it is still the one meant.
    pub(super) fn entry(&mut self, slot: u32, incarnation: u32) -> Option<&mut Entry> {
        self.sessions.get_mut(slot as usize).map(|entry| &mut **entry).filter(|entry| entry.incarnation == incarnation)
    }

    /// Gives a message that this worker took from its publisher its identity.
    pub(super) fn identify(&mut self, message: &mut Message) {
        self.last_sequence += 1;
        message.id = MessageId { origin: self.shared.origin, worker: self.worker, sequence: self.last_sequence };
    }

    /// Runs one step of a session. While it lasts, the step's wire buffer is the connection's, so that bytes are
    /// written where they leave from; afterwards what was sent is counted and the connection is noted for the flush.
    pub(super) fn step(&mut self, slot: u32, step: impl FnOnce(&mut Session, &SessionLimits, Time, &mut Outputs)) {
        let now = self.turn.now;
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if let Some(conn) = &mut entry.conn {
            std::mem::swap(&mut conn.wire, &mut self.out.wire);
            if self.out.wire.capacity() == 0
                && let Some(spare) = self.spare.pop()
            {
                self.out.wire = spare;
            }
        }
        let before = self.out.wire.len();
        step(&mut entry.session, &self.shared.settings.session, now, &mut self.out);
        self.is_stirred |= !entry.session.is_at_rest();
        let promises = std::mem::take(&mut self.out.promises) && self.shared.store.is_some();
        if let Some(conn) = &mut entry.conn {
            std::mem::swap(&mut conn.wire, &mut self.out.wire);
            if promises && conn.promise(before) {
                self.turn.promised.push((slot, entry.incarnation));
            }
            if conn.wire.is_empty() {
                let unused = std::mem::take(&mut conn.wire); // an idle connection holds no buffer
                self.recycle(unused);
            } else if !conn.is_blocked {
                self.note_dirty(slot);
            }
        } else {
            self.out.wire.clear();
        }
        if !self.out.changes.is_empty() {
            self.note_changes(slot);
        }
        let tally = std::mem::take(&mut self.out.tally);
        if tally != Tally::default() {
            self.count(slot, &tally);
        }
    }

    /// Has the next flush look at a connection.
    pub(super) fn note_dirty(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if let Some(conn) = entry.conn.as_mut().filter(|conn| !conn.is_dirty) {
            conn.is_dirty = true;
            if self.turn.dirty.is_empty() {
                self.dirty_notify.notify_one();
            }
            self.turn.dirty.push((slot, entry.incarnation));
        }
    }

    /// Keeps an emptied wire buffer for another connection.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 {
            return;
        }
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_CAPACITY {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    fn count(&mut self, slot: u32, tally: &Tally) {
        const SENT: [Metric; 4] = [Metric::PubackSent, Metric::PubrecSent, Metric::PubrelSent, Metric::PubcompSent];
        const MISSED: [Metric; 4] =
            [Metric::PubackMissed, Metric::PubrecMissed, Metric::PubrelMissed, Metric::PubcompMissed];
        const BY_QOS: [Metric; 3] = [Metric::MessagesQos0Sent, Metric::MessagesQos1Sent, Metric::MessagesQos2Sent];
        let counters = &self.counters;
        let published: u64 = tally.published.iter().sum();
        counters.add(Metric::PublishSent, published);
        counters.add(Metric::MessagesSent, published);
        counters.add(Metric::MessagesDelivered, published);
        for (metric, count) in BY_QOS.iter().zip(tally.published) {
            counters.add(*metric, count);
        }
        for (metric, count) in SENT.iter().zip(tally.acks_sent).chain(MISSED.iter().zip(tally.acks_missed)) {
            counters.add(*metric, count);
        }
        counters.add(Metric::PacketsSent, published + tally.acks_sent.iter().sum::<u64>());
        counters.add(Metric::MessagesAcked, tally.acked);
        let dropped = tally.queue_full + tally.qos0_away + tally.too_large + tally.expired;
        if dropped > 0 {
            counters.add(Metric::DeliveryDropped, dropped);
            counters.add(Metric::DeliveryDroppedQueueFull, tally.queue_full);
            counters.add(Metric::DeliveryDroppedQos0, tally.qos0_away);
            counters.add(Metric::DeliveryDroppedTooLarge, tally.too_large);
            counters.add(Metric::DeliveryDroppedExpired, tally.expired);
        }
        if let Some(entry) = self.sessions.get_mut(slot as usize) {
            entry.history.delivered += published;
            entry.history.dropped += dropped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size classes of the allocator are 320, 384, 448 and 512 bytes.
    #[test]
    fn a_session_with_a_connection_is_six_cache_lines() {
        let parts = (size_of::<Session>(), size_of::<Conn>(), size_of::<History>(), size_of::<Identity>());
        assert!(
            size_of::<Entry>() <= 384,
            "{} of session, connection, history, identity {parts:?}",
            size_of::<Entry>()
        );
    }
}
