//! The stores that live in this process: `memory` and `disk`. One set of rules over ordered tables; the two engines
//! differ in where the tables are. Never called from a thread that must not block.

mod apply;
mod backend;
mod claim;
mod disk;
mod engine;
mod expire;
mod keys;
mod live;
mod maintain;
mod memory;
pub(crate) mod read;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::backend::{Backend, Caps, Survives};
use crate::error::StoreError;
use engine::Engine;
use keys::Table;
use live::Live;
use memory::Memory;

pub use disk::DiskSettings;

/// Keys of records that could not be read and wait to be set aside: no more than this many are remembered.
const MOST_SUSPECTS: usize = 1024;

/// The rules, over one engine.
#[derive(Debug)]
struct Embedded<E> {
    engine: E,
    caps: Caps,
    live: Mutex<Live>,
    suspects: Mutex<Vec<(Table, Box<[u8]>)>>,
    corrupt: AtomicU64,
    /// Messages that entries name, as of the last change: `live` may be locked for as long as an fsync.
    shared: AtomicU64,
}

/// A store in memory: what it holds ends with the process.
#[must_use]
pub fn memory() -> Arc<dyn Backend> {
    let caps = Caps { name: "memory", survives: Survives::Nothing, is_shared: false, is_atomic: true };
    Arc::new(Embedded::with(Memory::default(), caps, Live::default()))
}

/// The same, as several nodes of one process have it together: for tests of what nodes do with a store that they share.
#[must_use]
pub fn shared_memory() -> Arc<dyn Backend> {
    let caps = Caps { name: "memory", survives: Survives::Node, is_shared: true, is_atomic: true };
    Arc::new(Embedded::with(Memory::default(), caps, Live::default()))
}

/// Opens the store in a directory, and makes it where there is none. Takes as long as the journal is to read.
///
/// # Errors
/// Where another process has it, it cannot be written, or its files are not what the engine wrote.
pub fn disk(settings: &DiskSettings) -> Result<Arc<dyn Backend>, StoreError> {
    let caps = Caps { name: "disk", survives: Survives::PowerCut, is_shared: false, is_atomic: true };
    let engine = disk::Disk::open(settings)?;
    let live = Live::load(&engine)?; // who owns what; queues are left alone
    Ok(Arc::new(Embedded::with(engine, caps, live)))
}

impl<E: Engine> Embedded<E> {
    fn with(engine: E, caps: Caps, live: Live) -> Self {
        Self {
            engine,
            caps,
            live: Mutex::new(live),
            suspects: Mutex::default(),
            corrupt: AtomicU64::new(0),
            shared: AtomicU64::new(0),
        }
    }

    /// `live` has changed.
    fn publish(&self, live: &Live) {
        self.shared.store(live.references.len() as u64, Relaxed);
    }

    /// A record could not be read: it is counted, and set aside when there is time.
    fn suspect(&self, table: Table, key: &[u8]) {
        let mut suspects = self.suspects.lock();
        let is_new = !suspects.iter().any(|known| known.0 == table && *known.1 == *key);
        if is_new && suspects.len() < MOST_SUSPECTS {
            tracing::error!(?table, key = %hex(key), "a record cannot be read and is set aside");
            self.corrupt.fetch_add(1, Relaxed);
            suspects.push((table, key.into()));
        }
    }
}

fn hex(key: &[u8]) -> String {
    key.iter().take(32).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests;
