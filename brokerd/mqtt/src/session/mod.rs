//! One client's session, online or not. Owns what MQTT says a server must remember of a client; never performs I/O,
//! reads no clock, and never decides who receives a message: the router does.

mod aliases;
mod capabilities;
mod connection;
mod inbound;
mod negotiate;
mod outbound;
mod queue;
mod subscriptions;
mod will;

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::codec::{self, Violation};
use crate::message::SharedMessage;
use crate::packet::{AckKind, Packet};
use crate::{Message, PacketId, ReasonCode, Time, Version};

pub use capabilities::Capabilities;
pub use connection::Connection;
pub use negotiate::{Negotiated, ServerLimits, negotiate};
pub use outbound::{Delivery, QueueLimits, WhenFull};
pub use queue::Priorities;
pub use subscriptions::{Granted, Requested};
pub use will::Will;

use inbound::Inbound;
use outbound::Outbound;
use subscriptions::Subscriptions;

/// What a session wants done. In order; the caller carries them out before it feeds the next input.
#[derive(Debug)]
pub enum Event {
    /// Route this message. Where a token is given, call [`Session::routed`] with it when every subscriber has it.
    Publish(Message, Option<u64>),
    /// Make these subscriptions live, then call [`Session::suback`].
    Subscribe(PacketId, Vec<Requested>),
    /// Take these subscriptions out of the index: UNSUBACK is already in the wire buffer.
    Unsubscribe(Vec<Granted>),
    /// The client closed in good order, or broke a rule: after the wire buffer is flushed, close.
    Close(Closing),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// DISCONNECT came, and the will is gone.
    Normal,
    /// DISCONNECT 0x04 came: the will goes out.
    WithWill,
    /// The client broke a rule.
    Violation(Violation),
    /// The server ends it.
    Server(ReasonCode),
    /// The socket ended or failed.
    Lost,
}

/// What came of a step, kept and cleared by the caller so that a step allocates nothing once warm.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Bytes for the client, appended.
    pub wire: Vec<u8>,
    /// What to do.
    pub events: Vec<Event>,
    /// What happened, for counters.
    pub tally: Tally,
}

/// Counts of what the session sent and dropped since the caller last took them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// PUBLISH sent, by QoS.
    pub published: [u64; 3],
    /// PUBACK, PUBREC, PUBREL, PUBCOMP sent.
    pub acks_sent: [u64; 4],
    /// Acknowledgements that matched nothing, in the same order.
    pub acks_missed: [u64; 4],
    /// Deliveries that the client acknowledged.
    pub acked: u64,
    /// Dropped: the queue was full.
    pub queue_full: u64,
    /// Dropped: QoS 0 for a client that is away.
    pub qos0_away: u64,
    /// Dropped: larger than the client's Maximum Packet Size.
    pub too_large: u64,
    /// Dropped: expired.
    pub expired: u64,
}

/// Limits that all sessions of a node share.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Bounds of the queue.
    pub queue: QueueLimits,
    /// Bytes in the wire buffer above which messages stay queued.
    pub write_buffer: usize,
    /// Subscriptions a session may hold; 0 is no limit.
    pub max_subscriptions: usize,
    /// What the server leaves out.
    pub capabilities: Capabilities,
}

/// The session.
#[derive(Debug)]
pub struct Session {
    client_id: Arc<str>,
    version: Version,
    /// Seconds after the connection ends.
    expiry: u32,
    connection: Option<Box<Connection>>,
    detached_at: Time,
    will: Option<Box<Will>>,
    subscriptions: Subscriptions,
    inbound: Inbound,
    outbound: Outbound,
    /// SUBSCRIBEs of this connection that have no SUBACK yet.
    subscribing: usize,
}

impl Session {
    /// A session without state or connection. `incarnation` tells it from those that had its place before: serials of
    /// their subscriptions are not used again.
    #[must_use]
    pub fn new(client_id: Arc<str>, version: Version, incarnation: u32, now: Time) -> Self {
        Self {
            client_id,
            version,
            expiry: 0,
            connection: None,
            detached_at: now,
            will: None,
            subscriptions: Subscriptions::new(incarnation),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            subscribing: 0,
        }
    }

    /// Gives it a connection: what was in flight goes out again, in its order, before anything newer [MQTT-4.4.0-1].
    /// The CONNACK must be in `out.wire` already.
    pub fn attach(&mut self, negotiated: &mut Negotiated, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        self.version = negotiated.version;
        self.expiry = negotiated.session_expiry;
        self.will = negotiated.will.take().map(Box::new);
        self.connection = Some(Box::new(Connection::new(negotiated, now)));
        self.subscribing = 0;
        self.inbound.attach();
        self.outbound.restart();
        self.pump(limits, now, out);
    }

