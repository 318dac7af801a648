//! MQTT packets as a broker writes them. Strict: what a server must not send is an error, and fails the test.

use crate::codes;
use crate::packet::Version;

/// A packet from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK
    Connack(Connack),
    /// PUBLISH
    Publish(Publish),
    /// PUBACK with its packet id and reason code.
    Puback(u16, u8),
    /// PUBREC with its packet id and reason code.
    Pubrec(u16, u8),
    /// PUBREL with its packet id and reason code.
    Pubrel(u16, u8),
    /// PUBCOMP with its packet id and reason code.
    Pubcomp(u16, u8),
    /// SUBACK with its packet id and codes.
    Suback(u16, Vec<u8>),
    /// UNSUBACK with its packet id and codes; none in 3.x.
    Unsuback(u16, Vec<u8>),
    /// PINGRESP
    Pingresp,
    /// DISCONNECT with its reason code.
    Disconnect(u8),
    /// AUTH with its reason code.
    Auth(u8, Properties),
}

/// CONNACK
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Session Present.
    pub session_present: bool,
    /// Return code, or reason code.
    pub code: u8,
    /// Properties of 5.0.
    pub properties: Properties,
}

/// PUBLISH
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// DUP
    pub dup: bool,
    /// QoS
    pub qos: u8,
    /// RETAIN
    pub retain: bool,
    /// Topic.
    pub topic: String,
    /// Packet id; 0 at QoS 0.
    pub id: u16,
    /// Payload.
    pub payload: Vec<u8>,
    /// Properties of 5.0.
    pub properties: Properties,
}

impl Publish {
    /// The payload as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a payload of UTF-8")
    }
}

/// Properties in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Value)>);

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Any of the integer types.
    Number(u32),
    /// A string, or binary data.
    Bytes(Vec<u8>),
    /// A user property.
    Pair(String, String),
}

