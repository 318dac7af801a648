//! The registrar's rows: client id to owner and epoch, 24 bytes beside the id. Never decides who wins.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::registry::{Epoch, Holder};

/// Parts that are swept one at a time, so that no sweep holds the rows for long.
pub(super) const SHARDS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) epoch: Epoch,
    pub(super) holder: Holder,
    /// Session expiry in seconds; that of an announced row is not known, and 0.
    pub(super) expiry: u32,
    owner: u16,
    pub(super) clean_start: bool,
}

/// What a row is to hold.
pub(super) struct Ownership<'a> {
    pub(super) owner: &'a str,
    pub(super) epoch: Epoch,
    pub(super) holder: Holder,
    pub(super) expiry: u32,
    pub(super) clean_start: bool,
}

#[derive(Default)]
pub(super) struct Rows {
    shards: Vec<HashMap<Arc<str>, Row, foldhash::fast::RandomState>>,
    hasher: foldhash::fast::RandomState,
    /// Names of owners. They are few, and never forgotten.
    owners: Vec<Arc<str>>,
}

impl Rows {
    pub(super) fn new() -> Self {
        let shards = std::iter::repeat_with(HashMap::default).take(SHARDS).collect();
        Self { shards, ..Self::default() }
    }

    fn shard(&self, client_id: &str) -> usize {
        let hash = std::hash::BuildHasher::hash_one(&self.hasher, client_id);
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }

    pub(super) fn get(&self, client_id: &str) -> Option<(&Arc<str>, &Row)> {
        let row = self.shards[self.shard(client_id)].get(client_id)?;
        Some((self.owners.get(usize::from(row.owner))?, row))
    }

    /// False where there have been more owners than can be told apart; then nothing is stored.
    pub(super) fn set(&mut self, client_id: &Arc<str>, to: &Ownership<'_>) -> bool {
        let Some(owner) = self.intern(to.owner) else {
            return false;
        };
        let shard = self.shard(client_id);
        let row = Row { epoch: to.epoch, holder: to.holder, expiry: to.expiry, owner, clean_start: to.clean_start };
        self.shards[shard].insert(client_id.clone(), row);
        true
    }

    /// Removes a row if it is of this epoch.
    pub(super) fn release(&mut self, client_id: &str, epoch: Epoch) {
        let is_same = self.get(client_id).is_some_and(|(_, row)| row.epoch == epoch);
        if is_same {
            let shard = self.shard(client_id);
            self.shards[shard].remove(client_id);
        }
    }

    /// Keeps of one part what `keep` says, and gives memory back.
    pub(super) fn sweep(&mut self, shard: usize, mut keep: impl FnMut(&str) -> bool) {
        let shard = &mut self.shards[shard];
        shard.retain(|id, _| keep(id));
        shard.shrink_to(shard.len() * 2);
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    fn intern(&mut self, name: &str) -> Option<u16> {
        let at = self.owners.iter().position(|owner| **owner == *name).unwrap_or_else(|| {
            self.owners.push(Arc::from(name));
            self.owners.len() - 1
        });
        let index = u16::try_from(at).ok();
        if index.is_none() {
            self.owners.truncate(at);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_row_is_small_and_goes_only_at_its_own_epoch() {
        assert_eq!(size_of::<Row>(), 24);
        let mut rows = Rows::new();
        let id: Arc<str> = Arc::from("pump");
        assert!(
            rows.set(&id, &Ownership { owner: "a", epoch: Epoch(5), holder: Holder(7), expiry: 60, clean_start: true })
        );
        rows.release("pump", Epoch(4));
        rows.release("pump", Epoch(6));
        let (owner, row) = rows.get("pump").unwrap();
        assert_eq!((&**owner, row.holder, row.expiry, row.clean_start), ("a", Holder(7), 60, true));
        rows.release("pump", Epoch(5));
        assert_eq!(rows.len(), 0);
    }
}
