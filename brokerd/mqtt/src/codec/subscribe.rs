//! SUBSCRIBE and UNSUBSCRIBE from a client, and the filters in them. Never copies a filter.

use super::property::{Allowed, Property, Section};
use super::wire::{Reader, put_binary};
use super::{Limits, Violation};
use crate::packet::{Properties, Subscribe, Subscription, SubscriptionOptions, Unsubscribe};
use crate::{Qos, RetainHandling, Version, topic};

/// 3.8.
pub(crate) fn subscribe<'a>(version: Version, body: &'a [u8], limits: &Limits) -> Result<Subscribe<'a>, Violation> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    let mut properties = Properties::default();
    if version == Version::V5 {
        let mut section = Section::open(&mut reader, Allowed::SUBSCRIBE, limits)?;
        properties = section.properties();
        while let Some(property) = section.next()? {
            if let Property::SubscriptionId(id) = property {
                subscription_id = Some(id);
            }
        }
    }
    let filters = reader.rest();
    if reader.is_empty() {
        return Err(Violation::NoFilter);
    }
    while !reader.is_empty() {
        let filter = reader.topic_filter(limits)?;
        let options = options(version, reader.byte()?)?;
        // [MQTT-3.8.3-4]
        if options.no_local && topic::parse_share(filter).is_some() {
            return Err(Violation::NoLocalOnShared);
        }
    }
    Ok(Subscribe { packet_id, subscription_id, properties, filters })
}

/// 3.10.
pub(crate) fn unsubscribe<'a>(version: Version, body: &'a [u8], limits: &Limits) -> Result<Unsubscribe<'a>, Violation> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut properties = Properties::default();
    if version == Version::V5 {
        let section = Section::open(&mut reader, Allowed::UNSUBSCRIBE, limits)?;
        properties = section.properties();
        section.check()?;
    }
    let filters = reader.rest();
    if reader.is_empty() {
        return Err(Violation::NoFilter);
    }
    while !reader.is_empty() {
        reader.topic_filter(limits)?;
    }
    Ok(Unsubscribe { packet_id, properties, filters })
}

/// The byte after a filter: 3.x has the QoS alone (3.8.3), 5.0 four options (3.8.3.1).
fn options(version: Version, byte: u8) -> Result<SubscriptionOptions, Violation> {
    let reserved = if version == Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
    if byte & reserved != 0 {
        return Err(Violation::SubscriptionOptionsReserved);
    }
    Ok(SubscriptionOptions {
        qos: Qos::from_bits(byte & 0b11).ok_or(Violation::SubscriptionQosInvalid)?,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling: RetainHandling::from_bits(byte >> 4).ok_or(Violation::RetainHandlingInvalid)?,
    })
}

impl<'a> Subscribe<'a> {
    /// What is subscribed to, in the order of the packet: SUBACK answers in the same.
    pub fn filters(&self) -> impl Iterator<Item = Subscription<'a>> + use<'a> {
        let mut reader = Reader::new(self.filters);
        // The decoder has checked them: an error cannot come, and would end the iteration.
        std::iter::from_fn(move || {
            let filter = reader.text().ok()?;
            // What 3.x may not set is not set, so that the wider reading fits both.
            let options = options(Version::V5, reader.byte().ok()?).ok()?;
            Some(Subscription { filter, options })
        })
    }
}

impl<'a> Subscribe<'a> {
    /// The same with other filters, written to `bytes`. `rename` answers valid filters, or `None` for one that stays.
    pub fn renamed<'b>(&self, rename: impl Fn(&str) -> Option<String>, bytes: &'b mut Vec<u8>) -> Subscribe<'b>
    where
        'a: 'b,
    {
        let mut reader = Reader::new(self.filters);
        while let (Ok(filter), Ok(options)) = (reader.text(), reader.byte()) {
            put_filter(bytes, filter, rename(filter));
            bytes.push(options);
        }
        Subscribe { filters: bytes, ..*self }
    }
}

fn put_filter(bytes: &mut Vec<u8>, filter: &str, renamed: Option<String>) {
    put_binary(bytes, renamed.as_deref().unwrap_or(filter).as_bytes());
}

impl<'a> Unsubscribe<'a> {
    /// The same with other filters: see [`Subscribe::renamed`].
    pub fn renamed<'b>(&self, rename: impl Fn(&str) -> Option<String>, bytes: &'b mut Vec<u8>) -> Unsubscribe<'b>
    where
        'a: 'b,
    {
        self.filters().for_each(|filter| put_filter(bytes, filter, rename(filter)));
        Unsubscribe { filters: bytes, ..*self }
    }

    /// What is unsubscribed from, in the order of the packet: UNSUBACK answers in the same.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.filters);
        std::iter::from_fn(move || reader.text().ok())
    }
}
