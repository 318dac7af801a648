//! What the server sends, read back into lines such as `PUBLISH t=x q1 #1 dup`. The tests of brokerd's workers use it too.

use super::Version;

/// A line a packet.
pub(super) fn lines(version: Version, mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let (length, width) = variable(&bytes[1..]);
        let (packet, rest) = bytes.split_at(1 + width + length);
        lines.push(line(version, packet[0], &packet[1 + width..]));
        bytes = rest;
    }
    lines
}

fn variable(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return (value, at + 1);
        }
    }
    panic!("a length without an end: {bytes:02x?}");
}

fn two(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn line(version: Version, first: u8, body: &[u8]) -> String {
    let acknowledgement = |name: &str| {
        let reason = body.get(2).map_or_else(String::new, |reason| format!(" {reason:#04x}"));
        format!("{name} #{}{reason}", two(body))
    };
    match first >> 4 {
        2 => format!("CONNACK {:#04x}", body[1]),
        3 => publish(version, first, body),
        4 => acknowledgement("PUBACK"),
        5 => acknowledgement("PUBREC"),
        6 => acknowledgement("PUBREL"),
        7 => acknowledgement("PUBCOMP"),
        9 => format!("SUBACK #{} {:02x?}", two(body), codes(version, body)),
        11 => format!("UNSUBACK #{} {:02x?}", two(body), codes(version, body)),
        13 => "PINGRESP".into(),
        14 => format!("DISCONNECT {:#04x}", body.first().copied().unwrap_or(0)),
        15 => auth(body),
        other => panic!("packet type {other} from a server"),
    }
}

/// `AUTH 0x18 m=data`
fn auth(body: &[u8]) -> String {
    let method_at = 2; // behind the reason code and the length of the properties
    let method = &body[method_at + 3..][..two(&body[method_at + 1..])];
    let data = body.get(method_at + 3 + method.len() + 3..).unwrap_or_default();
    format!("AUTH {:#04x} {}={}", body[0], String::from_utf8_lossy(method), String::from_utf8_lossy(data))
}

fn codes(version: Version, body: &[u8]) -> &[u8] {
    if version == Version::V5 { &body[3 + usize::from(body[2])..] } else { &body[2..] }
}

fn publish(version: Version, first: u8, body: &[u8]) -> String {
    let (topic, mut rest) = body[2..].split_at(two(body));
    let qos = first >> 1 & 3;
    let mut line = format!("q{qos}");
    if qos > 0 {
        line += &format!(" #{}", two(rest));
        rest = &rest[2..];
    }
    for (bit, word) in [(8, " dup"), (1, " retain")] {
        line += if first & bit == 0 { "" } else { word };
    }
    if version == Version::V5 {
        let (length, width) = variable(rest);
        let (mut properties, payload) = rest[width..].split_at(length);
        rest = payload;
        while !properties.is_empty() {
            let width = match properties[0] {
                1 => 2,
                2 => {
                    line += &format!(" expiry={}", two(&properties[1..]) << 16 | two(&properties[3..]));
                    5
                }
                11 => {
                    let (id, width) = variable(&properties[1..]);
                    line += &format!(" id={id}");
                    1 + width
                }
                35 => {
                    line += &format!(" alias={}", two(&properties[1..]));
                    3
                }
                other => panic!("property {other} in a PUBLISH"),
            };
            properties = &properties[width..];
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("PUBLISH {}={} {line}", text(topic), text(rest))
}

/// QoS of a line's PUBLISH, and its packet id.
pub(super) fn id_of(line: &str) -> Option<u16> {
    line.split_once('#')?.1.split(' ').next()?.parse().ok()
}

/// The payload of a line's PUBLISH.
pub(super) fn payload_of(line: &str) -> Option<&str> {
    line.strip_prefix("PUBLISH t=")?.split(' ').next()
}