impl Properties {
    /// The first of this identifier.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// The first of this identifier, as a number.
    #[must_use]
    pub fn number(&self, id: u8) -> Option<u32> {
        match self.get(id)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The first of this identifier, as text.
    #[must_use]
    pub fn text(&self, id: u8) -> Option<&str> {
        match self.get(id)? {
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// The packet at the start of `bytes` and how long it is; `None` when more must come first.
pub fn packet(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize)>, String> {
    Ok(explained(bytes, version)?.map(|(packet, length, _)| (packet, length)))
}

/// The same, and the Reason String that the packet carries, or else its Server Reference.
pub fn explained(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize, Option<String>)>, String> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let mut cursor = Cursor { bytes, at: 1, reason: None };
    let Some(length) = cursor.length()? else {
        return Ok(None);
    };
    let end = cursor.at + length;
    if bytes.len() < end {
        return Ok(None);
    }
    let mut body = Cursor { bytes: &bytes[cursor.at..end], at: 0, reason: None };
    let packet = body.packet(first, version).map_err(|why| format!("{why} in {:02x?}", &bytes[..end.min(200)]))?;
    if body.at != body.bytes.len() {
        return Err(format!("bytes after the end of {packet:?}"));
    }
    codes::check(&packet, version)?;
    Ok(Some((packet, end, body.reason)))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The Reason String that was met, or else the Server Reference.
    reason: Option<String>,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let taken = self.bytes.get(self.at..self.at + count).ok_or("a packet that ends too early")?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn two(&mut self) -> Result<u16, String> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn four(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.two()?) << 16 | u32::from(self.two()?))
    }

    fn data(&mut self) -> Result<Vec<u8>, String> {
        let length = self.two()?;
        Ok(self.take(length.into())?.to_vec())
    }

    fn text(&mut self) -> Result<String, String> {
        String::from_utf8(self.data()?).map_err(|_| "a string that is not UTF-8".to_owned())
    }

    fn rest(&mut self) -> Vec<u8> {
        let rest = self.bytes[self.at..].to_vec();
        self.at = self.bytes.len();
        rest
    }

    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// A variable byte integer; `None` when its bytes are not all there.
    fn length(&mut self) -> Result<Option<usize>, String> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Ok(None);
            };
            self.at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(Some(value));
            }
        }
        Err("a variable byte integer of more than four bytes".to_owned())
    }

    fn packet(&mut self, first: u8, version: Version) -> Result<Packet, String> {
        let expected_flags = if first >> 4 == 6 { 2 } else { 0 };
        if first >> 4 != 3 && first & 0x0f != expected_flags {
            return Err(format!("wrong flags in {first:#04x}"));
        }
        match first >> 4 {
            2 => self.connack(version),
            3 => self.publish(first, version),
            4 => self.acknowledgement(version).map(|(id, code)| Packet::Puback(id, code)),
            5 => self.acknowledgement(version).map(|(id, code)| Packet::Pubrec(id, code)),
            6 => self.acknowledgement(version).map(|(id, code)| Packet::Pubrel(id, code)),
            7 => self.acknowledgement(version).map(|(id, code)| Packet::Pubcomp(id, code)),
            9 => self.codes(version).map(|(id, codes)| Packet::Suback(id, codes)),
            11 => self.codes(version).map(|(id, codes)| Packet::Unsuback(id, codes)),
            13 => Ok(Packet::Pingresp),
            14 if version.has_properties() => self.disconnect(),
            15 if version.has_properties() => Ok(Packet::Auth(self.byte()?, self.properties()?)),
            _ => Err(format!("a packet no server sends: {first:#04x}")),
        }
    }

    fn connack(&mut self, version: Version) -> Result<Packet, String> {
        let flags = self.byte()?;
        if flags > 1 {
            return Err(format!("CONNACK flags {flags:#04x}"));
        }
        let code = self.byte()?;
        // A server that refuses a protocol level may answer in the form of 3.x.
        let has_properties = version.has_properties() && !self.is_at_end();
        if version.has_properties() && !has_properties && code == 0 {
            return Err("CONNACK of 5.0 without a property length".to_owned());
        }
        let properties = if has_properties { self.properties()? } else { Properties::default() };
        Ok(Packet::Connack(Connack { session_present: flags == 1, code, properties }))
    }

    fn publish(&mut self, first: u8, version: Version) -> Result<Packet, String> {
        let qos = first >> 1 & 3;
        let topic = self.text()?;
        let id = if qos > 0 { self.two()? } else { 0 };
        if qos == 3 || (qos > 0 && id == 0) || (qos == 0 && first & 8 != 0) {
            return Err(format!("PUBLISH with QoS {qos}, id {id}, first byte {first:#04x}"));
        }
        let properties = if version.has_properties() { self.properties()? } else { Properties::default() };
        let payload = self.rest();
        let (dup, retain) = (first & 8 != 0, first & 1 != 0);
        Ok(Packet::Publish(Publish { dup, qos, retain, topic, id, payload, properties }))
    }

    fn acknowledgement(&mut self, version: Version) -> Result<(u16, u8), String> {
        let id = self.two()?;
        if self.is_at_end() {
            return Ok((id, 0));
        }
        if !version.has_properties() {
            return Err("an acknowledgement of 3.x of more than two bytes".to_owned());
        }
        let code = self.byte()?;
        if !self.is_at_end() {
            self.explanation()?;
        }
        Ok((id, code))
    }

    fn codes(&mut self, version: Version) -> Result<(u16, Vec<u8>), String> {
        let id = self.two()?;
        if version.has_properties() {
            self.explanation()?;
        }
        Ok((id, self.rest()))
    }

    fn disconnect(&mut self) -> Result<Packet, String> {
        if self.is_at_end() {
            return Ok(Packet::Disconnect(0));
        }
        let code = self.byte()?;
        if !self.is_at_end() {
            self.explanation()?;
        }
        Ok(Packet::Disconnect(code))
    }

    /// Reason String, Server Reference and User Property are all that an answer or a DISCONNECT may have.
    fn explanation(&mut self) -> Result<(), String> {
        let properties = self.properties()?;
        let stray = properties.0.iter().find(|(id, _)| ![0x1c, 0x1f, 0x26].contains(id));
        stray.map_or(Ok(()), |stray| Err(format!("property {stray:02x?}")))
    }

    fn properties(&mut self) -> Result<Properties, String> {
        let length = self.length()?.ok_or("a property length that is cut off")?;
        let mut section = Cursor { bytes: self.take(length)?, at: 0, reason: None };
        let mut properties = vec![];
        while !section.is_at_end() {
            let id = section.byte()?;
            properties.push((id, section.value(id)?));
        }
        let properties = Properties(properties);
        self.reason = properties.text(0x1f).or(properties.text(0x1c)).map(str::to_owned);
        Ok(properties)
    }

    fn value(&mut self, id: u8) -> Result<Value, String> {
        Ok(match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => Value::Number(self.byte()?.into()),
            0x13 | 0x21..=0x23 => Value::Number(self.two()?.into()),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(self.four()?),
            0x0b => Value::Number(self.length()?.ok_or("a cut off identifier")? as u32),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => Value::Bytes(self.data()?),
            0x26 => Value::Pair(self.text()?, self.text()?),
            _ => return Err(format!("property {id:#04x}")),
        })
    }
}
