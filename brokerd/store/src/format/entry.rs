//! Queued deliveries as bytes.

use std::num::NonZeroU32;
use std::sync::Arc;

use mqtt::{MessageId, Qos};

use super::message::{decode_id, encode_id, encode_message, read_message};
use super::{DecodeError, Reader, VERSION, put_varint};
use crate::op::{Body, Entry};

const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const GROUP: u8 = 1 << 4;
const IDS: u8 = 1 << 5;
/// The message is elsewhere: its identity and size stand in its place, directly after the flags.
const NAMED: u8 = 1 << 6;

/// Appends an entry: version, flags, the identity and size of a message that is elsewhere, what the flags announce,
/// and a message that is not elsewhere.
pub fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.push(VERSION);
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    out.push(
        entry.qos as u8
            | flag(entry.retain, RETAIN)
            | flag(entry.expires_at.is_some(), EXPIRES)
            | flag(entry.shared.is_some(), GROUP)
            | flag(!entry.subscription_ids.is_empty(), IDS)
            | flag(matches!(entry.body, Body::Shared(..)), NAMED),
    );
    if let Body::Shared(id, size) = &entry.body {
        out.extend_from_slice(&encode_id(*id));
        put_varint(out, u64::from(*size));
    }
    if let Some(at) = entry.expires_at {
        put_varint(out, at);
    }
    if let Some(serial) = entry.shared {
        put_varint(out, u64::from(serial.get()));
    }
    if !entry.subscription_ids.is_empty() {
        put_varint(out, entry.subscription_ids.len() as u64);
        entry.subscription_ids.iter().for_each(|id| put_varint(out, u64::from(*id)));
    }
    if let Body::Inline(message) = &entry.body {
        encode_message(message, out);
    }
}

/// Reads what [`encode_entry`] wrote.
///
/// # Errors
/// Where it is not such a thing.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let mut reader = Reader::versioned(bytes)?;
    let flags = reader.u8()?;
    let has = |bit: u8| flags & bit != 0;
    let named = if has(NAMED) { Some((decode_id(&mut reader)?, reader.varint_u32()?)) } else { None };
    let expires_at = if has(EXPIRES) { Some(reader.varint()?) } else { None };
    let shared =
        if has(GROUP) { Some(NonZeroU32::new(reader.varint_u32()?).ok_or(DecodeError::Malformed)?) } else { None };
    let mut ids = Vec::new();
    for _ in 0..if has(IDS) { reader.varint()? } else { 0 } {
        ids.push(reader.varint_u32()?); // ends with the record at the latest: nothing is reserved for what it claims
    }
    let qos = Qos::from_bits(flags & 0b11).ok_or(DecodeError::Malformed)?;
    let body = match named {
        Some((id, size)) => {
            reader.end()?;
            Body::Shared(id, size)
        }
        None => Body::Inline(Arc::new(read_message(reader)?)),
    };
    Ok(Entry { qos, retain: has(RETAIN), subscription_ids: ids.into(), shared, expires_at, body })
}

/// The identity of the message, if it is elsewhere, without reading the rest.
pub(crate) fn shared_id(bytes: &[u8]) -> Option<MessageId> {
    let mut reader = Reader::versioned(bytes).ok()?;
    let is_named = reader.u8().ok()? & NAMED != 0;
    if is_named { decode_id(&mut reader).ok() } else { None }
}

/// Bytes that count against the bounds of a queue: those of the message, wherever it is.
pub(crate) fn body_size(bytes: &[u8]) -> u64 {
    let named = || {
        let mut reader = Reader::versioned(bytes).ok()?;
        let is_named = reader.u8().ok()? & NAMED != 0;
        if !is_named {
            return None;
        }
        reader.take(18).ok()?;
        reader.varint().ok()
    };
    named().unwrap_or(bytes.len() as u64)
}

/// QoS, bytes that count against the bounds of a queue, and when it expires, without reading the message.
pub(crate) fn head(bytes: &[u8]) -> Result<(Qos, u32, Option<u64>), DecodeError> {
    let flags = bytes.get(1).copied().unwrap_or_default();
    let qos = Qos::from_bits(flags & 0b11).ok_or(DecodeError::Malformed)?;
    Ok((qos, u32::try_from(body_size(bytes)).unwrap_or(u32::MAX), expiry(bytes)?))
}

/// When it expires, without reading the message; checks what comes before.
pub(crate) fn expiry(bytes: &[u8]) -> Result<Option<u64>, DecodeError> {
    let mut reader = Reader::versioned(bytes)?;
    let flags = reader.u8()?;
    if flags & NAMED != 0 {
        reader.take(18)?;
        reader.varint()?;
    }
    if flags & EXPIRES != 0 { reader.varint().map(Some) } else { Ok(None) }
}
