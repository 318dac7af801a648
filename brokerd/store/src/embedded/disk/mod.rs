//! Tables on disk, in fjall. Owns how the engine is set up, and when it must not be used any more. Never retries a
//! write that failed: what the engine holds then is not known.

mod compact;
mod journal;
mod open;
mod room;

use std::fs::File;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use fjall::{Database, Keyspace, OwnedWriteBatch as WriteBatch, PersistMode};

use super::engine::{Engine, Range, Visit};
use super::keys::{TABLES, Table};
use super::memory::is_empty;
use crate::error::StoreError;
use compact::Compaction;
use room::Room;

/// How the directory is used.
#[derive(Clone, Debug)]
pub struct DiskSettings {
    /// The directory; made where it is not there.
    pub directory: PathBuf,
    /// Bytes that stay free on its file system: below, the store is full.
    pub reserve: u64,
    /// Bytes of what was read that are kept.
    pub cache: u64,
    /// Bytes of the journal: what is read again at start. 64 MiB at least.
    pub journal: u64,
    /// Bytes of a table in memory before it is written to disk.
    pub memtable: u64,
}

impl DiskSettings {
    /// The defaults, in a directory.
    #[must_use]
    pub const fn new(directory: PathBuf) -> Self {
        const MIB: u64 = 1 << 20;
        Self { directory, reserve: 256 * MIB, cache: 16 * MIB, journal: 64 * MIB, memtable: 8 * MIB }
    }
}

/// The tables.
pub(super) struct Disk {
    compaction: Compaction,
    database: Database,
    tables: [Keyspace; TABLES.len()],
    room: Room,
    is_dead: AtomicBool,
    /// How many there were at the last look.
    journals: AtomicUsize,
    /// Dropped last: then the directory is another's.
    _lock: File,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Disk {
    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    fn check(&self) -> Result<(), StoreError> {
        let is_dead = self.is_dead.load(Relaxed);
        if is_dead { Err(StoreError::Down("an earlier write failed".into())) } else { Ok(()) }
    }

    /// A journal stays, and is read again at a start, as long as one table has something of it in memory alone: those
    /// that change little are written out whenever a journal is full.
    fn let_journals_go(&self) {
        let count = self.database.journal_count();
        if count > self.journals.swap(count, Relaxed) {
            for table in self.tables.iter().skip(1) {
                if let Err(error) = table.rotate_memtable() {
                    tracing::error!(%error, "a table could not be written out");
                }
            }
        }
    }

    /// After a failed write nothing the engine says can be trusted.
    fn died(&self, error: &fjall::Error) -> StoreError {
        self.is_dead.store(true, Relaxed);
        tracing::error!(%error, "the store failed and takes nothing until the process is started again");
        StoreError::Down(error.to_string())
    }
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("cannot be read: {error}"))
}

impl Engine for Disk {
    type Batch = WriteBatch;

    fn batch(&self) -> WriteBatch {
        self.database.batch()
    }

    fn put(&self, batch: &mut WriteBatch, table: Table, key: &[u8], value: &[u8]) {
        batch.insert(self.table(table), key, value);
    }

    fn remove(&self, batch: &mut WriteBatch, table: Table, key: &[u8]) {
        if table == Table::Queue {
            self.compaction.removed();
        }
        batch.remove(self.table(table), key);
    }

    fn commit(&self, batch: WriteBatch, is_durable: bool) -> Result<(), StoreError> {
        self.check()?;
        let mode = if is_durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let size = batch.len();
        batch.durability(Some(mode)).commit().map_err(|error| self.died(&error))?;
        self.room.used(size);
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check()?;
        let value = self.table(table).get(key).map_err(unreadable)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.check()?;
        if is_empty(range) {
            return Ok(());
        }
        for row in self.table(table).range::<&[u8], (Bound<&[u8]>, Bound<&[u8]>)>(range) {
            let (key, value) = row.into_inner().map_err(unreadable)?;
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
        let last = self.table(table).last_key_value().map(|row| row.key()).transpose().map_err(unreadable)?;
        Ok(last.map(|key| key.to_vec()))
    }

    fn tidy(&self) {
        self.compaction.start_if_worth_it(self.table(Table::Queue));
        self.let_journals_go();
    }

    fn has_room(&self) -> bool {
        self.room.is_there()
    }

    fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }
}
