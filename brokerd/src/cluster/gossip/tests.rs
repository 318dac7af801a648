#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;
use crate::metrics::{Counters, Metric, Metrics};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "a secret of sixteen";

struct Node {
    gossip: Gossip,
    ring: watch::Sender<Ring>,
    address: SocketAddr,
    counters: Arc<Counters>,
}

async fn start(name: &str, generation: u64, secret: &str, seeds: &[SocketAddr]) -> Node {
    start_in("test", name, generation, secret, seeds).await
}

async fn start_in(cluster: &str, name: &str, generation: u64, secret: &str, seeds: &[SocketAddr]) -> Node {
    let ring = watch::Sender::new(Ring::derive(secret, [], cluster));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let counters = Metrics::default().block();
    let settings = GossipSettings {
        cluster: cluster.to_owned(),
        node: name.to_owned(),
        generation,
        advertise: address,
        seeds: seeds.iter().map(ToString::to_string).collect(),
        discovery: None,
        interval: Duration::from_millis(20),
        ring: ring.subscribe(),
        protocol: 7,
        socket,
        version: "1.2.3".to_owned(),
        counters: counters.clone(),
        metrics: Metrics::default(),
        keys: Arc::default(),
    };
    let gossip = Gossip::start(settings).await.unwrap();
    Node { gossip, ring, address, counters }
}

impl Node {
    async fn sees(&self, what: &str, mut is_seen: impl FnMut(&Members) -> bool) -> Members {
        let mut members = self.gossip.members();
        let seen = timeout(PATIENCE, members.wait_for(|members| is_seen(members))).await;
        let Ok(seen) = seen else { panic!("never saw {what}, but {:#?}", *self.gossip.members().borrow()) };
        seen.unwrap().clone()
    }

    async fn sees_alive(&self, names: &[&str]) -> Members {
        let what = format!("{names:?} alive");
        self.sees(&what, |members| {
            let alive: Vec<_> = members.values().filter(|m| m.alive).map(|m| m.name.as_str()).collect();
            alive == names
        })
        .await
    }

    fn rejected(&self) -> u64 {
        self.counters.get(Metric::GossipRejected)
    }

    /// All that were dropped, of them those of another secret or cluster, and those that were replayed.
    fn dropped(&self) -> (u64, u64, u64) {
        let replayed = self.counters.get(Metric::GossipReplayed);
        (self.rejected(), self.counters.get(Metric::GossipStranger), replayed)
    }
}

/// A place between a node and others, which sees what the node sends to it.
struct Tap(UdpSocket);

impl Tap {
    async fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    async fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut bytes = vec![0; 65_536];
        let (length, from) = timeout(PATIENCE, self.0.recv_from(&mut bytes)).await.unwrap().unwrap();
        bytes.truncate(length);
        (bytes, from)
    }

    /// A datagram that `node` made for this place.
    async fn capture(&self, node: &Node) -> Vec<u8> {
        node.gossip.contact(self.0.local_addr().unwrap()).await;
        loop {
            let (bytes, from) = self.receive().await;
            if from == node.address {
                return bytes;
            }
        }
    }

    /// Comes back when `to` has dealt with all that was sent to it before: it answers what `by` says.
    async fn barrier(&self, by: &Node, to: &Node) -> Vec<u8> {
        let fresh = self.capture(by).await;
        self.0.send_to(&fresh, to.address).await.unwrap();
        while self.receive().await.1 != to.address {}
        fresh
    }
}

#[tokio::test]
async fn three_nodes_form_one_view_from_one_seed_and_see_each_others_states_and_heads() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 2, SECRET, &[a.address]).await;
    let c = start("c", 3, SECRET, &[a.address]).await;
    for node in [&a, &b, &c] {
        let members = node.sees_alive(&["a", "b", "c"]).await;
        assert_eq!(members["b"].generation, 2);
        assert_eq!(members["b"].address, b.address);
        assert_eq!(members["b"].protocol, 7);
        let ids = Ring::derive(SECRET, [], "test").to_string();
        assert_eq!(members["b"].secrets, ids);
        assert_eq!(members["b"].version, "1.2.3");
    }
    let head = RouteHead { generation: 3, version: 41, hash: 7 };
    c.gossip.set_head(head).await;
    c.gossip.set_state(PublishedState::Ready).await;
    for node in [&a, &b, &c] {
        let is_seen = |members: &Members| members["c"].head == head && members["c"].state == PublishedState::Ready;
        node.sees("the head and the state of c", is_seen).await;
        assert_eq!(node.rejected(), 0);
        assert!(node.gossip.unusable().is_empty());
    }
}

