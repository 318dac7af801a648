//! Where a packet ends, and what its first byte says. Judges the header before the body has arrived, so that a
//! client cannot make the server wait for, or hold, what it will refuse. Never looks into the body.

use super::wire::variable;
use super::{Limits, Violation};
use crate::Version;

/// Whether a whole packet is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed {
    /// Not yet. Nothing is wrong so far.
    Incomplete {
        /// The length of the whole packet, header included; 0 while it is not known.
        needed: usize,
    },
    /// It is: the first `len` bytes.
    Packet {
        /// The length of the whole packet, header included.
        len: usize,
    },
}

pub(crate) const CONNECT: u8 = 1;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const UNSUBSCRIBE: u8 = 10;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const DISCONNECT: u8 = 14;
pub(crate) const AUTH: u8 = 15;

/// Finds the first packet in `buf`. `version` is `None` until CONNECT has been read; then only CONNECT is allowed,
/// and after it CONNECT no more.
///
/// # Errors
/// The header breaks the protocol or the limit, whether or not the rest is there.
pub fn frame(buf: &[u8], version: Option<Version>, limits: &Limits) -> Result<Framed, Violation> {
    let Some(&first) = buf.first() else {
        return Ok(Framed::Incomplete { needed: 0 });
    };
    check_first_byte(first, version)?;
    let Some(header) = header(buf, limits)? else {
        return Ok(Framed::Incomplete { needed: 0 });
    };
    if version == Some(Version::V5) && !header.minimal {
        return Err(Violation::IntegerNotMinimal);
    }
    let len = header.len + header.remaining;
    if buf.len() < len { Ok(Framed::Incomplete { needed: len }) } else { Ok(Framed::Packet { len }) }
}

/// The body of `packet`, which must be one whole frame and nothing more; and whether its length was minimal.
pub(crate) fn body<'a>(packet: &'a [u8], limits: &Limits) -> Result<(&'a [u8], bool), Violation> {
    let header = header(packet, limits)?.ok_or(Violation::Truncated)?;
    let body = packet.get(header.len..).unwrap_or_default();
    match body.len().cmp(&header.remaining) {
        std::cmp::Ordering::Less => Err(Violation::Truncated),
        std::cmp::Ordering::Equal => Ok((body, header.minimal)),
        std::cmp::Ordering::Greater => Err(Violation::TrailingBytes),
    }
}

struct Header {
    /// Bytes of the fixed header.
    len: usize,
    remaining: usize,
    minimal: bool,
}

fn header(buf: &[u8], limits: &Limits) -> Result<Option<Header>, Violation> {
    let Some(length) = variable(buf.get(1..).unwrap_or_default())? else {
        return Ok(None);
    };
    let header = Header { len: 1 + length.width, remaining: length.value as usize, minimal: length.minimal };
    if header.len + header.remaining > limits.max_packet_size as usize {
        return Err(Violation::PacketTooLarge);
    }
    Ok(Some(header))
}

/// Packet type and flags (2.1.2, 2.1.3).
pub(crate) fn check_first_byte(first: u8, version: Option<Version>) -> Result<(), Violation> {
    let (packet_type, flags) = (first >> 4, first & 0x0F);
    let Some(version) = version else {
        return match (packet_type, flags) {
            (CONNECT, 0) => Ok(()),
            (CONNECT, _) => Err(Violation::HeaderFlagsInvalid),
            _ => Err(Violation::FirstPacketNotConnect),
        };
    };
    match packet_type {
        CONNECT => Err(Violation::SecondConnect),
        PUBLISH => check_publish_flags(flags),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => match flags {
            0b0010 => Ok(()),
            // 3.1 (3.6, 3.8, 3.10) lets these be sent again with DUP.
            0b1010 if version == Version::V31 => Ok(()),
            _ => Err(Violation::HeaderFlagsInvalid),
        },
        AUTH if version != Version::V5 => Err(Violation::ReservedPacketType),
        PUBACK | PUBREC | PUBCOMP | PINGREQ | DISCONNECT | AUTH => match flags {
            0 => Ok(()),
            _ => Err(Violation::HeaderFlagsInvalid),
        },
        0 => Err(Violation::ReservedPacketType),
        // CONNACK, SUBACK, UNSUBACK, PINGRESP.
        _ => Err(Violation::ServerPacket),
    }
}

const fn check_publish_flags(flags: u8) -> Result<(), Violation> {
    match (flags & 0b1000 != 0, (flags >> 1) & 0b11) {
        (_, 3) => Err(Violation::QosInvalid),
        (true, 0) => Err(Violation::DupWithQos0),
        _ => Ok(()),
    }
}
