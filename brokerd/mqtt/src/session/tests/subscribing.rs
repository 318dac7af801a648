//! SUBSCRIBE and UNSUBSCRIBE.

use super::packets::*;
use super::*;

fn granted(pair: &Pair, filter: &str) -> Granted {
    pair.session.subscriptions().find(|granted| &*granted.filter == filter).cloned().unwrap()
}

#[test]
fn each_filter_is_settled_in_order_and_a_refused_one_does_not_stop_the_others() {
    let mut pair = Pair::v5();
    pair.limits.capabilities.shared = false;
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0), ("$share/g/b", 1), ("c/#", 2)]));
    assert_eq!(pair.asked(), ["subscribe #1 a new, 0x9e, c/# new"]);
    assert_eq!(pair.sent(), Vec::<String>::new(), "SUBACK waits until they are live");
    let codes = [ReasonCode::Success, ReasonCode::SharedSubscriptionsNotSupported, ReasonCode::GrantedQos2];
    pair.session.suback(PacketId::MIN, &codes, &mut pair.out);
    assert_eq!(pair.sent(), ["SUBACK #1 [00, 9e, 02]"]);
}

#[test]
fn version_3_1_1_has_one_code_for_a_refusal() {
    let mut pair = Pair::v311();
    pair.feed(subscribe(Version::V311, 1, 0, &[("a", 1)]));
    pair.session.suback(PacketId::MIN, &[ReasonCode::QuotaExceeded, ReasonCode::GrantedQos1], &mut pair.out);
    assert_eq!(pair.sent(), ["SUBACK #1 [80, 01]"]);
}

#[test]
fn a_repeated_filter_replaces_options_and_identifier() {
    let mut pair = Pair::v5();
    pair.feed(subscribe(Version::V5, 1, 7, &[("a", 0)])).feed(subscribe(Version::V5, 2, 9, &[("a", 0b10_11_10)]));
    assert_eq!(pair.asked(), ["subscribe #1 a new", "subscribe #2 a"]);
    let one = granted(&pair, "a");
    assert_eq!((one.id, one.options.qos, one.options.no_local, one.options.retain_as_published), (9, Q2, true, true));
    assert_eq!(pair.session.subscriptions().len(), 1);
}

#[test]
fn a_replaced_subscription_still_stands_for_what_was_matched_before() {
    let mut pair = Pair::v5();
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0)]));
    let before = granted(&pair, "a").serial;
    pair.feed(subscribe(Version::V5, 2, 0, &[("a", 1)]));
    assert!(pair.session.is_subscribed(before), "a message under way between workers would be lost [MQTT-3.8.4-3]");
}

#[test]
fn a_subscription_that_ended_and_came_again_is_another() {
    let mut pair = Pair::v5();
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0)]));
    let before = granted(&pair, "a").serial;
    pair.feed(unsubscribe(Version::V5, 2, &["a"])).feed(subscribe(Version::V5, 3, 0, &[("a", 0)]));
    assert!(!pair.session.is_subscribed(before) && pair.session.is_subscribed(granted(&pair, "a").serial));
}

#[test]
fn sessions_that_follow_each_other_in_a_place_do_not_share_serials() {
    let serials = |incarnation| {
        let mut pair = Pair::v5();
        pair.session = Session::new("c".into(), Version::V5, incarnation, pair.now);
        pair.attach(Connect::kept(Version::V5));
        pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0), ("b", 0)]));
        let serials: Vec<u32> = pair.session.subscriptions().map(|granted| granted.serial).collect();
        serials
    };
    let mut all: Vec<u32> = (0..1000).flat_map(serials).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 2000, "what was matched for a client must not reach the next one in its place");
}

#[test]
fn serials_may_wrap_within_a_session() {
    let mut pair = Pair::v5();
    // The incarnation whose serials begin nearest below the wrap, found by trying.
    let nearest = (0..1_000_000_u32).max_by_key(|incarnation| incarnation.wrapping_mul(0x9E37_79B1)).unwrap();
    pair.session = Session::new("c".into(), Version::V5, nearest, pair.now);
    pair.attach(Connect::kept(Version::V5));
    let filters: Vec<String> = (0..20_000).map(|number| format!("f/{number}")).collect();
    for filter in &filters {
        pair.feed(subscribe(Version::V5, 1, 0, &[(filter, 0)]));
    }
    let all: Vec<Granted> = pair.session.subscriptions().cloned().collect();
    assert!(all.iter().any(|one| one.serial < 20_000) && all.iter().any(|one| one.serial > u32::MAX - 20_000));
    assert!(all.iter().all(|one| pair.session.is_subscribed(one.serial)));
    for filter in &filters {
        pair.feed(unsubscribe(Version::V5, 1, &[filter]));
    }
    assert_eq!(pair.session.subscriptions().len(), 0);
    assert!(!all.iter().any(|one| pair.session.is_subscribed(one.serial)));
}

#[test]
fn unsuback_has_a_code_for_each_filter_in_5_0_and_none_in_3_1_1() {
    let mut pair = Pair::v5();
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0)])).asked();
    pair.feed(unsubscribe(Version::V5, 2, &["b", "a", "a"]));
    assert_eq!((pair.sent(), pair.asked()), (vec!["UNSUBACK #2 [11, 00, 11]".into()], vec!["unsubscribe a".into()]));
    let mut pair = Pair::v311();
    pair.feed(unsubscribe(Version::V311, 2, &["b"]));
    assert_eq!((pair.sent(), pair.asked()), (vec!["UNSUBACK #2 []".into()], vec![]));
}

