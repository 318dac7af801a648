//! Sets that take each other's writes: whatever the order, they end the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use mqtt::Message;
use proptest::prelude::*;

use super::*;
use crate::retain::{BUCKETS, Limits};

const LIFE: Duration = Duration::from_secs(100);
const SECOND: u64 = 1_000_000;
const NOW: Time = Time(1_000);

fn set() -> Retained {
    limited(1_000)
}

fn limited(max_messages: usize) -> Retained {
    Retained::replicated(Limits { max_messages, max_bytes: 1 << 30 }, LIFE)
}

fn put(topic: &str, hlc: u64, node: u64) -> Change {
    let mut message = Message::new(topic, b"", format!("{hlc} of {node}").as_bytes());
    message.id.origin = node;
    Change { topic: topic.into(), stamp: Stamp { hlc, node }, what: What::Message(Arc::new(message)) }
}

fn delete(topic: &str, hlc: u64, node: u64) -> Change {
    Change { what: What::Deleted, ..put(topic, hlc, node) }
}

/// All that can be seen of a set: messages, and deletions.
fn seen(set: &Retained) -> (Vec<String>, Vec<Head>) {
    let page = set.matching("#", None, usize::MAX, NOW);
    let messages = page.messages.iter().map(|message| format!("{message:?}")).collect();
    let mut deletions = set.deletions(&Buckets::all(), None, usize::MAX).heads;
    deletions.iter_mut().for_each(|head| head.serial = 0);
    (messages, deletions)
}

fn merged(changes: &[Change]) -> Retained {
    let set = set();
    for change in changes {
        set.merge(change, SECOND).unwrap();
    }
    set
}

fn change() -> impl Strategy<Value = Change> {
    (prop::sample::select(vec!["a", "a/b", "b", "c/d/e", "é"]), 1..6_u64, 1..4_u64, any::<bool>()).prop_map(
        |(topic, hlc, node, is_deletion)| if is_deletion { delete(topic, hlc, node) } else { put(topic, hlc, node) },
    )
}

