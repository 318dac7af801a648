//! Messages on their way to the client: the window in flight and the queue behind it. Owns the packet identifiers
//! *we* have in use. Never grows beyond its bounds: what does not fit is dropped by policy and tallied.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::connection::Connection;
use super::journal::Change;
use super::lazy::{Empty, Lazy};
use super::place::Place;
use super::queue::{Priorities, Queue};
use super::sending::{release, send};
use super::{Outputs, SessionLimits};
use crate::codec::Recipient;
use crate::message::SharedMessage;
use crate::packet::AckKind;
use crate::{MessageId, PacketId, Qos, ReasonCode, Time};

/// Bounds of a session's queue.
#[derive(Clone, Debug)]
pub struct QueueLimits {
    /// Messages.
    pub depth: usize,
    /// Bytes.
    pub bytes: usize,
    /// What goes when it is full.
    pub when_full: WhenFull,
    /// Whether QoS 0 is queued for a client that is away.
    pub qos0: bool,
    /// What leaves before what; what leaves last is dropped first.
    pub priorities: Priorities,
}

/// Drop policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest queued message goes, of the lowest priority.
    DropOldest,
    /// The new message goes.
    DropNewest,
}

/// A message for this client.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: SharedMessage,
    /// The QoS it is sent with.
    pub qos: Qos,
    /// RETAIN of the PUBLISH that is sent.
    pub retain: bool,
    /// Subscription identifiers of all matching subscriptions.
    pub subscription_ids: Box<[u32]>,
    /// Serial of the shared subscription that it is a member's copy for.
    pub shared: Option<NonZeroU32>,
}

/// A message and the subscription that this is a copy for: a session gets one for all of its own subscriptions, and one as
/// a member of each shared group.
pub type CopyId = (MessageId, Option<NonZeroU32>);

impl Delivery {
    /// Where two ways bring a message, what tells a second copy from another one.
    #[must_use]
    pub fn copy_id(&self) -> CopyId {
        (self.message.id, self.shared)
    }
}

/// A message that the client has not acknowledged.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: PacketId,
    /// From PUBREC on its body is gone, and PUBREL is what is sent again.
    pub(super) is_released: bool,
    pub(super) place: Place,
}

impl InFlight {
    /// Whether it is to be loaded before it can be sent again.
    pub(super) const fn lacks_body(&self) -> bool {
        !self.is_released && self.place.body.is_none()
    }
}

impl Empty for VecDeque<InFlight> {
    const EMPTY: &'static Self = &Self::new();

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// The window and the queue.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// In the order of first sending, which is the order of sending again [MQTT-4.6.0-1].
    pub(super) in_flight: Lazy<VecDeque<InFlight>>,
    /// How many of `in_flight`, from the front, were sent on this connection: at most the window.
    pub(super) sent: u16,
    pub(super) queue: Lazy<Queue>,
    pub(super) last_id: u16,
    /// How many identifiers after `last_id` are known to be free.
    pub(super) free_ids: u16,
    /// Whether messages are kept elsewhere too.
    pub(super) is_kept: bool,
    /// The name of the last message that was.
    pub(super) last_seq: u64,
    /// Whether bodies of a session that is away are held: it is about to be back.
    pub(super) holds_bodies: bool,
}

impl Outbound {
    pub(super) const fn is_at_rest(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_none()
    }

    /// Gives back the memory of what is empty.
    pub(super) fn rest(&mut self) {
        self.in_flight.rest();
        self.queue.rest();
    }

    /// A new connection: everything in flight is to be sent again.
    pub(super) fn restart(&mut self, priorities: &Priorities) {
        self.sent = 0;
        if std::mem::take(&mut self.holds_bodies) {
            self.queue.rank_again(priorities);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes())
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.queue.is_empty() || usize::from(self.sent) < self.in_flight.len()
    }

    pub(super) fn offer(
        &mut self,
        delivery: Delivery,
        connection: Option<&mut Connection>,
        limits: &SessionLimits,
        now: Time,
        out: &mut Outputs,
    ) {
        let Some(connection) = connection else {
            if delivery.qos == Qos::AtMostOnce && !limits.queue.qos0 {
                out.tally.qos0_away += 1;
                return;
            }
            self.enqueue(delivery, &limits.queue, self.holds_bodies, now, out);
            return;
        };
        let goes_at_once = !self.has_backlog()
            && out.wire.len() < limits.write_buffer
            && (delivery.qos == Qos::AtMostOnce || self.in_flight.len() < usize::from(connection.window));
        if goes_at_once {
            let place = self.place(delivery);
            self.send_new(place, true, connection, now, out);
        } else {
            self.enqueue(delivery, &limits.queue, true, now, out);
        }
    }

