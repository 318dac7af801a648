//! Whole clusters, gossip included: they find each other from one seed, are joined and left on running nodes, and ask
//! each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::{Answer, AskError, Cluster, Inputs, JoinError, MemberState, RetainedParts};
use super::node::{Post, SECRET, settings};
use crate::metrics::Metrics;
use crate::registry::{Boxed, Claim, Clock, Elsewhere, Epoch, Holder, Loss, OwnedPage, Owners};
use crate::retain::{Limits, Retained};
use crate::router::Index;

struct Member {
    cluster: Cluster,
    remembered: Arc<Mutex<Vec<String>>>,
}

/// Workers without a session.
struct Nobody;

impl Owners for Nobody {
    fn superseded(&self, _: &Arc<str>, _: Loss) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn owned(&self, _: u64, _: usize) -> Boxed<'_, OwnedPage> {
        Box::pin(std::future::ready((Vec::new(), None)))
    }
    fn owned_one(&self, _: &Arc<str>) -> Boxed<'_, Option<(Epoch, Holder)>> {
        Box::pin(std::future::ready(None))
    }
}

async fn start(node: &str, cluster: &str, secret: &str, seeds: &[&Member]) -> Member {
    let settings = settings(cluster, secret);
    let remembered = Arc::new(Mutex::new(Vec::new()));
    let (seeds_of_node, generations) = (remembered.clone(), AtomicU64::new(100));
    let inputs = Inputs {
        sessions_move: false,
        alarms: Arc::default(),
        clock: Arc::new(Clock::new(0, settings.max_clock_skew)),
        settings,
        node: node.to_owned(),
        generation: 1,
        next_generation: Arc::new(move || generations.fetch_add(1, Ordering::SeqCst)),
        seeds: seeds.iter().map(|seed| seed.cluster.local_addr().to_string()).collect(),
        remember_seeds: Arc::new(move |seeds| *seeds_of_node.lock() = seeds.to_vec()),
        peers: Vec::new(),
        remember_peers: Arc::new(|_| ()),
        started: Instant::now(),
        index: Arc::new(Index::default()),
        retained: RetainedParts {
            store: Arc::new(Retained::replicated(
                Limits { max_messages: 100, max_bytes: 1 << 20 },
                Duration::from_secs(60),
            )),
            keeper: None,
            since: 1,
            ended: None,
        },
        mailboxes: Arc::new(Post::default()),
        metrics: Metrics::default(),
        max_packet_size: 1 << 20,
        version: "test".to_owned(),
    };
    let cluster = Cluster::start(inputs).await.unwrap();
    cluster.claims().serve(Arc::new(Nobody));
    Member { cluster, remembered }
}

impl Member {
    fn up(&self) -> Vec<String> {
        let members = self.cluster.members();
        members.into_iter().filter(|member| member.state == MemberState::Up).map(|member| member.name).collect()
    }
    async fn until_up(&self, names: &[&str]) {
        let mut looks = self.cluster.looks();
        let wait = async {
            while self.up() != names {
                looks.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{:#?}", self.cluster.members());
    }
}

struct Echo;

impl Answer for Echo {
    fn answer(&self, question: Bytes) -> Boxed<'_, Bytes> {
        Box::pin(std::future::ready(question))
    }
}

#[tokio::test]
async fn three_nodes_find_each_other_from_one_seed_and_ask_each_other() {
    let a = start("a", "c", SECRET, &[]).await;
    a.cluster.ready().await;
    let (b, c) = (start("b", "c", SECRET, &[&a]).await, start("c", "c", SECRET, &[&a]).await);
    for node in [&b, &c] {
        tokio::time::timeout(Duration::from_secs(20), node.cluster.ready()).await.unwrap();
    }
    a.until_up(&["a", "b", "c"]).await;
    b.until_up(&["b", "a", "c"]).await;
    c.until_up(&["c", "a", "b"]).await;
    b.cluster.answer_with(Arc::new(Echo));
    let long = Duration::from_secs(5);
    assert_eq!(c.cluster.ask("b", "hello".into(), long).await, Ok("hello".into()));
    let claim = Claim {
        client_id: "pump".into(),
        holder: Holder::default(),
        needs_registrar: false,
        is_orphan: false,
        clean_start: false,
        session_expiry: 0,
        known: Epoch(0),
    };
    let first = b.cluster.claims().claim(claim.clone()).await.unwrap();
    let second = c.cluster.claims().claim(claim).await.unwrap();
    assert!(second.epoch > first.epoch);
    assert_eq!(second.previous, Some("b".to_owned()), "whichever node is its registrar");
    assert_eq!(c.cluster.ask("d", Bytes::new(), long).await, Err(AskError::NotUp("d".into())));
    for node in [a, b, c] {
        node.cluster.stop().await;
    }
}

#[tokio::test]
async fn a_running_node_joins_and_leaves_and_joins_again() {
    let (a, b) = (start("a", "c", SECRET, &[]).await, start("b", "c", SECRET, &[]).await);
    b.cluster.ready().await;
    let seed = a.cluster.local_addr().to_string();
    assert_eq!(b.cluster.join(&seed).await, Ok(()));
    assert!(a.up().contains(&"b".to_owned()));
    assert_eq!(b.remembered.lock().as_slice(), std::slice::from_ref(&seed));
    b.cluster.leave().await;
    assert_eq!(b.up(), ["b"]);
    assert!(b.remembered.lock().is_empty());
    a.until_up(&["a"]).await;
    assert_eq!(b.cluster.join(&seed).await, Ok(()));
    a.until_up(&["a", "b"]).await;
    assert!(a.cluster.members().iter().any(|member| member.name == "b" && member.generation >= 100));
}

#[tokio::test]
async fn a_join_that_cannot_be_says_why() {
    let a = start("a", "c", SECRET, &[]).await;
    let seed = a.cluster.local_addr().to_string();
    let stranger = start("b", "c", "another secret, as long", &[]).await;
    assert_eq!(stranger.cluster.join(&seed).await, Err(JoinError::SecretRefused { seed: seed.clone() }));
    let other = start("b", "other", SECRET, &[]).await;
    let expected = JoinError::AnotherCluster { seed: seed.clone(), theirs: "c".into(), ours: "other".into() };
    assert_eq!(other.cluster.join(&seed).await, Err(expected));
    a.cluster.stop().await;
    drop(a);
    let lost = other.cluster.join(&seed).await;
    assert!(matches!(lost, Err(JoinError::Unreachable { .. })), "{lost:?}");
    assert!(other.remembered.lock().is_empty());
}
