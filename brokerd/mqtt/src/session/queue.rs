//! What waits for the client, by priority: higher ones leave first, and within one the order of arrival is kept. Owns the
//! count of the bytes; never decides whether a message is dropped: `outbound` does.

use std::collections::{BTreeMap, VecDeque};

use super::lazy::Empty;
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
    /// What has a priority, if anything does.
    ranked: Option<Box<Ranked>>,
    bytes: usize,
}

impl Empty for Queue {
    const EMPTY: &'static Self = &Self { others: VecDeque::new(), ranked: None, bytes: 0 };

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// Messages that have a priority.
#[derive(Debug, Default)]
struct Ranked {
    /// None is empty.
    lists: BTreeMap<u8, VecDeque<Place>>,
    len: usize,
    others_first: bool,
}

/// Names one of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank(Option<u8>);

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.others.len() + self.ranked.as_ref().map_or(0, |ranked| ranked.len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.others.is_empty() && self.ranked.is_none()
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
        self.bytes += place.size;
        let Some(priority) = rank.0 else {
            return self.others.push_back(place);
        };
        let ranked = self.ranked.get_or_insert_default();
        ranked.others_first = priorities.others_first;
        ranked.len += 1;
        ranked.lists.entry(priority).or_default().push_back(place);
    }

    /// What leaves next.
    pub(super) fn front(&self) -> Option<&Place> {
        match self.first()? {
            Rank(None) => self.others.front(),
            Rank(Some(priority)) => self.ranked.as_ref()?.lists.get(&priority)?.front(),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Place> {
        self.pop_from(self.first()?)
    }

    /// Takes the oldest of what leaves last, unless a message of `rank` would leave after all that waits.
    pub(super) fn make_way(&mut self, rank: Rank, priorities: &Priorities) -> Option<Place> {
        let order = |rank: Rank| match rank.0 {
            Some(priority) => u16::from(priority),
            None if priorities.others_first => u16::MAX,
            None => 0,
        };
        let last = self.last()?;
        (order(last) <= order(rank)).then(|| self.pop_from(last)).flatten()
    }

    /// Takes one that has expired from the front of a list: a message that nobody gets is the first to make way.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<Place> {
        let is_expired = |list: &VecDeque<Place>| list.front().is_some_and(|oldest| oldest.is_expired(now));
        if is_expired(&self.others) {
            return self.pop_from(Rank(None));
        }
        let expired = self.ranked.as_ref()?.lists.iter().find(|(_, list)| is_expired(list)).map(|(at, _)| *at)?;
        self.pop_from(Rank(Some(expired)))
    }

    /// Takes out what `is_taken` says, in the order in which it would leave.
    pub(super) fn extract(&mut self, is_taken: impl Fn(&Place) -> bool) -> Vec<Place> {
        let mut taken = Vec::new();
        if !self.iter().any(&is_taken) {
            return taken;
        }
        for list in self.lists() {
            for place in std::mem::take(list) {
                if is_taken(&place) {
                    taken.push(place);
                } else {
                    list.push_back(place);
                }
            }
        }
        if let Some(ranked) = &mut self.ranked {
            ranked.len = ranked.lists.values().map(VecDeque::len).sum();
        }
        self.bytes -= taken.iter().map(|place| place.size).sum::<usize>();
        self.tidy();
        taken
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.others.iter().chain(self.ranked.iter().flat_map(|ranked| ranked.lists.values().flatten()))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.lists().into_iter().flatten()
    }

    /// Of each list those behind a name, at most `most`. A list is in the order of names.
    pub(super) fn behind(&self, seq: u64, most: usize) -> impl Iterator<Item = &Place> {
        let ranked = self.ranked.iter().flat_map(|ranked| ranked.lists.values());
        std::iter::once(&self.others).chain(ranked).flat_map(move |list| {
            let from = list.partition_point(|place| place.seq <= seq);
            list.range(from..).take(most)
        })
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
        let Some(ranked) = &mut self.ranked else { return vec![&mut self.others] };
        let others_first = ranked.others_first;
        let mut lists: Vec<_> = ranked.lists.values_mut().rev().collect();
        lists.insert(if others_first { 0 } else { lists.len() }, &mut self.others);
        lists
    }

    fn first(&self) -> Option<Rank> {
        let others = (!self.others.is_empty()).then_some(Rank(None));
        let Some(ranked) = self.ranked.as_ref().filter(|ranked| others.is_none() || !ranked.others_first) else {
            return others;
        };
        ranked.lists.last_key_value().map(|(priority, _)| Rank(Some(*priority)))
    }

    fn last(&self) -> Option<Rank> {
        let others = (!self.others.is_empty()).then_some(Rank(None));
        let Some(ranked) = self.ranked.as_ref().filter(|ranked| others.is_none() || ranked.others_first) else {
            return others;
        };
        ranked.lists.first_key_value().map(|(priority, _)| Rank(Some(*priority)))
    }

    fn pop_from(&mut self, rank: Rank) -> Option<Place> {
        let list = match rank.0 {
            None => &mut self.others,
            Some(priority) => {
                let ranked = self.ranked.as_mut()?;
                ranked.len -= 1;
                ranked.lists.get_mut(&priority)?
            }
        };
        let place = list.pop_front()?;
        let is_empty = list.is_empty();
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
            ranked.lists.retain(|_, list| !list.is_empty());
            if ranked.lists.is_empty() {
                self.ranked = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_cost_an_idle_session_eight_bytes() {
        assert_eq!(size_of::<Queue>(), size_of::<VecDeque<Place>>() + 16, "a list, the bytes, and a pointer");
    }
}
