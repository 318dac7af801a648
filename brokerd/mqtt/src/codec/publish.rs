//! PUBLISH and the four acknowledgements from a client: the hot path of the decoder. Never allocates.

use std::borrow::Cow;

use super::frame;
use super::property::{Allowed, Property, Section, forwardable};
use super::wire::Reader;
use super::{Limits, Violation};
use crate::packet::{Ack, AckKind, Properties, Publish};
use crate::{Qos, ReasonCode, Version};

/// 3.3. `first` has been checked.
pub(crate) fn publish<'a>(
    version: Version,
    first: u8,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Publish<'a>, Violation> {
    let mut reader = Reader::new(body);
    let topic = reader.topic_name(limits)?;
    let qos = Qos::from_bits((first >> 1) & 0b11).ok_or(Violation::QosInvalid)?;
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
    let mut publish = Publish {
        dup: first & 0b1000 != 0,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        topic_alias: None,
        expiry: None,
        properties: Properties::default(),
        payload: &[],
    };
    if version == Version::V5 {
        let mut section = Section::open(&mut reader, Allowed::PUBLISH, limits)?;
        publish.properties = section.properties();
        while let Some(property) = section.next()? {
            match property {
                Property::TopicAlias(alias) => publish.topic_alias = Some(alias),
                Property::MessageExpiry(seconds) => publish.expiry = Some(seconds),
                _ => {}
            }
        }
    }
    // [MQTT-4.7.3-1]; 5.0 section 3.3.2.1 has the alias stand for the name.
    if topic.is_empty() && publish.topic_alias.is_none() {
        return Err(Violation::TopicEmpty);
    }
    publish.payload = reader.rest();
    Ok(publish)
}

impl<'a> Publish<'a> {
    /// The properties that subscribers get, as `forwardable` tells, without a walk where there is nothing to cut out.
    #[must_use]
    pub fn forwardable(&self) -> Cow<'a, [u8]> {
        if self.topic_alias.is_none() && self.expiry.is_none() {
            return Cow::Borrowed(self.properties.as_bytes());
        }
        forwardable(self.properties)
    }
}

/// 3.4 to 3.7.
pub(crate) fn ack<'a>(
    version: Version,
    packet_type: u8,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Ack<'a>, Violation> {
    let kind = match packet_type {
        frame::PUBACK => AckKind::PubAck,
        frame::PUBREC => AckKind::PubRec,
        frame::PUBREL => AckKind::PubRel,
        _ => AckKind::PubComp,
    };
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut ack = Ack { kind, packet_id, reason: ReasonCode::Success, properties: Properties::default() };
    // The reason code may be left out, and the properties after it (5.0, 3.4.2.1 and 3.4.2.2.1).
    if version != Version::V5 || reader.is_empty() {
        reader.finish()?;
        return Ok(ack);
    }
    ack.reason = ack_reason(kind, reader.byte()?)?;
    if !reader.is_empty() {
        let section = Section::open(&mut reader, Allowed::ACK, limits)?;
        ack.properties = section.properties();
        section.check()?;
    }
    reader.finish()?;
    Ok(ack)
}

/// Tables 3-4, 3-5, 3-6 and 3-7.
fn ack_reason(kind: AckKind, byte: u8) -> Result<ReasonCode, Violation> {
    let allowed = match kind {
        AckKind::PubAck | AckKind::PubRec => {
            matches!(byte, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
        }
        AckKind::PubRel | AckKind::PubComp => matches!(byte, 0x00 | 0x92),
    };
    ReasonCode::from_byte(byte).filter(|_| allowed).ok_or(Violation::ReasonCodeInvalid)
}
