//! What a store measures of itself. Never where it is shown.

use crate::error::State;

/// Upper bounds of the histogram of commit times; what is above the last is in one more bucket.
pub const SYNC_BOUNDS_MICROS: [u64; 12] =
    [250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];

/// What a backend measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Bytes on disk; 0 where it cannot tell.
    pub disk_bytes: u64,
    /// Messages that are stored once for many, as far as they have been counted.
    pub shared_messages: u64,
    /// Records that could not be read, and were set aside.
    pub corrupt: u64,
}

/// What the store measures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Its state.
    pub state: State,
    /// Changes that wait.
    pub queued_ops: u64,
    /// Bytes they hold.
    pub queued_bytes: u64,
    /// Commits made.
    pub commits: u64,
    /// Batches in them.
    pub batches: u64,
    /// Changes in them.
    pub ops: u64,
    /// Batches refused because the queue was full.
    pub refused: u64,
    /// Sessions whose changes were refused for their epoch.
    pub fenced: u64,
    /// Batches of which something was refused for want of room.
    pub full: u64,
    /// Batches that failed.
    pub failed: u64,
    /// Times a commit was tried again.
    pub retries: u64,
    /// Commits by time taken: see [`SYNC_BOUNDS_MICROS`].
    pub commit_micros: [u64; SYNC_BOUNDS_MICROS.len() + 1],
    /// Time all commits took.
    pub commit_micros_sum: u64,
    /// What the backend says.
    pub backend: BackendStats,
}
