//! What a server may leave out: stated in the CONNACK, and kept to. Never asks who the client is.

use super::Will;
use crate::codec::Violation;
use crate::{Qos, ReasonCode, topic};

/// What this server does for every client. The CONNACK names what is missing (5.0 section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Maximum QoS of publications and subscriptions.
    pub max_qos: Qos,
    /// Retain Available.
    pub retain: bool,
    /// Wildcard Subscription Available.
    pub wildcards: bool,
    /// Subscription Identifiers Available.
    pub subscription_ids: bool,
    /// Shared Subscription Available: `$share/group/filter`.
    pub shared: bool,
    /// Whether `$exclusive/filter` may be subscribed to, of which MQTT knows nothing.
    pub exclusive: bool,
}

impl Default for Capabilities {
    /// All that MQTT has, and no more.
    fn default() -> Self {
        let max_qos = Qos::ExactlyOnce;
        Self { max_qos, retain: true, wildcards: true, subscription_ids: true, shared: true, exclusive: false }
    }
}

impl Capabilities {
    /// Whether a client may publish so [MQTT-3.2.2-11, -14]. 3.x was not told, and has no other answer either.
    pub(super) fn check_publish(self, qos: Qos, retain: bool) -> Result<(), Violation> {
        if qos > self.max_qos {
            return Err(Violation::QosNotSupported);
        }
        if retain && !self.retain {
            return Err(Violation::RetainNotSupported);
        }
        Ok(())
    }

    /// Whether a CONNECT may have this will [MQTT-3.2.2-12, -13].
    pub(super) fn check_will(self, will: &Will) -> Result<(), ReasonCode> {
        self.check_publish(will.qos(), will.message.retain).map_err(Violation::reason)
    }

    /// Whether a filter may be subscribed to; `id` 0 is none. A refused one does not stop the others.
    pub(super) fn check_filter(self, filter: &str, id: u32) -> Result<(), ReasonCode> {
        if id != 0 && !self.subscription_ids {
            return Err(ReasonCode::SubscriptionIdentifiersNotSupported);
        }
        if topic::is_shared(filter) && !self.shared {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        // As EMQX: where it is off, or not well-formed, a plain filter of that name would wait for nothing.
        let plain = topic::parse_share(filter).map_or(filter, |(_, inner)| inner);
        if topic::is_exclusive(plain) && !(self.exclusive && topic::parse_exclusive(filter).is_some()) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if !self.wildcards && filter.contains(['+', '#']) {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        Ok(())
    }
}
