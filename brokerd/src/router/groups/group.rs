//! One group: its members here, how many each peer has, and whose turn it is. Never decides which filter matches.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashMap;

use super::super::{PeerSet, PeerSlot, Subscriber};
use super::{Strategy, Target, Terms, Weight};

/// A session: its worker and its place there.
type Key = (u16, u32);

/// The group. Members with a connection come first in the list.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) text: Arc<str>,
    /// Of the row that made the group known to peers.
    pub(super) version: u64,
    members: Vec<Subscriber>,
    online: usize,
    places: HashMap<Key, usize, foldhash::fast::RandomState>,
    remote: Vec<(PeerSlot, Weight)>,
    announced: Weight,
    /// Counts choices among nodes, and choices among members here: with one count the two would beat against each
    /// other, and some members be passed over.
    node_turn: AtomicU64,
    member_turn: AtomicU64,
}

impl Group {
    pub(super) fn new(text: Arc<str>) -> Self {
        Self {
            text,
            version: 0,
            members: Vec::new(),
            online: 0,
            places: HashMap::default(),
            remote: Vec::new(),
            announced: Weight::default(),
            node_turn: AtomicU64::new(0),
            member_turn: AtomicU64::new(0),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.remote.is_empty()
    }

    /// Of this node.
    pub(super) fn weight(&self) -> Weight {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Weight { online: count(self.online), total: count(self.members.len()) }
    }

    /// Adds a member with a connection, or replaces it. Answers whether it is new.
    pub(super) fn put(&mut self, member: Subscriber) -> bool {
        let key = key(&member);
        if let Some(place) = self.places.get(&key) {
            self.members[*place] = member;
            self.set_online(key, true);
            return false;
        }
        self.places.insert(key, self.members.len());
        self.members.push(member);
        self.set_online(key, true);
        true
    }

    pub(super) fn take(&mut self, key: Key) -> bool {
        self.set_online(key, false);
        let Some(place) = self.places.get(&key).copied() else { return false };
        self.swap(place, self.members.len() - 1);
        self.members.pop();
        self.places.remove(&key);
        true
    }

    pub(super) fn set_online(&mut self, key: Key, online: bool) {
        let Some(place) = self.places.get(&key).copied() else { return };
        if online && place >= self.online {
            self.swap(place, self.online);
            self.online += 1;
        } else if !online && place < self.online {
            self.online -= 1;
            self.swap(place, self.online);
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.members.swap(one, other);
        for place in [one, other] {
            self.places.insert(key(&self.members[place]), place);
        }
    }

    pub(super) fn set_remote(&mut self, peer: PeerSlot, weight: Weight) {
        self.remove_remote(peer);
        self.remote.push((peer, weight));
        self.remote.sort_unstable_by_key(|(peer, _)| *peer);
    }

    pub(super) fn remove_remote(&mut self, peer: PeerSlot) {
        self.remote.retain(|(known, _)| *known != peer);
    }

    pub(super) fn remote_weight(&self, peer: PeerSlot) -> Option<Weight> {
        self.remote.iter().find(|(known, _)| *known == peer).map(|(_, weight)| *weight)
    }

    pub(super) fn peers(&self) -> PeerSet {
        self.remote.iter().fold(PeerSet::default(), |peers, (peer, _)| peers.with(*peer))
    }

    pub(super) fn has_online(&self, peers: PeerSet, here: bool) -> bool {
        (here && self.online > 0) || self.remote.iter().any(|(peer, weight)| peers.contains(*peer) && weight.online > 0)
    }

    /// Tells peers the weight where it matters: whether there is anybody, whether anybody has a connection, and where
    /// a count is off by an eighth. So a storm of reconnects to a large group is few rows.
    pub(super) fn announce(&mut self, announce: &impl Fn(Weight) -> u64) -> Option<u64> {
        let (now, told) = (self.weight(), self.announced);
        let is_off = |now: u32, told: u32| (now == 0) != (told == 0) || now.abs_diff(told) > told / 8;
        if !is_off(now.online, told.online) && !is_off(now.total, told.total) {
            return None;
        }
        self.announced = now;
        Some(announce(now))
    }

    /// The node by weight, then the member. Who has no connection is chosen only where nobody has one.
    pub(super) fn choose(&self, strategy: Strategy, random: &RandomState, terms: &Terms<'_>) -> Option<Target> {
        let peers = || self.remote.iter().filter(|(peer, _)| terms.peers.contains(*peer));
        let here = if terms.here { self.weight() } else { Weight::default() };
        let is_anyone_online = here.online > 0 || peers().any(|(_, weight)| weight.online > 0);
        let count = |weight: Weight| u64::from(if is_anyone_online { weight.online } else { weight.total });
        let there: u64 = peers().map(|(_, weight)| count(*weight)).sum();
        let all = count(here) + there;
        if all == 0 {
            return None;
        }
        let prefers_here = strategy == Strategy::Local && count(here) > 0;
        if there == 0 || prefers_here {
            return self.member(strategy, random, terms);
        }
        let mut number = number(strategy, random, terms, &self.node_turn) % all;
        if number < count(here) {
            return self.member(strategy, random, terms);
        }
        number -= count(here);
        for (peer, weight) in peers() {
            if number < count(*weight) {
                return Some(Target::There(*peer));
            }
            number -= count(*weight);
        }
        None
    }

    fn member(&self, strategy: Strategy, random: &RandomState, terms: &Terms<'_>) -> Option<Target> {
        let count = if self.online > 0 { self.online } else { self.members.len() } as u64;
        let number = number(strategy, random, terms, &self.member_turn).checked_rem(count)?;
        self.members.get(usize::try_from(number).ok()?).copied().map(Target::Here)
    }
}

fn number(strategy: Strategy, random: &RandomState, terms: &Terms<'_>, turn: &AtomicU64) -> u64 {
    match strategy {
        Strategy::RoundRobin | Strategy::Local => turn.fetch_add(1, Ordering::Relaxed),
        Strategy::Random => random.hash_one(turn.fetch_add(1, Ordering::Relaxed)),
        Strategy::Sticky => 0, // the first in the list stays the first until it goes
        Strategy::HashClientId => terms.key,
        Strategy::HashTopic => FixedState::default().hash_one(terms.topic),
    }
}

fn key(member: &Subscriber) -> Key {
    (member.worker, member.session)
}
