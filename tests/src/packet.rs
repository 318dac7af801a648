//! MQTT packets as a test writes them, right or deliberately wrong. Owns bytes; never opens a socket, and shares no
//! code with the broker's codec.

/// Protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1
    V31,
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    V5,
}

impl Version {
    /// Whether packets carry properties.
    #[must_use]
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Protocol.
    pub version: Version,
    /// Client id.
    pub client_id: String,
    /// Clean session, or clean start.
    pub clean: bool,
    /// Seconds.
    pub keep_alive: u16,
    /// The will.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Properties of 5.0, encoded, without their length.
    pub properties: Vec<u8>,
}

/// A will.
#[derive(Clone, Debug)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// Retain.
    pub retain: bool,
    /// Properties of 5.0, encoded, without their length.
    pub properties: Vec<u8>,
}

impl Will {
    /// At QoS 1, not retained.
    #[must_use]
    pub fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: 1, retain: false, properties: vec![] }
    }
}

impl Connect {
    /// A clean connection without keep alive.
    #[must_use]
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean: true,
            keep_alive: 0,
            will: None,
            username: None,
            password: None,
            properties: vec![],
        }
    }

    /// Clean, 3.1.1.
    #[must_use]
    pub fn v311(client_id: &str) -> Self {
        Self::new(Version::V311, client_id)
    }

    /// Clean, 5.0.
    #[must_use]
    pub fn v5(client_id: &str) -> Self {
        Self::new(Version::V5, client_id)
    }

    /// Resumes a session if there is one, and keeps it: 3.x by clean session 0, 5.0 for an hour.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.clean = false;
        if self.version.has_properties() {
            self.properties.extend(property_four(0x11, 3600));
        }
        self
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// With user name and password.
    #[must_use]
    pub fn login(mut self, name: &str, password: &str) -> Self {
        self.username = Some(name.into());
        self.password = Some(password.into());
        self
    }

    /// With a keep alive.
    #[must_use]
    pub const fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// With an encoded property.
    #[must_use]
    pub fn property(mut self, encoded: Vec<u8>) -> Self {
        self.properties.extend(encoded);
        self
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (name, level) = match self.version {
            Version::V31 => ("MQIsdp", 3),
            Version::V311 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        let mut body = string(name);
        body.extend([level, self.flags()]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version.has_properties() {
            body.extend(with_length(&self.properties));
        }
        body.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            if self.version.has_properties() {
                body.extend(with_length(&will.properties));
            }
            body.extend(string(&will.topic));
            body.extend(binary(&will.payload));
        }
        body.extend(self.username.iter().flat_map(|name| string(name)));
        body.extend(self.password.iter().flat_map(|password| binary(password)));
        frame(0x10, &body)
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        let name = u8::from(self.username.is_some()) << 7;
        let password = u8::from(self.password.is_some()) << 6;
        will | name | password | u8::from(self.clean) << 1
    }
}

/// A PUBLISH with what a test may want to set.
#[derive(Clone, Debug)]
pub struct PublishOut<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS.
    pub qos: u8,
    /// Packet id; written for QoS 1 and 2.
    pub id: u16,
    /// RETAIN
    pub retain: bool,
    /// DUP
    pub dup: bool,
    /// Properties of 5.0, encoded, without their length.
    pub properties: Vec<u8>,
}

impl<'a> PublishOut<'a> {
    /// Not retained, not a repetition.
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8], qos: u8, id: u16) -> Self {
        Self { topic, payload, qos, id, retain: false, dup: false, properties: vec![] }
    }

    /// Retained.
    #[must_use]
    pub const fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// A repetition.
    #[must_use]
    pub const fn again(mut self) -> Self {
        self.dup = true;
        self
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = string(self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if version.has_properties() {
            body.extend(with_length(&self.properties));
        }
        body.extend_from_slice(self.payload);
        frame(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// SUBSCRIBE with one option byte a filter.
#[must_use]
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(version.has_properties().then_some(0));
    for (filter, options) in filters {
        body.extend(string(filter));
        body.push(*options);
    }
    frame(0x82, &body)
}

/// UNSUBSCRIBE
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(version.has_properties().then_some(0));
    body.extend(filters.iter().flat_map(|filter| string(filter)));
    frame(0xa2, &body)
}

/// PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70) of success.
#[must_use]
pub fn acknowledge(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

/// AUTH (5.0) of this reason code with a method and data; empty data is left out.
#[must_use]
pub fn auth(code: u8, method: &str, data: &[u8]) -> Vec<u8> {
    frame(0xf0, &[vec![code], with_length(&authentication(method, data))].concat())
}

/// Authentication Method and Data as properties; empty data is left out.
#[must_use]
pub fn authentication(method: &str, data: &[u8]) -> Vec<u8> {
    let mut properties = property_text(0x15, method);
    if !data.is_empty() {
        properties.extend([&[0x16][..], &binary(data)].concat());
    }
    properties
}

/// PINGREQ
pub const PINGREQ: &[u8] = &[0xc0, 0];
/// DISCONNECT, normal.
pub const DISCONNECT: &[u8] = &[0xe0, 0];

/// A packet from its first byte and its body.
#[must_use]
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(with_length(body));
    packet
}

/// The length as a variable byte integer, and the bytes.
#[must_use]
pub fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut out = variable(bytes.len());
    out.extend_from_slice(bytes);
    out
}

/// A variable byte integer.
#[must_use]
pub fn variable(mut value: usize) -> Vec<u8> {
    let mut out = vec![];
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// A UTF-8 string with its length.
#[must_use]
pub fn string(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

/// Binary data with its length.
#[must_use]
pub fn binary(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("at most 65535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// A property of one byte.
#[must_use]
pub fn property_byte(id: u8, value: u8) -> Vec<u8> {
    vec![id, value]
}

/// A property of two bytes.
#[must_use]
pub fn property_two(id: u8, value: u16) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

/// A property of four bytes.
#[must_use]
pub fn property_four(id: u8, value: u32) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

/// A property that is a string.
#[must_use]
pub fn property_text(id: u8, value: &str) -> Vec<u8> {
    [&[id][..], &string(value)].concat()
}

/// A user property.
#[must_use]
pub fn user_property(name: &str, value: &str) -> Vec<u8> {
    [&[0x26][..], &string(name), &string(value)].concat()
}
