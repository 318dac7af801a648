//! Opening the directory: what is said when it cannot be.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use fjall::config::{BlockSizePolicy, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::compact::Compaction;
use super::room::Room;
use super::{Disk, DiskSettings};
use crate::embedded::keys::TABLES;
use crate::error::StoreError;

impl Disk {
    pub(in crate::embedded) fn open(settings: &DiskSettings) -> Result<Self, StoreError> {
        let directory = &settings.directory;
        std::fs::create_dir_all(directory).map_err(|error| io(directory, &error))?;
        let lock = lock(directory)?;
        super::journal::mend(directory).map_err(|error| io(directory, &error))?;
        let database = Database::builder(directory)
            .cache_size(settings.cache)
            .max_journaling_size(settings.journal.max(64 << 20))
            // A worker that writes a table out posts to the queue it alone empties, if it is the only one: where that is
            // full, it would wait for itself for ever.
            .worker_threads(2)
            .manual_journal_persist(true)
            .open()
            .map_err(|error| explain(directory, &error))?;
        let table = |(_, name)| database.keyspace(name, || options(settings));
        let tables: Result<Vec<Keyspace>, _> = TABLES.into_iter().map(table).collect();
        let tables = tables.map_err(|error| explain(directory, &error))?;
        let Ok(tables) = tables.try_into() else {
            return Err(StoreError::Open(directory.display().to_string(), "tables are missing".into()));
        };
        let room = Room::new(directory.clone(), settings.reserve);
        Ok(Self {
            database,
            tables,
            room,
            compaction: Compaction::default(),
            is_dead: false.into(),
            journals: 1.into(),
            _lock: lock,
        })
    }
}

fn options(settings: &DiskSettings) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(settings.memtable)
        .data_block_size_policy(BlockSizePolicy::all(16 * 1024))
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_pinning_policy(PinningPolicy::all(false))
}

/// Before anything is read: the journals of a process that runs are not whole.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let file = File::options().create(true).append(true).open(directory.join("owner.lock"));
    let file = file.map_err(|error| io(directory, &error))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Locked(directory.display().to_string()),
        TryLockError::Error(error) => io(directory, &error),
    })?;
    Ok(file)
}

fn io(directory: &Path, error: &std::io::Error) -> StoreError {
    let name = directory.display().to_string();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(name, error.to_string()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Open(name, "there is no space left".into()),
        _ => StoreError::Open(name, error.to_string()),
    }
}

fn explain(directory: &Path, error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Locked => StoreError::Locked(directory.display().to_string()),
        fjall::Error::Io(error) => io(directory, error),
        other => StoreError::Open(directory.display().to_string(), other.to_string()),
    }
}
