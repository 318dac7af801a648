//! The packets that a client sends, borrowed from the read buffer and already checked by the decoder, and the
//! parts of the packets that the server sends. Never owns a byte of a client's packet.

use crate::{PacketId, Qos, ReasonCode, RetainHandling, Version};

/// A whole packet from a client. Whatever is here is valid for the connection's version.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet<'a> {
    /// CONNECT. A second one is a protocol error [MQTT-3.1.0-2].
    Connect(Box<Connect<'a>>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH (5.0).
    Auth(Auth<'a>),
}

/// CONNECT.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect<'a> {
    /// The version it announced.
    pub version: Version,
    /// May be empty (3.1.1 with clean session, 5.0): the server assigns one.
    pub client_id: &'a str,
    /// Clean Session (3.x) or Clean Start (5.0).
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    /// The will, if any.
    pub will: Option<Will<'a>>,
    /// Present but empty is not absent.
    pub username: Option<&'a str>,
    /// Binary.
    pub password: Option<&'a [u8]>,
    /// Session Expiry Interval, seconds (5.0); `None` if absent.
    pub session_expiry: Option<u32>,
    /// Receive Maximum; 65,535 if absent.
    pub receive_maximum: u16,
    /// Maximum Packet Size; `None` is no limit.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum; 0 if absent.
    pub topic_alias_maximum: u16,
    /// Request Response Information; false if absent.
    pub request_response_information: bool,
    /// Request Problem Information; true if absent.
    pub request_problem_information: bool,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
    /// All properties, checked, as encoded (User Property is read from here).
    pub properties: Properties<'a>,
}

/// The will in a CONNECT.
#[derive(Debug, Clone, PartialEq)]
pub struct Will<'a> {
    /// Its topic name.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// Will Delay Interval, seconds; 0 if absent.
    pub delay: u32,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
    /// All will properties, checked, as encoded.
    pub properties: Properties<'a>,
}

/// PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Publish<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// The topic name; empty only in 5.0 with an alias.
    pub topic: &'a str,
    /// Present exactly where the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// Topic Alias, 5.0; not yet compared with the maximum (the session knows it).
    pub topic_alias: Option<u16>,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
    /// All properties, checked, as encoded.
    pub properties: Properties<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

/// Which acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ack<'a> {
    /// Which of the four.
    pub kind: AckKind,
    /// What it acknowledges.
    pub packet_id: PacketId,
    /// `Success` where it was left out, and always in 3.x.
    pub reason: ReasonCode,
    /// As encoded.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE. At least one filter, all of them valid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subscribe<'a> {
    /// Its packet id.
    pub packet_id: PacketId,
    /// Subscription Identifier (5.0).
    pub subscription_id: Option<u32>,
    /// As encoded.
    pub properties: Properties<'a>,
    pub(crate) filters: &'a [u8],
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subscription<'a> {
    /// A valid filter, `$share/...` included.
    pub filter: &'a str,
    /// What the subscriber asks.
    pub options: SubscriptionOptions,
}

/// Subscription options; 3.x has the QoS alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS wanted.
    pub qos: Qos,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// UNSUBSCRIBE. At least one filter, all of them valid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Its packet id.
    pub packet_id: PacketId,
    /// As encoded.
    pub properties: Properties<'a>,
    pub(crate) filters: &'a [u8],
}

/// DISCONNECT from the client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disconnect<'a> {
    /// `Success` (normal) where left out.
    pub reason: ReasonCode,
    /// Session Expiry Interval, seconds.
    pub session_expiry: Option<u32>,
    /// As encoded.
    pub properties: Properties<'a>,
}

/// AUTH from the client (5.0).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Auth<'a> {
    /// `Success` where left out.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub method: Option<&'a str>,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
    /// As encoded.
    pub properties: Properties<'a>,
}

/// A checked 5.0 property section, without its length. Empty in 3.x.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a>(pub(crate) &'a [u8]);

impl<'a> Properties<'a> {
    /// The encoded bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}