#[test]
fn the_limit_of_subscriptions_refuses_new_ones_and_not_replacements() {
    let mut pair = Pair::v5();
    pair.limits.max_subscriptions = 1;
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0), ("b", 0), ("a", 1)]));
    assert_eq!(pair.asked(), ["subscribe #1 a new, 0x97, a"]);
    pair.feed(unsubscribe(Version::V5, 2, &["a"])).feed(subscribe(Version::V5, 3, 0, &[("b", 0)]));
    assert_eq!(pair.asked(), ["unsubscribe a", "subscribe #3 b new"]);
}

#[test]
fn subscriptions_outlive_the_connection() {
    let mut pair = Pair::v5();
    pair.feed(subscribe(Version::V5, 1, 5, &[("a", 0)]));
    pair.again();
    assert_eq!(granted(&pair, "a").id, 5);
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0)]));
    assert_eq!(pair.asked()[1], "subscribe #1 a", "not new: Retain Handling 1 sends nothing");
}

#[test]
fn a_list_of_any_length_is_as_complete_as_a_short_one() {
    let mut pair = Pair::v5();
    for round in [5, 16, 17, 40, 3, 60] {
        let filters: Vec<String> = (0..round).map(|number| format!("f/{number}")).collect();
        for filter in &filters {
            pair.feed(subscribe(Version::V5, 1, 0, &[(filter, 1)])).feed(subscribe(Version::V5, 1, 0, &[(filter, 2)]));
        }
        assert_eq!(pair.session.subscriptions().len(), round);
        assert!(pair.session.subscriptions().all(|one| one.options.qos == Q2));
        for filter in filters.iter().rev().step_by(2).chain(filters.iter().rev().skip(1).step_by(2)) {
            pair.feed(unsubscribe(Version::V5, 1, &[filter]));
        }
        assert_eq!(pair.session.subscriptions().len(), 0);
        pair.sent();
        pair.asked();
    }
}

#[test]
fn what_the_server_leaves_out_is_granted_down_or_refused_filter_by_filter() {
    let mut pair = Pair::v5();
    pair.limits.capabilities = Capabilities { max_qos: Q1, wildcards: false, ..Capabilities::default() };
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 2), ("b/#", 0), ("+/c", 0), ("d", 0)]));
    assert_eq!(pair.asked(), ["subscribe #1 a new, 0xa2, 0xa2, d new"]);
    assert_eq!((granted(&pair, "a").options.qos, granted(&pair, "d").options.qos), (Q1, Q0));
    pair.limits.capabilities = Capabilities { subscription_ids: false, ..Capabilities::default() };
    pair.feed(subscribe(Version::V5, 2, 7, &[("e", 0)])).feed(subscribe(Version::V5, 3, 0, &[("f/#", 0)]));
    assert_eq!(pair.asked(), ["subscribe #2 0xa1", "subscribe #3 f/# new"]);
}

#[test]
fn an_exclusive_subscription_is_refused_rather_than_granted_without_being_one() {
    let mut pair = Pair::v5();
    pair.feed(subscribe(Version::V5, 1, 0, &[("$exclusive/a", 0), ("a", 0)]));
    assert_eq!(pair.asked(), ["subscribe #1 0x8f, a new"]);
}

#[test]
fn an_exclusive_subscription_is_granted_where_it_is_on_and_only_to_a_plain_filter() {
    let mut pair = Pair::v5();
    pair.limits.capabilities.exclusive = true;
    let filters = ["$exclusive/a", "$exclusive/", "$exclusive/$share/g/a", "$exclusive/$exclusive/a", "$exclusive/b/#"];
    for filter in filters.iter().chain(&["$share/g/$exclusive/a"]) {
        pair.feed(subscribe(Version::V5, 1, 0, &[(filter, 0)]));
    }
    let answers = ["$exclusive/a new", "0x8f", "0x8f", "0x8f", "$exclusive/b/# new", "0x8f"];
    assert_eq!(pair.asked(), answers.map(|answer| format!("subscribe #1 {answer}")));
    let exclusive = granted(&pair, "$exclusive/b/#");
    assert_eq!((exclusive.exclusive(), exclusive.plain()), (Some("b/#"), "b/#"));
}

#[test]
fn a_filter_is_subscribed_to_plainly_or_exclusively_but_not_both() {
    let mut pair = Pair::v5();
    pair.limits.capabilities.exclusive = true;
    pair.feed(subscribe(Version::V5, 1, 0, &[("$exclusive/a", 0), ("a", 0), ("b", 0), ("$exclusive/b", 0)]));
    assert_eq!(pair.asked(), ["subscribe #1 $exclusive/a new, 0x8f, b new, 0x8f"]);
    pair.feed(unsubscribe(Version::V5, 2, &["$exclusive/a"]));
    pair.asked();
    pair.feed(subscribe(Version::V5, 3, 0, &[("a", 0)]));
    assert_eq!(pair.asked(), ["subscribe #3 a new"]);
}
