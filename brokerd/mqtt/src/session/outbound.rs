//! Messages on their way to the client: the window in flight and the queue behind it. Owns the packet identifiers
//! *we* have in use. Never grows beyond its bounds: what does not fit is dropped by policy and tallied.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::aliases::Naming;
use super::connection::Connection;
use super::{Outputs, SessionLimits};
use crate::codec::{self, PublishOut, Recipient};
use crate::message::SharedMessage;
use crate::packet::AckKind;
use crate::{PacketId, Qos, ReasonCode, Time};

/// Bounds of a session's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Messages.
    pub depth: usize,
    /// Bytes.
    pub bytes: usize,
    /// What goes when it is full.
    pub when_full: WhenFull,
    /// Whether QoS 0 is queued for a client that is away.
    pub qos0: bool,
}

/// Drop policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest queued message goes.
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

#[derive(Debug)]
struct InFlight {
    id: PacketId,
    /// `None` from PUBREC on: then PUBREL is what is sent again.
    delivery: Option<Delivery>,
}

/// The window and the queue.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// In the order of first sending, which is the order of sending again [MQTT-4.6.0-1].
    in_flight: VecDeque<InFlight>,
    /// How many of `in_flight`, from the front, were sent on this connection.
    sent: usize,
    queue: VecDeque<Delivery>,
    queued_bytes: usize,
    last_id: u16,
    /// How many identifiers after `last_id` are known to be free.
    free_ids: u16,
}

