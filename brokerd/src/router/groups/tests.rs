#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;

fn member(worker: u16, session: u32) -> Subscriber {
    Subscriber { session, serial: session, subscription_id: 0, worker, qos: mqtt::Qos::AtLeastOnce, flags: 0 }
}

fn terms(topic: &str) -> Terms<'_> {
    Terms { topic, key: 7, peers: PeerSet::default(), here: true }
}

fn among<'a>(topic: &'a str, peers: &[u8]) -> Terms<'a> {
    let peers = peers.iter().fold(PeerSet::default(), |set, peer| set.with(PeerSlot(*peer)));
    Terms { peers, ..terms(topic) }
}

/// Members of `$share/g/t` on two workers.
fn groups(strategy: Strategy, members: u32) -> (Groups, Arc<str>) {
    let (groups, text) = (Groups::new(strategy), Arc::<str>::from("$share/g/t"));
    for session in 0..members {
        groups.subscribe(&text, member((session % 2) as u16, session), |_| 1);
    }
    (groups, text)
}

/// How often each target was chosen.
fn tally(groups: &Groups, terms: &Terms<'_>, times: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..times {
        let mut found = Vec::new();
        groups.choose(terms, &mut found);
        assert_eq!(found.len(), 1, "one copy for the group");
        let name = match found[0].target {
            Target::Here(member) => format!("member {}", member.session),
            Target::There(peer) => format!("peer {}", peer.0),
        };
        *tally.entry(name).or_default() += 1;
    }
    tally
}

#[test]
fn each_group_of_a_topic_gets_one_copy_and_a_group_is_its_name_and_its_filter() {
    let groups = Groups::new(Strategy::RoundRobin);
    for (session, text) in (0..).zip(["$share/g/a/b", "$share/g/a/+", "$share/h/a/b", "$share/g/#", "$share/g/x"]) {
        groups.subscribe(&Arc::from(text), member(0, session), |_| 1);
    }
    let mut found = Vec::new();
    groups.choose(&terms("a/b"), &mut found);
    let mut texts: Vec<_> = found.iter().map(|chosen| &*chosen.group).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["$share/g/#", "$share/g/a/+", "$share/g/a/b", "$share/h/a/b"]);
    assert_eq!(groups.counts(), (5, 5, 5));
}

#[test]
fn round_robin_is_even_to_the_message() {
    let (groups, _) = groups(Strategy::RoundRobin, 4);
    let tally = tally(&groups, &terms("t"), 10_000);
    assert_eq!(tally.into_values().collect::<Vec<_>>(), [2_500; 4]);
}

#[test]
fn random_is_even_within_a_tenth() {
    let (groups, _) = groups(Strategy::Random, 4);
    let tally = tally(&groups, &terms("t"), 10_000);
    assert!(tally.len() == 4 && tally.values().all(|count| (2_250..2_750).contains(count)), "{tally:?}");
}

#[test]
fn hashes_keep_a_publisher_or_a_topic_with_its_member() {
    let (by_client, _) = groups(Strategy::HashClientId, 4);
    assert_eq!(tally(&by_client, &terms("t"), 50).len(), 1);
    let of = |key| tally(&by_client, &Terms { key, ..terms("t") }, 1).into_keys().next();
    let all: std::collections::BTreeSet<_> = (0..100).map(|client| of(publisher_key(&format!("p{client}")))).collect();
    assert_eq!(all.len(), 4, "a hundred publishers reach every member");
    let by_topic = Groups::new(Strategy::HashTopic);
    for session in 0..4 {
        by_topic.subscribe(&Arc::from("$share/g/#"), member(0, session), |_| 1);
    }
    assert_eq!(tally(&by_topic, &terms("one"), 50).len(), 1);
    let topics: Vec<String> = (0..100).map(|topic| topic.to_string()).collect();
    let reached: std::collections::BTreeSet<_> =
        topics.iter().flat_map(|topic| tally(&by_topic, &terms(topic), 1).into_keys()).collect();
    assert_eq!(reached.len(), 4, "a hundred topics reach every member");
}

#[test]
fn sticky_stays_with_a_member_until_that_one_goes() {
    let (groups, text) = groups(Strategy::Sticky, 4);
    assert_eq!(tally(&groups, &terms("t"), 20), BTreeMap::from([("member 0".to_owned(), 20)]));
    groups.unsubscribe(&text, 1, 1, |_| 1);
    assert_eq!(tally(&groups, &terms("t"), 20), BTreeMap::from([("member 0".to_owned(), 20)]));
    groups.set_online(&text, 0, 0, false, |_| 1);
    let after = tally(&groups, &terms("t"), 20);
    assert!(after.len() == 1 && !after.contains_key("member 0"), "{after:?}");
}

