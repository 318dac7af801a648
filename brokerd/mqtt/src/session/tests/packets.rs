//! What a client sends, as bytes, written by hand from the specification. The tests of brokerd's workers use it too.

use super::{Qos, Version};

/// A packet of this first byte around a body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A property section: 5.0 only.
fn section(version: Version, properties: &[u8]) -> Vec<u8> {
    if version == Version::V5 { [&[properties.len() as u8], properties].concat() } else { Vec::new() }
}

/// CONNECT.
#[derive(Clone)]
pub(super) struct Connect {
    pub(super) version: Version,
    pub(super) client_id: &'static str,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) properties: Vec<u8>,
    /// Properties, payload, retain.
    pub(super) will: Option<(Vec<u8>, &'static str, bool)>,
}

impl Connect {
    pub(super) fn new(version: Version) -> Self {
        Self { version, client_id: "client", clean: false, keep_alive: 0, properties: Vec::new(), will: None }
    }

    /// Its session outlives the connection by 100 seconds.
    pub(super) fn kept(version: Version) -> Self {
        Self::new(version).expiry(100)
    }

    pub(super) fn expiry(self, seconds: u32) -> Self {
        self.property(17, &seconds.to_be_bytes())
    }

    pub(super) fn receive_maximum(self, maximum: u16) -> Self {
        self.property(33, &maximum.to_be_bytes())
    }

    pub(super) fn maximum_packet_size(self, size: u32) -> Self {
        self.property(39, &size.to_be_bytes())
    }

    pub(super) fn property(mut self, id: u8, value: &[u8]) -> Self {
        self.properties.push(id);
        self.properties.extend_from_slice(value);
        self
    }

    /// A will of QoS 1 with a delay.
    pub(super) fn will(mut self, delay: u32) -> Self {
        let properties = if delay == 0 { Vec::new() } else { [&[24][..], &delay.to_be_bytes()].concat() };
        self.will = Some((properties, "w", false));
        self
    }

    pub(super) fn will_expiry(mut self, seconds: u32) -> Self {
        if let Some((properties, ..)) = &mut self.will {
            properties.push(2);
            properties.extend_from_slice(&seconds.to_be_bytes());
        }
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let level = match self.version {
            Version::V31 => 3,
            Version::V311 => 4,
            Version::V5 => 5,
        };
        let name = if level == 3 { "MQIsdp" } else { "MQTT" };
        let mut flags = u8::from(self.clean) << 1;
        if let Some((_, _, retain)) = &self.will {
            flags |= 0b0000_1100 | u8::from(*retain) << 5;
        }
        let mut body = [text(name), vec![level, flags], self.keep_alive.to_be_bytes().to_vec()].concat();
        body.extend(section(self.version, &self.properties));
        body.extend(text(self.client_id));
        if let Some((properties, payload, _)) = &self.will {
            body.extend(section(self.version, properties));
            body.extend(text("will"));
            body.extend(text(payload));
        }
        packet(0x10, &body)
    }
}

/// PUBLISH to `t`.
pub(super) fn publish(version: Version, qos: Qos, id: u16, payload: &str) -> Vec<u8> {
    publish_with(version, qos, id, false, "t", &[], payload)
}

pub(super) fn publish_dup(version: Version, qos: Qos, id: u16, payload: &str) -> Vec<u8> {
    publish_with(version, qos, id, true, "t", &[], payload)
}

pub(super) fn publish_with(
    version: Version,
    qos: Qos,
    id: u16,
    dup: bool,
    topic: &str,
    properties: &[u8],
    payload: &str,
) -> Vec<u8> {
    let mut body = text(topic);
    if qos != Qos::AtMostOnce {
        body.extend(id.to_be_bytes());
    }
    body.extend(section(version, properties));
    body.extend(payload.as_bytes());
    packet(0x30 | u8::from(dup) << 3 | (qos as u8) << 1, &body)
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

pub(super) fn pubrec(id: u16) -> Vec<u8> {
    packet(0x50, &id.to_be_bytes())
}

pub(super) fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

pub(super) fn pubcomp(id: u16) -> Vec<u8> {
    packet(0x70, &id.to_be_bytes())
}

/// PUBACK or PUBREC with a reason code (5.0).
pub(super) fn refused(mut ack: Vec<u8>, reason: u8) -> Vec<u8> {
    ack[1] += 1;
    ack.push(reason);
    ack
}

/// SUBSCRIBE; a filter and its options byte.
pub(super) fn subscribe(version: Version, id: u16, subscription_id: u8, filters: &[(&str, u8)]) -> Vec<u8> {
    let properties = if subscription_id == 0 { vec![] } else { vec![11, subscription_id] };
    let mut body = [id.to_be_bytes().to_vec(), section(version, &properties)].concat();
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub(super) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [id.to_be_bytes().to_vec(), section(version, &[])].concat();
    filters.iter().for_each(|filter| body.extend(text(filter)));
    packet(0xA2, &body)
}

pub(super) fn pingreq() -> Vec<u8> {
    packet(0xC0, &[])
}

/// DISCONNECT with a reason and perhaps a session expiry (5.0).
pub(super) fn disconnect(reason: u8, expiry: Option<u32>) -> Vec<u8> {
    match expiry {
        Some(seconds) => packet(0xE0, &[&[reason, 5, 17][..], &seconds.to_be_bytes()].concat()),
        None if reason == 0 => packet(0xE0, &[]),
        None => packet(0xE0, &[reason]),
    }
}

/// AUTH; without data where that is empty.
pub(super) fn auth(reason: u8, method: &str, data: &str) -> Vec<u8> {
    let mut properties = [&[21][..], &text(method)].concat();
    if !data.is_empty() {
        properties.extend([&[22][..], &text(data)].concat());
    }
    packet(0xF0, &[&[reason][..], &section(Version::V5, &properties)].concat())
}
