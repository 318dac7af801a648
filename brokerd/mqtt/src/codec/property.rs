//! 5.0 properties that a client may send (2.2.2): reading and checking a section, and which of them are passed on to
//! subscribers. Never keeps a property; it points into the packet.

use std::borrow::Cow;

use super::wire::Reader;
use super::{Limits, Violation};
use crate::packet::Properties;
use crate::topic;

/// A property that a client may send, in the order of table 2-4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property<'a> {
    /// Payload Format Indicator: whether the payload is UTF-8.
    PayloadFormat(bool),
    /// Message Expiry Interval, seconds.
    MessageExpiry(u32),
    /// Content Type.
    ContentType(&'a str),
    /// Response Topic, a valid topic name.
    ResponseTopic(&'a str),
    /// Correlation Data.
    CorrelationData(&'a [u8]),
    /// Subscription Identifier, never 0.
    SubscriptionId(u32),
    /// Session Expiry Interval, seconds.
    SessionExpiry(u32),
    /// Authentication Method.
    AuthenticationMethod(&'a str),
    /// Authentication Data.
    AuthenticationData(&'a [u8]),
    /// Request Problem Information.
    RequestProblemInformation(bool),
    /// Will Delay Interval, seconds.
    WillDelay(u32),
    /// Request Response Information.
    RequestResponseInformation(bool),
    /// Reason String.
    ReasonString(&'a str),
    /// Receive Maximum, never 0.
    ReceiveMaximum(u16),
    /// Topic Alias Maximum.
    TopicAliasMaximum(u16),
    /// Topic Alias, never 0.
    TopicAlias(u16),
    /// User Property: name and value.
    User(&'a str, &'a str),
    /// Maximum Packet Size, never 0.
    MaximumPacketSize(u32),
}

/// Which properties a packet may have, one bit an identifier.
#[derive(Clone, Copy)]
pub(crate) struct Allowed(u64);

impl Allowed {
    const fn of(ids: &[u8]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < ids.len() {
            bits |= 1 << ids[at];
            at += 1;
        }
        Self(bits)
    }

    pub(crate) const CONNECT: Self = Self::of(&[17, 21, 22, 23, 25, 33, 34, 38, 39]);
    pub(crate) const WILL: Self = Self::of(&[1, 2, 3, 8, 9, 24, 38]);
    pub(crate) const PUBLISH: Self = Self::of(&[1, 2, 3, 8, 9, 35, 38]);
    pub(crate) const ACK: Self = Self::of(&[31, 38]);
    pub(crate) const SUBSCRIBE: Self = Self::of(&[11, 38]);
    pub(crate) const UNSUBSCRIBE: Self = Self::of(&[38]);
    pub(crate) const DISCONNECT: Self = Self::of(&[17, 31, 38]);
    pub(crate) const AUTH: Self = Self::of(&[21, 22, 31, 38]);
    /// What a subscriber gets as the publisher wrote it [MQTT-3.3.2-4, -15, -16, -17, -18, -20].
    const FORWARDED: Self = Self::of(&[1, 3, 8, 9, 38]);
    const ANY_FROM_CLIENT: Self = Self::of(&[1, 2, 3, 8, 9, 11, 17, 21, 22, 23, 24, 25, 31, 33, 34, 35, 38, 39]);
    /// Known (table 2-4), the server's own included.
    const KNOWN: Self = Self::of(&[
        1, 2, 3, 8, 9, 11, 17, 18, 19, 21, 22, 23, 24, 25, 26, 28, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42,
    ]);

    const fn has(self, id: u8) -> bool {
        id < 64 && self.0 & (1 << id) != 0
    }
}

const USER: u8 = 38;

/// A property section that is being read and checked.
pub(crate) struct Section<'a> {
    reader: Reader<'a>,
    allowed: Allowed,
    seen: u64,
    /// User Properties that may still come.
    users_left: usize,
}

impl<'a> Section<'a> {
    /// Takes the section, with its length, from the front of `packet`.
    pub(crate) fn open(packet: &mut Reader<'a>, allowed: Allowed, limits: &Limits) -> Result<Self, Violation> {
        let len = packet.variable()?;
        Ok(Self { users_left: limits.max_user_properties, ..Self::over(packet.take(len as usize)?, allowed) })
    }

    /// Of a section that was checked when its packet came, or that a peer has checked.
    const fn over(bytes: &'a [u8], allowed: Allowed) -> Self {
        Self { reader: Reader::new(bytes), allowed, seen: 0, users_left: usize::MAX }
    }

    /// All of it, before any is read.
    pub(crate) const fn properties(&self) -> Properties<'a> {
        Properties(self.reader.rest())
    }

    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, Violation> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        // The identifier is a Variable Byte Integer, but all that exist take one byte (2.2.2.2).
        let id = self.reader.byte()?;
        if !Allowed::KNOWN.has(id) {
            return Err(Violation::PropertyUnknown);
        }
        if !self.allowed.has(id) {
            return Err(Violation::PropertyNotAllowed);
        }
        if id != USER && self.seen & (1 << id) != 0 {
            return Err(Violation::PropertyDuplicate);
        }
        self.seen |= 1 << id;
        if id == USER {
            self.users_left = self.users_left.checked_sub(1).ok_or(Violation::UserPropertiesTooMany)?;
        }
        read_value(id, &mut self.reader).map(Some)
    }

    /// Reads to the end where no value is of interest.
    pub(crate) fn check(mut self) -> Result<(), Violation> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

fn read_value<'a>(id: u8, reader: &mut Reader<'a>) -> Result<Property<'a>, Violation> {
    Ok(match id {
        1 => Property::PayloadFormat(flag(reader)?),
        2 => Property::MessageExpiry(reader.four()?),
        3 => Property::ContentType(reader.text()?),
        8 => Property::ResponseTopic(response_topic(reader)?),
        9 => Property::CorrelationData(reader.binary()?),
        11 => Property::SubscriptionId(not_zero(reader.variable()?)?),
        17 => Property::SessionExpiry(reader.four()?),
        21 => Property::AuthenticationMethod(reader.text()?),
        22 => Property::AuthenticationData(reader.binary()?),
        23 => Property::RequestProblemInformation(flag(reader)?),
        24 => Property::WillDelay(reader.four()?),
        25 => Property::RequestResponseInformation(flag(reader)?),
        31 => Property::ReasonString(reader.text()?),
        33 => Property::ReceiveMaximum(not_zero(reader.two()?)?),
        34 => Property::TopicAliasMaximum(reader.two()?),
        35 => match reader.two()? {
            0 => return Err(Violation::TopicAliasZero),
            alias => Property::TopicAlias(alias),
        },
        USER => Property::User(reader.text()?, reader.text()?),
        39 => Property::MaximumPacketSize(not_zero(reader.four()?)?),
        _ => return Err(Violation::PropertyNotAllowed),
    })
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Violation> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Violation::PropertyValueInvalid),
    }
}