#[test]
fn local_goes_elsewhere_only_where_nobody_here_has_a_connection() {
    let (groups, text) = groups(Strategy::Local, 2);
    groups.set_remote(&text, PeerSlot(3), Weight { online: 9, total: 9 });
    assert!(!tally(&groups, &among("t", &[3]), 20).contains_key("peer 3"));
    for session in 0..2 {
        groups.set_online(&text, session as u16, session, false, |_| 1);
    }
    assert_eq!(tally(&groups, &among("t", &[3]), 20), BTreeMap::from([("peer 3".to_owned(), 20)]));
}

#[test]
fn who_has_a_connection_is_preferred_and_where_nobody_has_one_somebody_still_gets_it() {
    let (groups, text) = groups(Strategy::RoundRobin, 3);
    groups.set_online(&text, 0, 0, false, |_| 1);
    groups.set_online(&text, 0, 2, false, |_| 1);
    assert_eq!(tally(&groups, &terms("t"), 20), BTreeMap::from([("member 1".to_owned(), 20)]));
    groups.set_online(&text, 1, 1, false, |_| 1);
    assert_eq!(tally(&groups, &terms("t"), 30).into_values().collect::<Vec<_>>(), [10; 3]);
    groups.set_remote(&text, PeerSlot(0), Weight { online: 1, total: 1 });
    assert_eq!(tally(&groups, &among("t", &[0]), 20), BTreeMap::from([("peer 0".to_owned(), 20)]));
}

#[test]
fn nodes_have_their_share_by_their_members_and_one_that_is_down_has_none() {
    let (groups, text) = groups(Strategy::RoundRobin, 2);
    groups.set_remote(&text, PeerSlot(1), Weight { online: 5, total: 6 });
    groups.set_remote(&text, PeerSlot(2), Weight { online: 1, total: 1 });
    let even = tally(&groups, &among("t", &[1, 2]), 800);
    let expected = [("member 0", 100), ("member 1", 100), ("peer 1", 500), ("peer 2", 100)];
    assert_eq!(even, expected.map(|(name, count)| (name.to_owned(), count)).into());
    assert!(!tally(&groups, &among("t", &[2]), 100).contains_key("peer 1"), "it is down");
    groups.clear_remote(PeerSlot(1));
    groups.clear_remote(PeerSlot(2));
    assert_eq!(groups.holders(&text), (2, PeerSet::default()));
}

#[test]
fn an_unserved_group_of_a_flooded_message_falls_to_exactly_one_of_its_nodes() {
    let names: [Arc<str>; 3] = ["n1", "n2", "n3"].map(Arc::from);
    for group in 0..50 {
        let text = Arc::<str>::from(format!("$share/g{group}/t"));
        let served: usize = (0..3_u8)
            .map(|own| {
                let groups = Groups::new(Strategy::RoundRobin);
                groups.subscribe(&text, member(0, 1), |_| 1);
                let others = (0..3_u8).filter(|other| *other != own);
                let rivals: Vec<_> = others.map(|other| (PeerSlot(other), names[usize::from(other)].clone())).collect();
                for (slot, _) in &rivals {
                    groups.set_remote(&text, *slot, Weight { online: 1, total: 1 });
                }
                assert!(groups.unserved("t", &names[usize::from(own)], &rivals, |_| true).is_empty(), "served already");
                groups.unserved("t", &names[usize::from(own)], &rivals, |_| false).len()
            })
            .sum();
        assert_eq!(served, 1, "{text}");
    }
}

#[test]
fn members_come_and_go_in_any_order_and_leave_nothing() {
    let (groups, text) = groups(Strategy::RoundRobin, 100);
    let told = Cell::new(Weight::default());
    let tell = |weight| {
        told.set(weight);
        1
    };
    for session in (0..100).step_by(3) {
        groups.set_online(&text, (session % 2) as u16, session, false, tell);
    }
    for session in 0..100 {
        assert!(groups.unsubscribe(&text, (session % 2) as u16, session, tell), "member {session}");
        assert!(!groups.unsubscribe(&text, (session % 2) as u16, session, tell));
    }
    assert_eq!(told.get(), Weight::default(), "peers know that nobody is left");
    assert_eq!(groups.counts(), (0, 0, 0));
    assert!(groups.is_empty() && groups.all(false).is_empty());
}

#[test]
fn a_storm_of_reconnects_to_a_large_group_is_few_rows() {
    let (groups, text) = groups(Strategy::RoundRobin, 1_000);
    let rows = Cell::new(0);
    for online in [false, true] {
        for session in 0..1_000 {
            groups.set_online(&text, (session % 2) as u16, session, online, |_| {
                rows.set(rows.get() + 1);
                1
            });
        }
    }
    assert!(rows.get() < 150, "{} rows for 2,000 changes", rows.get());
}
