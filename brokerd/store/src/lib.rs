//! What outlives a process: sessions, their queues and QoS state, retained and delayed messages, behind one trait.
//! Never decides who receives a message, never reads a clock but to measure itself, and never blocks a caller of
//! [`Store::submit`].
//!
//! A [`Backend`] is what differs: `memory` and `disk` here, servers elsewhere. A [`Store`] is a backend with a bounded
//! queue and one committer in front: it is what the broker holds. The format of the records is in
//! `docs/store-format.md`.

mod backend;
mod embedded;
mod error;
mod format;
mod front;
mod op;
mod record;
mod stats;

#[cfg(feature = "contract")]
pub mod contract;

pub use backend::{
    Backend, Caps, Claim, Claimed, Delayed, Expired, Page, Retained, SessionHead, Stored, Survives, Waiting,
};
pub use embedded::{memory, shared_memory};
pub use embedded::{DiskSettings, disk};
pub use error::{State, StoreError};
pub use front::{Batch, Commit, Done, Settings, Store};
pub use op::{Body, Entry, Op, Outcome};
pub use record::{SessionRecord, Sid, Stamp, UnixMillis};
pub use stats::{BackendStats, SYNC_BOUNDS_MICROS, Stats};

pub use format::{
    DecodeError, decode_entry, decode_message, decode_session, encode_entry, encode_message, encode_session,
};
