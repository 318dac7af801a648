//! Sessions as bytes.

use mqtt::packet::SubscriptionOptions;
use mqtt::session::{Granted, Will};
use mqtt::{Qos, RetainHandling, Version};

use super::{DecodeError, Reader, VERSION, decode_message, encode_message, put_bytes, put_varint};
use crate::record::SessionRecord;

const DETACHED: u8 = 1;
const PRINCIPAL: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_EXPIRES: u8 = 1 << 3;

const NO_LOCAL: u8 = 1 << 2;
const AS_PUBLISHED: u8 = 1 << 3;

/// Appends a session.
pub fn encode_session(record: &SessionRecord, out: &mut Vec<u8>) {
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    out.push(VERSION);
    out.push(
        flag(record.detached_at.is_some(), DETACHED)
            | flag(record.principal.is_some(), PRINCIPAL)
            | flag(record.will.is_some(), WILL)
            | flag(record.will.as_ref().is_some_and(|will| will.expiry.is_some()), WILL_EXPIRES),
    );
    put_bytes(out, record.client_id.as_bytes());
    out.push(level(record.version));
    put_varint(out, u64::from(record.expiry));
    put_varint(out, record.next_seq);
    put_varint(out, u64::from(record.first_serial));
    put_varint(out, u64::from(record.serials));
    if let Some(at) = record.detached_at {
        put_varint(out, at);
    }
    if let Some(principal) = &record.principal {
        put_bytes(out, principal.as_bytes());
    }
    put_varint(out, record.subscriptions.len() as u64);
    record.subscriptions.iter().for_each(|granted| put_subscription(granted, out));
    if let Some(will) = &record.will {
        put_varint(out, u64::from(will.delay));
        if let Some(expiry) = will.expiry {
            put_varint(out, u64::from(expiry));
        }
        encode_message(&will.message, out);
    }
}

/// Reads what [`encode_session`] wrote.
///
/// # Errors
/// Where it is not such a thing.
pub fn decode_session(bytes: &[u8]) -> Result<SessionRecord, DecodeError> {
    let mut reader = Reader::versioned(bytes)?;
    let flags = reader.u8()?;
    let has = |bit: u8| flags & bit != 0;
    let client_id = reader.str()?.into();
    let version = version(reader.u8()?)?;
    let expiry = reader.varint_u32()?;
    let next_seq = reader.varint()?;
    let (first_serial, serials) = (reader.varint_u32()?, reader.varint_u32()?);
    let detached_at = if has(DETACHED) { Some(reader.varint()?) } else { None };
    let principal = if has(PRINCIPAL) { Some(reader.str()?.into()) } else { None };
    let mut subscriptions = Vec::new();
    for _ in 0..reader.varint()? {
        subscriptions.push(subscription(&mut reader)?); // ends with the record at the latest
    }
    let will = if has(WILL) {
        let delay = reader.varint_u32()?;
        let expiry = if has(WILL_EXPIRES) { Some(reader.varint_u32()?) } else { None };
        Some(Will { message: decode_message(reader.rest())?, delay, expiry })
    } else {
        reader.end()?;
        None
    };
    Ok(SessionRecord {
        client_id,
        version,
        expiry,
        detached_at,
        principal,
        subscriptions,
        will,
        next_seq,
        first_serial,
        serials,
    })
}

fn put_subscription(granted: &Granted, out: &mut Vec<u8>) {
    put_bytes(out, granted.filter.as_bytes());
    let options = granted.options;
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    out.push(
        options.qos as u8
            | flag(options.no_local, NO_LOCAL)
            | flag(options.retain_as_published, AS_PUBLISHED)
            | (options.retain_handling as u8) << 4,
    );
    put_varint(out, u64::from(granted.id));
    put_varint(out, u64::from(granted.serial));
}

fn subscription(reader: &mut Reader<'_>) -> Result<Granted, DecodeError> {
    let filter = reader.str()?.into();
    let bits = reader.u8()?;
    let options = SubscriptionOptions {
        qos: Qos::from_bits(bits & 0b11).ok_or(DecodeError::Malformed)?,
        no_local: bits & NO_LOCAL != 0,
        retain_as_published: bits & AS_PUBLISHED != 0,
        retain_handling: RetainHandling::from_bits(bits >> 4).ok_or(DecodeError::Malformed)?,
    };
    Ok(Granted { filter, options, id: reader.varint_u32()?, serial: reader.varint_u32()? })
}

/// The protocol level of a CONNECT.
const fn level(version: Version) -> u8 {
    match version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    }
}

const fn version(level: u8) -> Result<Version, DecodeError> {
    match level {
        3 => Ok(Version::V31),
        4 => Ok(Version::V311),
        5 => Ok(Version::V5),
        _ => Err(DecodeError::Malformed),
    }
}