    /// Names a message, where messages are named.
    fn place(&mut self, delivery: Delivery) -> Place {
        self.last_seq += u64::from(self.is_kept);
        Place::new(if self.is_kept { self.last_seq } else { 0 }, delivery)
    }

    fn enqueue(&mut self, delivery: Delivery, limits: &QueueLimits, is_held: bool, now: Time, out: &mut Outputs) {
        if !self.make_room(&delivery, limits, now, out) {
            out.tally.queue_full += 1;
            return;
        }
        let rank = Queue::rank(delivery.message.topic(), &limits.priorities);
        let mut place = self.place(delivery);
        if let Some(delivery) = place.body.clone().filter(|_| place.is_kept()) {
            out.changes.push(Change::Queued { seq: place.seq, delivery, id: None });
        }
        if !is_held {
            place.unload();
        }
        self.queue.push(place, rank, &limits.priorities);
    }

    /// Drops by the policy until there is room for a message; answers whether there is.
    fn make_room(&mut self, delivery: &Delivery, limits: &QueueLimits, now: Time, out: &mut Outputs) -> bool {
        let size = delivery.message.heap_size();
        let queue = &mut self.queue;
        let is_full = |queue: &Queue| queue.len() >= limits.depth || queue.bytes() + size > limits.bytes;
        if !is_full(queue) {
            return true;
        }
        while let Some(expired) = is_full(queue).then(|| queue.pop_expired(now)).flatten() {
            out.tally.expired += 1; // before anything that lives is dropped
            gone(&expired, &mut out.changes);
        }
        if limits.when_full == WhenFull::DropOldest && size <= limits.bytes && limits.depth > 0 {
            let rank = Queue::rank(delivery.message.topic(), &limits.priorities);
            while let Some(oldest) = is_full(queue).then(|| queue.make_way(rank, &limits.priorities)).flatten() {
                out.tally.queue_full += 1;
                gone(&oldest, &mut out.changes);
            }
        }
        !is_full(queue)
    }

    /// Drops what waits and has expired, wherever in the queue.
    pub(super) fn drop_expired(&mut self, now: Time, out: &mut Outputs) {
        if !self.queue.iter().any(|place| place.is_expired(now)) {
            return;
        }
        for expired in self.queue.extract(|place| place.is_expired(now)) {
            out.tally.expired += 1;
            gone(&expired, &mut out.changes);
        }
    }

    /// Takes back what was queued for a shared subscription, in order; with `in_flight` also what the client has not
    /// acknowledged, before it. QoS 2 stays once it was sent: another member's copy could be a second one (5.0 section
    /// 4.8.2).
    pub(super) fn reclaim(&mut self, serial: NonZeroU32, in_flight: bool, out: &mut Outputs) -> Vec<SharedMessage> {
        let body = |place: &Place| place.body.as_ref().filter(|body| body.shared == Some(serial)).cloned();
        let mut reclaimed = Vec::new();
        if in_flight {
            let (mut at, sent) = (0, usize::from(self.sent));
            self.in_flight.retain(|one| {
                let mine = body(&one.place).filter(|_| one.place.qos == Qos::AtLeastOnce && !one.is_released);
                self.sent -= u16::from(mine.is_some() && at < sent);
                at += 1;
                if mine.is_some() {
                    gone(&one.place, &mut out.changes);
                }
                let stays = mine.is_none();
                reclaimed.extend(mine.map(|delivery| delivery.message));
                stays
            });
        }
        let is_its = |place: &Place| place.body.as_ref().is_some_and(|body| body.shared == Some(serial));
        for place in self.queue.extract(is_its) {
            gone(&place, &mut out.changes);
            reclaimed.extend(place.body.map(|delivery| delivery.message));
        }
        reclaimed
    }

    /// Sends again what was in flight, then what is queued, as far as window and wire buffer allow.
    pub(super) fn pump(&mut self, connection: &mut Connection, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        let window = usize::from(connection.window);
        while out.wire.len() < limits.write_buffer {
            if let Some(again) = self.in_flight.get(usize::from(self.sent)) {
                if self.sent >= connection.window || again.lacks_body() {
                    return;
                }
                if resend(again, connection, now, out) {
                    self.sent += 1;
                } else if let Some(unfit) = self.in_flight.remove(usize::from(self.sent)) {
                    gone(&unfit.place, &mut out.changes); // it no longer fits the client: as if acknowledged
                }
                continue;
            }
            let Some(next) = self.queue.front() else { return };
            let is_shut = next.qos != Qos::AtMostOnce && self.in_flight.len() >= window;
            if is_shut || next.body.is_none() {
                return;
            }
            if let Some(place) = self.queue.pop() {
                self.send_new(place, false, connection, now, out);
            }
        }
    }

