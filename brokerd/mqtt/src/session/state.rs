//! What others may know of a session. Never changes it.

use std::sync::Arc;

use super::{Connection, Granted, Session, Will};
use crate::Version;

impl Session {
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

    /// The will, until it is sent or deleted.
    #[must_use]
    pub fn will(&self) -> Option<&Will> {
        self.will.as_deref()
    }

    /// What it is subscribed to.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = &Granted> {
        self.subscriptions.iter()
    }

    /// The subscription of this serial as it stands now.
    #[must_use]
    pub fn subscription(&self, serial: u32) -> Option<&Granted> {
        self.subscriptions.get(serial)
    }

    /// Those of its subscriptions that are a member's of a shared group.
    pub fn shared_subscriptions(&self) -> impl Iterator<Item = &Granted> {
        self.subscriptions.shared()
    }

    /// Whether the subscription of this serial still stands.
    #[must_use]
    pub fn is_subscribed(&self, serial: u32) -> bool {
        self.subscriptions.get(serial).is_some()
    }

    /// How many subscriptions it has had: serials count on.
    #[must_use]
    pub const fn serials(&self) -> u32 {
        self.subscriptions.serials
    }

    /// Whether a subscription is one of the first so many.
    #[must_use]
    pub const fn is_of_first(&self, serials: u32, serial: u32) -> bool {
        serial.wrapping_sub(self.subscriptions.first_serial) <= serials
    }

    /// Whether so many acknowledgements or SUBACKs are owed that no more may be read from the client (3.x has no
    /// Receive Maximum, so there it is back-pressure).
    #[must_use]
    pub fn owes_too_many(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            self.inbound.owed().max(self.subscriptions.unanswered as usize)
                >= usize::from(connection.our_receive_maximum)
        })
    }

    /// Numbers for the management API: (in flight, awaiting PUBREL, queued messages, queued bytes).
    #[must_use]
    pub fn depths(&self) -> (usize, usize, usize, usize) {
        let (queued, bytes) = self.outbound.queued();
        (self.outbound.in_flight(), self.inbound.awaiting_release(), queued, bytes)
    }
}
