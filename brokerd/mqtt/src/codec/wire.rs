//! The data types of section 1.5, read from the front of a slice. Never copies, never reads past the slice.

use super::{Limits, Violation};
use crate::PacketId;
use crate::topic::{self, scan};

/// The largest Variable Byte Integer (1.5.5).
pub(crate) const MAX_VARIABLE: usize = 268_435_455;

/// What is left to read of a packet or of a property section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may follow the last field.
    pub(crate) const fn finish(self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(Violation::TrailingBytes) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Violation::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn two(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn four(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::new(self.two()?).ok_or(Violation::PacketIdZero)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Violation> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Violation::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Binary Data (1.5.6).
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let len = self.two()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 Encoded String (1.5.4). A byte order mark stays [MQTT-1.5.4-3].
    pub(crate) fn text(&mut self) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        if scan(bytes).nul {
            return Err(Violation::TextHasNul);
        }
        std::str::from_utf8(bytes).map_err(|_| Violation::TextNotUtf8)
    }

    /// A topic name within the server's limits; may be empty, which the caller judges.
    pub(crate) fn topic_name(&mut self, limits: &Limits) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        let scan = scan(bytes);
        if scan.nul {
            return Err(Violation::TextHasNul);
        }
        let name = std::str::from_utf8(bytes).map_err(|_| Violation::TextNotUtf8)?;
        if scan.wildcard {
            return Err(Violation::TopicHasWildcard);
        }
        if bytes.len() > limits.max_topic_len || scan.separators >= limits.max_topic_levels {
            return Err(Violation::TopicTooLong);
        }
        Ok(name)
    }

    /// A valid topic filter within the server's limits.
    pub(crate) fn topic_filter(&mut self, limits: &Limits) -> Result<&'a str, Violation> {
        let filter = self.text()?;
        if !topic::valid_filter(filter) {
            return Err(Violation::FilterInvalid);
        }
        let levels = topic::levels(topic::parse_share(filter).map_or(filter, |(_, inner)| inner));
        if filter.len() > limits.max_filter_len || levels > limits.max_topic_levels {
            return Err(Violation::FilterTooLong);
        }
        Ok(filter)
    }

    /// A Variable Byte Integer of a 5.0 packet [MQTT-1.5.5-1].
    pub(crate) fn variable(&mut self) -> Result<u32, Violation> {
        let integer = variable(self.rest)?.ok_or(Violation::Truncated)?;
        if !integer.minimal {
            return Err(Violation::IntegerNotMinimal);
        }
        self.take(integer.width)?;
        Ok(integer.value)
    }
}

/// A Variable Byte Integer and how it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    pub(crate) value: u32,
    /// Bytes that it took.
    pub(crate) width: usize,
    pub(crate) minimal: bool,
}

/// Reads the Variable Byte Integer that `bytes` begin with; `None` where it is not complete yet.
pub(crate) fn variable(bytes: &[u8]) -> Result<Option<Variable>, Violation> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some(Variable { value, width: at + 1, minimal: at == 0 || byte != 0 }));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Violation::IntegerTooLong) }
}

/// How many bytes a Variable Byte Integer takes.
pub(crate) const fn variable_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// Appends a Variable Byte Integer; the caller has seen to it that `value` is at most `MAX_VARIABLE`.
pub(crate) fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends Binary Data or a string; the caller has seen to it that it is at most 65,535 bytes.
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}
