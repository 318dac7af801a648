//! The filters of this node's clients and of its peers. Never holds a lock for longer than one change, one lookup or
//! one chunk of a walk takes, and never knows whether a peer is up.
//!
//! Filters without a wildcard are spread over shards by their text; those with one by their first level, and where
//! that is itself a wildcard they share a shard that every match looks at. A match reads at most three shards.

mod exact;
mod row;
mod shard;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use mqtt::topic::is_shared;
use mqtt::trie::Trie;

use super::{Groups, Matches, PeerSet, PeerSlot, Subscriber};
use exact::Exact;
use row::Row;
use shard::Shard;

/// Shards of each kind: enough that workers seldom meet, few enough that an empty index is small.
const SHARDS: usize = 64;

/// The index.
#[derive(Debug)]
pub struct Index {
    exact: Box<[Shard<Exact<Row>>]>,
    /// The last one holds the filters whose first level is a wildcard.
    wild: Box<[Shard<Trie<Row>>]>,
    hasher: RandomState,
    local_filters: AtomicUsize,
    local_subscriptions: AtomicUsize,
    groups: Groups,
}

/// How much an [`Index`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Filters with a local subscriber: the rows of this node.
    pub local_filters: usize,
    /// Subscriptions of local sessions.
    pub local_subscriptions: usize,
    /// Filters in all, those that only peers hold included.
    pub filters: usize,
}

/// Calls `$then` with the shard of `$filter`, whichever kind it is.
macro_rules! with_shard {
    ($index:ident, $filter:expr, |$shard:ident| $then:expr) => {
        if $filter.contains(['+', '#']) {
            let $shard = $index.wild_shard($filter);
            $then
        } else {
            let $shard = $index.exact_shard($filter);
            $then
        }
    };
}

impl Default for Index {
    fn default() -> Self {
        Self::new(super::Strategy::default())
    }
}