proptest! {
    #[test]
    fn merging_knows_no_order_and_no_repetition(
        changes in prop::collection::vec(change(), 1..40),
        keys in prop::collection::vec(any::<u64>(), 40),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut shuffled: Vec<_> = changes.iter().zip(keys).collect();
        shuffled.sort_by_key(|(_, key)| *key);
        let mut shuffled: Vec<Change> = shuffled.into_iter().map(|(change, _)| change.clone()).collect();
        shuffled.extend(repeated.iter().map(|index| changes[index.index(changes.len())].clone()));
        let (one, other) = (merged(&changes), merged(&shuffled));
        prop_assert_eq!(seen(&one), seen(&other));
        prop_assert_eq!(one.digests().0, other.digests().0);
        // What is seen is the greatest write of each topic.
        for topic in ["a", "a/b", "b", "c/d/e", "é"] {
            let of_topic = changes.iter().filter(|change| &*change.topic == topic);
            let last = of_topic.max_by_key(|change| (change.stamp, matches!(change.what, What::Deleted)));
            prop_assert_eq!(one.stamp(topic), last.map(|change| change.stamp));
            let is_there = last.is_some_and(|change| matches!(change.what, What::Message(_)));
            prop_assert_eq!(one.get(topic, NOW).is_some(), is_there);
        }
    }

    #[test]
    fn merging_sets_in_any_grouping_comes_to_the_same(
        changes in prop::collection::vec(change(), 3..60),
        cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let (first, second) = (cuts.0.index(changes.len()), cuts.1.index(changes.len()));
        let (first, second) = (first.min(second), first.max(second));
        let parts = [&changes[..first], &changes[first..second], &changes[second..]];
        // (a + b) + c, and a + (b + c), each part a set whose content is handed on.
        let content = |set: &Retained| -> Vec<Change> {
            let live = set.list(&Buckets::all(), None, usize::MAX, NOW).heads.into_iter().map(|head| {
                let (message, stamp) = set.message(&head.topic, NOW).unwrap();
                Change { topic: head.topic, stamp, what: What::Message(message) }
            });
            let dead = set.deletions(&Buckets::all(), None, usize::MAX).heads.into_iter();
            let dead = dead.map(|head| Change { topic: head.topic, stamp: head.stamp, what: What::Deleted });
            live.chain(dead).collect()
        };
        let [a, b, c] = parts.map(|part| content(&merged(part)));
        let left = merged(&[content(&merged(&[a.clone(), b.clone()].concat())), c.clone()].concat());
        let right = merged(&[a, content(&merged(&[b, c].concat()))].concat());
        prop_assert_eq!(seen(&left), seen(&right));
    }

    #[test]
    fn sums_agree_exactly_where_the_messages_do(
        one in prop::collection::vec(change(), 0..30),
        other in prop::collection::vec(change(), 0..30),
    ) {
        let (one, other) = (merged(&one), merged(&other));
        let messages = |set: &Retained| {
            let mut heads = set.list(&Buckets::all(), None, usize::MAX, NOW).heads;
            heads.iter_mut().for_each(|head| head.serial = 0);
            heads
        };
        let (mine, theirs) = (one.digests().0, other.digests().0);
        let differing = mine.differing(&theirs.buckets);
        prop_assert_eq!(messages(&one) == messages(&other), mine == theirs);
        prop_assert_eq!(differing.is_empty(), mine.total == theirs.total);
        let all = messages(&one).into_iter().chain(messages(&other));
        let only_one: Vec<_> = all.filter(|head| messages(&one).contains(head) != messages(&other).contains(head)).collect();
        for head in only_one {
            prop_assert!(differing.has(head.topic.as_bytes()), "{} differs in no bucket", head.topic);
        }
    }

    #[test]
    fn a_list_has_each_message_of_its_buckets_once_however_it_is_cut(
        topics in prop::collection::btree_set("[a-d](/[a-d]){0,3}", 1..60),
        limit in 1..9_usize,
    ) {
        let set = set();
        for topic in &topics {
            set.merge(&put(topic, 1, 1), SECOND).unwrap();
        }
        let mut half = vec![0; BUCKETS / 8];
        half.iter_mut().step_by(2).for_each(|byte| *byte = 0xff);
        let half = Buckets::from_bytes(&half).unwrap();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let list = set.list(&half, after.as_deref(), limit, NOW);
            found.extend(list.heads.into_iter().map(|head| head.topic.to_string()));
            after = list.next;
            if after.is_none() {
                break;
            }
        }
        found.sort();
        let expected: Vec<_> = topics.into_iter().filter(|topic| half.has(topic.as_bytes())).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_deletion_stands_against_older_messages_for_its_life_and_is_then_admitted_to_be_forgotten() {
    let set = set();
    set.merge(&put("a", 5, 1), 5).unwrap();
    set.merge(&delete("a", 7, 2), 7).unwrap();
    assert!(set.merge(&put("a", 6, 3), 8).unwrap().is_none(), "older than the deletion");
    let life = u64::try_from(LIFE.as_micros()).unwrap();
    set.forget_deletions(7 + life - 1, |_| panic!("before its time"));
    assert_eq!(set.horizon(), 0);
    let mut told = Vec::new();
    set.forget_deletions(7 + life, |gone| told.extend(gone));
    assert!(matches!(&told[..], [Change { what: What::Forgotten, stamp: Stamp { hlc: 7, .. }, .. }]), "{told:?}");
    assert_eq!((set.remembered().0, set.horizon()), (0, 7));
    // It may come again from a node that learned of it later: without a message to delete it is too old to be kept.
    assert!(set.merge(&delete("a", 7, 2), 8 + life).unwrap().is_none());
    set.merge(&put("b", 6, 1), 8 + life).unwrap();
    assert!(set.merge(&delete("b", 7, 2), 8 + life).unwrap().is_some(), "it deletes something");
}

#[test]
fn what_has_expired_stands_against_an_older_message_of_another_node() {
    let set = set();
    let mut message = Message::new("a", b"", b"short");
    message.expires_at = Some(Time(5));
    let change = |hlc| Change {
        stamp: Stamp { hlc, node: 1 },
        what: What::Message(Arc::new(message.clone())),
        ..put("a", 1, 1)
    };
    set.merge(&change(9), 9).unwrap();
    assert_eq!(set.expire(Time(5), 10, |gone| assert_eq!(gone.len(), 1)), 1);
    assert!(set.merge(&put("a", 8, 1), 11).unwrap().is_none(), "an older one");
    assert!(set.merge(&change(9), 11).unwrap().is_none(), "the same, not expired elsewhere");
    assert!(set.merge(&put("a", 10, 1), 11).unwrap().is_some());
}

#[test]
fn a_full_set_refuses_new_topics_of_others_and_counts_but_takes_what_replaces_and_deletes() {
    let set = limited(2);
    for topic in ["a", "b"] {
        set.merge(&put(topic, 1, 1), 1).unwrap();
    }
    assert_eq!(set.merge(&put("c", 2, 1), 2).unwrap_err(), Full);
    assert!(set.is_full() && set.counts().refused == 1);
    assert!(set.merge(&put("a", 3, 1), 3).unwrap().is_some());
    assert!(set.merge(&delete("b", 3, 1), 3).unwrap().is_some());
    assert!(set.merge(&put("c", 2, 1), 4).unwrap().is_some(), "there is room again");
}

#[test]
fn no_more_deletions_are_remembered_than_messages_may_be_and_what_is_not_is_admitted() {
    let set = limited(3);
    for hlc in 1..=5 {
        set.merge(&delete(&format!("t/{hlc}"), hlc, 1), hlc).unwrap();
    }
    assert_eq!((set.remembered(), set.horizon()), ((3, 2), 5));
    assert!(matches!(set.merge(&delete("t/9", 9, 1), 9), Ok(Some(What::Forgotten))), "nor written down");
}

#[test]
fn stamps_of_one_topic_rise_whatever_the_clock_says() {
    let set = set();
    set.merge(&put("a", 500, 9), 500).unwrap();
    let mut message = Message::new("a", b"", b"mine");
    message.id.origin = 1;
    let (stamp, _) = set.set_at(Arc::new(message), |floor| floor.max(3) + 1).unwrap();
    assert_eq!(stamp, Stamp { hlc: 501, node: 1 });
    assert_eq!(set.get("a", NOW).unwrap().payload(), b"mine");
}

#[test]
fn what_others_deleted_long_ago_is_buried_unless_it_has_changed_meanwhile() {
    let set = set();
    set.merge(&put("a", 5, 1), 5).unwrap();
    let head = set.list(&Buckets::all(), None, 9, NOW).heads.remove(0);
    set.merge(&put("a", 6, 1), 6).unwrap();
    assert!(set.bury(&head, 7).is_none() && set.get("a", NOW).is_some());
    let head = set.list(&Buckets::all(), None, 9, NOW).heads.remove(0);
    assert!(set.bury(&head, 7).is_some() && set.get("a", NOW).is_none());
    assert!(set.merge(&put("a", 6, 1), 8).unwrap().is_none(), "it does not come back from a third node");
}
