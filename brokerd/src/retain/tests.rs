#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use mqtt::topic::matches as naive;
use proptest::prelude::*;

use super::*;

const UNLIMITED: Limits = Limits { max_messages: usize::MAX, max_bytes: usize::MAX };
const NOW: Time = Time(1_000);

fn message(topic: &str, payload: &str) -> SharedMessage {
    Arc::new(mqtt::Message::new(topic, b"", payload.as_bytes()))
}

fn expiring(topic: &str, at: u64) -> SharedMessage {
    let mut message = mqtt::Message::new(topic, b"", b"x");
    message.expires_at = Some(Time(at));
    Arc::new(message)
}

fn topics(messages: &[SharedMessage]) -> Vec<String> {
    messages.iter().map(|message| message.topic().to_owned()).collect()
}

/// All pages of a filter, `limit` to a page.
fn pages(store: &Retained, filter: &str, limit: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.matching(filter, after.as_deref(), limit, NOW);
        assert!(page.messages.len() <= limit, "a page of {} for a limit of {limit}", page.messages.len());
        found.extend(topics(&page.messages));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

fn level() -> impl Strategy<Value = &'static str> {
    // `!`, `$` and `%` lie before `/` as bytes, `é` far behind it.
    prop::sample::select(vec!["", "a", "a!", "b", "!", "$", "$x", "%", "é"])
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/")).prop_filter("empty", |t| !t.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let one = prop_oneof![2 => level(), 3 => Just("+")];
    (prop::collection::vec(one, 0..5), any::<bool>()).prop_map(|(mut levels, multi)| {
        if multi || levels.is_empty() {
            levels.push("#");
        }
        levels.join("/")
    })
}

#[derive(Clone, Debug)]
enum Change {
    Set(String, Option<u64>),
    Delete(String),
    Expire(u64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (topic(), prop::option::of(0..2_000_u64)).prop_map(|(topic, at)| Change::Set(topic, at)),
        1 => topic().prop_map(Change::Delete),
        1 => (0..2_000_u64).prop_map(Change::Expire),
    ]
}

proptest! {
    #[test]
    fn pages_hold_what_a_plain_map_holds_in_the_order_of_levels(
        changes in prop::collection::vec(change(), 1..150),
        filters in prop::collection::vec(filter(), 1..20),
        limit in 1..10_usize,
    ) {
        let (store, mut model) = (Retained::new(UNLIMITED), BTreeMap::<String, Option<u64>>::new());
        for change in changes {
            match change {
                Change::Set(topic, at) => {
                    store.set(at.map_or_else(|| message(&topic, "x"), |at| expiring(&topic, at))).unwrap();
                    model.insert(topic, at);
                }
                Change::Delete(topic) => {
                    store.set(message(&topic, "")).unwrap();
                    model.remove(&topic);
                }
                Change::Expire(now) => {
                    let before = model.len();
                    model.retain(|_, at| at.is_none_or(|at| at > now));
                    prop_assert_eq!(store.expire(Time(now), 0, |_| ()), before - model.len());
                }
            }
        }
        prop_assert_eq!(store.counts().messages, model.len());
        for topic in model.keys() {
            let live = model[topic].is_none_or(|at| at > NOW.0);
            prop_assert_eq!(store.get(topic, NOW).is_some(), live, "{}", topic);
        }
        for filter in filters {
            let live = model.iter().filter(|(_, at)| at.is_none_or(|at| at > NOW.0));
            let mut expected: Vec<_> = live.map(|(topic, _)| topic.clone()).filter(|t| naive(&filter, t)).collect();
            expected.sort_by(|left, right| left.split('/').cmp(right.split('/')));
            prop_assert_eq!(pages(&store, &filter, limit), expected, "filter {:?} in {:?}", filter, model);
        }
        for topic in model.keys() {
            store.set(message(topic, "")).unwrap();
        }
        prop_assert_eq!(store.counts(), Counts::default());
        prop_assert!(store.inner.read().deadlines.is_empty(), "a deadline outlives its message");
    }

    #[test]
    fn a_leap_never_goes_back_nor_over_a_match(filter in filter(), from in topic(), to in topic()) {
        let (mut seeker, mut other) = (Seeker::new(&filter), Seeker::new(&filter));
        let matches = other.judge(to.as_bytes()) == Verdict::Matches;
        prop_assert_eq!(matches, naive(&filter, &to), "{:?} {:?}", filter, to);
        match seeker.judge(from.as_bytes()) {
            Verdict::Matches => prop_assert!(naive(&filter, &from)),
            Verdict::NoMore => prop_assert!(!matches || order::by_level(to.as_bytes(), from.as_bytes()).is_le()),
            Verdict::Seek(target) => {
                prop_assert!(order::by_level(target, from.as_bytes()).is_gt(), "{:?}", target);
                let between = order::by_level(to.as_bytes(), from.as_bytes()).is_gt()
                    && order::by_level(to.as_bytes(), target).is_lt();
                prop_assert!(!(matches && between), "{:?} leaps over {:?}", from, to);
            }
        }
    }
}

