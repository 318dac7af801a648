//! The reason codes that MQTT gives each packet of a server: what a broker sends beside them fails the test that reads
//! it. Owns the tables, written from the specification; shares nothing with the broker's own.

use crate::packet::Version;
use crate::read::Packet;

const CONNACK: &[u8] = &[
    0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
    0x9c, 0x9d, 0x9f,
];
const PUBACK: &[u8] = &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL: &[u8] = &[0, 0x92];
const SUBACK: &[u8] = &[0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
const UNSUBACK: &[u8] = &[0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
/// Without 0x19, which is for clients.
const AUTH: &[u8] = &[0, 0x18];
/// 0x8C is in the table of section 2.4 alone.
const DISCONNECT: &[u8] = &[
    0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];

/// Whether a server of this version may say what the packet says.
pub fn check(packet: &Packet, version: Version) -> Result<(), String> {
    let is_v5 = version.has_properties();
    let is_right = match packet {
        // A test that sends a CONNECT of 3.x, or of no level at all, reads the answer in its form as one of 5.0.
        Packet::Connack(connack) if is_v5 && [1, 2].contains(&connack.code) => connack.properties.0.is_empty(),
        Packet::Connack(connack) if is_v5 => CONNACK.contains(&connack.code),
        Packet::Connack(connack) => connack.code <= 5,
        Packet::Puback(id, code) | Packet::Pubrec(id, code) => *id != 0 && PUBACK.contains(code),
        Packet::Pubrel(id, code) | Packet::Pubcomp(id, code) => *id != 0 && PUBREL.contains(code),
        Packet::Suback(id, codes) => {
            *id != 0 && codes.iter().all(|code| SUBACK.contains(code) && (is_v5 || *code <= 0x80))
        }
        Packet::Unsuback(id, codes) => *id != 0 && codes.iter().all(|code| is_v5 && UNSUBACK.contains(code)),
        Packet::Disconnect(code) => DISCONNECT.contains(code),
        Packet::Auth(code, properties) => {
            AUTH.contains(code) && properties.0.iter().all(|(id, _)| [0x15, 0x16, 0x1f, 0x26].contains(id))
        }
        _ => true,
    };
    let is_present = matches!(packet, Packet::Connack(connack) if connack.code != 0 && connack.session_present);
    if is_present {
        return Err(format!("a refusal with Session Present: {packet:?}"));
    }
    if is_right { Ok(()) } else { Err(format!("a code that its packet does not have, or no packet id: {packet:?}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use crate::packet::Version;
    use crate::read::packet;

    /// Codes with which this packet of 5.0 is taken.
    fn taken(first: u8, before: &[u8], after: &[u8]) -> Vec<u8> {
        let is_taken = |code: &u8| {
            let body = [before, &[*code], after].concat();
            packet(&[&[first, body.len() as u8], &body[..]].concat(), Version::V5).is_ok()
        };
        (0..=u8::MAX).filter(is_taken).collect()
    }

    #[test]
    fn a_code_that_its_packet_does_not_have_is_an_error() {
        assert_eq!(taken(0x20, &[0], &[4, 0x1f, 0, 1, b'x']), super::CONNACK);
        assert_eq!(taken(0x40, &[0, 1], &[]), super::PUBACK);
        assert_eq!(taken(0x50, &[0, 1], &[]), super::PUBACK);
        assert_eq!(taken(0x62, &[0, 1], &[]), super::PUBREL);
        assert_eq!(taken(0x70, &[0, 1], &[]), super::PUBREL);
        assert_eq!(taken(0x90, &[0, 1, 0], &[]), super::SUBACK);
        assert_eq!(taken(0xb0, &[0, 1, 0], &[]), super::UNSUBACK);
        assert_eq!(taken(0xe0, &[], &[]), super::DISCONNECT);
        assert_eq!(taken(0xf0, &[], &[0]), super::AUTH);
    }

    #[test]
    fn an_answer_without_its_packet_id_a_refusal_that_found_a_session_and_a_stray_property_are_errors() {
        for (bytes, is_taken) in [
            (&[0x40, 2, 0, 0][..], false),
            (&[0x90, 4, 0, 0, 0, 0], false),
            (&[0x20, 3, 1, 0x87, 0], false),
            (&[0x20, 3, 1, 0, 0], true),
            (&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1], false), // a session expiry [MQTT-3.14.2-2]
            (&[0xe0, 6, 0, 4, 0x1f, 0, 1, b'x'], true),
            (&[0x40, 8, 0, 1, 0x87, 4, 0x1f, 0, 1, b'x'], true),
            (&[0x40, 6, 0, 1, 0x87, 2, 1, 1], false),
            (&[0x90, 6, 0, 1, 2, 1, 1, 0], false),
        ] {
            assert_eq!(packet(bytes, Version::V5).is_ok(), is_taken, "{bytes:02x?}");
        }
    }
}
