//! Whether the file system has room. Looked at before it is needed: a write that fails for want of space is the end of
//! the engine, so the store is full while there is still room for what makes it smaller.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Changes between two looks: with messages of ordinary size a few megabytes.
const CHANGES: usize = 4096;

#[derive(Debug)]
pub(super) struct Room {
    directory: PathBuf,
    reserve: u64,
    is_there: AtomicBool,
    changes: AtomicUsize,
}

impl Room {
    pub(super) fn new(directory: PathBuf, reserve: u64) -> Self {
        let room = Self { directory, reserve, is_there: AtomicBool::new(true), changes: AtomicUsize::new(0) };
        room.look();
        room
    }

    /// So many changes were written.
    pub(super) fn used(&self, changes: usize) {
        let since = self.changes.fetch_add(changes, Relaxed) + changes;
        if since >= CHANGES || !self.is_there.load(Relaxed) {
            self.changes.store(0, Relaxed);
            self.look();
        }
    }

    pub(super) fn is_there(&self) -> bool {
        if !self.is_there.load(Relaxed) {
            self.look(); // somebody may have made room
        }
        self.is_there.load(Relaxed)
    }

    fn look(&self) {
        let Ok(stat) = rustix::fs::statvfs(&self.directory) else { return };
        let is_there = stat.f_bavail.saturating_mul(stat.f_frsize) >= self.reserve;
        if self.is_there.swap(is_there, Relaxed) != is_there {
            let directory = self.directory.display();
            if is_there {
                tracing::info!(%directory, "there is room again: messages are stored");
            } else {
                tracing::error!(%directory, "there is no room: messages are refused until there is");
            }
        }
    }
}
