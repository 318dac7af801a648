//! What waits for the client, by priority: higher ones leave first, and within one the order of arrival is kept. Owns the
//! count of the bytes; never decides whether a message is dropped: `outbound` does.

use std::collections::{BTreeMap, VecDeque};

use super::Delivery;
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
    others: VecDeque<Delivery>,
    /// What has a priority, if anything does.
    ranked: Option<Box<Ranked>>,
    bytes: usize,
}

/// Messages that have a priority.
#[derive(Debug, Default)]
struct Ranked {
    /// None is empty.
    lists: BTreeMap<u8, VecDeque<Delivery>>,
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
    pub(super) fn rank(delivery: &Delivery, priorities: &Priorities) -> Rank {
        let has_rules = !priorities.rules.is_empty();
        Rank(has_rules.then(|| priorities.of(delivery.message.topic())).flatten())
    }

    pub(super) fn push(&mut self, delivery: Delivery, rank: Rank, priorities: &Priorities) {
        self.bytes += delivery.message.heap_size();
        let Some(priority) = rank.0 else {
            return self.others.push_back(delivery);
        };
        let ranked = self.ranked.get_or_insert_default();
        ranked.others_first = priorities.others_first;
        ranked.len += 1;
        ranked.lists.entry(priority).or_default().push_back(delivery);
    }

    /// What leaves next.
    pub(super) fn front(&self) -> Option<&Delivery> {
        match self.first()? {
            Rank(None) => self.others.front(),
            Rank(Some(priority)) => self.ranked.as_ref()?.lists.get(&priority)?.front(),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        self.pop_from(self.first()?)
    }

    /// Takes the oldest of what leaves last, unless a message of `rank` would leave after all that waits.
    pub(super) fn make_way(&mut self, rank: Rank, priorities: &Priorities) -> Option<Delivery> {
        let order = |rank: Rank| match rank.0 {
            Some(priority) => u16::from(priority),
            None if priorities.others_first => u16::MAX,
            None => 0,
        };
        let last = self.last()?;
        (order(last) <= order(rank)).then(|| self.pop_from(last)).flatten()
    }

    /// Takes one that has expired from the front of a list: a message that nobody gets is the first to make way.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<Delivery> {
        let is_expired =
            |list: &VecDeque<Delivery>| list.front().is_some_and(|oldest| oldest.message.seconds_left(now) == Some(0));
        if is_expired(&self.others) {
            return self.pop_from(Rank(None));
        }
        let expired = self.ranked.as_ref()?.lists.iter().find(|(_, list)| is_expired(list)).map(|(at, _)| *at)?;
        self.pop_from(Rank(Some(expired)))
    }

    /// Takes out what `is_taken` says, in the order in which it would leave.
    pub(super) fn extract(&mut self, is_taken: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut take = |list: &mut VecDeque<Delivery>| {
            let before = taken.len();
            list.retain(|delivery| {
                let goes = is_taken(delivery);
                if goes {
                    taken.push(delivery.clone());
                }
                !goes
            });
            taken.len() - before
        };
        let others_first = self.ranked.as_ref().is_none_or(|ranked| ranked.others_first);
        if others_first {
            take(&mut self.others);
        }
        if let Some(ranked) = &mut self.ranked {
            ranked.len -= ranked.lists.values_mut().rev().map(&mut take).sum::<usize>();
        }
        if !others_first {
            take(&mut self.others);
        }
        self.bytes -= taken.iter().map(|delivery| delivery.message.heap_size()).sum::<usize>();
        self.tidy();
        taken
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

    fn pop_from(&mut self, rank: Rank) -> Option<Delivery> {
        let list = match rank.0 {
            None => &mut self.others,
            Some(priority) => {
                let ranked = self.ranked.as_mut()?;
                ranked.len -= 1;
                ranked.lists.get_mut(&priority)?
            }
        };
        let delivery = list.pop_front()?;
        let is_empty = list.is_empty();
        self.bytes -= delivery.message.heap_size();
        if is_empty {
            self.tidy();
        }
        Some(delivery)
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
        assert_eq!(size_of::<Queue>(), size_of::<VecDeque<Delivery>>() + 16, "a list, the bytes, and a pointer");
    }
}