#[tokio::test]
async fn a_node_with_another_secret_sees_only_itself_and_is_counted() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    let stranger = start("x", 1, "another secret of it", &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    let tap = Tap::new().await;
    let said = tap.capture(&stranger).await;
    let before = a.rejected();
    tap.0.send_to(&said, a.address).await.unwrap();
    tap.barrier(&b, &a).await;
    assert!(a.rejected() > before);
    assert_eq!(stranger.sees_alive(&["x"]).await.len(), 1);
    assert_eq!(a.gossip.members().borrow().len(), 2);
}

#[tokio::test]
async fn a_replayed_datagram_is_dropped_and_counted() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    let tap = Tap::new().await;
    let captured = tap.barrier(&b, &a).await;
    assert_eq!(a.rejected(), 0, "the first copy is what its sender meant");
    tap.0.send_to(&captured, a.address).await.unwrap();
    tap.barrier(&b, &a).await;
    assert_eq!(a.rejected(), 1);
}

#[tokio::test]
async fn a_replayed_datagram_is_dropped_also_from_another_address_and_after_many_others() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    let (tap, elsewhere) = (Tap::new().await, Tap::new().await);
    let captured = tap.barrier(&b, &a).await;
    elsewhere.0.send_to(&captured, a.address).await.unwrap();
    tap.barrier(&b, &a).await;
    assert_eq!(a.dropped(), (1, 0, 1));
    for _ in 0..200 {
        tap.barrier(&b, &a).await; // far out of the window
    }
    tap.0.send_to(&captured, a.address).await.unwrap();
    let to_its_sender = tap.0.send_to(&captured, b.address).await.unwrap();
    tap.barrier(&b, &a).await;
    assert_eq!((a.dropped(), to_its_sender), ((2, 0, 2), captured.len()));
    tap.barrier(&a, &b).await;
    assert_eq!(b.rejected(), 0, "its own is passed over and not counted");
}

#[tokio::test]
async fn forged_truncated_and_huge_datagrams_are_dropped_and_counted() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    let before = a.gossip.members().borrow().clone();
    let tap = Tap::new().await;
    let real = tap.capture(&b).await; // nobody but the tap has had it
    let mut forged = real.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut later = real.clone();
    later[24] = later[24].wrapping_add(9); // the counter
    let huge = [&real[..], &vec![0; 65_507 - real.len()]].concat();
    for bytes in [&forged[..], &later, &real[..real.len() - 1], &real[..40], &real[..1], &[], &huge] {
        tap.0.send_to(bytes, a.address).await.unwrap();
    }
    tap.barrier(&b, &a).await;
    assert_eq!(a.dropped(), (7, 0, 0));
    assert_eq!(a.sees_alive(&["a", "b"]).await, before);
}

#[tokio::test]
async fn two_clusters_that_learn_of_each_other_stay_two_and_both_count_it() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    let x = start_in("other", "x", 1, SECRET, &[a.address]).await;
    let y = start_in("other", "y", 1, SECRET, &[x.address, b.address]).await;
    a.gossip.set_seeds(vec![x.address.to_string()]);
    a.sees_alive(&["a", "b"]).await;
    x.sees_alive(&["x", "y"]).await;
    let tap = Tap::new().await;
    for (from, to, friend) in [(&x, &a, &b), (&a, &x, &y)] {
        let said = tap.capture(from).await;
        let before = to.dropped().1;
        tap.0.send_to(&said, to.address).await.unwrap();
        tap.barrier(friend, to).await;
        assert!(to.dropped().1 > before, "{:?}", to.dropped());
        assert_eq!(to.gossip.members().borrow().len(), 2);
    }
}

#[tokio::test]
async fn a_secret_is_exchanged_step_by_step_and_nobody_is_lost_meanwhile() {
    const NEW: &str = "the secret that is to come";
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    b.sees_alive(&["a", "b"]).await;
    let steps =
        [Ring::derive(SECRET, [NEW], "test"), Ring::derive(NEW, [SECRET], "test"), Ring::derive(NEW, [], "test")];
    for ring in steps {
        for (node, other) in [(&a, &b), (&b, &a)] {
            node.ring.send_replace(ring.clone());
            let name = if node.address == a.address { "a" } else { "b" };
            other.sees("what it holds now", |members| members[name].secrets == ring.to_string()).await;
        }
    }
    assert_eq!((a.rejected(), b.rejected()), (0, 0));
    let late = start("c", 1, SECRET, &[a.address]).await;
    let tap = Tap::new().await;
    let said = tap.capture(&late).await;
    tap.0.send_to(&said, a.address).await.unwrap();
    tap.barrier(&b, &a).await;
    assert!(a.dropped().1 > 0);
    a.sees_alive(&["a", "b"]).await;
}