fn not_zero<T: Default + PartialEq>(value: T) -> Result<T, Violation> {
    if value == T::default() { Err(Violation::PropertyValueInvalid) } else { Ok(value) }
}

fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Violation> {
    let name = reader.text()?;
    if topic::valid_name(name) { Ok(name) } else { Err(Violation::ResponseTopicInvalid) }
}

impl<'a> Properties<'a> {
    /// The properties in the order of the packet.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut section = Section::over(self.as_bytes(), Allowed::ANY_FROM_CLIENT);
        // The decoder has checked them: an error cannot come, and would end the iteration.
        std::iter::from_fn(move || section.next().ok().flatten())
    }
}

/// The properties of a PUBLISH or will that its receivers get, in their order and byte for byte: all but Topic Alias,
/// Message Expiry Interval, Subscription Identifier and Will Delay Interval. Copies only where one of these stands
/// between others.
#[must_use]
pub fn forwardable(properties: Properties<'_>) -> Cow<'_, [u8]> {
    let all = properties.as_bytes();
    let mut section = Section::over(all, Allowed::ANY_FROM_CLIENT);
    let mut kept = Cow::Borrowed(&all[..0]);
    let mut kept_to = 0;
    loop {
        let from = all.len() - section.reader.rest().len();
        let Ok(Some(property)) = section.next() else {
            return kept;
        };
        if !is_forwarded(&property) {
            continue;
        }
        let to = all.len() - section.reader.rest().len();
        match &mut kept {
            Cow::Borrowed([]) => kept = Cow::Borrowed(&all[from..to]),
            Cow::Borrowed(run) if kept_to == from => *run = &all[from - run.len()..to],
            _ => kept.to_mut().extend_from_slice(&all[from..to]),
        }
        kept_to = to;
    }
}

const fn is_forwarded(property: &Property<'_>) -> bool {
    !matches!(
        property,
        Property::TopicAlias(_) | Property::MessageExpiry(_) | Property::SubscriptionId(_) | Property::WillDelay(_)
    )
}

/// Whether `bytes`, from another node, are what `forwardable` makes: whole, valid, and none that is not forwarded.
#[must_use]
pub fn check_forwardable(bytes: &[u8]) -> bool {
    Section::over(bytes, Allowed::FORWARDED).check().is_ok()
}
