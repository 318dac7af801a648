//! Retained and delayed messages as bytes.

use std::sync::Arc;

use mqtt::Message;

use super::message::{decode_id, encode_message, read_message};
use super::{DecodeError, Reader, VERSION, put_bytes, put_varint};
use crate::backend::{Delayed, Retained};
use crate::record::{Stamp, UnixMillis};

const EXPIRES: u8 = 1;
const IS_SET: u8 = 1 << 1;

pub(crate) fn encode_retained(
    stamp: Stamp,
    message: Option<&Message>,
    expires_at: Option<UnixMillis>,
    out: &mut Vec<u8>,
) {
    out.push(VERSION);
    out.extend_from_slice(&stamp.hlc.to_be_bytes());
    out.extend_from_slice(&stamp.node.to_be_bytes());
    out.push(if message.is_some() { IS_SET } else { 0 } | if expires_at.is_some() { EXPIRES } else { 0 });
    if let Some(at) = expires_at {
        put_varint(out, at);
    }
    if let Some(message) = message {
        encode_message(message, out);
    }
}

pub(crate) fn retained_stamp(bytes: &[u8]) -> Option<Stamp> {
    let mut reader = Reader::versioned(bytes).ok()?;
    Some(Stamp { hlc: reader.u64().ok()?, node: reader.u64().ok()? })
}

pub(crate) fn decode_retained(topic: &[u8], bytes: &[u8]) -> Result<Retained, DecodeError> {
    let topic = std::str::from_utf8(topic).map_err(|_| DecodeError::Malformed)?.into();
    let mut reader = Reader::versioned(bytes)?;
    let stamp = Stamp { hlc: reader.u64()?, node: reader.u64()? };
    let flags = reader.u8()?;
    let expires_at = if flags & EXPIRES != 0 { Some(reader.varint()?) } else { None };
    let message = if flags & IS_SET != 0 { Some(Arc::new(read_message(reader)?)) } else { None };
    Ok(Retained { topic, stamp, message, expires_at })
}

pub(crate) fn encode_delayed(delayed: &Delayed, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&delayed.due.to_be_bytes());
    put_varint(out, delayed.expires_at.unwrap_or(0));
    put_bytes(out, delayed.client_id.as_bytes());
    out.push(u8::from(delayed.principal.is_some()));
    if let Some(principal) = &delayed.principal {
        put_bytes(out, principal.as_bytes());
    }
    encode_message(&delayed.message, out);
}

pub(crate) fn decode_delayed(key: &[u8], bytes: &[u8]) -> Result<Delayed, DecodeError> {
    let id = decode_id(&mut Reader::new(key))?;
    let mut reader = Reader::versioned(bytes)?;
    let due = reader.u64()?;
    let expires_at = Some(reader.varint()?).filter(|at| *at != 0);
    let client_id = reader.str()?.into();
    let principal = if reader.u8()? != 0 { Some(reader.str()?.into()) } else { None };
    let message = Arc::new(read_message(reader)?);
    Ok(Delayed { id, due, message, expires_at, client_id, principal })
}