#[tokio::test]
async fn a_node_that_says_more_or_less_than_this_version_knows_is_a_member_all_the_same() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    let said = |chitchat: &mut chitchat::Chitchat| {
        chitchat.self_node_state().set("of-a-later-version", "whatever it means");
        chitchat.self_node_state().delete(KEY_SECRETS); // an earlier version does not know it
    };
    b.gossip.chitchat.with_chitchat(said).await;
    let members = a.sees("that it tells of no secrets", |members| members["b"].secrets.is_empty()).await;
    assert_eq!((members.len(), a.gossip.unusable().len()), (2, 0));
}

#[tokio::test]
async fn ten_thousand_random_datagrams_change_nothing() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    let before = a.gossip.members().borrow().clone();
    let tap = Tap::new().await;
    let real = tap.barrier(&b, &a).await;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random >> 33
    };
    for _ in 0..200 {
        for _ in 0..50 {
            let length = usize::try_from(next() % 300).unwrap();
            // Half of them begin as a real one does.
            let mut junk: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
            let prefix = if next() % 2 == 0 { 0 } else { length.min(real.len() - 1) };
            junk[..prefix.min(25)].copy_from_slice(&real[..prefix.min(25)]);
            tap.0.send_to(&junk, a.address).await.unwrap();
        }
        tap.barrier(&b, &a).await;
    }
    assert_eq!(a.rejected(), 10_000);
    // A stall of this machine may look like a death for a moment; it must not look like anything else.
    assert_eq!(a.sees_alive(&["a", "b"]).await, before);
}

#[tokio::test]
async fn a_restart_with_a_higher_generation_replaces_the_older_one() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 7, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    drop(b);
    let b = start("b", 8, SECRET, &[a.address]).await;
    let is_seen = |members: &Members| members["b"].generation == 8 && members["b"].alive;
    let members = a.sees("generation 8 of b", is_seen).await;
    assert_eq!(members["b"].address, b.address);
    assert_eq!(members.len(), 2);
}

#[tokio::test]
async fn a_node_that_stops_is_seen_dead_and_stays_listed() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    timeout(PATIENCE, b.gossip.shutdown()).await.expect("shutdown ends");
    let members = a.sees_alive(&["a"]).await;
    assert!(!members["b"].alive);
}

#[tokio::test]
async fn contact_and_new_seeds_join_at_run_time() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[]).await;
    b.gossip.contact(a.address).await;
    a.sees_alive(&["a", "b"]).await;
    b.sees_alive(&["a", "b"]).await;
    let c = start("c", 1, SECRET, &[]).await;
    c.gossip.set_seeds(vec![c.address.to_string(), b.address.to_string(), "no port".to_owned()]);
    for node in [&a, &b, &c] {
        node.sees_alive(&["a", "b", "c"]).await;
    }
}

#[tokio::test]
async fn a_seed_that_starts_later_is_found() {
    let late = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = late.local_addr().unwrap();
    let a = start("a", 1, SECRET, &[address]).await;
    a.sees_alive(&["a"]).await;
    // What was said to the seed before it lived is lost, as it is with a closed port.
    let mut bytes = [0; 2_048];
    late.recv(&mut bytes).await.unwrap();
    let settings = GossipSettings {
        cluster: "test".to_owned(),
        node: "b".to_owned(),
        generation: 1,
        advertise: address,
        seeds: Vec::new(),
        discovery: None,
        interval: Duration::from_millis(20),
        ring: watch::Sender::new(Ring::derive(SECRET, [], "test")).subscribe(),
        protocol: 7,
        socket: late,
        version: "1.2.3".to_owned(),
        counters: Metrics::default().block(),
        metrics: Metrics::default(),
        keys: Arc::default(),
    };
    let _b = Gossip::start(settings).await.unwrap();
    a.sees_alive(&["a", "b"]).await;
}

#[tokio::test]
async fn a_node_that_says_something_unreadable_is_reported_and_not_used() {
    let a = start("a", 1, SECRET, &[]).await;
    let b = start("b", 1, SECRET, &[a.address]).await;
    a.sees_alive(&["a", "b"]).await;
    b.gossip.chitchat.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY_STATE, "dancing")).await;
    a.sees_alive(&["a"]).await;
    assert_eq!(a.gossip.unusable(), [("b".to_owned(), "`st` is not a state".to_owned())]);
}

#[tokio::test]
async fn the_end_of_chitchats_task_is_noticed() {
    let a = start("a", 1, SECRET, &[]).await;
    a.gossip.chitchat.abort();
    timeout(PATIENCE, a.gossip.failed()).await.expect("the end of the gossip was not noticed");
}
