//! The rules from outside: a file in, answers out; and against brute force over small alphabets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::LazyLock;

use mqtt::topic;
use proptest::prelude::*;

use super::*;

const ANN: Subject<'static> = who("c1", Some("ann"));

const fn who<'a>(client_id: &'a str, user: Option<&'a str>) -> Subject<'a> {
    Subject { client_id, user, ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) }
}

fn acl(text: &str) -> Acl {
    Acl::parse(text).unwrap_or_else(|bad| panic!("refused: {bad}"))
}

fn publishes(text: &str, subject: Subject<'_>, topic: &str) -> bool {
    acl(text).allows(&subject, Action::Publish(topic))
}

fn subscribes(text: &str, subject: Subject<'_>, filter: &str) -> bool {
    acl(text).allows(&subject, Action::Subscribe(filter))
}

#[test]
fn an_empty_file_denies_everything() {
    for text in ["", "\n\n", "# nothing but a comment\n  # and another"] {
        assert!(!publishes(text, ANN, "a") && !subscribes(text, ANN, "a"), "{text:?}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let text = "allow user ann publish a/b\ndeny all publish a/#\nallow all all #";
    assert!(publishes(text, ANN, "a/b"));
    assert!(!publishes(text, ANN, "a/c"));
    assert!(!publishes(text, who("c1", Some("bob")), "a/b"));
    assert!(publishes(text, ANN, "c"));
}

#[test]
fn a_rule_is_for_its_user_client_or_address_and_for_its_action() {
    let text = "allow client c1 publish c\nallow ip 127.0.0.0/8 publish i\nallow ip 10.0.0.0/8 publish x\n\
                allow user \"ann b\" publish u \"two words\"\nallow all subscribe s";
    let ann = who("c1", Some("ann b"));
    for (topic, allowed) in [("c", true), ("i", true), ("x", false), ("u", true), ("two words", true), ("s", false)] {
        assert_eq!(publishes(text, ann, topic), allowed, "{topic}");
    }
    assert!(!publishes(text, who("c2", None), "c") && !publishes(text, who("c2", None), "u"));
    assert!(subscribes(text, who("c2", None), "s") && !subscribes(text, ann, "c"));
}

#[test]
fn a_subscription_needs_a_rule_that_covers_all_of_it() {
    let text = "allow all subscribe a/+ b/#";
    for filter in ["a/x", "a/+", "b", "b/#", "b/+/c", "$share/g/a/x"] {
        assert!(subscribes(text, ANN, filter), "{filter}");
    }
    for filter in ["#", "a/#", "+/x", "a", "a/x/y", "+", "+/#", "$share/g/#", "$share/g/a/#"] {
        assert!(!subscribes(text, ANN, filter), "{filter}");
    }
}

#[test]
fn a_subscription_that_touches_what_is_denied_is_denied() {
    let text = "allow all subscribe secret/public\ndeny all subscribe secret/#\nallow all subscribe #";
    for (filter, allowed) in
        [("secret/public", true), ("secret/x", false), ("#", false), ("+/x", false), ("+", false), ("x/#", true)]
    {
        assert_eq!(subscribes(text, ANN, filter), allowed, "{filter}");
    }
}

#[test]
fn a_leading_wildcard_does_not_reach_system_topics() {
    assert!(!subscribes("allow all subscribe #", ANN, "$SYS/#"));
    assert!(!publishes("allow all publish +/x", ANN, "$x/x"));
    assert!(subscribes("allow all subscribe $SYS/#", ANN, "$SYS/broker/uptime"));
    assert!(subscribes("deny all subscribe $SYS/#\nallow all subscribe #", ANN, "#"), "`#` has no system topics in it");
}

#[test]
fn client_id_and_user_name_are_one_literal_level() {
    let text = "allow all all c/%c/# u/%u";
    assert!(publishes(text, ANN, "c/c1/x") && publishes(text, ANN, "u/ann") && subscribes(text, ANN, "c/c1/#"));
    assert!(!publishes(text, ANN, "c/c2/x") && !publishes(text, ANN, "u/bob") && !subscribes(text, ANN, "c/+/x"));
    assert!(!publishes(text, who("c1", None), "u/ann") && !publishes(text, who("c1", None), "u/"));
    assert!(!publishes(text, who("%c", Some("%u")), "c/c1/x"));
}

#[test]
fn a_name_with_wildcards_separators_or_nul_matches_no_pattern_that_uses_it() {
    let text = "allow all all %c/# x/%c x/%u";
    for name in ["+", "#", "a/b", "a+", "a#", "/", "a\0"] {
        let subject = who(name, Some(name));
        for asked in
            ["#", "+", "+/x", "x/#", "x/+", "a/b", "x/a/b", "x/a\0", &*format!("x/{name}"), &*format!("{name}/x")]
        {
            assert!(!subscribes(text, subject, asked), "client id {name:?} may subscribe to {asked:?}");
            assert!(!publishes(text, subject, asked), "client id {name:?} may publish to {asked:?}");
        }
    }
    assert!(!subscribes(text, who("$SYS", None), "$SYS/#"), "a client may call itself $SYS");
    assert!(subscribes(text, who("$SYS", None), "x/$SYS"));
}

/// CVE-2026-44838: there, a client id became part of a regular expression.
#[test]
fn a_name_that_a_regular_expression_would_read_otherwise_is_a_literal_level() {
    let text = "allow all all c/%c u/%u";
    for name in [".*", "c.", "c1|c2", "(c2)?", "[a-z]", "^c2$", "\\w*", "c2|", "%c", "$0"] {
        let subject = who(name, Some(name));
        for other in ["c/c2", "u/c2", "c/", "c/c1|c2x", "u/x"] {
            assert!(!publishes(text, subject, other), "client id {name:?} may publish to {other:?}");
            assert!(!subscribes(text, subject, other), "client id {name:?} may subscribe to {other:?}");
        }
        assert!(publishes(text, subject, &format!("c/{name}")) && publishes(text, subject, &format!("u/{name}")));
    }
}

#[test]
fn a_file_with_one_wrong_line_is_refused_with_its_number() {
    for (line, wanted) in [
        ("permit all all #", "neither allow nor deny"),
        ("allow", "is cut short"),
        ("allow everyone all #", "not one of user, client, ip and all"),
        ("allow user", "is cut short"),
        ("allow user \"\" all #", "name is empty"),
        ("allow ip 10.0.0.1/8 all #", "not an address"),
        ("allow all read #", "not one of publish, subscribe and all"),
        ("allow all publish", "no topic filter"),
        ("allow all publish a/#/b", "not a topic filter"),
        ("allow all publish a+", "not a topic filter"),
        ("allow all publish \"\"", "not a topic filter"),
        ("allow all publish x-%c/a", "each a level of its own"),
        ("allow all publish ${clientid}/a", "each a level of its own"),
        ("allow all subscribe $share/g/a", "leave `$share/group/` out"),
        ("allow all publish \"a", "not closed"),
        ("allow all publish a\"b", "middle of a word"),
        ("allow all publish \"a\"b", "middle of a word"),
        ("allow all publish \"a\\n\"", "stands before"),
    ] {
        let told = Acl::parse(&format!("allow all all #\n\n{line}\n")).expect_err(line).to_string();
        assert!(told.starts_with("line 3: ") && told.contains(wanted), "{line}: {told}");
    }
}

#[test]
fn the_shipped_example_says_what_its_comments_say() {
    let example = include_str!("../../../../config/acl.conf.example");
    let sensor = who("sensor-7", Some("sensor"));
    assert!(
        publishes(example, sensor, "devices/sensor-7/temperature") && subscribes(example, sensor, "devices/sensor-7/#")
    );
    assert!(!publishes(example, sensor, "devices/sensor-8/temperature") && !subscribes(example, sensor, "devices/#"));
    assert!(subscribes(example, who("x", Some("dashboard")), "$share/g/devices/+/temperature"));
    assert!(!subscribes(example, who("x", Some("dashboard")), "devices/+/secret"));
    assert!(!subscribes(example, who("x", Some("dashboard")), "devices/#"));
    assert!(
        subscribes(example, who("x", Some("admin")), "#") && publishes(example, who("x", Some("admin")), "anything")
    );
    assert!(subscribes(example, ANN, "$SYS/broker/uptime") && !subscribes(example, ANN, "#"));
}

/// All topics of up to four levels over two letters of filters, one that no filter has, and two of the system.
static TOPICS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut all: Vec<String> = ["a", "b", "z", "$s", "$z"].map(String::from).into();
    let mut longest = all.clone();
    for _ in 0..3 {
        longest =
            longest.iter().flat_map(|topic| ["a", "b", "z", "$s"].map(|level| format!("{topic}/{level}"))).collect();
        all.extend(longest.iter().cloned());
    }
    all
});

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => Just("a"), 1 => Just("b"), 3 => Just("+"), 1 => Just("$s")];
    (prop::collection::vec(level, 0..=3), any::<bool>()).prop_filter_map("empty", |(mut levels, is_open)| {
        levels.extend(is_open.then_some("#"));
        (!levels.is_empty()).then(|| levels.join("/"))
    })
}

