//! One client's session, online or not. Owns what MQTT says a server must remember of a client; never performs I/O,
//! reads no clock, and never decides who receives a message: the router does.

mod aliases;
mod authentication;
mod capabilities;
mod connection;
mod inbound;
mod journal;
mod keeping;
mod lazy;
mod loading;
mod moving;
mod negotiate;
mod outbound;
mod outputs;
mod packets;
mod place;
mod queue;
mod sending;
mod state;
mod subscriptions;
mod timeouts;
mod will;

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::codec;
use crate::message::SharedMessage;
use crate::{Message, PacketId, ReasonCode, Time, Version};

pub use authentication::{Authentication, Verdict};
pub use capabilities::Capabilities;
pub use connection::Connection;
pub use journal::Change;
pub use keeping::{Kept, KeptMessage, Stage};
pub use moving::Moving;
pub use negotiate::{Negotiated, ServerLimits, negotiate};
pub use outbound::{CopyId, Delivery, QueueLimits, WhenFull};
pub use outputs::{Closing, Event, Outputs, Tally};
pub use queue::Priorities;
pub use subscriptions::{Granted, Requested};
pub use timeouts::Due;
pub use will::Will;

use inbound::Inbound;
use outbound::Outbound;
use subscriptions::Subscriptions;

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
    /// Milliseconds that a re-authentication may take.
    pub auth_timeout: u64,
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
        }
    }

    /// Gives it a connection: what was in flight goes out again, in its order, before anything newer [MQTT-4.4.0-1].
    /// The CONNACK must be in `out.wire` already.
    pub fn attach(&mut self, negotiated: &mut Negotiated, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        self.version = negotiated.version;
        self.expiry = negotiated.session_expiry;
        self.will = negotiated.will.take().map(Box::new);
        self.connection = Some(Box::new(Connection::new(negotiated, now)));
        self.subscriptions.unanswered = 0;
        self.inbound.attach();
        self.outbound.restart(&limits.queue.priorities);
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

    /// The message of `token` is in the queues of all who get it, and whoever keeps those keeps it together with what
    /// this says: a QoS 2 PUBLISH that comes again after a crash is then known as one exactly where they have it.
    pub fn received(&mut self, token: u64, out: &mut Outputs) {
        if self.is_kept() {
            self.inbound.received(token, out);
        }
    }

    /// Acknowledgements that the client is owed.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.inbound.owed()
    }

    /// Every subscriber has the message of `token`, or it was refused with `reason`.
    pub fn routed(&mut self, token: u64, reason: ReasonCode, out: &mut Outputs) {
        let to = self.connection.as_ref().map(|connection| connection.recipient());
        self.inbound.routed(token, reason, self.outbound.is_kept, to, out);
    }

    /// The subscriptions of this SUBSCRIBE are live, with these answers.
    pub fn suback(&mut self, id: PacketId, codes: &[ReasonCode], out: &mut Outputs) {
        if let Some(connection) = &self.connection {
            let unanswered = &mut self.subscriptions.unanswered;
            *unanswered = unanswered.saturating_sub(1);
            codec::suback(&mut out.wire, connection.recipient(), id, codes);
            out.promises = true;
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

    /// Takes back, for another member, what a shared subscription has queued; with `in_flight` also what was sent at
    /// QoS 1 and is not acknowledged.
    #[must_use]
    pub fn reclaim(&mut self, serial: u32, in_flight: bool, out: &mut Outputs) -> Vec<SharedMessage> {
        let serial = NonZeroU32::new(serial);
        serial.map_or_else(Vec::new, |serial| self.outbound.reclaim(serial, in_flight, out))
    }

    /// Whether there is nothing that [`Self::rest`] would look at: nothing queued, in flight, or owed.
    #[must_use]
    pub const fn is_at_rest(&self) -> bool {
        self.inbound.is_at_rest() && self.outbound.is_at_rest()
    }

    /// Gives back the memory of what is empty now. To be called from time to time, not at every step: a session at work
    /// would only ask for it again.
    pub fn rest(&mut self) {
        self.inbound.rest();
        self.outbound.rest();
    }

    /// Takes back a subscription that the caller refused after all.
    pub fn forget_subscription(&mut self, filter: &str) {
        self.subscriptions.remove(filter);
    }
}
