//! A will, from CONNECT until it is sent or deleted. Never decides when: the session does.

use crate::packet;
use crate::{Message, Qos, Time};

/// A will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// What is published. Its expiry counts from the publication [5.0 section 3.1.3.2.4].
    pub message: Message,
    /// Will Delay Interval, seconds.
    pub delay: u32,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
}

impl Will {
    /// Owns the will of a CONNECT.
    #[must_use]
    pub fn of(will: &packet::Will<'_>) -> Self {
        let properties = crate::codec::forwardable(will.properties);
        let mut message = Message::new(will.topic, &properties, will.payload);
        message.qos = will.qos;
        message.retain = will.retain;
        Self { message, delay: will.delay, expiry: will.expiry }
    }

    /// What is published at `now`.
    #[must_use]
    pub fn publish(mut self, now: Time) -> Message {
        self.message.expires_at = self.expiry.map(|seconds| now.after_secs(u64::from(seconds)));
        self.message
    }

    /// QoS of the will.
    #[must_use]
    pub const fn qos(&self) -> Qos {
        self.message.qos
    }
}