impl Outbound {
    /// A new connection: everything in flight is to be sent again.
    pub(super) fn restart(&mut self) {
        self.sent = 0;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queued_bytes)
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.queue.is_empty() || self.sent < self.in_flight.len()
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
            } else {
                self.enqueue(delivery, &limits.queue, now, out);
            }
            return;
        };
        let goes_at_once = !self.has_backlog()
            && out.wire.len() < limits.write_buffer
            && (delivery.qos == Qos::AtMostOnce || self.in_flight.len() < usize::from(connection.window));
        if goes_at_once {
            self.send_new(delivery, connection, now, out);
        } else {
            self.enqueue(delivery, &limits.queue, now, out);
        }
    }

    fn enqueue(&mut self, delivery: Delivery, limits: &QueueLimits, now: Time, out: &mut Outputs) {
        let size = delivery.message.heap_size();
        let is_full = |queue: &Self| queue.queue.len() >= limits.depth || queue.queued_bytes + size > limits.bytes;
        while is_full(self) && self.queue.front().is_some_and(|oldest| oldest.message.seconds_left(now) == Some(0)) {
            self.dequeue();
            out.tally.expired += 1; // before anything that lives is dropped
        }
        if limits.when_full == WhenFull::DropOldest && size <= limits.bytes && limits.depth > 0 {
            while is_full(self) {
                if self.dequeue().is_none() {
                    break;
                }
                out.tally.queue_full += 1;
            }
        }
        if is_full(self) {
            out.tally.queue_full += 1;
            return;
        }
        self.queued_bytes += size;
        self.queue.push_back(delivery);
    }

    /// Takes back what was queued for a shared subscription, in order; with `in_flight` also what the client has not
    /// acknowledged, before it. QoS 2 stays once it was sent: another member's copy could be a second one (5.0 section
    /// 4.8.2).
    pub(super) fn reclaim(&mut self, serial: NonZeroU32, in_flight: bool) -> Vec<SharedMessage> {
        let is_its = |delivery: &Delivery| delivery.shared == Some(serial);
        let mut reclaimed = Vec::new();
        if in_flight {
            let (mut at, sent) = (0, self.sent);
            self.in_flight.retain(|one| {
                let mine =
                    one.delivery.as_ref().filter(|delivery| delivery.qos == Qos::AtLeastOnce && is_its(delivery));
                reclaimed.extend(mine.map(|delivery| delivery.message.clone()));
                self.sent -= usize::from(mine.is_some() && at < sent);
                at += 1;
                mine.is_none()
            });
        }
        self.queue.retain(|delivery| {
            if is_its(delivery) {
                self.queued_bytes -= delivery.message.heap_size();
                reclaimed.push(delivery.message.clone());
            }
            !is_its(delivery)
        });
        reclaimed
    }

    fn dequeue(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.queued_bytes -= delivery.message.heap_size();
        if self.queue.is_empty() {
            self.queue = VecDeque::new(); // an idle session holds no buffer
        }
        Some(delivery)
    }

    /// Sends again what was in flight, then what is queued, as far as window and wire buffer allow.
    pub(super) fn pump(&mut self, connection: &mut Connection, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        let window = usize::from(connection.window);
        while out.wire.len() < limits.write_buffer {
            if let Some(again) = self.in_flight.get(self.sent) {
                if self.sent >= window {
                    return;
                }
                let is_sent = resend(again, connection, now, out);
                if is_sent {
                    self.sent += 1;
                } else {
                    self.in_flight.remove(self.sent); // it no longer fits the client: as if acknowledged
                }
                continue;
            }
            let Some(next) = self.queue.front() else { return };
            if next.qos != Qos::AtMostOnce && self.in_flight.len() >= window {
                return;
            }
            if let Some(delivery) = self.dequeue() {
                self.send_new(delivery, connection, now, out);
            }
        }
    }

    fn send_new(&mut self, delivery: Delivery, connection: &mut Connection, now: Time, out: &mut Outputs) {
        if delivery.message.seconds_left(now) == Some(0) {
            out.tally.expired += 1; // [MQTT-3.3.2-5]
            return;
        }
        let id = if delivery.qos == Qos::AtMostOnce { None } else { Some(self.next_id()) };
        if !send(&delivery, id, false, connection, now, out) {
            return;
        }
        if let Some(id) = id {
            self.last_id = id.get();
            self.free_ids -= 1;
            self.in_flight.push_back(InFlight { id, delivery: Some(delivery) });
            self.sent += 1;
        }
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
        let qos = |at: usize| self.in_flight[at].delivery.as_ref().map(|delivery| delivery.qos);
        match (kind, position, position.map(qos)) {
            (AckKind::PubAck, Some(at), Some(Some(Qos::AtLeastOnce))) => self.finish(at, out),
            // PUBREC >= 0x80 ends the exchange without PUBREL (5.0 section 4.3.3).
            (AckKind::PubRec, Some(at), Some(Some(Qos::ExactlyOnce))) if reason.is_error() => self.finish(at, out),
            (AckKind::PubRec, Some(at), Some(Some(Qos::ExactlyOnce) | None)) => {
                self.in_flight[at].delivery = None;
                release(id, ReasonCode::Success, to, out);
            }
            (AckKind::PubComp, Some(at), Some(None)) => self.finish(at, out),
            (AckKind::PubRec, _, _) => {
                out.tally.acks_missed[kind as usize] += 1;
                release(id, ReasonCode::PacketIdentifierNotFound, to, out);
            }
            _ => out.tally.acks_missed[kind as usize] += 1,
        }
    }

    fn finish(&mut self, at: usize, out: &mut Outputs) {
        self.in_flight.remove(at);
        self.sent -= usize::from(at < self.sent);
        out.tally.acked += 1;
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
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

fn release(id: PacketId, reason: ReasonCode, to: Recipient, out: &mut Outputs) {
    codec::ack(&mut out.wire, to, AckKind::PubRel, id, reason);
    out.tally.acks_sent[AckKind::PubRel as usize] += 1;
}

fn resend(in_flight: &InFlight, connection: &mut Connection, now: Time, out: &mut Outputs) -> bool {
    match &in_flight.delivery {
        Some(delivery) => send(delivery, Some(in_flight.id), true, connection, now, out),
        None => {
            release(in_flight.id, ReasonCode::Success, connection.recipient(), out);
            true
        }
    }
}

/// Answers whether it fits the client; if not it is dropped and counts as acknowledged [MQTT-3.1.2-25].
fn send(
    delivery: &Delivery,
    packet_id: Option<PacketId>,
    dup: bool,
    connection: &mut Connection,
    now: Time,
    out: &mut Outputs,
) -> bool {
    let message = &delivery.message;
    let publish = PublishOut {
        topic: message.topic_bytes(),
        properties: message.properties(),
        payload: message.payload(),
        qos: delivery.qos,
        dup,
        retain: delivery.retain,
        packet_id,
        expiry: message.seconds_left(now),
        subscription_ids: &delivery.subscription_ids,
        topic_alias: None,
    };
    if !write(publish, connection, &mut out.wire) {
        out.tally.too_large += 1;
        return false;
    }
    out.tally.published[delivery.qos as usize] += 1;
    true
}

/// Writes it with as few bytes for its topic as can be, if it fits the client at all: an alias that would make it too
/// large is not set.
fn write(publish: PublishOut<'_>, connection: &mut Connection, wire: &mut Vec<u8>) -> bool {
    let (version, limit) = (connection.version, connection.maximum_packet_size);
    let put = |publish: &PublishOut<'_>, wire: &mut Vec<u8>| {
        let fits = limit == u32::MAX || codec::publish_len(version, publish) <= limit as usize;
        fits && codec::publish(wire, version, publish)
    };
    let Some(aliases) = &mut connection.ours else {
        return put(&publish, wire);
    };
    match aliases.naming(publish.topic) {
        Naming::Known(alias) => put(&PublishOut { topic: &[], topic_alias: Some(alias), ..publish }, wire),
        Naming::Introduce(alias) if put(&PublishOut { topic_alias: Some(alias), ..publish }, wire) => {
            aliases.introduced(publish.topic, alias);
            true
        }
        Naming::Introduce(_) | Naming::Plain => put(&publish, wire),
    }
}