    /// The connection ended. Answers the will if it is to be sent now; a delayed one waits for [`Self::due`].
    #[must_use]
    pub fn detach(&mut self, closing: Closing, now: Time) -> Option<Message> {
        self.connection = None;
        self.detached_at = now;
        self.inbound.detach();
        if closing == Closing::Normal {
            self.will = None; // [MQTT-3.14.4-3]
        }
        let is_due = self.will.as_ref().is_some_and(|will| will.delay == 0);
        if is_due || self.expiry == 0 { self.take_will(now) } else { None }
    }

    /// The will as it is published now, which is then no longer the session's.
    #[must_use]
    pub fn take_will(&mut self, now: Time) -> Option<Message> {
        self.will.take().map(|will| will.publish(now))
    }

    /// Forgets the will: the client came back in time (5.0 section 3.1.3.2.2).
    pub fn cancel_will(&mut self) {
        self.will = None;
    }

    /// Handles a packet of the client.
    pub fn packet(&mut self, packet: Packet<'_>, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        let Some(connection) = self.connection.as_mut() else { return };
        connection.heard_at = now; // any control packet counts [MQTT-3.1.2-22]
        let handled = match packet {
            Packet::Publish(publish) => {
                let allowed = limits.capabilities.check_publish(publish.qos, publish.retain);
                allowed.and_then(|()| self.inbound.publish(&publish, connection, now, out))
            }
            Packet::Ack(ack) => {
                self.ack(&ack, limits, now, out);
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                let requested =
                    self.subscriptions.request(subscribe.filters(), subscribe.subscription_id.unwrap_or(0), limits);
                self.subscribing += 1;
                out.events.push(Event::Subscribe(subscribe.packet_id, requested));
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.unsubscribe(&unsubscribe, out);
                Ok(())
            }
            Packet::PingReq => {
                codec::pingresp(&mut out.wire);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(&disconnect, out),
            Packet::Connect(_) => Err(Violation::SecondConnect),
            Packet::Auth(_) => Err(Violation::UnexpectedAuth),
        };
        if let Err(violation) = handled {
            out.events.push(Event::Close(Closing::Violation(violation)));
        }
    }

    fn ack(&mut self, ack: &crate::packet::Ack<'_>, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        if ack.kind == AckKind::PubRel {
            self.inbound.release(ack.packet_id, self.version, out);
            return;
        }
        self.outbound.acknowledged(ack.kind, ack.packet_id, ack.reason, self.version, out);
        self.pump(limits, now, out);
    }

    fn unsubscribe(&mut self, unsubscribe: &crate::packet::Unsubscribe<'_>, out: &mut Outputs) {
        let mut gone = Vec::new();
        let mut codes = Vec::new();
        for filter in unsubscribe.filters() {
            match self.subscriptions.remove(filter) {
                Some(granted) => {
                    gone.push(granted);
                    codes.push(ReasonCode::Success);
                }
                None => codes.push(ReasonCode::NoSubscriptionExisted),
            }
        }
        codec::unsuback(&mut out.wire, self.version, unsubscribe.packet_id, &codes);
        if !gone.is_empty() {
            out.events.push(Event::Unsubscribe(gone));
        }
    }

    fn disconnect(&mut self, disconnect: &crate::packet::Disconnect<'_>, out: &mut Outputs) -> Result<(), Violation> {
        if let Some(expiry) = disconnect.session_expiry {
            if self.expiry == 0 && expiry != 0 {
                return Err(Violation::SessionExpiryRaised); // 5.0 section 3.14.2.2.2
            }
            let most = self.connection.as_ref().map_or(u32::MAX, |connection| connection.max_session_expiry);
            self.expiry = expiry.min(most);
        }
        let keeps_will = disconnect.reason != ReasonCode::Success;
        out.events.push(Event::Close(if keeps_will { Closing::WithWill } else { Closing::Normal }));
        Ok(())
    }

    /// Every subscriber has the message of `token`, or it was refused with `reason`.
    pub fn routed(&mut self, token: u64, reason: ReasonCode, out: &mut Outputs) {
        self.inbound.routed(token, reason, self.connection.is_some().then_some(self.version), out);
    }

