//! The edges of all nodes in one map, from the hash of (parent, next level) to the child. Never looks at a node: whoever
//! asks compares.

use hashbrown::HashTable;

/// How many tables share the edges. One table of a million would stand still for 40 ms when it grows; of these, each
/// grows on its own.
const PARTS: usize = 32;

/// Children by hash.
#[derive(Debug)]
pub(super) struct Edges {
    parts: Box<[HashTable<u32>]>,
}

impl Default for Edges {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect() }
    }
}

impl Edges {
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.parts[part(hash)].find(spread(hash), |child| is_it(*child)).copied()
    }

    /// `hash_of` answers the hash of any child.
    pub(super) fn insert(&mut self, hash: u32, child: u32, hash_of: impl Fn(u32) -> u32) {
        self.parts[part(hash)].insert_unique(spread(hash), child, |child| spread(hash_of(*child)));
    }

    pub(super) fn rename(&mut self, hash: u32, old: u32, new: u32) {
        if let Some(child) = self.parts[part(hash)].find_mut(spread(hash), |child| *child == old) {
            *child = new;
        }
    }

    /// Removes a child, and shrinks what is mostly empty.
    pub(super) fn remove(&mut self, hash: u32, child: u32, hash_of: impl Fn(u32) -> u32) {
        let part = &mut self.parts[part(hash)];
        if let Ok(found) = part.find_entry(spread(hash), |known| *known == child) {
            found.remove();
        }
        if part.capacity() > 4 * part.len() + 16 {
            part.shrink_to(2 * part.len(), |child| spread(hash_of(*child)));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.parts.iter().map(HashTable::capacity).sum()
    }
}

/// Other bits than those that choose the bucket, in a table of up to a million, and the tag.
fn part(hash: u32) -> usize {
    (hash >> 20) as usize % PARTS
}

/// A table takes its bucket from the low bits of a hash and its tag from the high ones: 32 bits serve both.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
