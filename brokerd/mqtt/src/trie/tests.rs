#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// The specification read aloud: level by level.
fn naive(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let topic: Vec<_> = topic.split('/').collect();
    let filter: Vec<_> = filter.split('/').collect();
    for (i, wanted) in filter.iter().enumerate() {
        match (*wanted, topic.get(i)) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", _) => {}
            (wanted, Some(level)) if wanted != *level => return false,
            _ => {}
        }
    }
    filter.len() == topic.len()
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "ab", "$x", "é"])
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/"))
}

fn filter() -> impl Strategy<Value = String> {
    let one = prop_oneof![3 => level(), 2 => Just("+")];
    (prop::collection::vec(one, 0..6), any::<bool>()).prop_map(|(mut levels, multi)| {
        if multi || levels.is_empty() {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn found(trie: &Trie<u32>, topic: &str) -> Vec<u32> {
    let mut found = Vec::new();
    trie.matches(topic, |value| found.push(*value));
    found.sort_unstable();
    found
}

/// Checks the claims that the layout makes about itself.
fn check_shape<V>(trie: &Trie<V>) {
    let mut free = 0;
    let mut next = trie.free;
    while next != NONE {
        free += 1;
        next = trie.nodes[next as usize].parent;
    }
    let live = trie.nodes.len() - free;
    assert!(live <= trie.entries.len().max(1), "{live} nodes for {} filters", trie.entries.len());
    let wild = trie.nodes.iter().map(|node| usize::from(node.plus != NONE) + usize::from(node.multi != NONE));
    let children: u32 = trie.nodes.iter().map(|node| node.children).sum();
    assert_eq!(trie.edges.len() + wild.sum::<usize>(), children as usize, "a child is lost or counted twice");
}

#[derive(Clone, Debug)]
enum Change {
    Insert(String),
    Remove(String),
    RemoveAny(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => filter().prop_map(Change::Insert),
        1 => filter().prop_map(Change::Remove),
        3 => any::<prop::sample::Index>().prop_map(Change::RemoveAny),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_storm_of_changes_leaves_what_a_plain_map_holds(
        changes in prop::collection::vec(change(), 1..120),
        topics in prop::collection::vec(topic(), 1..20),
    ) {
        let mut trie = Trie::default();
        let mut model = BTreeMap::<String, u32>::new();
        for (serial, change) in changes.into_iter().enumerate() {
            let serial = u32::try_from(serial).unwrap();
            match change {
                Change::Insert(filter) => {
                    prop_assert_eq!(trie.insert(&Arc::from(&*filter), serial), model.insert(filter, serial));
                }
                Change::Remove(filter) => prop_assert_eq!(trie.remove(&filter), model.remove(&filter)),
                Change::RemoveAny(pick) if !model.is_empty() => {
                    let filter = pick.get(&model.keys().cloned().collect::<Vec<_>>()).clone();
                    prop_assert_eq!(trie.remove(&filter), model.remove(&filter));
                }
                Change::RemoveAny(_) => {}
            }
            check_shape(&trie);
        }
        prop_assert_eq!(trie.len(), model.len());
        for (filter, value) in &model {
            prop_assert_eq!(trie.get(filter), Some(value), "{}", filter);
        }
        for topic in topics {
            let mut expected: Vec<u32> =
                model.iter().filter(|(filter, _)| naive(filter, &topic)).map(|(_, value)| *value).collect();
            expected.sort_unstable();
            prop_assert_eq!(found(&trie, &topic), expected, "topic {:?} in {:?}", topic, model);
        }
        for filter in model.into_keys() {
            trie.remove(&filter);
            check_shape(&trie);
        }
        prop_assert!(trie.is_empty());
        prop_assert_eq!(found(&trie, "a/b"), Vec::<u32>::new());
    }
}

#[test]
fn a_filter_of_65535_slashes_is_held_matched_and_dropped() {
    let deep = "/".repeat(65_535);
    let mut trie = Trie::default();
    trie.insert(&Arc::from(&*deep), 1);
    trie.insert(&Arc::from(&*format!("{}#", &deep[1..])), 2);
    trie.insert(&Arc::from(&*["+"; 32_768].join("/")), 3);
    assert_eq!(found(&trie, &deep), [1, 2]);
    assert_eq!(found(&trie, &deep[..32_767]), [3]);
    assert_eq!(trie.remove(&deep), Some(1));
    assert_eq!(found(&trie, &deep), [2]);
    // One node a level: the worst that filters of this length can make of it.
    for end in 0..1_000 {
        trie.insert(&Arc::from(&deep[..end]), 4);
    }
    assert_eq!(trie.get(&deep[..999]), Some(&4));
}

#[test]
fn memory_comes_back_when_filters_go() {
    let mut trie = Trie::default();
    let filters: Vec<Arc<str>> = (0..20_000).map(|i| format!("a/{}/+/{}", i / 4, i % 4).into()).collect();
    for filter in &filters {
        trie.insert(filter, 0);
    }
    assert!(trie.nodes.len() >= 5_000, "the test is meant to make nodes");
    for filter in &filters {
        assert_eq!(trie.remove(filter), Some(0));
    }
    assert!(trie.is_empty() && trie.edges.len() == 0);
    assert!(trie.entries.capacity() <= 16, "entries: {}", trie.entries.capacity());
    assert!(trie.nodes.capacity() <= 64, "nodes: {}", trie.nodes.capacity());
    assert!(trie.edges.capacity() <= 32 * 16, "edges: {}", trie.edges.capacity());
    assert!(filters.iter().all(|filter| Arc::strong_count(filter) == 1), "a text is still held");
}

#[test]
fn a_walk_from_the_end_meets_all_that_stay_though_others_go() {
    let mut trie = Trie::default();
    for i in 0..500_u32 {
        trie.insert(&format!("a/{i}/+").into(), i);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut position = trie.len();
    while position > 0 {
        position = (position - 1).min(trie.len().saturating_sub(1));
        seen.insert(*trie.at(position).unwrap().1);
        let gone = (position * 7919) % 500;
        if gone % 2 == 1 {
            trie.remove(&format!("a/{gone}/+"));
        }
    }
    assert!((0..500).step_by(2).all(|stays| seen.contains(&stays)));
}
