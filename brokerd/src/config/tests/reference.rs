//! `config/brokerd.toml` says what the code does.

use std::collections::BTreeMap;

use super::*;
use crate::config::resolve;

const FILE: &str = include_str!("../../../../config/brokerd.toml");

/// Key to the comment above it; a key that is commented out counts.
fn documented() -> BTreeMap<String, String> {
    let (mut section, mut comment, mut keys) = (String::new(), String::new(), BTreeMap::new());
    for line in FILE.lines() {
        let plain = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix("# [[") {
            keys.insert(name.trim_end_matches(']').to_owned(), std::mem::take(&mut comment));
        } else if let Some((name, "")) = plain.strip_prefix('[').and_then(|line| line.split_once(']')) {
            section = name.to_owned(); // a section that is commented out counts too
        } else if let Some((key, _)) = plain.split_once(" = ").filter(|(key, _)| is_key(key)) {
            keys.insert(format!("{section}.{key}"), std::mem::take(&mut comment));
        } else if line.starts_with('#') {
            comment = comment + plain + " ";
        } else {
            comment.clear();
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[test]
fn the_reference_file_equals_the_defaults() {
    assert_eq!(accepted(&with_file(FILE)), accepted(&machine()));
}

#[test]
fn the_reference_file_names_every_key_and_what_it_allows() {
    let one_of_each = ["tcp", "tls", "ws", "wss", "unix"].map(|kind| format!("listeners.{kind}.default.backlog=1"));
    let (_, reader) = resolve(&with_set(&one_of_each.each_ref().map(String::as_str)));
    let documented = documented();
    for (key, allowed) in reader.known().iter().filter(|(_, allowed)| !allowed.is_empty()) {
        // What several kinds of listener have is said once.
        let last = key.rsplit('.').next().unwrap_or_default();
        let elsewhere = ["tcp", "tls", "ws"].map(|kind| format!("listeners.{kind}.default.{last}"));
        let keys = std::iter::once(key).chain(elsewhere.iter().filter(|_| key.starts_with("listeners.")));
        let comment = keys
            .filter_map(|key| documented.get(key))
            .next()
            .unwrap_or_else(|| panic!("config/brokerd.toml does not name {key}"));
        let wanted = format!("Allowed: {allowed}.");
        assert!(comment.contains(&wanted), "{key}: the comment\n{comment}\ndoes not say\n{wanted}");
        assert!(comment.len() > wanted.len() + 10, "{key}: the comment does not say what the key does");
    }
    let unknown = documented.keys().find(|key| !reader.known().contains_key(*key));
    assert_eq!(unknown, None, "config/brokerd.toml names a key that does not exist");
}
