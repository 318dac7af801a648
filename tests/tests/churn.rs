//! Clients that come and go on three nodes, each under a name and with filters that nobody had before: when they are gone,
//! nothing of them is left in any node. Rounds as `BROKERD_TEST_ROUNDS` says; the soak runs an hour of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tests::cluster::Cluster;
use tests::load::rounds;
use tests::node::Node;
use tests::packet::{Connect, PublishOut, Version, Will, property_four};
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

const ROUNDS: usize = 40;
/// Before anything is measured: pools, tables and the allocator have grown to what a round takes.
const WARM_UP: usize = 10;
const CLIENTS: usize = 60;
/// What a node's memory may have grown by: the allocator's pages, not a share of the rounds.
const MOST: usize = 24 << 20;

/// What `broker stats` counts on a node, and its open descriptors.
async fn counts(node: &Node) -> BTreeMap<String, u64> {
    let answer = node.ctl().run(&["broker", "stats", "--node", node.name()]).await.ok();
    let stats = answer.as_object().expect("an object").iter();
    // The highest values, times, and deletions that are remembered for a week are no counts of what is there.
    let is_count = |name: &str| name.ends_with(".count") && name != "retained.deletions.count";
    let mut counts: BTreeMap<String, u64> = stats
        .filter(|(name, _)| is_count(name))
        .map(|(name, value)| (name.clone(), value.as_u64().expect("a number")))
        .collect();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("a process that runs").count();
    counts.insert("descriptors".to_owned(), descriptors as u64);
    counts
}

async fn all_counts(cluster: &Cluster) -> Vec<BTreeMap<String, u64>> {
    let mut all = vec![];
    for node in &cluster.nodes {
        all.push(counts(node).await);
    }
    all
}

/// One client: subscribes, publishes, retains and deletes, loses its connection, goes on at another node, and ends.
async fn live(nodes: Vec<SocketAddr>, round: usize, number: usize) {
    let (id, own) = (format!("client-{round}-{number}"), format!("own/{round}/{number}"));
    let (first, second) = (nodes[number % nodes.len()], nodes[(number + 1) % nodes.len()]);
    let mut client = Raw::connect(first, &Connect::v5(&id).persistent().will(Will::new("gone", "x"))).await;
    for filter in [own.as_str(), &format!("{own}/+/x/#"), &format!("$share/group-{round}/{own}"), "all"] {
        client.subscribe(filter, 2).await;
    }
    // Topics of which there are no more in the tenth round than in the first, for a deletion is remembered.
    let retained = format!("retained/{number}");
    client.publish_retained(&retained, id.as_bytes(), 1).await;
    client.publish("all", &[7; 500], (number % 3) as u8).await;
    client.abandon();
    let mut client = Raw::connect(second, &Connect::v5(&id).persistent()).await;
    client.exchange(PublishOut::new(&own, b"mine", 1, 9)).await;
    client.publish_retained(&retained, b"", 1).await;
    // Its session ends with its connection, whatever it still has in its queue.
    let mut last = Raw::connect(first, &Connect::new(Version::V5, &id).property(property_four(0x11, 0))).await;
    last.fence().await;
    last.disconnect().await;
}

async fn round(nodes: &[SocketAddr], number: usize) {
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(live(nodes.to_vec(), number, client))).collect();
    for client in clients {
        client.await.expect("a client that lives its life");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_clients_that_came_and_went_on_three_nodes() {
    let cluster = Cluster::start(3).await;
    let nodes: Vec<SocketAddr> = cluster.nodes.iter().map(Node::mqtt).collect();
    let before = all_counts(&cluster).await;
    for number in 0..WARM_UP {
        round(&nodes, number).await;
    }
    let resident: Vec<usize> = cluster.nodes.iter().map(Node::resident).collect();
    for number in WARM_UP..WARM_UP + rounds(ROUNDS) {
        round(&nodes, number).await;
    }
    eventually(SOON, "every node counts what it counted at the start", async || {
        let after = all_counts(&cluster).await;
        if after == before { Ok(()) } else { Err(format!("{after:#?}\nat the start {before:#?}")) }
    })
    .await;
    for (node, before) in cluster.nodes.iter().zip(resident) {
        let grown = node.resident().saturating_sub(before);
        println!("{}: {grown} bytes more than after the warm-up's {before}", node.name());
        assert!(grown <= MOST, "{} has grown by {grown} bytes", node.name());
    }
}
