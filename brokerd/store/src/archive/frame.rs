//! The records of an archive as bytes: kind, length, content, checksum. Never allocates for more than was read.

use std::sync::Arc;

use mqtt::{PacketId, topic};
use xxhash_rust::xxh3::xxh3_64;

use super::{Contents, Head};
use crate::backend::{Delayed, Retained};
use crate::format::{
    DecodeError, Reader, decode_entry, decode_session, encode_entry, encode_id, encode_session, put_bytes, put_varint,
};
use crate::format::{decode_delayed, decode_retained, encode_delayed, encode_retained};
use crate::op::{Body, Entry};
use crate::record::SessionRecord;

/// What an archive begins with; the version follows.
pub(super) const MAGIC: &[u8; 7] = b"BRKDARC";
pub(super) const VERSION: u8 = 1;
/// Kind and length.
pub(super) const PREFIX: usize = 5;
pub(super) const CHECKSUM: usize = 8;

const HEAD: u8 = 1;
const SESSION: u8 = 2;
const ENTRY: u8 = 3;
const RETAINED: u8 = 4;
const DELAYED: u8 = 5;
const END: u8 = 6;

const SENT: u8 = 1;
const RELEASED: u8 = 2;
/// Its message waits for other sessions too.
const SHARED: u8 = 1 << 7;

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waits,
    Sent(PacketId),
    Released(PacketId),
}

/// A record of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Head(Head),
    Session {
        epoch: u64,
        received: Vec<PacketId>,
        record: Box<SessionRecord>,
    },
    /// Of the session before it. One that was released has no message any more.
    Entry {
        seq: u64,
        stage: Stage,
        is_shared: bool,
        entry: Option<Entry>,
    },
    Retained(Retained),
    Delayed(Box<Delayed>),
    End(Contents),
}

impl Frame {
    /// Appends it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.push(self.kind());
        out.extend_from_slice(&[0; 4]);
        self.encode_content(out);
        let length = u32::try_from(out.len() - from - PREFIX).unwrap_or(u32::MAX);
        out[from + 1..from + PREFIX].copy_from_slice(&length.to_be_bytes());
        let checksum = xxh3_64(&out[from..]);
        out.extend_from_slice(&checksum.to_be_bytes());
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Head(_) => HEAD,
            Self::Session { .. } => SESSION,
            Self::Entry { .. } => ENTRY,
            Self::Retained(_) => RETAINED,
            Self::Delayed(_) => DELAYED,
            Self::End(_) => END,
        }
    }

    fn encode_content(&self, out: &mut Vec<u8>) {
        match self {
            Self::Head(Head { part, parts, node }) => {
                put_varint(out, u64::from(*part));
                put_varint(out, u64::from(*parts));
                put_bytes(out, node.as_bytes());
            }
            Self::Session { epoch, received, record } => {
                put_varint(out, *epoch);
                put_varint(out, received.len() as u64);
                received.iter().for_each(|id| put_varint(out, u64::from(id.get())));
                encode_session(record, out);
            }
            Self::Entry { seq, stage, is_shared, entry } => {
                put_varint(out, *seq);
                let (stage, packet_id) = match stage {
                    Stage::Waits => (0, None),
                    Stage::Sent(id) => (SENT, Some(id)),
                    Stage::Released(id) => (RELEASED, Some(id)),
                };
                out.push(stage | if *is_shared { SHARED } else { 0 });
                packet_id.iter().for_each(|id| put_varint(out, u64::from(id.get())));
                entry.iter().for_each(|entry| encode_entry(entry, out));
            }
            Self::Retained(Retained { topic, stamp, message, expires_at }) => {
                put_bytes(out, topic.as_bytes());
                encode_retained(*stamp, message.as_deref(), *expires_at, out);
            }
            Self::Delayed(delayed) => {
                out.extend_from_slice(&encode_id(delayed.id));
                encode_delayed(delayed, out);
            }
            Self::End(contents) => {
                let Contents { sessions, messages, retained, delayed } = *contents;
                [sessions, messages, retained, delayed].into_iter().for_each(|count| put_varint(out, count));
            }
        }
    }

    /// Reads one whose checksum is right.
    pub(super) fn decode(kind: u8, content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        match kind {
            HEAD => {
                let number = |value: u64| u16::try_from(value).map_err(|_| DecodeError::Malformed);
                let (part, parts) = (number(reader.varint()?)?, number(reader.varint()?)?);
                let node = reader.str()?.into();
                reader.end().map(|()| Self::Head(Head { part, parts, node }))
            }
            SESSION => session(reader),
            ENTRY => entry(reader),
            RETAINED => {
                let topic = reader.bytes()?;
                let retained = decode_retained(topic, reader.rest())?;
                valid(topic::valid_name(&retained.topic)).map(|()| Self::Retained(retained))
            }
            DELAYED => {
                let id = reader.take(18)?;
                let delayed = decode_delayed(id, reader.rest())?;
                valid(topic::valid_name(delayed.message.topic())).map(|()| Self::Delayed(Box::new(delayed)))
            }
            END => {
                let (sessions, messages) = (reader.varint()?, reader.varint()?);
                let (retained, delayed) = (reader.varint()?, reader.varint()?);
                reader.end().map(|()| Self::End(Contents { sessions, messages, retained, delayed }))
            }
            _ => Err(DecodeError::Malformed),
        }
    }

    /// Whether what the checksum covers is what was written.
    pub(super) fn is_whole(covered: &[u8], checksum: [u8; CHECKSUM]) -> bool {
        xxh3_64(covered).to_be_bytes() == checksum
    }
}

