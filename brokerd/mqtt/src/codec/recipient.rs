//! Whom an answer is for, and what of an answer it takes. Never decides what the answer is.

use super::wire::variable_len;
use crate::{ReasonCode, Version};

/// What a client takes of an answer. The smallest CONNACK that states our Maximum Packet Size has ten bytes, so whoever
/// is connected takes every acknowledgement, DISCONNECT and PINGRESP; only what varies in length can be too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Of its connection.
    pub version: Version,
    /// Maximum Packet Size; `u32::MAX` is no limit.
    pub maximum_packet_size: u32,
    /// Request Problem Information: without it a reason string is for CONNACK and DISCONNECT only [MQTT-3.1.2-29].
    pub wants_reasons: bool,
}

impl Recipient {
    /// One that takes everything its version has.
    #[must_use]
    pub const fn of(version: Version) -> Self {
        Self { version, maximum_packet_size: u32::MAX, wants_reasons: true }
    }

    /// Whether a packet with this Remaining Length may be sent [MQTT-3.1.2-24].
    #[must_use]
    pub const fn takes(self, remaining: usize) -> bool {
        let length = 1 + variable_len(remaining) + remaining;
        !matches!(self.version, Version::V5) || length <= self.maximum_packet_size as usize
    }

    /// The reason string of an answer that tells of an error, whose Remaining Length without properties is `bare`;
    /// `None` where it is not wanted or does not fit. Answers of success have none: they cost nothing.
    pub(super) fn reason_string(self, reason: ReasonCode, bare: usize) -> Option<&'static str> {
        if !reason.is_error() || !self.wants_reasons || self.version != Version::V5 {
            return None;
        }
        let properties = 3 + reason.text().len();
        Some(reason.text()).filter(|_| self.takes(bare + variable_len(properties) + properties))
    }
}
