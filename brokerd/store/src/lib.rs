//! What outlives a process: sessions, their queues and QoS state, retained and delayed messages, behind one trait.
//! Never decides who receives a message, never reads a clock but to measure itself, and never blocks a caller of
//! [`Store::submit`].
//!
//! A [`Backend`] is what differs: `memory` and `disk` in this process, `redis`, `postgres` and `mysql` in a server. A
//! [`Store`] is a backend with a bounded
//! queue and one committer in front: it is what the broker holds. The format of the records is in
//! `docs/store-format.md`.

pub mod archive;
mod backend;
mod embedded;
mod error;
mod format;
mod front;
#[cfg(feature = "mysql")]
mod mysql;
mod op;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sql")]
mod sql;
mod stats;

#[cfg(feature = "contract")]
pub mod contract;

#[cfg(feature = "redis")]
pub use self::redis::{RedisSettings, redis};
pub use backend::{
    Backend, Caps, Claim, Claimed, Delayed, Expired, Page, Retained, SessionHead, Stored, Survives, Waiting,
};
pub use embedded::{DiskSettings, disk};
pub use embedded::{memory, shared_memory};
pub use error::{State, StoreError};
pub use front::{Batch, Commit, Done, Settings, Store};
#[cfg(feature = "mysql")]
pub use mysql::mysql;
pub use op::{Body, Entry, Op, Outcome};
#[cfg(feature = "postgres")]
pub use postgres::postgres;
pub use record::{SessionRecord, Sid, Stamp, UnixMillis};
#[cfg(feature = "sql")]
pub use sql::{ServerSettings, Tls};
pub use stats::{BackendStats, SYNC_BOUNDS_MICROS, Stats};

pub use format::{
    DecodeError, decode_entry, decode_message, decode_session, encode_entry, encode_message, encode_session,
};