fn session(mut reader: Reader<'_>) -> Result<Frame, DecodeError> {
    let epoch = reader.varint()?;
    let mut received = Vec::new();
    for _ in 0..reader.varint()? {
        received.push(packet_id(&mut reader)?); // ends with the record at the latest
    }
    let record = Box::new(decode_session(reader.rest())?);
    let has_valid_filters = record.subscriptions.iter().all(|granted| topic::valid_filter(&granted.filter));
    valid(has_valid_filters && !record.client_id.is_empty())?;
    Ok(Frame::Session { epoch, received, record })
}

fn entry(mut reader: Reader<'_>) -> Result<Frame, DecodeError> {
    let seq = reader.varint()?;
    let flags = reader.u8()?;
    let stage = match flags & !SHARED {
        0 => Stage::Waits,
        SENT => Stage::Sent(packet_id(&mut reader)?),
        RELEASED => Stage::Released(packet_id(&mut reader)?),
        _ => return Err(DecodeError::Malformed),
    };
    let entry = match stage {
        Stage::Released(_) => {
            reader.end()?;
            None
        }
        _ => Some(decode_entry(reader.rest())?),
    };
    if let Some(entry) = &entry {
        let Body::Inline(message) = &entry.body else { return Err(DecodeError::Malformed) };
        valid(topic::valid_name(message.topic()))?;
    }
    Ok(Frame::Entry { seq, stage, is_shared: flags & SHARED != 0, entry })
}

/// The entry with its message, for an archive has no other place for it.
pub(super) fn with_message(entry: Entry, message: &Arc<mqtt::Message>) -> (Entry, bool) {
    let is_shared = matches!(entry.body, Body::Shared(..));
    (Entry { body: Body::Inline(message.clone()), ..entry }, is_shared)
}

fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, DecodeError> {
    let id = u16::try_from(reader.varint()?).map_err(|_| DecodeError::Malformed)?;
    PacketId::new(id).ok_or(DecodeError::Malformed)
}

const fn valid(is_valid: bool) -> Result<(), DecodeError> {
    if is_valid { Ok(()) } else { Err(DecodeError::Malformed) }
}
