//! Shared subscriptions: which groups a topic goes to, and which member of each has its turn. A group is a name and a
//! filter, `$share/name/filter`, and spans the cluster. Never delivers, and never knows a session but as a place.
//!
//! Groups are spread over shards by the first level of their filter, and where that is a wildcard they share one. A
//! match takes the read locks of two shards at most, and none where there are no groups.

mod group;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::{FixedState, RandomState};
use mqtt::topic::parse_share;
use mqtt::trie::Trie;
use parking_lot::{RwLock, RwLockReadGuard};

use super::{PeerSet, PeerSlot, Subscriber};
use group::Group;

/// Shards, but for the one of the filters whose first level is a wildcard.
const SHARDS: usize = 16;

/// How a group's member is chosen. Each prefers members with a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The messages that one node takes go to one member until it goes.
    Sticky,
    /// A member on the publisher's node if there is one, one after the other.
    Local,
    /// By the publisher's client id.
    HashClientId,
    /// By the topic.
    HashTopic,
}

/// How many members a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// With a connection.
    pub online: u32,
    /// In all.
    pub total: u32,
}

/// Where a group's copy of a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this member on this node.
    Here(Subscriber),
    /// To a member on this peer, which chooses it.
    There(PeerSlot),
}

/// A group and the target of one message.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// `$share/name/filter`.
    pub group: Arc<str>,
    /// Who gets the copy.
    pub target: Target,
}

/// Whom to choose from, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Of the message.
    pub topic: &'a str,
    /// Of the publisher: see [`publisher_key`].
    pub key: u64,
    /// Peers that may be chosen.
    pub peers: PeerSet,
    /// Whether a member here may be.
    pub here: bool,
}

/// What a strategy that goes by the publisher goes by.
#[must_use]
pub fn publisher_key(client_id: &str) -> u64 {
    FixedState::default().hash_one(client_id)
}

#[derive(Debug, Default)]
struct Shard {
    /// By filter; a filter may have several names.
    groups: RwLock<Trie<Vec<Group>>>,
    len: AtomicUsize,
}

/// All groups that this node knows.
#[derive(Debug)]
pub struct Groups {
    /// The last one holds the filters whose first level is a wildcard.
    shards: Box<[Shard]>,
    /// Groups with a member here, and members here.
    local: AtomicUsize,
    members: AtomicUsize,
    len: AtomicUsize,
    pub(super) strategy: Strategy,
    random: RandomState,
}

impl Groups {
    pub(super) fn new(strategy: Strategy) -> Self {
        Self {
            shards: (0..=SHARDS).map(|_| Shard::default()).collect(),
            local: AtomicUsize::new(0),
            members: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            strategy,
            random: RandomState::default(),
        }
    }

    /// Whether the choice needs the publisher's key.
    pub fn goes_by_publisher(&self) -> bool {
        self.strategy == Strategy::HashClientId
    }

    /// Whether there are none: costs one load.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// Adds a member, which has a connection, or replaces its subscription. `announce` is called under the shard's
    /// lock where peers must know the new weight, and gives the version of that change. Answers the version that
    /// made the group known.
    pub fn subscribe(&self, text: &Arc<str>, member: Subscriber, announce: impl Fn(Weight) -> u64) -> u64 {
        let joined = self.change(text, true, |group| {
            let before = group.weight().total;
            if group.put(member) {
                self.members.fetch_add(1, Ordering::Relaxed);
            }
            let version = group.announce(&announce);
            if before == 0 {
                self.local.fetch_add(1, Ordering::Relaxed);
                group.version = version.unwrap_or(group.version);
            }
            group.version
        });
        joined.unwrap_or(0)
    }

    /// Removes a member. Answers whether there was one.
    pub fn unsubscribe(&self, text: &Arc<str>, worker: u16, session: u32, announce: impl Fn(Weight) -> u64) -> bool {
        let left = self.change(text, false, |group| {
            let was_member = group.take((worker, session));
            if was_member {
                self.members.fetch_sub(1, Ordering::Relaxed);
                self.local.fetch_sub(usize::from(group.weight().total == 0), Ordering::Relaxed);
                group.announce(&announce);
            }
            was_member
        });
        left.unwrap_or(false)
    }

    /// A member got or lost its connection.
    pub fn set_online(
        &self,
        text: &Arc<str>,
        worker: u16,
        session: u32,
        online: bool,
        announce: impl Fn(Weight) -> u64,
    ) {
        self.change(text, false, |group| {
            group.set_online((worker, session), online);
            group.announce(&announce);
        });
    }

    /// A peer has members, so many.
    pub fn set_remote(&self, text: &str, peer: PeerSlot, weight: Weight) {
        self.change(&Arc::from(text), true, |group| group.set_remote(peer, weight));
    }

    /// It has none any more.
    pub fn remove_remote(&self, text: &str, peer: PeerSlot) {
        self.change(&Arc::from(text), false, |group| group.remove_remote(peer));
    }

    /// Forgets the members of a peer.
    pub fn clear_remote(&self, peer: PeerSlot) {
        for group in self.texts(|group| group.remote_weight(peer).is_some()) {
            self.remove_remote(&group, peer);
        }
    }