    /// The subscriptions of this SUBSCRIBE are live, with these answers.
    pub fn suback(&mut self, id: PacketId, codes: &[ReasonCode], out: &mut Outputs) {
        if self.connection.is_some() {
            self.subscribing = self.subscribing.saturating_sub(1);
            codec::suback(&mut out.wire, self.version, id, codes);
        }
    }

    /// Sends a message to the client, or queues it.
    pub fn deliver(&mut self, delivery: Delivery, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        self.outbound.offer(delivery, self.connection.as_deref_mut(), limits, now, out);
    }

    /// Sends what waits, as far as window and wire buffer allow. To be called when the wire buffer was flushed.
    pub fn pump(&mut self, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        if let Some(connection) = self.connection.as_deref_mut() {
            self.outbound.pump(connection, limits, now, out);
        }
    }

    /// Whether [`Self::pump`] may have something to send.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.outbound.has_backlog()
    }

    /// When [`Self::due`] next has an answer; `None` is never.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        if let Some(connection) = &self.connection {
            return connection.keep_alive_deadline();
        }
        let will_at = self.will.as_ref().map(|will| self.detached_at.after_secs(u64::from(will.delay)));
        [will_at, self.expires_at()].into_iter().flatten().min()
    }

    /// What is due at `now`.
    #[must_use]
    pub fn due(&mut self, now: Time) -> Due {
        if let Some(connection) = &self.connection {
            let is_silent = connection.keep_alive_deadline().is_some_and(|deadline| deadline <= now);
            return if is_silent { Due::KeepAlive } else { Due::Nothing };
        }
        if self.expires_at().is_some_and(|at| at <= now) {
            return Due::Expired;
        }
        let will_is_due =
            self.will.as_ref().is_some_and(|will| self.detached_at.after_secs(u64::from(will.delay)) <= now);
        match will_is_due.then(|| self.take_will(now)).flatten() {
            Some(message) => Due::Will(message),
            None => Due::Nothing,
        }
    }

    /// When the session ends; `None` while it has a connection or if it never does.
    fn expires_at(&self) -> Option<Time> {
        let ends = self.connection.is_none() && self.expiry != u32::MAX;
        ends.then(|| self.detached_at.after_secs(u64::from(self.expiry)))
    }

    /// Its client id.
    #[must_use]
    pub const fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// The version of its present or last connection.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Session expiry in seconds.
    #[must_use]
    pub const fn expiry(&self) -> u32 {
        self.expiry
    }

    /// The connection, if it has one.
    #[must_use]
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// What it is subscribed to.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = &Granted> {
        self.subscriptions.iter()
    }

    /// Those of its subscriptions that are a member's of a shared group.
    pub fn shared_subscriptions(&self) -> impl Iterator<Item = &Granted> {
        self.subscriptions.shared()
    }

    /// Takes back, for another member, what a shared subscription has queued; with `in_flight` also what was sent at
    /// QoS 1 and is not acknowledged.
    #[must_use]
    pub fn reclaim(&mut self, serial: u32, in_flight: bool) -> Vec<SharedMessage> {
        let serial = NonZeroU32::new(serial);
        serial.map_or_else(Vec::new, |serial| self.outbound.reclaim(serial, in_flight))
    }

    /// Takes back a subscription that the caller refused after all.
    pub fn forget_subscription(&mut self, filter: &str) {
        self.subscriptions.remove(filter);
    }

    /// The client counts as heard: it was not read for a while.
    pub fn heard(&mut self, now: Time) {
        if let Some(connection) = &mut self.connection {
            connection.heard_at = now;
        }
    }

    /// Whether the subscription of this serial still stands.
    #[must_use]
    pub fn is_subscribed(&self, serial: u32) -> bool {
        self.subscriptions.has(serial)
    }

    /// Whether so many acknowledgements or SUBACKs are owed that no more may be read from the client (3.x has no
    /// Receive Maximum, so there it is back-pressure).
    #[must_use]
    pub fn owes_too_many(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            self.inbound.owed().max(self.subscribing) >= usize::from(connection.our_receive_maximum)
        })
    }

    /// Numbers for the management API: (in flight, awaiting PUBREL, queued messages, queued bytes).
    #[must_use]
    pub fn depths(&self) -> (usize, usize, usize, usize) {
        let (queued, bytes) = self.outbound.queued();
        (self.outbound.in_flight(), self.inbound.awaiting_release(), queued, bytes)
    }
}

/// What a timeout asks for.
#[derive(Debug)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Nothing was heard for one and a half times the keep alive: close with 0x8D.
    KeepAlive,
    /// The will delay is over: publish this.
    Will(Message),
    /// The session is over: send its will, forget it.
    Expired,
}
