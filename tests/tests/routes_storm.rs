//! After any storm of subscribe, unsubscribe, disconnect and takeover, the route table of every node is the live
//! subscriptions and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tests::cluster::{Cluster, wait_for_copies, wait_for_routes};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::seed::Seeded;

const CLIENTS: usize = 24;
const STEPS: usize = 60;
const FILTERS: [&str; 12] = ["a", "a/b", "a/+", "a/#", "+/b", "#", "a/b/c", "+/+/c", "d/e", "d/#", "/", "d//e"];

/// One client id: where it is connected, and what it has subscribed to.
struct Roamer {
    id: String,
    addresses: Vec<SocketAddr>,
    connected: Option<(usize, Raw)>,
    filters: BTreeSet<&'static str>,
    chance: Seeded,
}

impl Roamer {
    async fn connect(&mut self) {
        let node = self.chance.below(self.addresses.len());
        let client = Raw::connect(self.addresses[node], &Connect::v5(&self.id)).await;
        if let Some((_, mut taken_over)) = self.connected.replace((node, client)) {
            assert_eq!(taken_over.expect_close().await, Some(0x8e), "{} is taken over", self.id);
        }
        self.filters.clear(); // a clean start
    }

    async fn step(&mut self) {
        let filter = *self.chance.pick(&FILTERS);
        let action = self.chance.below(10);
        let Some((_, client)) = &mut self.connected else {
            return self.connect().await;
        };
        match action {
            0..=4 => {
                assert!(client.subscribe(filter, 1).await <= 1, "SUBACK for `{filter}`");
                self.filters.insert(filter);
            }
            5..=6 => {
                client.unsubscribe(filter).await;
                self.filters.remove(filter);
            }
            7 => self.connect().await, // a takeover
            8 => self.leave(true).await,
            _ => self.leave(false).await,
        }
    }

    async fn leave(&mut self, is_polite: bool) {
        let Some((_, client)) = self.connected.take() else { return };
        self.filters.clear();
        if is_polite {
            client.disconnect().await;
        } else {
            client.abandon();
        }
    }

    async fn storm(mut self) -> Self {
        for _ in 0..STEPS {
            self.step().await;
        }
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_are_the_live_subscriptions_on_every_node() {
    let mut chance = Seeded::announce("storm of routes");
    let cluster = Cluster::start(3).await;
    let addresses: Vec<_> = cluster.nodes.iter().map(tests::node::Node::mqtt).collect();
    let storms: Vec<_> = (0..CLIENTS)
        .map(|number| Roamer {
            id: format!("roamer{number}"),
            addresses: addresses.clone(),
            connected: None,
            filters: BTreeSet::new(),
            chance: chance.child(),
        })
        .map(|roamer| tokio::spawn(roamer.storm()))
        .collect();
    let mut roamers = vec![];
    for storm in storms {
        roamers.push(storm.await.expect("a client that was not surprised"));
    }

    let mut live = BTreeSet::new();
    for roamer in &roamers {
        let Some((node, _)) = &roamer.connected else { continue };
        let name = cluster.nodes[*node].name();
        live.extend(roamer.filters.iter().map(|filter| ((*filter).to_owned(), name.to_owned())));
    }
    let live: Vec<_> = live.into_iter().collect();
    assert!(!live.is_empty());
    for node in &cluster.nodes {
        wait_for_routes(node, live.clone()).await;
        wait_for_copies(node, &live).await;
    }
    for roamer in &mut roamers {
        let is_polite = chance.below(2) == 0;
        roamer.leave(is_polite).await;
    }
    for node in &cluster.nodes {
        wait_for_routes(node, vec![]).await;
        wait_for_copies(node, &[]).await;
    }
}
