//! Topics: the examples of section 4.7, and `scan` and `matches` against slower definitions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn a_name_has_no_wildcard_no_nul_and_a_character() {
    for name in ["a", "/", "//", " ", "a/b", "$SYS/a", "é/ü", "sport/tennis/player1", "\u{feff}"] {
        assert!(valid_name(name), "{name:?}");
    }
    for name in ["", "#", "+", "a/+", "a/#", "a+b", "sport/tennis/player1#", "a\0", "\0", "0123456789abc\0ef"] {
        assert!(!valid_name(name), "{name:?}");
    }
    assert!(valid_name(&"x".repeat(MAX_TEXT)));
    assert!(!valid_name(&"x".repeat(MAX_TEXT + 1)));
}

#[test]
fn a_wildcard_of_a_filter_is_alone_in_its_level_and_number_sign_is_last() {
    for filter in ["#", "+", "/", "+/+", "/+", "/#", "a/#", "+/a/#", "sport/+/player1", "$SYS/#", "$share", "$shared/a"]
    {
        assert!(valid_filter(filter), "{filter:?}");
    }
    for filter in ["", "a#", "#/a", "a/#/b", "a+", "+a", "a/b+/c", "##", "++", "+#", "#/", "a/#/", "a\0b", "+/\0"] {
        assert!(!valid_filter(filter), "{filter:?}");
    }
}

#[test]
fn a_share_has_a_group_without_wildcards_and_a_filter() {
    assert_eq!(parse_share("$share/g/a/+/#"), Some(("g", "a/+/#")));
    assert_eq!(parse_share("$share/g//"), Some(("g", "/")));
    assert_eq!(parse_share("$share/g/$SYS/a"), Some(("g", "$SYS/a")));
    assert_eq!(parse_share("a/b"), None);
    for filter in
        ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#/a", "$share/g+/a", "$share/g/a#"]
    {
        assert!(parse_share(filter).is_none() && !valid_filter(filter), "{filter:?}");
    }
}

#[test]
fn levels_are_counted_with_the_empty_ones() {
    for (text, count) in [("a", 1), ("/", 2), ("//", 3), ("a/b/c", 3), ("aaaaaaaa/bbbbbbbb/", 3)] {
        assert_eq!(levels(text), count, "{text:?}");
    }
}

#[test]
fn matching_follows_the_examples_of_the_specification() {
    let sport = "sport/tennis/player1/#";
    let matching = [
        (sport, "sport/tennis/player1"),
        (sport, "sport/tennis/player1/ranking"),
        (sport, "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "a/b"),
        ("#", "/"),
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("$SYS/#", "$SYS/monitor"),
        ("$SYS/#", "$SYS"),
        ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        ("+/#", "a"),
        ("a/+/#", "a/"),
        ("a/+", "a/$b"),
        ("é/+", "é/ü"),
    ];
    for (filter, topic) in matching {
        assert!(matches(filter, topic), "{filter:?} must match {topic:?}");
    }
    let not_matching = [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/a"),
        ("+/monitor/Clients", "$SYS/monitor/Clients"),
        ("a", "/a"),
        ("/a", "a"),
        ("a", "A"),
        ("a/b", "a"),
        ("a", "a/"),
        ("a/+/#", "a"),
    ];
    for (filter, topic) in not_matching {
        assert!(!matches(filter, topic), "{filter:?} must not match {topic:?}");
    }
}

/// The definition of 4.7 once more, by recursion over whole levels.
fn matches_recursively(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_recursively(filter, topic),
        ([wanted, filter @ ..], [name, topic @ ..]) => wanted == name && matches_recursively(filter, topic),
        ([], []) => true,
        _ => false,
    }
}

/// Valid filters.
fn filter() -> impl Strategy<Value = String> {
    let level = proptest::sample::select(vec!["a", "b", "ab", "$", "$a", "", "+"]);
    let levels = (proptest::collection::vec(level, 1..5), any::<bool>());
    levels.prop_map(|(levels, is_open)| match (levels.join("/"), is_open) {
        (levels, true) => levels + "/#",
        (levels, false) if levels.is_empty() => "#".into(),
        (levels, false) => levels,
    })
}

proptest! {
    #[test]
    fn a_scan_finds_what_a_look_at_each_byte_finds(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let expected = Scan {
            nul: bytes.contains(&0),
            wildcard: bytes.iter().any(|byte| matches!(byte, b'+' | b'#')),
            separators: bytes.iter().filter(|&&byte| byte == b'/').count(),
        };
        prop_assert_eq!(scan(&bytes), expected);
    }

    #[test]
    fn matching_agrees_with_its_recursive_definition(filter in filter(), topic in "[ab$/]{1,8}") {
        prop_assert!(valid_filter(&filter));
        let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
        let filter_levels: Vec<&str> = filter.split('/').collect();
        let topic_levels: Vec<&str> = topic.split('/').collect();
        let expected = !hidden && matches_recursively(&filter_levels, &topic_levels);
        prop_assert_eq!(matches(&filter, &topic), expected, "{} {}", filter, topic);
    }

    #[test]
    fn a_topic_matches_itself_and_what_it_becomes_by_wildcards(topic in "[a-c/é]{1,12}", keep in any::<u16>()) {
        let level = |(at, name): (usize, &str)| if keep >> (at % 16) & 1 == 1 { name.to_owned() } else { "+".to_owned() };
        let filter = topic.split('/').enumerate().map(level).collect::<Vec<_>>().join("/");
        let below = format!("{filter}/#");
        prop_assert!(matches(&topic, &topic) && matches(&filter, &topic) && matches(&below, &topic));
    }
}
