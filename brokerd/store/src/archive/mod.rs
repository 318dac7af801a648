//! All that a store holds as one stream of bytes, and back: for backups, and for moving to another kind of store. Never
//! applies an archive that was not read to its end first, and never holds more of one than a record and what it has to
//! tell apart.
//!
//! The format is in `docs/store-format.md`.

mod apply;
mod check;
mod export;
mod frame;
mod read;
#[cfg(test)]
mod tests;

pub use apply::{Applied, apply};
pub use check::{Checked, check};
pub use export::{Piece, export};

use crate::error::StoreError;
use crate::format::DecodeError;

/// How much an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Sessions.
    pub sessions: u64,
    /// Deliveries queued or in flight, of all sessions.
    pub messages: u64,
    /// Retained messages.
    pub retained: u64,
    /// Delayed messages.
    pub delayed: u64,
}

impl Contents {
    const fn plus(self, other: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_add(other.sessions),
            messages: self.messages.saturating_add(other.messages),
            retained: self.retained.saturating_add(other.retained),
            delayed: self.delayed.saturating_add(other.delayed),
        }
    }
}

/// Which archive of how many that stand one after the other, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// From 1 on.
    pub part: u16,
    /// How many there are.
    pub parts: u16,
    /// The node that wrote it.
    pub node: Box<str>,
}

/// Why an archive is not written, or not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It does not begin as one.
    #[error("this is not an archive of brokerd")]
    Foreign,
    /// It was written by a later version.
    #[error("archive version {0} is not known")]
    Version(u8),
    /// It ends too early.
    #[error("the archive is cut off at byte {0}")]
    Truncated(u64),
    /// Something in it is not as it was written.
    #[error("the archive is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the record begins.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A record in it cannot be read.
    #[error("the archive is damaged at byte {0}: {1}")]
    Record(u64, DecodeError),
    /// The file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not take everything; what it took was removed.
    #[error("the store did not take everything: {0}")]
    Refused(&'static str),
    /// Where to go on is not what was said before.
    #[error("that is no place in an export")]
    Cursor,
}
