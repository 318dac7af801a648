//! What server and client agree on at CONNECT. Never reads anything but the CONNECT and the server's limits.

use std::sync::Arc;

use super::{Capabilities, Will};
use crate::codec::{ConnAck, Recipient};
use crate::packet::Connect;
use crate::{Qos, ReasonCode, Version};

/// What this server allows.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Our Receive Maximum.
    pub receive_maximum: u16,
    /// Unacknowledged QoS 1 and 2 messages at a client, at most.
    pub max_inflight: u16,
    /// Our Maximum Packet Size.
    pub max_packet_size: u32,
    /// Our Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// Aliases that we set on one connection, at most.
    pub topic_alias_out: u16,
    /// Seconds, for 5.0; 0 is no limit.
    pub max_keep_alive: u16,
    /// Seconds a 3.x session with clean session 0 lasts.
    pub session_expiry: u32,
    /// Seconds, at most.
    pub max_session_expiry: u32,
    /// Bytes of a client id.
    pub max_client_id_len: usize,
    /// What the server leaves out.
    pub capabilities: Capabilities,
    /// Response Information, for 5.0 clients that ask for it.
    pub response_information: Option<Arc<str>>,
    /// Whether `$share/...` may be subscribed to.
    pub shared_subscriptions: bool,
}

/// The agreement, owned: it moves to the session's worker with the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Of the connection.
    pub version: Version,
    /// The client's, or the assigned one.
    pub client_id: Arc<str>,
    /// Whether the server made it up.
    pub is_assigned: bool,
    /// Clean Session or Clean Start.
    pub clean_start: bool,
    /// Seconds in force; 0 is off.
    pub keep_alive: u16,
    /// What the client asked for.
    pub asked_keep_alive: u16,
    /// Seconds in force.
    pub session_expiry: u32,
    /// What the client asked for (5.0).
    pub asked_session_expiry: Option<u32>,
    /// The most a DISCONNECT may ask for.
    pub max_session_expiry: u32,
    /// How many messages we may have unacknowledged at the client.
    pub window: u16,
    /// How many the client may have unacknowledged at us.
    pub our_receive_maximum: u16,
    /// Largest packet we take.
    pub our_max_packet_size: u32,
    /// Largest packet the client takes.
    pub maximum_packet_size: Option<u32>,
    /// Request Problem Information.
    pub wants_reasons: bool,
    /// How many aliases the client may use.
    pub our_alias_maximum: u16,
    /// How many aliases we may set for it.
    pub alias_maximum: u16,
    /// Whether the client may subscribe to `$share/...`.
    pub shared_subscriptions: bool,
    /// User name, for display; a listener without an authenticator ignores it.
    pub username: Option<Box<str>>,
    /// What the server leaves out.
    pub capabilities: Capabilities,
    /// Response Information, where it was asked for.
    pub response_information: Option<Arc<str>>,
    /// Authentication Method. Whether it is one of ours is for the caller to know, before it begins the exchange.
    pub authentication_method: Option<Arc<str>>,
    /// Authentication Data that ends the exchange, for the CONNACK.
    pub authentication_data: Option<Box<[u8]>>,
    /// The will.
    pub will: Option<Will>,
}

