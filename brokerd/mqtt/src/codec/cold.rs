//! The packets that only a server sends, and seldom: CONNACK, SUBACK, UNSUBACK and PINGRESP. mqttbytes writes them and
//! is kept from its faults here; nothing else calls it. Never writes half a packet, nor a string over 65,535 bytes
//! (mqttbytes would cut its length and write all of it).

use bytes::BytesMut;
use mqttbytes::{QoS, v4, v5};

use super::Recipient;
use crate::topic::MAX_TEXT;
use crate::{PacketId, Qos, ReasonCode, Version};

/// CONNACK. What is `None` is not stated, which is the default of section 3.2.2.3; 3.x has the first two alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether state was kept; 0 with an error [MQTT-3.2.2-6], and always for 3.1, which has no such bit.
    pub session_present: bool,
    /// Success, or why not.
    pub reason: ReasonCode,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<&'a str>,
    /// Server Keep Alive, seconds.
    pub server_keep_alive: Option<u16>,
    /// Session Expiry Interval, seconds.
    pub session_expiry: Option<u32>,
    /// Receive Maximum, not 0.
    pub receive_maximum: Option<u16>,
    /// Maximum QoS: 0 or 1.
    pub maximum_qos: Option<Qos>,
    /// Retain Available.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size, not 0.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum.
    pub topic_alias_maximum: Option<u16>,
    /// Wildcard Subscription Available.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers Available.
    pub subscription_ids_available: Option<bool>,
    /// Shared Subscription Available.
    pub shared_available: Option<bool>,
    /// Response Information, left out where it does not fit.
    pub response_information: Option<&'a str>,
    /// Reason String, left out where it does not fit.
    pub reason_string: Option<&'a str>,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
}

