//! Messages and their identities as bytes.

use mqtt::{Message, MessageId, Qos};

use super::{DecodeError, Reader, VERSION, put_bytes};

const RETAIN: u8 = 0b100;

/// 18 bytes that sort as identities do.
pub(crate) fn encode_id(id: MessageId) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..8].copy_from_slice(&id.origin.to_be_bytes());
    bytes[8..10].copy_from_slice(&id.worker.to_be_bytes());
    bytes[10..].copy_from_slice(&id.sequence.to_be_bytes());
    bytes
}

/// The identity in 18 bytes.
pub(crate) fn decode_id(reader: &mut Reader<'_>) -> Result<MessageId, DecodeError> {
    let origin = reader.u64()?;
    let worker = reader.take(2)?.try_into().map(u16::from_be_bytes).map_err(|_| DecodeError::Malformed)?;
    Ok(MessageId { origin, worker, sequence: reader.u64()? })
}

/// Appends a message: version, flags, identity, topic, properties, and the payload to the end. When it expires is not
/// part of it: the process's clock means nothing to the next process.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.push(message.qos as u8 | if message.retain { RETAIN } else { 0 });
    out.extend_from_slice(&encode_id(message.id));
    put_bytes(out, message.topic_bytes());
    put_bytes(out, message.properties());
    out.extend_from_slice(message.payload());
}

/// Reads a message that fills the rest of a record.
pub(crate) fn read_message(reader: Reader<'_>) -> Result<Message, DecodeError> {
    decode_message(reader.rest())
}

/// Reads what [`encode_message`] wrote.
///
/// # Errors
/// Where it is not such a thing.
pub fn decode_message(bytes: &[u8]) -> Result<Message, DecodeError> {
    let mut reader = Reader::versioned(bytes)?;
    let flags = reader.u8()?;
    let id = decode_id(&mut reader)?;
    let topic = reader.str()?;
    let properties = reader.bytes()?;
    if topic.len() > usize::from(u16::MAX) || flags & !0b111 != 0 {
        return Err(DecodeError::Malformed);
    }
    let mut message = Message::new(topic, properties, reader.rest());
    message.id = id;
    message.qos = Qos::from_bits(flags & 0b11).ok_or(DecodeError::Malformed)?;
    message.retain = flags & RETAIN != 0;
    Ok(message)
}