    /// Sends a message for the first time. One that `is_new` is not kept yet, and becomes so in flight.
    fn send_new(&mut self, place: Place, is_new: bool, connection: &mut Connection, now: Time, out: &mut Outputs) {
        let Some(delivery) = &place.body else { return };
        let id = if place.qos == Qos::AtMostOnce { None } else { Some(self.next_id()) };
        let is_expired = delivery.message.seconds_left(now) == Some(0); // [MQTT-3.3.2-5]
        out.tally.expired += u64::from(is_expired);
        if is_expired || !send(delivery, id, false, connection, now, out) {
            if !is_new {
                gone(&place, &mut out.changes);
            }
            return;
        }
        let Some(id) = id else { return };
        self.last_id = id.get();
        self.free_ids -= 1;
        if place.is_kept() {
            let seq = place.seq;
            let queued = || Change::Queued { seq, delivery: delivery.clone(), id: Some(id) };
            out.changes.push(if is_new { queued() } else { Change::Sent { seq, id } });
        }
        self.in_flight.push_back(InFlight { id, is_released: false, place });
        self.sent += 1;
    }

    /// The next free identifier in turn. What is in flight is looked through only when the count comes to the nearest
    /// one that is taken: identifiers are only taken here, so those known to be free stay so. The window is smaller
    /// than the identifiers are many, so there is a free one.
    fn next_id(&mut self) -> PacketId {
        while self.free_ids == 0 {
            let next = following(self.last_id);
            let taken = self.in_flight.iter().map(|in_flight| distance(next.get(), in_flight.id.get()));
            self.free_ids = taken.min().unwrap_or(u16::MAX);
            if self.free_ids == 0 {
                self.last_id = next.get();
            }
        }
        following(self.last_id)
    }

    /// PUBACK, PUBREC or PUBCOMP from the client.
    pub(super) fn acknowledged(
        &mut self,
        kind: AckKind,
        id: PacketId,
        reason: ReasonCode,
        to: Recipient,
        out: &mut Outputs,
    ) {
        // Also of what was not sent again yet: the client may have had it on its last connection.
        let position = self.in_flight.iter().position(|in_flight| in_flight.id == id);
        let stage = position.map(|at| (at, self.in_flight[at].place.qos, self.in_flight[at].is_released));
        match (kind, stage) {
            (AckKind::PubAck, Some((at, Qos::AtLeastOnce, false))) => self.finish(at, out),
            // PUBREC >= 0x80 ends the exchange without PUBREL (5.0 section 4.3.3).
            (AckKind::PubRec, Some((at, Qos::ExactlyOnce, false))) if reason.is_error() => self.finish(at, out),
            (AckKind::PubRec, Some((at, Qos::ExactlyOnce, was_released))) => {
                let one = &mut self.in_flight[at];
                (one.is_released, one.place.body) = (true, None);
                if one.place.is_kept() && !was_released {
                    out.changes.push(Change::Released { seq: one.place.seq, id });
                }
                release(id, ReasonCode::Success, to, out);
            }
            (AckKind::PubComp, Some((at, _, true))) => self.finish(at, out),
            (AckKind::PubRec, _) => {
                out.tally.acks_missed[kind as usize] += 1;
                release(id, ReasonCode::PacketIdentifierNotFound, to, out);
            }
            _ => out.tally.acks_missed[kind as usize] += 1,
        }
    }

    fn finish(&mut self, at: usize, out: &mut Outputs) {
        if let Some(done) = self.in_flight.remove(at) {
            gone(&done.place, &mut out.changes);
        }
        self.sent -= u16::from(at < usize::from(self.sent));
        out.tally.acked += 1;
    }
}

/// A message needs no more keeping.
fn gone(place: &Place, changes: &mut Vec<Change>) {
    if place.is_kept() {
        changes.push(Change::Gone { seq: place.seq });
    }
}

/// The identifier after `id`; 0 is none.
fn following(id: u16) -> PacketId {
    PacketId::new(id.wrapping_add(1)).unwrap_or(PacketId::MIN)
}

/// Steps of [`following`] from `from` to `to`.
const fn distance(from: u16, to: u16) -> u16 {
    if to >= from { to - from } else { u16::MAX - from + to }
}

/// Answers false if it does not fit the client any more.
fn resend(in_flight: &InFlight, connection: &mut Connection, now: Time, out: &mut Outputs) -> bool {
    if in_flight.is_released {
        release(in_flight.id, ReasonCode::Success, connection.recipient(), out);
        return true;
    }
    let body = in_flight.place.body.as_ref();
    body.is_some_and(|delivery| send(delivery, Some(in_flight.id), true, connection, now, out))
}
