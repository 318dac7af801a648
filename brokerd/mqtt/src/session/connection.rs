//! What lasts as long as one network connection. Never survives it.

use std::sync::Arc;

use super::aliases::Aliases;
use super::{Authentication, Negotiated};
use crate::codec::{Recipient, Violation};
use crate::packet::Publish;
use crate::{Time, Version};

/// A connection's agreement with its client.
#[derive(Debug)]
pub struct Connection {
    /// Its protocol version.
    pub version: Version,
    /// Seconds in force; 0 is off.
    pub keep_alive: u16,
    /// When the last packet came.
    pub heard_at: Time,
    /// QoS 1 and 2 messages that the client takes unacknowledged.
    pub window: u16,
    /// What we take unacknowledged from the client.
    pub our_receive_maximum: u16,
    /// Largest packet the client takes.
    pub maximum_packet_size: u32,
    /// Whether it wants reason strings.
    pub wants_reasons: bool,
    /// Upper bound of a session expiry at DISCONNECT.
    pub max_session_expiry: u32,
    /// Where its CONNECT named a method.
    pub(super) authentication: Option<Box<Authentication>>,
    /// Topics behind the client's aliases; index is alias - 1.
    aliases: Box<[Option<Arc<str>>]>,
    alias_maximum: u16,
    /// Those that we set for the client.
    pub(super) ours: Option<Box<Aliases>>,
}

impl Connection {
    pub(super) fn new(negotiated: &Negotiated, now: Time) -> Self {
        Self {
            version: negotiated.version,
            keep_alive: negotiated.keep_alive,
            heard_at: now,
            window: negotiated.window,
            our_receive_maximum: negotiated.our_receive_maximum,
            maximum_packet_size: negotiated.maximum_packet_size.unwrap_or(u32::MAX),
            wants_reasons: negotiated.wants_reasons,
            max_session_expiry: negotiated.max_session_expiry,
            authentication: negotiated
                .authentication_method
                .clone()
                .map(|method| Box::new(Authentication::done(method))),
            aliases: Box::default(), // made at the first alias: an idle connection has none
            alias_maximum: negotiated.our_alias_maximum,
            ours: Aliases::new(negotiated.alias_maximum),
        }
    }

    /// What the client takes of an answer.
    pub(super) const fn recipient(&self) -> Recipient {
        let Self { version, maximum_packet_size, wants_reasons, .. } = *self;
        Recipient { version, maximum_packet_size, wants_reasons }
    }

    /// One and a half times the keep alive after the last packet [MQTT-3.1.2-22]; `None` where it is off.
    pub(super) fn keep_alive_deadline(&self) -> Option<Time> {
        (self.keep_alive != 0).then(|| self.heard_at.after_millis(u64::from(self.keep_alive) * 1500))
    }

    /// The Authentication Method of its CONNECT.
    #[must_use]
    pub fn authentication_method(&self) -> Option<&str> {
        self.authentication.as_ref().map(|authentication| authentication.method())
    }

    /// When a re-authentication under way has taken too long.
    pub(super) fn auth_deadline(&self) -> Option<Time> {
        self.authentication.as_ref().and_then(|authentication| authentication.deadline())
    }

    /// The topic of a PUBLISH, its alias resolved or noted (5.0 section 3.3.2.3.4).
    pub(super) fn resolve(&mut self, publish: &Publish<'_>) -> Result<Topic, Violation> {
        let Some(alias) = publish.topic_alias else {
            return if publish.topic.is_empty() { Err(Violation::TopicAliasUnknown) } else { Ok(Topic::Given) };
        };
        if alias > self.alias_maximum {
            return Err(Violation::TopicAliasTooLarge);
        }
        if self.aliases.is_empty() {
            self.aliases = vec![None; usize::from(self.alias_maximum)].into_boxed_slice();
        }
        let known = self.aliases.get_mut(usize::from(alias).wrapping_sub(1)).ok_or(Violation::TopicAliasZero)?;
        if publish.topic.is_empty() {
            return known.clone().map(Topic::Known).ok_or(Violation::TopicAliasUnknown);
        }
        *known = Some(publish.topic.into());
        Ok(Topic::Given)
    }
}

/// Where a PUBLISH's topic name is.
pub(super) enum Topic {
    /// In the packet.
    Given,
    /// Behind an alias set earlier.
    Known(Arc<str>),
}
