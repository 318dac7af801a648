//! Counts of what the committer did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::stats::{SYNC_BOUNDS_MICROS, Stats};

#[derive(Debug, Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    batches: AtomicU64,
    ops: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) fenced: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) retries: AtomicU64,
    micros: [AtomicU64; SYNC_BOUNDS_MICROS.len() + 1],
    micros_sum: AtomicU64,
}

impl Counters {
    pub(super) fn committed(&self, batches: usize, ops: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = SYNC_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.micros[bucket].fetch_add(1, Relaxed);
        self.micros_sum.fetch_add(micros, Relaxed);
        self.commits.fetch_add(1, Relaxed);
        self.batches.fetch_add(batches as u64, Relaxed);
        self.ops.fetch_add(ops as u64, Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            commits: read(&self.commits),
            batches: read(&self.batches),
            ops: read(&self.ops),
            refused: read(&self.refused),
            fenced: read(&self.fenced),
            full: read(&self.full),
            failed: read(&self.failed),
            retries: read(&self.retries),
            commit_micros: self.micros.each_ref().map(read),
            commit_micros_sum: read(&self.micros_sum),
            ..Stats::default()
        }
    }
}
