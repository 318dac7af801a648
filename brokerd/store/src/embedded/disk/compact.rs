//! Space of entries that left comes back by merging the table of queues: the engine does it by itself only when more is
//! written. Never more than one merge at a time, and none that rewrites much more than it gives back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use fjall::Keyspace;
use parking_lot::Mutex;

/// Below so many removed entries it is not worth it.
const WORTH_IT: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Compaction {
    need: Arc<Need>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Need {
    /// Entries that left since the last merge began.
    removed: AtomicUsize,
    is_running: AtomicBool,
    is_closing: AtomicBool,
}

impl Need {
    /// An entry that left is two rows until then, itself and the mark that it is gone: when they are half of the table.
    fn is_there(&self, table: &Keyspace) -> bool {
        let removed = self.removed.load(Relaxed);
        removed >= WORTH_IT && removed.saturating_mul(4) >= table.approximate_len() && !self.is_closing.load(Relaxed)
    }

    fn merge(&self, table: &Keyspace) {
        while self.is_there(table) {
            self.removed.store(0, Relaxed);
            let result = table.rotate_memtable_and_wait().and_then(|()| table.major_compact());
            if let Err(error) = result {
                tracing::error!(%error, "queues on disk could not be merged");
            }
        }
        self.is_running.store(false, Relaxed);
    }
}

impl Compaction {
    /// An entry was removed.
    pub(super) fn removed(&self) {
        self.need.removed.fetch_add(1, Relaxed);
    }

    pub(super) fn start_if_worth_it(&self, table: &Keyspace) {
        if !self.need.is_there(table) || self.need.is_running.swap(true, Relaxed) {
            return;
        }
        let (table, need) = (table.clone(), self.need.clone());
        let thread = std::thread::Builder::new().name("store-merge".into());
        match thread.spawn(move || need.merge(&table)) {
            Ok(thread) => *self.thread.lock() = Some(thread),
            Err(error) => {
                self.need.is_running.store(false, Relaxed);
                tracing::error!(%error, "queues on disk are not merged");
            }
        }
    }
}

impl Drop for Compaction {
    /// The directory is free when the store is dropped.
    fn drop(&mut self) {
        self.need.is_closing.store(true, Relaxed);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // a panic there was reported where it happened
        }
    }
}
