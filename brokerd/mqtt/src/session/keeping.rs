//! What a session is when it is kept beyond its process, and how it comes back. Never says where it is kept.

use std::sync::Arc;

use super::outbound::Outbound;
use super::place::Place;
use super::subscriptions::Subscriptions;
use super::{Delivery, Granted, Inbound, Outputs, Session, SessionLimits, Will};
use crate::{PacketId, Qos, Time, Version};

/// A session but for its messages: it changes when the client connects, subscribes or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The version of its last connection.
    pub version: Version,
    /// Seconds after the connection ended.
    pub expiry: u32,
    /// When its connection ended; `None` while it has one.
    pub detached_at: Option<Time>,
    /// What is sent for the client if it does not come back in time.
    pub will: Option<Will>,
    /// Its subscriptions.
    pub subscriptions: Vec<Granted>,
    /// Where the serials of its subscriptions began.
    pub first_serial: u32,
    /// How many it has given.
    pub serials: u32,
    /// The name of the last message, as known now: those queued may be ahead.
    pub last_seq: u64,
}

/// What is known of a message without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// Its name within the session.
    pub seq: u64,
    /// The QoS it is sent with.
    pub qos: Qos,
    /// [`crate::Message::heap_size`].
    pub size: usize,
    /// When it expires.
    pub expires_at: Option<Time>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a message is on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits.
    Queued,
    /// It was sent under this identifier.
    Sent(PacketId),
    /// PUBREC came; PUBREL is owed.
    Released(PacketId),
}

impl Session {
    /// Whether it is kept: then every step says what changed.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.outbound.is_kept
    }

    /// From now on it is kept, or is not. To be called before anything happened in it.
    pub const fn keep(&mut self, is_kept: bool) {
        self.outbound.is_kept = is_kept;
    }

    /// What is to be kept of it, but for its messages.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept {
            version: self.version,
            expiry: self.expiry,
            detached_at: self.connection.is_none().then_some(self.detached_at),
            will: self.will.as_deref().cloned(),
            subscriptions: self.subscriptions.iter().cloned().collect(),
            first_serial: self.subscriptions.first_serial,
            serials: self.subscriptions.serials,
            last_seq: self.outbound.last_seq,
        }
    }

    /// The session as it was, without a connection. `messages` are in the order of their names; their bodies are to be
    /// loaded before it gets a connection. A connection that was there ended at `now`.
    #[must_use]
    pub fn restore(
        client_id: Arc<str>,
        kept: Kept,
        received: impl IntoIterator<Item = PacketId>,
        messages: impl IntoIterator<Item = KeptMessage>,
        now: Time,
    ) -> Self {
        Self {
            client_id,
            version: kept.version,
            expiry: kept.expiry,
            connection: None,
            detached_at: kept.detached_at.unwrap_or(now),
            will: kept.will.map(Box::new),
            subscriptions: Subscriptions::restore(kept.subscriptions, kept.first_serial, kept.serials),
            inbound: Inbound::restore(received),
            outbound: Outbound::restore(kept.last_seq, messages),
        }
    }

    /// Lets go of the bodies that are kept elsewhere. For a session without a connection.
    pub fn unload(&mut self) {
        self.outbound.places_mut().for_each(Place::unload);
    }

    /// The first message whose body is to be loaded; until there is none, no connection may be given. What comes
    /// meanwhile keeps its body.
    pub fn missing(&mut self) -> Option<u64> {
        self.outbound.hold_bodies();
        self.outbound.missing().min()
    }

    /// The body of a message.
    pub fn load(&mut self, seq: u64, delivery: Delivery) {
        self.outbound.load(seq, delivery);
    }

    /// Puts the messages behind the name `after` into the order of their identities for each publisher, and takes out
    /// second copies: they came by two ways. For a session without a connection whose bodies are loaded.
    pub fn arrange(&mut self, after: u64, limits: &SessionLimits, out: &mut Outputs) {
        self.outbound.arrange(after, &limits.queue.priorities, out);
    }

    /// Forgets the messages up to `seq` that have no body: where they are kept they were damaged. Answers how many.
    pub fn forget_missing(&mut self, up_to: u64, out: &mut Outputs) -> usize {
        self.outbound.forget_missing(up_to, out)
    }
}
