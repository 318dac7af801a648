//! The records of all backends, as bytes: a version first, then fields in a fixed order. Never trusts what it reads:
//! a record that is cut short, too long or of another version is an error, not a panic.

mod entry;
mod later;
mod message;
mod session;
mod wire;

pub use entry::{decode_entry, encode_entry};
pub(crate) use entry::{expiry, head, shared_id};
pub(crate) use later::{decode_delayed, decode_retained, encode_delayed, encode_retained, retained_stamp};
pub(crate) use message::{decode_id, encode_id};
pub use message::{decode_message, encode_message};
pub use session::{decode_session, encode_session};
pub(crate) use wire::{Reader, put_bytes, put_varint};

/// The version that is written.
pub(crate) const VERSION: u8 = 1;

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is of another version.
    #[error("record version {0} is not known")]
    Version(u8),
    /// It ends too early, or a field says what it cannot.
    #[error("the record is malformed")]
    Malformed,
}

#[cfg(test)]
mod tests;