/// Settles what a CONNECT asks. `assign` makes up a client id where there is none.
///
/// # Errors
/// The code for the CONNACK, after which the connection is closed.
pub fn negotiate(
    connect: &Connect<'_>,
    limits: &ServerLimits,
    assign: impl FnOnce() -> String,
) -> Result<Negotiated, ReasonCode> {
    if connect.client_id.len() > limits.max_client_id_len {
        return Err(ReasonCode::ClientIdentifierNotValid);
    }
    let will = connect.will.as_ref().map(Will::of);
    if let Some(will) = &will {
        limits.capabilities.check_will(will)?;
    }
    let is_assigned = connect.client_id.is_empty();
    let client_id: Arc<str> = if is_assigned { assign().into() } else { connect.client_id.into() };
    let is_v5 = connect.version == Version::V5;
    let asked_session_expiry = connect.session_expiry.filter(|_| is_v5);
    let session_expiry = match (is_v5, connect.clean_start) {
        (true, _) => asked_session_expiry.unwrap_or(0).min(limits.max_session_expiry),
        (false, true) => 0,
        (false, false) => limits.session_expiry.min(limits.max_session_expiry),
    };
    // 3.x has no way to be told, and its own keep alive is what it may rely on [MQTT-3.1.2-24].
    let is_over =
        is_v5 && limits.max_keep_alive != 0 && (connect.keep_alive == 0 || connect.keep_alive > limits.max_keep_alive);
    Ok(Negotiated {
        version: connect.version,
        client_id,
        is_assigned,
        clean_start: connect.clean_start,
        keep_alive: if is_over { limits.max_keep_alive } else { connect.keep_alive },
        asked_keep_alive: connect.keep_alive,
        session_expiry,
        asked_session_expiry,
        max_session_expiry: limits.max_session_expiry,
        window: connect.receive_maximum.min(limits.max_inflight).max(1),
        our_receive_maximum: limits.receive_maximum,
        our_max_packet_size: limits.max_packet_size,
        maximum_packet_size: connect.maximum_packet_size,
        wants_reasons: connect.request_problem_information,
        our_alias_maximum: if is_v5 { limits.topic_alias_maximum } else { 0 },
        alias_maximum: if is_v5 { connect.topic_alias_maximum.min(limits.topic_alias_out) } else { 0 },
        shared_subscriptions: limits.shared_subscriptions,
        username: connect.username.map(Into::into),
        capabilities: limits.capabilities,
        response_information: limits
            .response_information
            .clone()
            .filter(|_| is_v5 && connect.request_response_information),
        authentication_method: connect.authentication_method.map(Into::into),
        authentication_data: None,
        will,
    })
}

impl Negotiated {
    /// The CONNACK that tells the client what was settled: only what differs from the defaults (5.0 section 3.2.2.3).
    #[must_use]
    pub fn connack(&self, session_present: bool) -> ConnAck<'_> {
        let mut ack = ConnAck::new(ReasonCode::Success, session_present);
        if self.version != Version::V5 {
            return ack;
        }
        ack.assigned_client_id = self.is_assigned.then_some(&*self.client_id);
        ack.server_keep_alive = (self.keep_alive != self.asked_keep_alive).then_some(self.keep_alive);
        let expiry_differs = self.asked_session_expiry.unwrap_or(0) != self.session_expiry;
        ack.session_expiry = expiry_differs.then_some(self.session_expiry);
        ack.receive_maximum = (self.our_receive_maximum != u16::MAX).then_some(self.our_receive_maximum);
        ack.maximum_packet_size = Some(self.our_max_packet_size);
        ack.topic_alias_maximum = (self.our_alias_maximum != 0).then_some(self.our_alias_maximum);
        let Capabilities { max_qos, retain, wildcards, subscription_ids } = self.capabilities;
        ack.maximum_qos = (max_qos != Qos::ExactlyOnce).then_some(max_qos);
        ack.retain_available = (!retain).then_some(false);
        ack.wildcard_available = (!wildcards).then_some(false);
        ack.subscription_ids_available = (!subscription_ids).then_some(false);
        ack.response_information = self.response_information.as_deref();
        ack.shared_available = (!self.shared_subscriptions).then_some(false);
        ack.authentication_method = self.authentication_method.as_deref(); // [MQTT-4.12.0-5]
        ack.authentication_data = self.authentication_data.as_deref();
        ack
    }

    /// What the client takes of an answer.
    #[must_use]
    pub const fn recipient(&self) -> Recipient {
        let maximum_packet_size = match self.maximum_packet_size {
            Some(size) => size,
            None => u32::MAX,
        };
        Recipient { version: self.version, maximum_packet_size, wants_reasons: self.wants_reasons }
    }

    /// QoS of the will, if there is one.
    #[must_use]
    pub fn will_qos(&self) -> Option<Qos> {
        self.will.as_ref().map(Will::qos)
    }
}
