//! Filters without a wildcard: one lookup finds one. Never looks at levels.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// Filters and their values, dense in a vector, with a hash table of positions beside it: half the memory of a map
/// that holds the entries themselves, for its empty buckets are four bytes.
#[derive(Debug)]
pub(super) struct Exact<V> {
    entries: Vec<Entry<V>>,
    positions: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry<V> {
    filter: Arc<str>,
    hash: u32,
    value: V,
}

impl<V> Default for Exact<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), positions: HashTable::new(), hasher: RandomState::default() }
    }
}

impl<V> Exact<V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, filter: &str) -> Option<&V> {
        self.find(filter, self.hash(filter)).map(|position| &self.entries[position].value)
    }

    pub(super) fn get_mut(&mut self, filter: &str) -> Option<&mut V> {
        self.find(filter, self.hash(filter)).map(|position| &mut self.entries[position].value)
    }

    pub(super) fn get_or_insert_with(&mut self, filter: &Arc<str>, make: impl FnOnce() -> V) -> &mut V {
        let hash = self.hash(filter);
        let position = self.find(filter, hash).unwrap_or_else(|| {
            let position = self.entries.len();
            self.entries.push(Entry { filter: Arc::clone(filter), hash, value: make() });
            let Self { entries, positions, .. } = self;
            positions.insert_unique(spread(hash), position as u32, |at| spread(entries[*at as usize].hash));
            position
        });
        &mut self.entries[position].value
    }

    pub(super) fn remove(&mut self, filter: &str) -> Option<V> {
        let hash = self.hash(filter);
        let position = self.find(filter, hash)?;
        if let Ok(found) = self.positions.find_entry(spread(hash), |at| *at as usize == position) {
            found.remove();
        }
        let removed = self.entries.swap_remove(position);
        let last = self.entries.len();
        if let Some(moved) = self.entries.get(position)
            && let Some(at) = self.positions.find_mut(spread(moved.hash), |at| *at as usize == last)
        {
            *at = position as u32;
        }
        self.give_back_memory();
        Some(removed.value)
    }

    /// The filter at a position below `len`; see `Trie::at`, whose promise this keeps.
    pub(super) fn at(&self, position: usize) -> Option<(&Arc<str>, &V)> {
        self.entries.get(position).map(|entry| (&entry.filter, &entry.value))
    }

    pub(super) fn at_mut(&mut self, position: usize) -> Option<(&Arc<str>, &mut V)> {
        self.entries.get_mut(position).map(|entry| (&entry.filter, &mut entry.value))
    }

    fn find(&self, filter: &str, hash: u32) -> Option<usize> {
        let is_it = |at: &u32| *self.entries[*at as usize].filter == *filter;
        self.positions.find(spread(hash), is_it).map(|at| *at as usize)
    }

    fn hash(&self, filter: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(filter.as_bytes());
        hasher.finish() as u32
    }

    /// Shrinks what is mostly empty. Each step costs no more than the removals since the last one.
    fn give_back_memory(&mut self) {
        if self.entries.capacity() > 4 * self.entries.len() + 16 {
            self.entries.shrink_to(2 * self.entries.len());
        }
        if self.positions.capacity() > 4 * self.positions.len() + 64 {
            let Self { entries, positions, .. } = self;
            positions.shrink_to(2 * positions.len(), |at| spread(entries[*at as usize].hash));
        }
    }
}

/// The table takes its bucket from the low bits of a hash and its tag from the high ones: 32 bits serve both.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
