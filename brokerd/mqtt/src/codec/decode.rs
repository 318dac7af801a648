//! One whole packet of a client that has sent CONNECT. Never reads past the packet, never takes half of one.

use super::frame::{self, check_first_byte};
use super::property::{Allowed, Property, Section};
use super::wire::Reader;
use super::{Limits, Violation, publish, subscribe};
use crate::packet::{Auth, Disconnect, Packet, Properties};
use crate::{ReasonCode, Version};

/// Decodes `packet`, the whole of a frame as `frame` found it.
///
/// # Errors
/// The client broke the protocol; the connection ends.
pub fn decode<'a>(version: Version, packet: &'a [u8], limits: &Limits) -> Result<Packet<'a>, Violation> {
    let &first = packet.first().ok_or(Violation::Truncated)?;
    check_first_byte(first, Some(version))?;
    let (body, minimal) = frame::body(packet, limits)?;
    if version == Version::V5 && !minimal {
        return Err(Violation::IntegerNotMinimal);
    }
    match first >> 4 {
        frame::PUBLISH => publish::publish(version, first, body, limits).map(Packet::Publish),
        kind @ (frame::PUBACK | frame::PUBREC | frame::PUBREL | frame::PUBCOMP) => {
            publish::ack(version, kind, body, limits).map(Packet::Ack)
        }
        frame::SUBSCRIBE => subscribe::subscribe(version, body, limits).map(Packet::Subscribe),
        frame::UNSUBSCRIBE => subscribe::unsubscribe(version, body, limits).map(Packet::Unsubscribe),
        frame::PINGREQ => Reader::new(body).finish().map(|()| Packet::PingReq),
        frame::DISCONNECT => disconnect(version, body, limits).map(Packet::Disconnect),
        frame::AUTH => auth(body, limits).map(Packet::Auth),
        _ => Err(Violation::ServerPacket),
    }
}

/// 3.14.
fn disconnect<'a>(version: Version, body: &'a [u8], limits: &Limits) -> Result<Disconnect<'a>, Violation> {
    let mut reader = Reader::new(body);
    let mut disconnect =
        Disconnect { reason: ReasonCode::Success, session_expiry: None, properties: Properties::default() };
    if version == Version::V5 && !reader.is_empty() {
        disconnect.reason = disconnect_reason(reader.byte()?)?;
        // The properties may be left out after the reason code (3.14.2.2.1).
        if !reader.is_empty() {
            let mut section = Section::open(&mut reader, Allowed::DISCONNECT, limits)?;
            disconnect.properties = section.properties();
            while let Some(property) = section.next()? {
                if let Property::SessionExpiry(seconds) = property {
                    disconnect.session_expiry = Some(seconds);
                }
            }
        }
    }
    reader.finish()?;
    Ok(disconnect)
}

/// Table 3-10, and who sends what there.
fn disconnect_reason(byte: u8) -> Result<ReasonCode, Violation> {
    let reason = ReasonCode::from_byte(byte).ok_or(Violation::ReasonCodeInvalid)?;
    match byte {
        0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99 => Ok(reason),
        0x87 | 0x89 | 0x8B | 0x8D..=0x8F | 0x9A..=0xA2 => Err(Violation::ReasonCodeServerOnly),
        _ => Err(Violation::ReasonCodeInvalid),
    }
}

/// 3.15. A client continues or re-authenticates; Success is the server's to say, and so is an AUTH without a body.
fn auth<'a>(body: &'a [u8], limits: &Limits) -> Result<Auth<'a>, Violation> {
    let mut reader = Reader::new(body);
    if reader.is_empty() {
        return Err(Violation::AuthMethodMissing);
    }
    let byte = reader.byte()?;
    let reason = match (byte, ReasonCode::from_byte(byte)) {
        (0x18 | 0x19, Some(reason)) => reason,
        (0x00, _) => return Err(Violation::ReasonCodeServerOnly),
        _ => return Err(Violation::ReasonCodeInvalid),
    };
    if reader.is_empty() {
        return Err(Violation::AuthMethodMissing);
    }
    let mut section = Section::open(&mut reader, Allowed::AUTH, limits)?;
    let mut auth = Auth { reason, method: None, data: None, properties: section.properties() };
    while let Some(property) = section.next()? {
        match property {
            Property::AuthenticationMethod(method) => auth.method = Some(method),
            Property::AuthenticationData(data) => auth.data = Some(data),
            _ => {}
        }
    }
    reader.finish()?;
    if auth.method.is_none() {
        return Err(Violation::AuthMethodMissing);
    }
    Ok(auth)
}
