#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use mqtt::topic::matches as naive;
use proptest::prelude::*;

use super::*;

fn subscriber(worker: u16, session: u32, serial: u32) -> Subscriber {
    Subscriber { session, serial, subscription_id: 0, worker, qos: mqtt::Qos::AtMostOnce, flags: 0 }
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "c", "$x"])
}

fn filter() -> impl Strategy<Value = String> {
    let one = prop_oneof![3 => level(), 1 => Just("+")];
    (prop::collection::vec(one, 0..4), any::<bool>()).prop_map(|(mut levels, multi)| {
        if multi || levels.is_empty() {
            levels.push("#");
        }
        levels.join("/")
    })
}

#[derive(Clone, Debug)]
enum Change {
    Subscribe(String, u16, u32),
    Unsubscribe(String, u16, u32),
    AddRemote(String, u8),
    RemoveRemote(String, u8),
    ClearRemote(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let (worker, session, peer) = (0..2_u16, 0..4_u32, 0..3_u8);
    prop_oneof![
        6 => (filter(), worker.clone(), session.clone()).prop_map(|(f, w, s)| Change::Subscribe(f, w, s)),
        4 => (filter(), worker, session).prop_map(|(f, w, s)| Change::Unsubscribe(f, w, s)),
        3 => (filter(), peer.clone()).prop_map(|(f, p)| Change::AddRemote(f, p)),
        2 => (filter(), peer.clone()).prop_map(|(f, p)| Change::RemoveRemote(f, p)),
        1 => peer.prop_map(Change::ClearRemote),
    ]
}

/// (worker, session) -> serial.
type Sessions = BTreeMap<(u16, u32), u32>;

#[derive(Debug, Default)]
struct Model {
    /// And the version of the last local change.
    local: BTreeMap<String, (Sessions, u64)>,
    remote: BTreeSet<(String, u8)>,
}

impl Model {
    fn apply(&mut self, index: &Index, change: Change, serial: u32) {
        match change {
            Change::Subscribe(filter, worker, session) => {
                let (sessions, version) = self.local.entry(filter.clone()).or_default();
                let mut was_first = false;
                let answer = index.subscribe(&Arc::from(&*filter), subscriber(worker, session, serial), || {
                    was_first = true;
                    u64::from(serial)
                });
                assert_eq!(was_first, sessions.is_empty(), "first of {filter}");
                if was_first {
                    *version = u64::from(serial);
                }
                assert_eq!(answer, *version, "version of {filter}");
                sessions.insert((worker, session), serial);
            }
            Change::Unsubscribe(filter, worker, session) => {
                let sessions = self.local.get_mut(&filter).map(|(sessions, _)| sessions);
                let had = sessions.is_some_and(|sessions| sessions.remove(&(worker, session)).is_some());
                let empty = had && self.local[&filter].0.is_empty();
                let mut was_last = false;
                assert_eq!(index.unsubscribe(&filter, worker, session, || was_last = true), had, "{filter}");
                assert_eq!(was_last, empty, "last of {filter}");
                if empty {
                    self.local.remove(&filter);
                }
            }
            Change::AddRemote(filter, peer) => {
                index.add_remote(&filter, PeerSlot(peer));
                self.remote.insert((filter, peer));
            }
            Change::RemoveRemote(filter, peer) => {
                index.remove_remote(&filter, PeerSlot(peer));
                self.remote.remove(&(filter, peer));
            }
            Change::ClearRemote(peer) => {
                index.clear_remote(PeerSlot(peer));
                self.remote.retain(|(_, held_by)| *held_by != peer);
            }
        }
    }