impl Index {
    /// An empty one, whose shared groups choose their members so.
    #[must_use]
    pub fn new(strategy: super::Strategy) -> Self {
        Self {
            groups: Groups::new(strategy),
            exact: (0..SHARDS).map(|_| Shard::default()).collect(),
            wild: (0..=SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::default(),
            local_filters: AtomicUsize::new(0),
            local_subscriptions: AtomicUsize::new(0),
        }
    }

    /// The shared groups.
    #[must_use]
    pub const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Adds a subscription, or replaces the one of the same session and filter without a gap. `first` is called under
    /// the shard's lock where the filter had no local subscriber, and gives the version of that change. Answers the
    /// version that last wrote the filter's row: what a SUBACK must wait for also where nothing changed.
    pub fn subscribe(&self, filter: &Arc<str>, subscriber: Subscriber, first: impl FnOnce() -> u64) -> u64 {
        with_shard!(self, filter, |shard| shard.write(|rows| {
            let row = rows.get_or_insert_with(filter, Row::default);
            if row.local.as_slice().is_empty() {
                row.version = first();
                self.local_filters.fetch_add(1, Ordering::Relaxed);
            }
            if row.local.put(subscriber) {
                self.local_subscriptions.fetch_add(1, Ordering::Relaxed);
            }
            row.version
        }))
    }

    /// Removes the subscription of a session (`worker`, `session`); `last` is called under the shard's lock where it
    /// was the filter's last local one. Answers whether there was one.
    pub fn unsubscribe(&self, filter: &str, worker: u16, session: u32, last: impl FnOnce()) -> bool {
        with_shard!(self, filter, |shard| shard.write(|rows| {
            let Some(row) = rows.get_mut(filter) else { return false };
            if !row.local.take(worker, session) {
                return false;
            }
            self.local_subscriptions.fetch_sub(1, Ordering::Relaxed);
            if row.local.as_slice().is_empty() {
                self.local_filters.fetch_sub(1, Ordering::Relaxed);
                if row.is_empty() {
                    rows.remove(filter);
                }
                last();
            }
            true
        }))
    }

    /// A peer has subscribers for the filter.
    pub fn add_remote(&self, filter: &str, peer: PeerSlot) {
        with_shard!(self, filter, |shard| shard.write(|rows| {
            if let Some(row) = rows.get_mut(filter) {
                row.remote = row.remote.with(peer);
            } else {
                rows.get_or_insert_with(&Arc::from(filter), Row::default).remote = PeerSet::default().with(peer);
            }
        }));
    }

    /// It has none any more.
    pub fn remove_remote(&self, filter: &str, peer: PeerSlot) {
        with_shard!(self, filter, |shard| shard.write(|rows| {
            let Some(row) = rows.get_mut(filter) else { return };
            row.remote = row.remote.without(peer);
            if row.is_empty() {
                rows.remove(filter);
            }
        }));
    }

    /// Forgets all rows of a peer, in chunks. A row that is added meanwhile may stay: the caller adds none until
    /// this has returned.
    pub fn clear_remote(&self, peer: PeerSlot) {
        self.exact.iter().for_each(|shard| shard.clear_remote(peer));
        self.wild.iter().for_each(|shard| shard.clear_remote(peer));
        self.groups.clear_remote(peer);
    }

    /// Adds what a topic matches to `found`.
    pub fn matches(&self, topic: &str, found: &mut Matches) {
        if let Some(rows) = self.exact_shard(topic).read()
            && let Some(row) = rows.get(topic)
        {
            add(row, found);
        }
        for shard in [self.wild_shard(topic), &self.wild[SHARDS]] {
            if let Some(rows) = shard.read() {
                rows.matches(topic, |row| add(row, found));
            }
        }
    }

    /// All filters, those of shared groups included, with at least one subscriber, here or on a peer, unordered.
    pub fn filters(&self) -> Vec<Arc<str>> {
        let mut found = self.collect(|_| true);
        found.append(&mut self.groups.all(false));
        found
    }

    /// All filters with a local subscriber: this node's rows.
    pub fn local_filters(&self) -> Vec<Arc<str>> {
        let mut found = self.collect(|row| !row.local.as_slice().is_empty());
        found.append(&mut self.groups.all(true));
        found
    }

    /// All filters, those of shared groups included, that a peer has subscribers for.
    pub fn remote_filters(&self, peer: PeerSlot) -> Vec<Arc<str>> {
        let mut found = self.collect(|row| row.remote.contains(peer));
        found.append(&mut self.groups.of_peer(peer));
        found
    }

    /// Says whether a filter has local subscribers; none comes or goes meanwhile, but in a shared group.
    pub fn with_presence(&self, filter: &Arc<str>, then: impl FnOnce(bool)) {
        if is_shared(filter) {
            return then(self.groups.holders(filter).0 > 0);
        }
        with_shard!(self, filter, |shard| shard.write(|rows| {
            then(rows.get_mut(filter).is_some_and(|row| !row.local.as_slice().is_empty()));
        }));
    }

    /// How many local subscriptions a filter has, and which peers hold it.
    pub fn holders(&self, filter: &str) -> (usize, PeerSet) {
        if is_shared(filter) {
            return self.groups.holders(filter);
        }
        with_shard!(self, filter, |shard| {
            let rows = shard.read();
            let row = rows.as_ref().and_then(|rows| rows.get(filter));
            row.map_or((0, PeerSet::default()), |row| (row.local.as_slice().len(), row.remote))
        })
    }

    /// How much it holds. Takes no lock: under changes the three figures may be a change apart.
    pub fn counts(&self) -> Counts {
        let exact: usize = self.exact.iter().map(Shard::len).sum();
        let wild: usize = self.wild.iter().map(Shard::len).sum();
        let (local_groups, members, groups) = self.groups.counts();
        Counts {
            local_filters: self.local_filters.load(Ordering::Relaxed) + local_groups,
            local_subscriptions: self.local_subscriptions.load(Ordering::Relaxed) + members,
            filters: exact + wild + groups,
        }
    }

    fn collect(&self, wanted: impl Fn(&Row) -> bool) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        self.exact.iter().for_each(|shard| shard.collect(&wanted, &mut found));
        self.wild.iter().for_each(|shard| shard.collect(&wanted, &mut found));
        found
    }

    fn exact_shard(&self, filter: &str) -> &Shard<Exact<Row>> {
        &self.exact[self.hasher.hash_one(filter) as usize % SHARDS]
    }

    fn wild_shard(&self, filter: &str) -> &Shard<Trie<Row>> {
        let level = filter.split_once('/').map_or(filter, |(level, _)| level);
        match level {
            "+" | "#" => &self.wild[SHARDS],
            _ => &self.wild[self.hasher.hash_one(level) as usize % SHARDS],
        }
    }
}

fn add(row: &Row, found: &mut Matches) {
    let local = row.local.as_slice();
    found.local.extend_from_slice(local);
    found.local_filters += usize::from(!local.is_empty());
    found.remote = found.remote.union(row.remote);
}
