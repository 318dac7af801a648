//! MQTT as a client writes and reads it: the cold packets, and where those from the broker begin and end. Never keeps
//! state; PUBLISH is written by the `mqtt` crate.

use mqtt::Version;

/// DISCONNECT, normal.
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];
/// How long a persistent session of 5.0 outlives its connection: a week.
const SESSION_EXPIRY: u32 = 7 * 24 * 3600;

/// Who connects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect<'a> {
    pub(crate) version: Version,
    pub(crate) id: &'a str,
    /// Clean session, or clean start.
    pub(crate) clean: bool,
    /// Whether the session outlives the connection; in 3.x it does when it is not clean.
    pub(crate) keep: bool,
    /// User name and password.
    pub(crate) login: Option<(&'a str, &'a [u8])>,
}

/// Appends CONNECT, without keep alive: an idle connection sends nothing.
pub(crate) fn connect(out: &mut Vec<u8>, who: Connect<'_>) {
    let mut body = vec![];
    string(&mut body, b"MQTT");
    body.push(if who.version == Version::V5 { 5 } else { 4 });
    body.push(u8::from(who.clean) << 1 | if who.login.is_some() { 0xc0 } else { 0 });
    body.extend([0, 0]);
    if who.version == Version::V5 {
        if who.keep {
            body.extend([5, 0x11]);
            body.extend(SESSION_EXPIRY.to_be_bytes());
        } else {
            body.push(0);
        }
    }
    string(&mut body, who.id.as_bytes());
    if let Some((name, password)) = who.login {
        string(&mut body, name.as_bytes());
        string(&mut body, password);
    }
    packet(out, 0x10, &body);
}

/// Appends SUBSCRIBE.
pub(crate) fn subscribe(out: &mut Vec<u8>, version: Version, id: u16, filters: &[String], qos: u8) {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter.as_bytes());
        body.push(qos);
    }
    packet(out, 0x82, &body);
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut length = body.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(body);
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    // Client ids, filters and passwords are limited on the command line.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

/// Where the body of the first packet starts and ends, if it is all there.
pub(crate) fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let Some((length, width)) = variable(bytes.get(1..).unwrap_or_default())? else {
        return Ok(None);
    };
    let (start, end) = (1 + width, 1 + width + length);
    Ok((bytes.len() >= end).then_some((start, end)))
}

/// A variable byte integer and its width, if it is all there.
fn variable(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut value = 0;
    for (index, shift) in [0, 7, 14, 21].into_iter().enumerate() {
        let Some(byte) = bytes.get(index) else {
            return Ok(None);
        };
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    Err("a length of more than four bytes")
}

/// A packet from the broker: its first byte and what follows its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
}

/// A PUBLISH from the broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publish<'a> {
    pub(crate) qos: u8,
    /// 0 at QoS 0.
    pub(crate) id: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Its type.
    pub(crate) const fn kind(self) -> u8 {
        self.first >> 4
    }

    /// The packet id of an acknowledgement.
    pub(crate) fn id(self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.body.first()?, *self.body.get(1)?]))
    }

    /// The reason code of CONNACK, or of an acknowledgement; success where it is left out.
    pub(crate) fn reason(self) -> u8 {
        let at = if self.kind() == 2 { 1 } else { 2 };
        self.body.get(at).copied().unwrap_or(0)
    }

    /// What PUBLISH carries.
    pub(crate) fn publish(self, version: Version) -> Option<Publish<'a>> {
        let qos = self.first >> 1 & 3;
        let topic = usize::from(self.id()?);
        let mut rest = self.body.get(2 + topic..)?;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
            rest = rest.get(2..)?;
        }
        if version == Version::V5 {
            let (length, width) = variable(rest).ok()??;
            rest = rest.get(width + length..)?;
        }
        Some(Publish { qos, id, payload: rest })
    }

    /// Receive Maximum of a CONNACK (5.0).
    pub(crate) fn receive_maximum(self, version: Version) -> u16 {
        let section = self.body.get(2..).filter(|_| version == Version::V5);
        section.and_then(receive_maximum).unwrap_or(u16::MAX)
    }

    /// How many filters of a SUBSCRIBE were refused.
    pub(crate) fn refused(self, version: Version) -> Option<usize> {
        let mut codes = self.body.get(2..)?;
        if version == Version::V5 {
            let (length, width) = variable(codes).ok()??;
            codes = codes.get(width + length..)?;
        }
        Some(codes.iter().filter(|code| **code >= 0x80).count())
    }
}

/// Looks through the properties of a CONNACK (3.2.2.3).
fn receive_maximum(section: &[u8]) -> Option<u16> {
    let (length, width) = variable(section).ok()??;
    let mut rest = section.get(width..width + length)?;
    let two = |bytes: &[u8]| Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    loop {
        let (id, value) = rest.split_first()?;
        let skip = match id {
            0x21 => return two(value),
            0x24 | 0x25 | 0x28..=0x2a => 1,
            0x13 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x26 => {
                let name = 2 + usize::from(two(value)?);
                name + 2 + usize::from(two(value.get(name..)?)?)
            }
            _ => 2 + usize::from(two(value)?),
        };
        rest = value.get(skip..)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn receive_maximum_is_found_behind_other_properties() {
        let body = [0, 0, 12, 0x24, 1, 0x12, 0, 2, b'a', b'b', 0x22, 0, 9, 0x21, 1, 0];
        let body = [&body[..2], &[13], &body[3..]].concat();
        let connack = Packet { first: 0x20, body: &body };
        assert_eq!(connack.receive_maximum(Version::V5), 256);
        assert_eq!(connack.receive_maximum(Version::V311), u16::MAX);
    }

    #[test]
    fn a_publish_of_5_0_gives_its_payload_without_its_properties() {
        let packet = Packet { first: 0x32, body: &[0, 1, b't', 0, 7, 2, 0x01, 1, b'x', b'y'] };
        let publish = packet.publish(Version::V5).unwrap();
        assert_eq!((publish.qos, publish.id, publish.payload), (1, 7, &b"xy"[..]));
    }

    #[test]
    fn a_packet_is_whole_or_waited_for() {
        assert_eq!(frame(&[0xd0, 0]), Ok(Some((2, 2))));
        assert_eq!(frame(&[0x30, 0x80]), Ok(None));
        assert_eq!(frame(&[0x30, 3, 0, 1]), Ok(None));
        assert!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    #[test]
    fn connect_is_what_the_broker_reads() {
        let limits = mqtt::codec::Limits {
            max_packet_size: 1024,
            max_topic_len: 100,
            max_filter_len: 100,
            max_topic_levels: 10,
            max_user_properties: 1,
        };
        for version in [Version::V311, Version::V5] {
            let mut out = vec![];
            let login = Some(("user", &b"secret"[..]));
            connect(&mut out, Connect { version, id: "me", clean: false, keep: true, login });
            assert!(mqtt::codec::decode_connect(&out, &limits).is_ok(), "{version:?}: {out:02x?}");
        }
    }
}
