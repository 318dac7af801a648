//! The filters of this node's clients and of its peers.

use std::sync::Arc;

use super::{Matches, PeerSet, PeerSlot, Subscriber};

/// The index.
#[derive(Debug, Default)]
pub struct Index;

impl Index {
    /// Adds a subscription, or replaces the one of the same session and filter without a gap. `first` is called under
    /// the shard's lock where the filter had no local subscriber, and gives the version of that change. Answers the
    /// version that last wrote the filter's row: what a SUBACK must wait for also where nothing changed.
    pub fn subscribe(&self, _filter: &Arc<str>, _subscriber: Subscriber, _first: impl FnOnce() -> u64) -> u64 {
        0
    }
    /// Removes the subscription of a session (`worker`, `session`); `last` is called under the shard's lock where it
    /// was the filter's last local one. Answers whether there was one.
    pub fn unsubscribe(&self, _filter: &str, _worker: u16, _session: u32, _last: impl FnOnce()) -> bool {
        false
    }
    /// A peer has subscribers for the filter.
    pub fn add_remote(&self, _filter: &str, _peer: PeerSlot) {}
    /// It has none any more.
    pub fn remove_remote(&self, _filter: &str, _peer: PeerSlot) {}
    /// Forgets all rows of a peer.
    pub fn clear_remote(&self, _peer: PeerSlot) {}
    /// Adds what a topic matches to `found`.
    pub fn matches(&self, _topic: &str, _found: &mut Matches) {}
    /// All filters with at least one subscriber, here or on a peer, unordered.
    pub fn filters(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    /// All filters with a local subscriber: this node's rows.
    pub fn local_filters(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    /// How many local subscriptions a filter has, and which peers hold it.
    pub fn holders(&self, _filter: &str) -> (usize, PeerSet) {
        (0, PeerSet::default())
    }
}
