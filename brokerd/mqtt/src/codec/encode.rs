//! PUBLISH and the acknowledgements to a client: the hot path of the encoder. Never writes half a packet, and nothing
//! at all where the packet cannot be written.

use super::Recipient;
use super::wire::{MAX_VARIABLE, put_binary, put_variable, variable_len};
use crate::packet::AckKind;
use crate::topic::MAX_TEXT;
use crate::{PacketId, Qos, ReasonCode, Version};

/// The longest packet that MQTT can carry, header included (2.1.4).
pub const MAX_PACKET_LEN: usize = 5 + MAX_VARIABLE;

const MESSAGE_EXPIRY: u8 = 2;
const SUBSCRIPTION_ID: u8 = 11;
const REASON_STRING: u8 = 31;
const TOPIC_ALIAS: u8 = 35;

/// A PUBLISH to a client. What 3.x cannot carry is left out there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishOut<'a> {
    /// The topic name; empty only with an alias that this connection has set.
    pub topic: &'a [u8],
    /// What `forwardable` has made (5.0).
    pub properties: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: Qos,
    /// Whether it was sent before; ignored with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Needed with QoS 1 and 2, ignored with QoS 0 [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// Message Expiry Interval that is left, seconds (5.0).
    pub expiry: Option<u32>,
    /// Of all filters that it matches for this client, none of them 0 (5.0).
    pub subscription_ids: &'a [u32],
    /// Topic Alias (5.0).
    pub topic_alias: Option<u16>,
}

/// The lengths in a PUBLISH.
struct Lengths {
    /// Of the property section without its own length.
    properties: usize,
    /// Remaining Length.
    remaining: usize,
}

impl Lengths {
    /// `None` where the packet cannot be written.
    fn of(version: Version, publish: &PublishOut<'_>) -> Option<Self> {
        let is_v5 = version == Version::V5;
        let has_id = publish.qos != Qos::AtMostOnce;
        let names_topic = !publish.topic.is_empty() || (is_v5 && publish.topic_alias.is_some());
        if publish.topic_alias == Some(0) {
            return None;
        }
        if publish.topic.len() > MAX_TEXT || !names_topic || (has_id && publish.packet_id.is_none()) {
            return None;
        }
        let mut remaining = 2 + publish.topic.len() + publish.payload.len() + if has_id { 2 } else { 0 };
        let mut properties = 0;
        if is_v5 {
            properties =
                publish.properties.len() + publish.expiry.map_or(0, |_| 5) + publish.topic_alias.map_or(0, |_| 3);
            for &id in publish.subscription_ids {
                if id == 0 || id as usize > MAX_VARIABLE {
                    return None;
                }
                properties += 1 + variable_len(id as usize);
            }
            remaining += variable_len(properties) + properties;
        }
        (remaining <= MAX_VARIABLE).then_some(Self { properties, remaining })
    }
}

/// The length of the packet that `publish` writes, header included: to compare with the client's Maximum Packet Size
/// [MQTT-3.1.2-24]. `usize::MAX` where it cannot be written at all.
#[must_use]
pub fn publish_len(version: Version, publish: &PublishOut<'_>) -> usize {
    Lengths::of(version, publish).map_or(usize::MAX, |lengths| 1 + variable_len(lengths.remaining) + lengths.remaining)
}

/// Appends a PUBLISH (3.3). Writes nothing and says `false` where MQTT cannot carry it: a topic over 65,535 bytes,
/// a packet over `MAX_PACKET_LEN`, no packet identifier with QoS 1 or 2, neither topic nor alias, an identifier 0.
pub fn publish(out: &mut Vec<u8>, version: Version, publish: &PublishOut<'_>) -> bool {
    let Some(lengths) = Lengths::of(version, publish) else {
        return false;
    };
    out.reserve(5 + lengths.remaining);
    let has_id = publish.qos != Qos::AtMostOnce;
    let dup = u8::from(publish.dup && has_id);
    out.push(0x30 | dup << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain));
    put_variable(out, lengths.remaining);
    put_binary(out, publish.topic);
    if let Some(id) = publish.packet_id.filter(|_| has_id) {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
    if version == Version::V5 {
        put_variable(out, lengths.properties);
        out.extend_from_slice(publish.properties);
        if let Some(seconds) = publish.expiry {
            out.push(MESSAGE_EXPIRY);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        for &id in publish.subscription_ids {
            out.push(SUBSCRIPTION_ID);
            put_variable(out, id as usize);
        }
        if let Some(alias) = publish.topic_alias {
            out.push(TOPIC_ALIAS);
            out.extend_from_slice(&alias.to_be_bytes());
        }
    }
    out.extend_from_slice(publish.payload);
    true
}

/// Appends PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form: the reason code stands only in 5.0, and only where
/// it is not Success (3.4.2.1); an error is explained to who wants that.
pub fn ack(out: &mut Vec<u8>, to: Recipient, kind: AckKind, packet_id: PacketId, reason: ReasonCode) {
    let first = match kind {
        AckKind::PubAck => 0x40,
        AckKind::PubRec => 0x50,
        // [MQTT-3.6.1-1]
        AckKind::PubRel => 0x62,
        AckKind::PubComp => 0x70,
    };
    let [high, low] = packet_id.get().to_be_bytes();
    if to.version != Version::V5 || reason == ReasonCode::Success {
        out.extend_from_slice(&[first, 2, high, low]);
        return;
    }
    let Some(text) = to.reason_string(reason, 3) else {
        out.extend_from_slice(&[first, 3, high, low, reason as u8]);
        return;
    };
    let properties = 3 + text.len();
    out.push(first);
    put_variable(out, 3 + variable_len(properties) + properties);
    out.extend_from_slice(&[high, low, reason as u8]);
    put_variable(out, properties);
    out.push(REASON_STRING);
    put_binary(out, text.as_bytes());
}
