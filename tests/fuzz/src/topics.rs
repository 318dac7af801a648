//! Topic names and filters: the trie against the plain definition of matching, under insertion and removal.

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt::topic;
use mqtt::trie::Trie;

/// More would only be slow.
const MOST_FILTERS: usize = 64;

/// Lines: `-filter` removes, `=topic` asks, anything else is a filter to insert.
pub(crate) fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut trie = Trie::default();
    let mut plain = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        match line.split_at_checked(1) {
            Some(("-", filter)) => assert_eq!(trie.remove(filter), plain.remove(filter), "removing {filter:?}"),
            Some(("=", name)) => ask(&trie, &plain, name),
            _ if topic::valid_filter(line) && plain.len() < MOST_FILTERS => {
                let filter: Arc<str> = line.into();
                assert_eq!(trie.insert(&filter, at), plain.insert(line.to_owned(), at), "inserting {line:?}");
            }
            _ => check_invalid(line),
        }
        assert_eq!(trie.len(), plain.len());
    }
    for (filter, at) in &plain {
        assert_eq!(trie.get(filter), Some(at));
    }
}

fn ask(trie: &Trie<usize>, plain: &BTreeMap<String, usize>, name: &str) {
    if !topic::valid_name(name) {
        return;
    }
    let mut found = Vec::new();
    trie.matches(name, |value| found.push(*value));
    found.sort_unstable();
    let mut expected: Vec<usize> =
        plain.iter().filter(|(filter, _)| topic::matches(filter, name)).map(|(_, at)| *at).collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "{name:?} among {plain:?}");
    for filter in plain.keys() {
        assert_eq!(topic::matches(filter, name), by_definition(filter, name), "{filter:?} and {name:?}");
    }
}

/// 4.7 word by word, slowly.
fn by_definition(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false; // [MQTT-4.7.2-1]
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    match filter.split_last() {
        Some((&"#", head)) => name.len() >= head.len() && levels_match(head, &name[..head.len()]),
        _ => filter.len() == name.len() && levels_match(&filter, &name),
    }
}

fn levels_match(filter: &[&str], name: &[&str]) -> bool {
    filter.iter().zip(name).all(|(filter, level)| *filter == "+" || filter == level)
}

fn check_invalid(line: &str) {
    let misplaced = line.split('/').any(|level| level.contains(['+', '#']) && level.len() > 1);
    if misplaced {
        assert!(!topic::valid_filter(line), "{line:?}");
    }
    if let Some((delay, name)) = topic::parse_delayed(line) {
        assert!(line.ends_with(name) && line.contains(&delay.to_string()), "{line:?}");
    }
}
