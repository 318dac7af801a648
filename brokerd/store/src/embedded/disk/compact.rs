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
    removed: AtomicUsize,
    is_running: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Compaction {
    /// An entry was removed.
    pub(super) fn removed(&self) {
        self.removed.fetch_add(1, Relaxed);
    }

    /// An entry that left is two rows until then, itself and the mark that it is gone: when they are half of the table.
    pub(super) fn start_if_worth_it(&self, table: &Keyspace) {
        let removed = self.removed.load(Relaxed);
        if removed < WORTH_IT || removed * 4 < table.approximate_len() || self.is_running.swap(true, Relaxed) {
            return;
        }
        self.removed.store(0, Relaxed);
        let (table, is_running) = (table.clone(), self.is_running.clone());
        let merge = move || {
            let result = table.rotate_memtable_and_wait().and_then(|()| table.major_compact());
            if let Err(error) = result {
                tracing::error!(%error, "queues on disk could not be merged");
            }
            is_running.store(false, Relaxed);
        };
        match std::thread::Builder::new().name("store-merge".into()).spawn(merge) {
            Ok(thread) => *self.thread.lock() = Some(thread),
            Err(error) => {
                self.is_running.store(false, Relaxed);
                tracing::error!(%error, "queues on disk are not merged");
            }
        }
    }
}

impl Drop for Compaction {
    /// The directory is free when the store is dropped.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // a panic there was reported where it happened
        }
    }
}
