//! One shard of the index: rows under a lock, with a count that is read without it. Never decides which filter is its.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mqtt::trie::Trie;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::exact::Exact;
use super::row::Row;
use crate::router::PeerSlot;

/// How many rows a walk looks at under one hold of the lock.
const CHUNK: usize = 1024;

/// What a walk needs of `Exact` and of `Trie`.
pub(super) trait Rows: Default {
    fn len(&self) -> usize;
    fn remove(&mut self, filter: &str);
    fn at(&self, position: usize) -> Option<(&Arc<str>, &Row)>;
    fn at_mut(&mut self, position: usize) -> Option<(&Arc<str>, &mut Row)>;
}

macro_rules! rows {
    ($map:ident) => {
        impl Rows for $map<Row> {
            fn len(&self) -> usize {
                self.len()
            }
            fn remove(&mut self, filter: &str) {
                self.remove(filter);
            }
            fn at(&self, position: usize) -> Option<(&Arc<str>, &Row)> {
                self.at(position)
            }
            fn at_mut(&mut self, position: usize) -> Option<(&Arc<str>, &mut Row)> {
                self.at_mut(position)
            }
        }
    };
}

rows!(Exact);
rows!(Trie);

/// Rows that share a lock.
#[derive(Debug, Default)]
pub(super) struct Shard<T> {
    rows: RwLock<T>,
    len: AtomicUsize,
    /// How many changes took rows away, which moves others.
    removals: AtomicU64,
}

impl<T: Rows> Shard<T> {
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The rows to read, unless there are none: an empty shard costs no lock. Whoever knows of a subscription, by its
    /// SUBACK say, knows it from after the count was raised.
    pub(super) fn read(&self) -> Option<RwLockReadGuard<'_, T>> {
        (self.len() > 0).then(|| self.rows.read())
    }

    /// Changes rows, and counts them afterwards, still under the lock.
    pub(super) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut rows: RwLockWriteGuard<'_, T> = self.rows.write();
        let before = rows.len();
        let answer = change(&mut rows);
        if rows.len() < before {
            self.removals.fetch_add(1, Ordering::Release);
        }
        self.len.store(rows.len(), Ordering::Release);
        answer
    }

    /// Forgets a peer in all rows that were there at the start, in chunks.
    pub(super) fn clear_remote(&self, peer: PeerSlot) {
        let mut end = self.len();
        while end > 0 {
            end = self.write(|rows| {
                let end = end.min(rows.len());
                let start = end.saturating_sub(CHUNK);
                for position in (start..end).rev() {
                    let Some((filter, row)) = rows.at_mut(position) else {
                        continue;
                    };
                    row.remote = row.remote.without(peer);
                    if row.is_empty() {
                        let filter = Arc::clone(filter);
                        rows.remove(&filter);
                    }
                }
                start
            });
        }
    }

    /// Collects the filters of the rows that are `wanted`, in chunks: each that is there throughout, once.
    pub(super) fn collect(&self, wanted: impl Fn(&Row) -> bool, found: &mut Vec<Arc<str>>) {
        let (mut end, before) = (self.len(), found.len());
        let removals = self.removals.load(Ordering::Acquire);
        while end > 0 {
            let Some(rows) = self.read() else { break };
            end = end.min(rows.len());
            let start = end.saturating_sub(CHUNK);
            let chunk = (start..end).filter_map(|position| rows.at(position));
            found.extend(chunk.filter(|(_, row)| wanted(row)).map(|(filter, _)| Arc::clone(filter)));
            end = start;
        }
        if self.removals.load(Ordering::Acquire) != removals {
            // A row may have moved from the part that was read to the one that was not: it is found twice.
            let mut mine = found.split_off(before);
            mine.sort_unstable();
            mine.dedup();
            found.append(&mut mine);
        }
    }
}
