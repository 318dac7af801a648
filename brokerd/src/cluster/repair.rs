//! What an operator does about a cluster by hand: forgets a member that is dead, and compares the routes that this node
//! holds of others with theirs. Never acts by itself.

use std::sync::Arc;

use super::core::Core;
use super::peer::Peer;
use super::routes::digest;
use super::start::Cluster;
use super::{ForgetError, MemberState, dial};
use crate::metrics::Metric;

/// How many filters, and the sum of their digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteSum {
    /// How many.
    pub routes: u64,
    /// The same for the same set, whatever its history.
    pub hash: u128,
}

impl RouteSum {
    /// Of a set.
    #[must_use]
    pub fn of(filters: &[Arc<str>]) -> Self {
        let hash = filters.iter().fold(0_u128, |hash, filter| hash.wrapping_add(digest(filter)));
        Self { routes: filters.len() as u64, hash }
    }
}

impl Cluster {
    /// Forgets a member that is down: its routes, its place, what waits for it. It may come back as one that is new.
    ///
    /// # Errors
    /// Where there is none of this name, or it is not down. With `is_trial` this is all it says.
    pub fn force_forget(&self, name: &str, is_trial: bool) -> Result<(), ForgetError> {
        let core = &self.shared.core;
        let peer = core.peer(name).ok_or(ForgetError::Unknown)?;
        let state = peer.standing.lock().state(&peer.name);
        if state != MemberState::Down {
            return Err(ForgetError::NotDown);
        }
        if core.hot.held().contains(peer.slot) {
            return Err(ForgetError::HasSessions);
        }
        if !is_trial {
            core.forget(&peer);
            core.give_up(&peer.name);
            core.parts.tally.add(Metric::PeerForgotten, 1);
            core.changed.notify_one();
            tracing::warn!(peer = %peer.name, "is forgotten, as the operator has asked");
        }
        Ok(())
    }

    /// What this node announces.
    #[must_use]
    pub fn announced(&self) -> RouteSum {
        RouteSum { routes: self.shared.core.routes.len() as u64, hash: self.shared.core.routes.head().hash }
    }

    /// The members other than this node whose routes it holds.
    #[must_use]
    pub fn owners(&self) -> Vec<Arc<str>> {
        let peers = self.shared.core.all_peers();
        let is_there = |peer: &&Arc<Peer>| {
            peer.standing.lock().state(&peer.name) != MemberState::Leaving && peer.remote.lock().applied().is_some()
        };
        peers.iter().filter(is_there).map(|peer| peer.name.clone()).collect()
    }

    /// The routes of another member that messages are matched with here, unordered. Looks at all: for a thread that may
    /// block.
    #[must_use]
    pub fn held_routes(&self, owner: &str) -> Vec<Arc<str>> {
        let core = &self.shared.core;
        core.peer(owner).map_or_else(Vec::new, |peer| core.parts.index.remote_filters(peer.slot))
    }

    /// Makes what is held of a member, or what this node announces, what it should be. Looks at all: for a thread that
    /// may block.
    pub fn fix_routes(&self, owner: &str) {
        let core = &self.shared.core;
        if owner == core.parts.identity.node {
            core.announce_again();
        } else if let Some(peer) = core.peer(owner) {
            core.pull_again(&peer);
        }
    }
}

impl Core {
    /// Forgets a peer's routes and asks for all of them: it is flooded until they have come.
    pub(super) fn pull_again(&self, peer: &Peer) {
        self.clear_rows(peer);
        peer.remote.lock().distrust();
        peer.asks.tell(dial::pull(peer, true));
        tracing::warn!(peer = %peer.name, "all of its routes are asked for again, as the operator has asked");
    }

    /// Announces what is subscribed here and is not announced, and takes back what is not. The index is asked again for
    /// each, under the lock that its own changes are announced under. Weights of shared groups put themselves right.
    pub(super) fn announce_again(&self) {
        let index = &self.parts.index;
        let live: std::collections::HashSet<Arc<str>> = index.local_filters().into_iter().collect();
        let announced: std::collections::HashSet<Arc<str>> = self.routes.all().into_iter().collect();
        let differing: Vec<&Arc<str>> = live.symmetric_difference(&announced).collect();
        for filter in &differing {
            index.with_presence(filter, |is_present| {
                if self.routes.has(filter) != is_present {
                    self.routes.change(filter, is_present);
                }
            });
        }
        tracing::warn!(differing = differing.len(), "what differed is announced again, as the operator has asked");
    }
}
