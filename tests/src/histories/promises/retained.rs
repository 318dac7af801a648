//! All nodes retain the same. Of each topic it is the message that was written last, where that is sure: it was acknowledged,
//! nothing else was under way to the topic, and no node went down since.

use std::collections::BTreeMap;

use super::super::facts::{Facts, Publication};

/// What a node gave to a new subscriber: numbers by topic.
pub(in super::super) type Shelf = BTreeMap<String, usize>;

pub(super) fn wrong(facts: &Facts, shelves: &[Shelf]) -> Vec<String> {
    let mut found = vec![];
    for (node, shelf) in shelves.iter().enumerate().skip(1) {
        if *shelf != shelves[0] {
            found.push(format!("n{node} retains {shelf:?}, n0 {:?}", shelves[0]));
        }
    }
    let mut topics: BTreeMap<&str, Vec<&Publication>> = BTreeMap::new();
    for publication in facts.publications.iter().filter(|one| one.is_retained) {
        topics.entry(&publication.topic).or_default().push(publication);
    }
    for (topic, writes) in topics {
        let Some(expected) = last(facts, &writes) else { continue };
        let kept = shelves[0].get(topic).copied();
        if kept != expected {
            found.push(format!("n0 retains {kept:?} for {topic}, the last write left {expected:?}"));
        }
    }
    found
}

fn last(facts: &Facts, writes: &[&Publication]) -> Option<Option<usize>> {
    let (last, before) = writes.split_last()?;
    let is_settled = |one: &&Publication| one.acknowledged.is_some_and(|(at, _)| at < last.sent);
    let is_sure = before.iter().all(is_settled) && last.acknowledged.is_some_and(|(_, code)| code < 0x80);
    let has_died = facts.deaths.iter().any(|(at, _)| *at > last.sent);
    (is_sure && !has_died).then(|| (!last.is_empty).then_some(last.number))
}