impl ConnAck<'_> {
    /// One that says this and states no property.
    #[must_use]
    pub const fn new(reason: ReasonCode, session_present: bool) -> Self {
        Self {
            session_present,
            reason,
            assigned_client_id: None,
            server_keep_alive: None,
            session_expiry: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            wildcard_available: None,
            subscription_ids_available: None,
            shared_available: None,
            response_information: None,
            reason_string: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// Appends CONNACK in the form of `version`. In 5.0 `limit`, the client's Maximum Packet Size, is kept: the reason
/// string goes first [MQTT-3.2.2-19], then the response information, which is a service [5.0 section 3.2.2.3.15]; if it
/// is still too long, nothing is written and `false` is the answer.
pub fn connack(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>, limit: Option<u32>) -> bool {
    let session_present = connack.session_present && !connack.reason.is_error() && version != Version::V31;
    if version != Version::V5 {
        let code = match connack.reason.connack_code_v3() {
            0 => v4::ConnectReturnCode::Success,
            1 => v4::ConnectReturnCode::RefusedProtocolVersion,
            2 => v4::ConnectReturnCode::BadClientId,
            4 => v4::ConnectReturnCode::BadUserNamePassword,
            5 => v4::ConnectReturnCode::NotAuthorized,
            _ => v4::ConnectReturnCode::ServiceUnavailable,
        };
        return append(out, None, |buf| v4::ConnAck::new(code, session_present).write(buf));
    }
    if !fits(connack.assigned_client_id) || !fits(connack.authentication_method) {
        return false;
    }
    let write = |reason_string: Option<&str>, response_information: Option<&str>, buf: &mut BytesMut| {
        // Without properties mqttbytes leaves out their length too: the packet would be malformed.
        let stated = ConnAck { reason_string, response_information, ..*connack };
        let properties = Some(connack_properties(&stated));
        v5::ConnAck { session_present, code: connect_code(connack.reason), properties }.write(buf)
    };
    let reason_string = connack.reason_string.filter(|_| fits(connack.reason_string));
    let response = connack.response_information.filter(|_| fits(connack.response_information));
    (reason_string.is_some() && append(out, limit, |buf| write(reason_string, response, buf)))
        || (response.is_some() && append(out, limit, |buf| write(None, response, buf)))
        || append(out, limit, |buf| write(None, None, buf))
}

fn connack_properties(connack: &ConnAck<'_>) -> v5::ConnAckProperties {
    v5::ConnAckProperties {
        session_expiry_interval: connack.session_expiry,
        receive_max: connack.receive_maximum,
        max_qos: connack.maximum_qos.map(|qos| qos as u8),
        retain_available: connack.retain_available.map(u8::from),
        max_packet_size: connack.maximum_packet_size,
        assigned_client_identifier: connack.assigned_client_id.map(str::to_owned),
        topic_alias_max: connack.topic_alias_maximum,
        response_information: connack.response_information.map(str::to_owned),
        reason_string: connack.reason_string.map(str::to_owned),
        wildcard_subscription_available: connack.wildcard_available.map(u8::from),
        subscription_identifiers_available: connack.subscription_ids_available.map(u8::from),
        shared_subscription_available: connack.shared_available.map(u8::from),
        server_keep_alive: connack.server_keep_alive,
        authentication_method: connack.authentication_method.map(str::to_owned),
        authentication_data: connack
            .authentication_data
            .filter(|data| data.len() <= MAX_TEXT)
            .map(|data| data.to_vec().into()),
        ..v5::ConnAckProperties::new()
    }
}

/// Table 3-1 of 5.0; a code that is not in it is an unspecified error.
const fn connect_code(reason: ReasonCode) -> v5::ConnectReturnCode {
    use v5::ConnectReturnCode as Code;
    match reason {
        ReasonCode::Success => Code::Success,
        ReasonCode::MalformedPacket => Code::MalformedPacket,
        ReasonCode::ProtocolError => Code::ProtocolError,
        ReasonCode::ImplementationSpecificError => Code::ImplementationSpecificError,
        ReasonCode::UnsupportedProtocolVersion => Code::UnsupportedProtocolVersion,
        ReasonCode::ClientIdentifierNotValid => Code::ClientIdentifierNotValid,
        ReasonCode::BadUserNameOrPassword => Code::BadUserNamePassword,
        ReasonCode::NotAuthorized => Code::NotAuthorized,
        ReasonCode::ServerUnavailable => Code::ServerUnavailable,
        ReasonCode::ServerBusy => Code::ServerBusy,
        ReasonCode::Banned => Code::Banned,
        ReasonCode::BadAuthenticationMethod => Code::BadAuthenticationMethod,
        ReasonCode::TopicNameInvalid => Code::TopicNameInvalid,
        ReasonCode::PacketTooLarge => Code::PacketTooLarge,
        ReasonCode::QuotaExceeded => Code::QuotaExceeded,
        ReasonCode::PayloadFormatInvalid => Code::PayloadFormatInvalid,
        ReasonCode::RetainNotSupported => Code::RetainNotSupported,
        ReasonCode::QosNotSupported => Code::QoSNotSupported,
        ReasonCode::UseAnotherServer => Code::UseAnotherServer,
        ReasonCode::ServerMoved => Code::ServerMoved,
        ReasonCode::ConnectionRateExceeded => Code::ConnectionRateExceeded,
        _ => Code::UnspecifiedError,
    }
}

/// Whether a SUBACK or UNSUBACK with so many codes may be sent to this client [MQTT-3.1.2-24].
#[must_use]
pub const fn codes_fit(to: Recipient, codes: usize) -> bool {
    to.takes(CODES_FROM + codes)
}

/// The packet identifier, and in 5.0 the length of the properties.
const CODES_FROM: usize = 3;

/// Appends SUBACK with a code for each filter, in their order [MQTT-3.8.4-6]; the first error is explained, in 5.0.
/// 3.1.1 has one code for all failures, 0x80 [MQTT-3.9.3-2]; 3.1 has none, and gets the same, whose QoS bits say 0.
/// Writes nothing and says `false` where the client does not take so many codes.
pub fn suback(out: &mut Vec<u8>, to: Recipient, packet_id: PacketId, codes: &[ReasonCode]) -> bool {
    if to.version != Version::V5 {
        let return_codes = codes.iter().map(|&code| suback_code_v3(code)).collect();
        return append(out, None, |buf| v4::SubAck::new(packet_id.get(), return_codes).write(buf));
    }
    let return_codes = codes
        .iter()
        .map(|&code| v5::SubscribeReasonCode::try_from(code as u8).unwrap_or(v5::SubscribeReasonCode::Unspecified))
        .collect();
    let reason_string = explain(to, codes);
    let properties = reason_string
        .map(|text| v5::SubAckProperties { reason_string: Some(text.to_owned()), user_properties: Vec::new() });
    let suback = v5::SubAck { pkid: packet_id.get(), return_codes, properties };
    append(out, Some(to.maximum_packet_size), |buf| suback.write(buf))
}

fn explain(to: Recipient, codes: &[ReasonCode]) -> Option<&'static str> {
    let error = codes.iter().find(|code| code.is_error())?;
    to.reason_string(*error, CODES_FROM - 1 + codes.len())
}

const fn suback_code_v3(code: ReasonCode) -> v4::SubscribeReasonCode {
    match code {
        ReasonCode::Success => v4::SubscribeReasonCode::Success(QoS::AtMostOnce),
        ReasonCode::GrantedQos1 => v4::SubscribeReasonCode::Success(QoS::AtLeastOnce),
        ReasonCode::GrantedQos2 => v4::SubscribeReasonCode::Success(QoS::ExactlyOnce),
        _ => v4::SubscribeReasonCode::Failure,
    }
}

/// Appends UNSUBACK, in 5.0 with a code for each filter, in their order [MQTT-3.11.3-1]; 3.x has no codes. As SUBACK
/// otherwise.
pub fn unsuback(out: &mut Vec<u8>, to: Recipient, packet_id: PacketId, codes: &[ReasonCode]) -> bool {
    if to.version != Version::V5 {
        return append(out, None, |buf| v4::UnsubAck::new(packet_id.get()).write(buf));
    }
    let reasons = codes.iter().map(|&code| unsuback_code(code)).collect();
    let reason_string = explain(to, codes);
    let properties = reason_string
        .map(|text| v5::UnsubAckProperties { reason_string: Some(text.to_owned()), user_properties: Vec::new() });
    let unsuback = v5::UnsubAck { pkid: packet_id.get(), reasons, properties };
    append(out, Some(to.maximum_packet_size), |buf| unsuback.write(buf))
}

/// Table 3-9.
const fn unsuback_code(reason: ReasonCode) -> v5::UnsubAckReason {
    match reason {
        ReasonCode::Success => v5::UnsubAckReason::Success,
        ReasonCode::NoSubscriptionExisted => v5::UnsubAckReason::NoSubscriptionExisted,
        ReasonCode::ImplementationSpecificError => v5::UnsubAckReason::ImplementationSpecificError,
        ReasonCode::NotAuthorized => v5::UnsubAckReason::NotAuthorized,
        ReasonCode::TopicFilterInvalid => v5::UnsubAckReason::TopicFilterInvalid,
        ReasonCode::PacketIdentifierInUse => v5::UnsubAckReason::PacketIdentifierInUse,
        _ => v5::UnsubAckReason::UnspecifiedError,
    }
}

/// Appends PINGRESP, the same in all versions.
pub fn pingresp(out: &mut Vec<u8>) {
    append(out, None, |buf| v4::PingResp.write(buf));
}

fn fits(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.len() <= MAX_TEXT)
}

/// mqttbytes leaves half a packet behind when it fails, hence a buffer of its own.
fn append(
    out: &mut Vec<u8>,
    limit: Option<u32>,
    write: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>,
) -> bool {
    let mut buf = BytesMut::with_capacity(64);
    let written = write(&mut buf).is_ok() && limit.is_none_or(|limit| buf.len() <= limit as usize);
    if written {
        out.extend_from_slice(&buf);
    }
    written
}