/// Client id `a`, user `b`: what a placeholder stands for is in the alphabet.
const AB: Subject<'static> = who("a", Some("b"));

fn templated(filter: &str, by_value: bool) -> String {
    let level = |level| match level {
        "a" if by_value => "%c",
        "b" if by_value => "%u",
        other => other,
    };
    filter.split('/').map(level).collect::<Vec<_>>().join("/")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn cover_and_overlap_are_what_brute_force_says(p in filter(), f in filter(), by_value: bool) {
        let pattern = Pattern::parse(&templated(&p, by_value)).unwrap();
        let matched: Vec<_> = TOPICS.iter().filter(|it| topic::matches(&f, it)).collect();
        let all = matched.iter().all(|it| topic::matches(&p, it));
        let any = matched.iter().any(|it| topic::matches(&p, it));
        prop_assert!(!matched.is_empty(), "{} matches nothing", f);
        prop_assert_eq!(pattern.covers(&AB, &f), all, "{} covers {}", p, f);
        prop_assert_eq!(pattern.overlaps(&AB, &f), any, "{} overlaps {}", p, f);
    }

    #[test]
    fn whoever_may_subscribe_to_a_filter_may_subscribe_to_every_topic_it_matches(
        rules in prop::collection::vec((any::<bool>(), filter(), any::<bool>(), 0..4_usize), 1..6),
        f in filter(),
    ) {
        let line = |(allows, pattern, by_value, who): &(bool, String, bool, usize)| {
            let verdict = if *allows { "allow" } else { "deny" };
            let who = ["all", "user b", "client a", "ip 127.0.0.1"][*who];
            format!("{verdict} {who} subscribe {}\n", templated(pattern, *by_value))
        };
        let text: String = rules.iter().map(line).collect();
        let acl = acl(&text);
        if acl.allows(&AB, Action::Subscribe(&f)) {
            for one in TOPICS.iter().filter(|it| topic::matches(&f, it)) {
                prop_assert!(acl.allows(&AB, Action::Subscribe(one)), "{} is allowed, {} is not, by\n{}", f, one, text);
            }
        }
    }

    #[test]
    fn rules_found_by_name_are_those_a_walk_through_the_file_finds(
        rules in prop::collection::vec((any::<bool>(), 0..6_usize, filter()), 0..12),
        asked in filter(),
    ) {
        const WHO: [&str; 6] = ["all", "user b", "user x", "client a", "client x", "ip 127.0.0.1"];
        let line = |(allows, who, pattern): &(bool, usize, String)| {
            format!("{} {} all {pattern}\n", if *allows { "allow" } else { "deny" }, WHO[*who])
        };
        let acl = acl(&rules.iter().map(line).collect::<String>());
        let concerns = |rule: &&Rule| !matches!(&rule.who, Who::User(name) | Who::Client(name) if &**name == "x");
        let action = Action::Subscribe(&asked);
        let walked = acl.rules.iter().filter(concerns).find(|rule| rule.decides(&AB, action));
        prop_assert_eq!(acl.allows(&AB, action), walked.is_some_and(|rule| rule.allows));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\PC|\n|[\" \\\\/+#%c]){0,60}", start in "(allow|deny|) ?(all|user|ip|client|) ?") {
        let _ = Acl::parse(&text);
        let _ = Acl::parse(&format!("{start}{text}"));
    }
}
