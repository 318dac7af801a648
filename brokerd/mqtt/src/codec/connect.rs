//! CONNECT: the one packet that is read before the version is known, and whose faults may be answered. Never
//! authenticates and never assigns a client identifier.

use super::frame::{self, check_first_byte};
use super::property::{Allowed, Property, Section};
use super::wire::Reader;
use super::{Limits, Violation};
use crate::packet::{Connect, Properties, Will};
use crate::{Qos, ReasonCode, Version};

/// A CONNECT that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{violation}")]
pub struct ConnectError {
    /// What is wrong with it.
    pub violation: Violation,
    /// The CONNACK to send before the connection is closed; `None` is to close without a word.
    pub answer: Option<(Version, ReasonCode)>,
    /// The client's Maximum Packet Size, as far as the CONNECT could be read: the CONNACK is held to it.
    pub maximum_packet_size: Option<u32>,
}

impl ConnectError {
    const fn silent(violation: Violation) -> Self {
        Self { violation, answer: None, maximum_packet_size: None }
    }

    /// 5.0 answers what it can (4.13.1); 3.x has a code for the identifier alone (3.1.1, table 3.1).
    const fn of(version: Version, violation: Violation, maximum_packet_size: Option<u32>) -> Self {
        let answer = match (version, violation) {
            (Version::V5, _) | (_, Violation::ClientIdInvalid) => Some((version, violation.reason())),
            _ => None,
        };
        Self { violation, answer, maximum_packet_size }
    }

    /// [MQTT-3.1.2-2]: in the form that the client can read, as far as its level tells. Levels above 5 are taken for
    /// successors of 5.0; those with the top bit, which bridges set on 3.x levels, for 3.x.
    const fn unsupported(level: u8) -> Self {
        let version = if matches!(level, 6..=0x7F) { Version::V5 } else { Version::V311 };
        let answer = Some((version, ReasonCode::UnsupportedProtocolVersion));
        Self { violation: Violation::UnsupportedVersion, answer, maximum_packet_size: None }
    }
}

/// Decodes `packet`, the whole of a frame as `frame` found it, which must be CONNECT.
///
/// # Errors
/// It is not a CONNECT that any version allows; the connection ends.
pub fn decode_connect<'a>(packet: &'a [u8], limits: &Limits) -> Result<Connect<'a>, ConnectError> {
    let (mut reader, minimal) = open(packet, limits).map_err(ConnectError::silent)?;
    let version = protocol(&mut reader)?;
    if version == Version::V5 && !minimal {
        return Err(ConnectError::of(version, Violation::IntegerNotMinimal, None));
    }
    let mut connect = Connect {
        version,
        client_id: "",
        clean_start: false,
        keep_alive: 0,
        will: None,
        username: None,
        password: None,
        session_expiry: None,
        receive_maximum: u16::MAX,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        properties: Properties::default(),
    };
    match fields(reader, limits, &mut connect) {
        Ok(()) => Ok(connect),
        Err(violation) => Err(ConnectError::of(version, violation, connect.maximum_packet_size)),
    }
}

fn open<'a>(packet: &'a [u8], limits: &Limits) -> Result<(Reader<'a>, bool), Violation> {
    check_first_byte(*packet.first().ok_or(Violation::Truncated)?, None)?;
    let (body, minimal) = frame::body(packet, limits)?;
    Ok((Reader::new(body), minimal))
}

/// 3.1.2.1 and 3.1.2.2.
fn protocol(reader: &mut Reader<'_>) -> Result<Version, ConnectError> {
    let name = reader.binary().map_err(ConnectError::silent)?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(ConnectError::silent(Violation::ProtocolNameInvalid));
    }
    let level = reader.byte().map_err(ConnectError::silent)?;
    match (name, level) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQIsdp", _) => Err(ConnectError::unsupported(3)),
        _ => Err(ConnectError::unsupported(level)),
    }
}

/// 3.1.2.3.
struct Flags {
    clean_start: bool,
    /// QoS and retain of the will, if there is one.
    will: Option<(Qos, bool)>,
    password: bool,
    username: bool,
}