    /// Adds to `found` who gets the copy of each group whose filter matches.
    pub fn choose(&self, terms: &Terms<'_>, found: &mut Vec<Chosen>) {
        self.each_match(terms.topic, |group| {
            if let Some(target) = group.choose(self.strategy, &self.random, terms) {
                found.push(Chosen { group: group.text.clone(), target });
            }
        });
    }

    /// Chooses for one group.
    pub fn choose_in(&self, text: &str, terms: &Terms<'_>) -> Option<Target> {
        self.with(text, |group| group.choose(self.strategy, &self.random, terms))?
    }

    /// Groups with a member here whose filter matches a flooded message and that nobody has served: those that fall to
    /// this node, `own`, and not to one of `rivals`, the other nodes that have the message. Every one of them comes to
    /// the same answer (cluster-traps 14).
    pub fn unserved(
        &self,
        topic: &str,
        own: &str,
        rivals: &[(PeerSlot, Arc<str>)],
        is_served: impl Fn(&str) -> bool,
    ) -> Vec<Arc<str>> {
        let mut mine = Vec::new();
        self.each_match(topic, |group| {
            let rank = |name: &str| FixedState::default().hash_one((&*group.text, name));
            let falls_here = || {
                let holds = |slot: &PeerSlot| group.remote_weight(*slot).is_some();
                rivals.iter().filter(|(slot, _)| holds(slot)).all(|(_, name)| rank(name) < rank(own))
            };
            if group.weight().total > 0 && !is_served(&group.text) && falls_here() {
                mine.push(group.text.clone());
            }
        });
        mine
    }

    /// Whether a member with a connection is on one of these peers, or where `here` is set on this node.
    pub fn has_online(&self, text: &str, peers: PeerSet, here: bool) -> bool {
        self.with(text, |group| group.has_online(peers, here)).unwrap_or(false)
    }

    /// How many members are here, and which peers have some.
    pub fn holders(&self, text: &str) -> (usize, PeerSet) {
        self.with(text, |group| (group.weight().total as usize, group.peers())).unwrap_or_default()
    }

    /// How many members are here.
    pub fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// Groups with a member here, members here, and groups in all.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        (count(&self.local), count(&self.members), count(&self.len))
    }

    /// The groups, here or anywhere.
    pub(super) fn all(&self, only_local: bool) -> Vec<Arc<str>> {
        self.texts(|group| !only_local || group.weight().total > 0)
    }

    /// The groups of which a peer has members.
    pub(super) fn of_peer(&self, peer: PeerSlot) -> Vec<Arc<str>> {
        self.texts(|group| group.peers().contains(peer))
    }

    fn texts(&self, wanted: impl Fn(&Group) -> bool) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let Some(rows) = shard.read() else { continue };
            let groups = (0..rows.len()).filter_map(|at| rows.at(at)).flat_map(|(_, groups)| groups);
            found.extend(groups.filter(|group| wanted(group)).map(|group| group.text.clone()));
        }
        found
    }

    fn each_match(&self, topic: &str, mut visit: impl FnMut(&Group)) {
        for shard in [self.shard(topic), &self.shards[SHARDS]] {
            if let Some(rows) = shard.read() {
                rows.matches(topic, |groups| groups.iter().for_each(&mut visit));
            }
        }
    }

    fn with<T>(&self, text: &str, look: impl FnOnce(&Group) -> T) -> Option<T> {
        let (_, filter) = parse_share(text)?;
        let rows = self.shard(filter).read()?;
        rows.get(filter)?.iter().find(|group| *group.text == *text).map(look)
    }

    /// Changes a group, which is made where `make` is set, and forgets it once nobody has it.
    fn change<T>(&self, text: &Arc<str>, make: bool, change: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let (_, filter) = parse_share(text)?;
        let shard = self.shard(filter);
        let mut rows = shard.groups.write();
        if make && rows.get(filter).is_none() {
            rows.insert(&Arc::from(filter), Vec::new());
        }
        let groups = rows.get_mut(filter)?;
        let known = groups.iter().position(|group| group.text == *text);
        let at = match known {
            Some(at) => at,
            None if make => {
                groups.push(Group::new(text.clone()));
                self.len.fetch_add(1, Ordering::AcqRel);
                groups.len() - 1
            }
            None => return None,
        };
        let answer = change(&mut groups[at]);
        if groups[at].is_empty() {
            groups.swap_remove(at);
            self.len.fetch_sub(1, Ordering::AcqRel);
            if groups.is_empty() {
                rows.remove(filter);
            }
        }
        shard.len.store(rows.len(), Ordering::Release);
        Some(answer)
    }

    fn shard(&self, filter: &str) -> &Shard {
        let level = filter.split_once('/').map_or(filter, |(level, _)| level);
        match level {
            "+" | "#" => &self.shards[SHARDS],
            _ => &self.shards[self.random.hash_one(level) as usize % SHARDS],
        }
    }
}

impl Shard {
    /// The groups to read, unless there are none.
    fn read(&self) -> Option<RwLockReadGuard<'_, Trie<Vec<Group>>>> {
        (self.len.load(Ordering::Acquire) > 0).then(|| self.groups.read())
    }
}