    fn check(&self, index: &Index, topic: &str) {
        let mut found = Matches::default();
        index.matches(topic, &mut found);
        let mut serials: Vec<_> = found.local.iter().map(|subscriber| subscriber.serial).collect();
        serials.sort_unstable();
        let rows = self.local.iter().filter(|(filter, _)| naive(filter, topic));
        let mut expected: Vec<_> = rows.clone().flat_map(|(_, (sessions, _))| sessions.values().copied()).collect();
        expected.sort_unstable();
        assert_eq!(serials, expected, "topic {topic:?} in {self:?}");
        assert_eq!(found.local_filters, rows.filter(|(_, (sessions, _))| !sessions.is_empty()).count());
        let remote = self.remote.iter().filter(|(filter, _)| naive(filter, topic));
        assert_eq!(found.remote, remote.fold(PeerSet::default(), |set, (_, peer)| set.with(PeerSlot(*peer))));
    }
}

fn sorted(mut filters: Vec<Arc<str>>) -> Vec<String> {
    filters.sort_unstable();
    filters.iter().map(ToString::to_string).collect()
}

proptest! {
    #[test]
    fn a_storm_of_changes_leaves_what_the_model_holds(
        changes in prop::collection::vec(change(), 1..150),
        topics in prop::collection::vec(prop::collection::vec(level(), 1..5), 1..20),
    ) {
        let (index, mut model) = (Index::default(), Model::default());
        for (serial, change) in (1..).zip(changes) {
            model.apply(&index, change, serial);
        }
        for topic in topics {
            model.check(&index, &topic.join("/"));
        }
        let local: Vec<_> = model.local.keys().cloned().collect();
        let all: BTreeSet<_> = local.iter().chain(model.remote.iter().map(|(filter, _)| filter)).cloned().collect();
        prop_assert_eq!(sorted(index.filters()), all.iter().cloned().collect::<Vec<_>>());
        prop_assert_eq!(&sorted(index.local_filters()), &local);
        let sessions = model.local.values().map(|(sessions, _)| sessions.len()).sum();
        let counts = Counts { local_filters: local.len(), local_subscriptions: sessions, filters: all.len() };
        prop_assert_eq!(index.counts(), counts);
        for (filter, (sessions, _)) in std::mem::take(&mut model.local) {
            prop_assert_eq!(index.holders(&filter).0, sessions.len());
            for (worker, session) in sessions.into_keys() {
                prop_assert!(index.unsubscribe(&filter, worker, session, || ()));
            }
        }
        (0..3).for_each(|peer| index.clear_remote(PeerSlot(peer)));
        prop_assert_eq!(index.counts(), Counts::default());
        model.remote.clear();
        model.check(&index, "a/b");
    }

    #[test]
    fn a_list_of_subscribers_is_a_set_of_sessions(changes in prop::collection::vec((any::<bool>(), 0..80_u32), 1..600)) {
        let (mut local, mut model) = (row::Local::default(), BTreeMap::new());
        for (serial, (put, session)) in (0..).zip(changes) {
            let (worker, session) = ((session % 3) as u16, session / 3);
            if put {
                let new = model.insert((worker, session), serial).is_none();
                prop_assert_eq!(local.put(subscriber(worker, session, serial)), new);
            } else {
                prop_assert_eq!(local.take(worker, session), model.remove(&(worker, session)).is_some());
            }
            let mut held: Vec<_> = local.as_slice().iter().map(|s| ((s.worker, s.session), s.serial)).collect();
            held.sort_unstable();
            prop_assert_eq!(held, model.clone().into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_filter_with_100_000_subscribers_lets_them_go_one_by_one() {
    let (index, filter) = (Index::default(), Arc::<str>::from("fan/out"));
    for session in 0..100_000 {
        index.subscribe(&filter, subscriber(0, session, session), || 1);
    }
    let mut found = Matches::default();
    index.matches("fan/out", &mut found);
    assert_eq!((found.local.len(), found.local_filters), (100_000, 1));
    // In order of arrival, where a search from either end of a list would find half of them last.
    for session in 0..100_000 {
        let mut was_last = false;
        assert!(index.unsubscribe(&filter, 0, session, || was_last = true), "session {session}");
        assert_eq!(was_last, session == 99_999);
    }
    assert_eq!(index.counts(), Counts::default());
    assert_eq!(Arc::strong_count(&filter), 1, "the index still holds the text");
}

#[test]
fn the_text_of_a_filter_is_shared_not_copied() {
    for text in ["a/b", "a/+"] {
        let (index, filter) = (Index::default(), Arc::<str>::from(text));
        index.subscribe(&filter, subscriber(0, 0, 0), || 1);
        assert!(Arc::ptr_eq(&index.filters()[0], &filter), "{text}");
    }
}

#[test]
fn first_and_last_alternate_under_threads_that_share_filters() {
    let index = Index::default();
    let filters: Vec<Arc<str>> = ["a/b", "a/+", "#"].map(Arc::from).into();
    let present: Vec<AtomicI64> = filters.iter().map(|_| AtomicI64::new(0)).collect();
    let version = AtomicU64::new(0);
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for worker in 0..4_u16 {
            let (index, filters, present, version, barrier) = (&index, &filters, &present, &version, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for turn in 0..3_000_u32 {
                    let which = (turn as usize + usize::from(worker)) % filters.len();
                    let (filter, present) = (&filters[which], &present[which]);
                    index.subscribe(filter, subscriber(worker, 7, turn), || {
                        assert_eq!(present.fetch_add(1, Ordering::SeqCst), 0, "first came twice for {filter}");
                        version.fetch_add(1, Ordering::SeqCst)
                    });
                    let mut found = Matches::default();
                    index.matches("a/b", &mut found);
                    let mine = found.local.iter().find(|subscriber| subscriber.worker == worker);
                    assert_eq!(mine.map(|subscriber| subscriber.serial), Some(turn), "a live subscription is unseen");
                    let last = || assert_eq!(present.fetch_sub(1, Ordering::SeqCst), 1, "last came twice for {filter}");
                    assert!(index.unsubscribe(filter, worker, 7, last));
                }
                index.subscribe(&filters[0], subscriber(worker, 7, 0), || {
                    present[0].fetch_add(1, Ordering::SeqCst);
                    version.fetch_add(1, Ordering::SeqCst)
                });
            });
        }
    });
    assert_eq!(present.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(index.counts(), Counts { local_filters: 1, local_subscriptions: 4, filters: 1 });
    assert_eq!(index.holders("a/b"), (4, PeerSet::default()));
}

#[test]
fn walks_meet_each_filter_that_stays_once_while_others_come_and_go() {
    let index = Index::default();
    let name = |i: u32| Arc::<str>::from(format!("a/{i}/+"));
    for i in 0..4_000 {
        index.subscribe(&name(i), subscriber(0, i, 0), || 1);
        index.add_remote(&name(i), PeerSlot(5));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in (0..4_000).step_by(2) {
                index.remove_remote(&name(i), PeerSlot(5));
                index.unsubscribe(&name(i), 0, i, || ());
            }
            done.store(true, Ordering::Release);
        });
        let stays = |filter: &Arc<str>| filter[2..filter.len() - 2].parse::<u32>().unwrap() % 2 == 1;
        while !done.load(Ordering::Acquire) {
            let found = index.local_filters().into_iter().filter(stays).count();
            assert_eq!(found, 2_000);
        }
        index.clear_remote(PeerSlot(5));
    });
    assert!(index.filters().iter().all(|filter| index.holders(filter).1.is_empty()), "a row of the peer is left");
    assert_eq!(index.counts().filters, 2_000);
}