impl Flags {
    fn read(version: Version, byte: u8) -> Result<Self, Violation> {
        let bit = |at: u8| byte & (1 << at) != 0;
        if bit(0) {
            return Err(Violation::ConnectFlagReserved);
        }
        let (qos, retain) = ((byte >> 3) & 0b11, bit(5));
        if !bit(2) && (qos != 0 || retain) {
            return Err(Violation::WillFlagsInvalid);
        }
        let qos = Qos::from_bits(qos).ok_or(Violation::QosInvalid)?;
        // [MQTT-3.1.2-22] of 3.1.1; 3.1 section 3.1 says the same; 5.0 allows it.
        if bit(6) && !bit(7) && version != Version::V5 {
            return Err(Violation::PasswordWithoutUserName);
        }
        Ok(Self { clean_start: bit(1), will: bit(2).then_some((qos, retain)), password: bit(6), username: bit(7) })
    }
}

fn fields<'a>(mut reader: Reader<'a>, limits: &Limits, connect: &mut Connect<'a>) -> Result<(), Violation> {
    let version = connect.version;
    let flags = Flags::read(version, reader.byte()?)?;
    (connect.clean_start, connect.keep_alive) = (flags.clean_start, reader.two()?);
    if version == Version::V5 {
        properties(&mut reader, connect, limits)?;
    }
    connect.client_id = reader.text()?;
    if let Some((qos, retain)) = flags.will {
        connect.will = Some(will(version, &mut reader, qos, retain, limits)?);
    }
    // 3.1 section 3.1: a flag without its string is to be accepted; the Remaining Length takes precedence.
    let is_left_out = |reader: &Reader<'_>| version == Version::V31 && reader.is_empty();
    if flags.username && !is_left_out(&reader) {
        connect.username = Some(reader.text()?);
    }
    if flags.password && !is_left_out(&reader) {
        connect.password = Some(reader.binary()?);
    }
    reader.finish()?;
    check_client_id(connect)
}

/// 3.1.2.11.
fn properties<'a>(reader: &mut Reader<'a>, connect: &mut Connect<'a>, limits: &Limits) -> Result<(), Violation> {
    let mut section = Section::open(reader, Allowed::CONNECT, limits)?;
    connect.properties = section.properties();
    while let Some(property) = section.next()? {
        match property {
            Property::SessionExpiry(seconds) => connect.session_expiry = Some(seconds),
            Property::ReceiveMaximum(maximum) => connect.receive_maximum = maximum,
            Property::MaximumPacketSize(size) => connect.maximum_packet_size = Some(size),
            Property::TopicAliasMaximum(maximum) => connect.topic_alias_maximum = maximum,
            Property::RequestResponseInformation(wanted) => connect.request_response_information = wanted,
            Property::RequestProblemInformation(wanted) => connect.request_problem_information = wanted,
            Property::AuthenticationMethod(method) => connect.authentication_method = Some(method),
            Property::AuthenticationData(data) => connect.authentication_data = Some(data),
            _ => {}
        }
    }
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        return Err(Violation::AuthDataWithoutMethod);
    }
    Ok(())
}

/// 3.1.3.2 to 3.1.3.4.
fn will<'a>(
    version: Version,
    reader: &mut Reader<'a>,
    qos: Qos,
    retain: bool,
    limits: &Limits,
) -> Result<Will<'a>, Violation> {
    let (mut delay, mut expiry, mut properties) = (0, None, Properties::default());
    if version == Version::V5 {
        let mut section = Section::open(reader, Allowed::WILL, limits)?;
        properties = section.properties();
        while let Some(property) = section.next()? {
            match property {
                Property::WillDelay(seconds) => delay = seconds,
                Property::MessageExpiry(seconds) => expiry = Some(seconds),
                _ => {}
            }
        }
    }
    let topic = reader.topic_name(limits)?;
    if topic.is_empty() {
        return Err(Violation::TopicEmpty);
    }
    Ok(Will { topic, payload: reader.binary()?, qos, retain, delay, expiry, properties })
}

/// 3.1: 1 to 23 characters. 3.1.1: empty with a clean session only [MQTT-3.1.3-8]. 5.0: the server assigns one.
fn check_client_id(connect: &Connect<'_>) -> Result<(), Violation> {
    let valid = match connect.version {
        Version::V31 => (1..=23).contains(&connect.client_id.chars().count()),
        Version::V311 => !connect.client_id.is_empty() || connect.clean_start,
        Version::V5 => true,
    };
    if valid { Ok(()) } else { Err(Violation::ClientIdInvalid) }
}