#[test]
fn a_full_store_refuses_new_topics_only_and_counts_them() {
    let size = message("a", "12345").heap_size();
    for limits in [Limits { max_messages: 2, ..UNLIMITED }, Limits { max_bytes: 2 * size, ..UNLIMITED }] {
        let store = Retained::new(limits);
        store.set(message("a", "12345")).unwrap();
        store.set(message("b", "12345")).unwrap();
        assert_eq!(store.set(message("c", "12345")), Err(Full));
        assert_eq!(store.counts(), Counts { messages: 2, bytes: 2 * size, refused: 1 });
        store.set(message("a", "a longer payload")).unwrap();
        assert_eq!(store.get("a", NOW).unwrap().payload(), b"a longer payload");
        store.set(message("a", "")).unwrap();
        store.set(message("c", "12345")).unwrap();
        assert_eq!(topics(&store.matching("#", None, 9, NOW).messages), ["b", "c"]);
        assert_eq!(store.counts().refused, 1);
    }
}

#[test]
fn what_stays_is_on_one_page_though_others_come_and_go_between_pages() {
    let store = Retained::new(UNLIMITED);
    for i in 0..300 {
        store.set(message(&format!("a/{i:03}"), "x")).unwrap();
    }
    let (mut found, mut after, mut turn) = (Vec::new(), None::<String>, 0);
    loop {
        let page = store.matching("a/+", after.as_deref(), 7, NOW);
        found.extend(topics(&page.messages));
        let Some(next) = page.next else { break };
        // The topic that the page ended at goes: the cursor is a place, not an entry.
        if turn % 2 == 0 {
            store.set(message(&next, "")).unwrap();
        }
        store.set(message(&format!("a/{:03}x", (turn * 37) % 300), "x")).unwrap();
        (after, turn) = (Some(next), turn + 1);
    }
    let stays: Vec<_> = (0..300).map(|i| format!("a/{i:03}")).collect();
    found.retain(|topic| !topic.ends_with('x'));
    assert_eq!(found, stays);
}

#[test]
fn a_plus_in_the_middle_leaps_over_what_lies_beside_it() {
    let store = Retained::new(UNLIMITED);
    for (i, j) in (0..20).flat_map(|i| (0..500).map(move |j| (i, j))) {
        store.set(message(&format!("a/{i}/{j}"), "x")).unwrap();
    }
    // 10,000 topics lie under `a`, more than a page looks at, and 20 of them match.
    let page = store.matching("a/+/77", None, 100, NOW);
    assert_eq!((page.messages.len(), page.next), (20, None));
}

#[test]
fn a_search_that_finds_nothing_ends_its_page_and_goes_on() {
    let store = Retained::new(UNLIMITED);
    for i in 0..3 * STEPS {
        store.set(message(&format!("a/{i}"), "x")).unwrap();
    }
    store.set(message("a/x/b", "x")).unwrap();
    let first = store.matching("+/+/b", None, 10, NOW);
    assert!(first.messages.is_empty() && first.next.is_some(), "the first page looked at everything");
    assert_eq!(pages(&store, "+/+/b", 10), ["a/x/b"]);
}

#[test]
fn all_that_expires_at_one_moment_goes_at_once() {
    let store = Retained::new(UNLIMITED);
    for i in 0..3 * CHUNK {
        store.set(expiring(&format!("a/{i}"), 5)).unwrap();
    }
    assert_eq!(store.expire(Time(4), 0, |_| ()), 0);
    assert_eq!(store.get("a/1", Time(4)).map(|kept| kept.topic().to_owned()).as_deref(), Some("a/1"));
    assert!(store.get("a/1", Time(5)).is_none() && store.matching("#", None, 9, Time(5)).messages.is_empty());
    assert_eq!(store.expire(Time(5), 0, |_| ()), 3 * CHUNK);
    assert_eq!(store.counts(), Counts::default());
}
