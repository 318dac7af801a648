//! What waits for the client, by priority: higher ones leave first, and within one the order of arrival is kept. Owns the
//! count of the bytes; never decides whether a message is dropped: `outbound` does.

use std::collections::{BTreeMap, VecDeque};

use super::place::Place;
use crate::{Time, topic};

/// Which messages leave a session's queue before others.
#[derive(Clone, Debug, Default)]
pub struct Priorities {
    /// The highest first.
    rules: Vec<(Box<str>, u8)>,
    /// Whether what no rule names leaves before all that one does, instead of after it.
    others_first: bool,
}

impl Priorities {
    /// From topic filters and their priorities.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = (Box<str>, u8)>, others_first: bool) -> Self {
        let mut rules: Vec<_> = rules.into_iter().collect();
        rules.sort_by_key(|(_, priority)| std::cmp::Reverse(*priority));
        Self { rules, others_first }
    }

    /// The highest of the filters that match; `None` where none does.
    fn of(&self, name: &str) -> Option<u8> {
        self.rules.iter().find(|(filter, _)| topic::matches(filter, name)).map(|(_, priority)| *priority)
    }
}

/// The queue. Without priorities it is one list, and nothing is looked up.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What no rule names.
    others: VecDeque<Place>,
    others_first: bool,
    /// What has a priority, if anything does. No list in it is empty.
    ranked: Option<Box<BTreeMap<u8, VecDeque<Place>>>>,
    len: usize,
    bytes: usize,
}

/// Names one of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank(Option<u8>);

impl Queue {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The list that a message belongs to.
    pub(super) fn rank(topic: &str, priorities: &Priorities) -> Rank {
        let has_rules = !priorities.rules.is_empty();
        Rank(has_rules.then(|| priorities.of(topic)).flatten())
    }

    pub(super) fn push(&mut self, place: Place, rank: Rank, priorities: &Priorities) {
        self.len += 1;
        self.bytes += place.size;
        self.others_first = priorities.others_first;
        match rank.0 {
            None => self.others.push_back(place),
            Some(priority) => self.ranked.get_or_insert_default().entry(priority).or_default().push_back(place),
        }
    }

    /// What leaves next.
    pub(super) fn front(&self) -> Option<&Place> {
        self.list(self.first()?)?.front()
    }

    pub(super) fn pop(&mut self) -> Option<Place> {
        self.pop_from(self.first()?)
    }

    /// Takes the oldest of what leaves last, if a message of `rank` would not leave even after that.
    pub(super) fn make_way(&mut self, rank: Rank) -> Option<Place> {
        let last = self.last()?;
        (self.order(last) <= self.order(rank)).then(|| self.pop_from(last)).flatten()
    }

    /// Takes one that has expired from the front of a list: a message that nobody gets is the first to make way.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<Place> {
        let is_expired = |list: &VecDeque<Place>| list.front().is_some_and(|oldest| oldest.is_expired(now));
        if is_expired(&self.others) {
            return self.pop_from(Rank(None));
        }
        let expired = self.ranked.as_deref()?.iter().find(|(_, list)| is_expired(list)).map(|(at, _)| *at)?;
        self.pop_from(Rank(Some(expired)))
    }

    /// Takes out what `is_taken` says, in the order in which it would leave.
    pub(super) fn extract(&mut self, is_taken: impl Fn(&Place) -> bool) -> Vec<Place> {
        if !self.iter_mut().any(|place| is_taken(place)) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for list in self.lists() {
            for place in std::mem::take(list) {
                if is_taken(&place) {
                    taken.push(place);
                } else {
                    list.push_back(place);
                }
            }
        }
        self.len -= taken.len();
        self.bytes -= taken.iter().map(|place| place.size).sum::<usize>();
        self.tidy();
        taken
    }

    /// Those of each list in the order of arrival.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.lists().into_iter().flatten()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.ranked.iter().flat_map(|ranked| ranked.values()).flatten().chain(&self.others)
    }

    /// The message of this name. A list is in the order of names.
    pub(super) fn find(&mut self, seq: u64) -> Option<&mut Place> {
        self.lists().into_iter().find_map(|list| {
            let at = list.binary_search_by_key(&seq, |place| place.seq).ok()?;
            list.get_mut(at)
        })
    }

    /// Gives every message the list that it belongs to, where that could not be known when it came back.
    pub(super) fn rank_again(&mut self, priorities: &Priorities) {
        if priorities.rules.is_empty() {
            return;
        }
        let mut all = self.extract(|_| true);
        all.sort_by_key(|place| place.seq);
        for place in all {
            let rank = place.body.as_ref().map_or(Rank(None), |body| Self::rank(body.message.topic(), priorities));
            self.push(place, rank, priorities);
        }
    }

    /// What leaves first, first.
    fn lists(&mut self) -> Vec<&mut VecDeque<Place>> {
        let mut lists = Vec::new();
        if let Some(ranked) = &mut self.ranked {
            lists.extend(ranked.values_mut().rev());
        }
        lists.insert(if self.others_first { 0 } else { lists.len() }, &mut self.others);
        lists
    }

    fn first(&self) -> Option<Rank> {
        let has_others = !self.others.is_empty();
        let Some(ranked) = self.ranked.as_deref().filter(|_| !(has_others && self.others_first)) else {
            return has_others.then_some(Rank(None));
        };
        ranked.last_key_value().map(|(priority, _)| Rank(Some(*priority)))
    }

    fn last(&self) -> Option<Rank> {
        let has_others = !self.others.is_empty();
        let Some(ranked) = self.ranked.as_deref().filter(|_| !has_others || self.others_first) else {
            return has_others.then_some(Rank(None));
        };
        ranked.first_key_value().map(|(priority, _)| Rank(Some(*priority)))
    }

    /// The higher leaves first.
    const fn order(&self, rank: Rank) -> u16 {
        match rank.0 {
            Some(priority) => priority as u16,
            None if self.others_first => u16::MAX,
            None => 0,
        }
    }

    fn list(&self, rank: Rank) -> Option<&VecDeque<Place>> {
        match rank.0 {
            None => Some(&self.others),
            Some(priority) => self.ranked.as_deref()?.get(&priority),
        }
    }

    fn pop_from(&mut self, rank: Rank) -> Option<Place> {
        let list = match rank.0 {
            None => &mut self.others,
            Some(priority) => self.ranked.as_deref_mut()?.get_mut(&priority)?,
        };
        let place = list.pop_front()?;
        let is_empty = list.is_empty();
        self.len -= 1;
        self.bytes -= place.size;
        if is_empty {
            self.tidy();
        }
        Some(place)
    }

    /// An idle session holds no buffer.
    fn tidy(&mut self) {
        if self.others.is_empty() {
            self.others = VecDeque::new();
        }
        if let Some(ranked) = &mut self.ranked {
            ranked.retain(|_, list| !list.is_empty());
            if ranked.is_empty() {
                self.ranked = None;
            }
        }
    }
}
