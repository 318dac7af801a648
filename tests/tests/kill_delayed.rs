//! Delayed messages when the node that holds them is killed with -9: it publishes them when it is back, and where all nodes
//! share a store a peer does; once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tests::cluster::{Cluster, metric};
use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;

#[path = "../../brokerd/store/tests/redis/server.rs"]
#[allow(dead_code, reason = "the tests of the backend use the rest of it")]
mod server;

/// For a node to be held to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

async fn watcher(node: &Node) -> Raw {
    let mut watcher = Raw::connect(node.mqtt(), &Connect::v5("watcher")).await.patient(PATIENCE);
    assert_eq!(watcher.subscribe("plant/#", 1).await, 1);
    watcher
}

/// Two messages of a client, due in a moment, and one that is not.
async fn delay_some(node: &Node) {
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for text in ["one", "two"] {
        publisher.publish("$delayed/2/plant/pump", text.as_bytes(), 1).await;
    }
    publisher.publish("$delayed/600/plant/pump", b"much later", 1).await;
}

/// Both came, and what is published now comes next.
async fn expect_once(watcher: &mut Raw) {
    let mut texts = [watcher.receive().await.text().to_owned(), watcher.receive().await.text().to_owned()];
    texts.sort();
    assert_eq!(texts, ["one", "two"]);
    watcher.publish("plant/marker", b"", 1).await;
    assert_eq!(watcher.receive().await.topic, "plant/marker", "one came twice, or too soon");
}

/// Killed and started again.
async fn check_restart(options: NodeOptions, keeps_directory: bool) {
    let mut node = Node::start(options).await;
    delay_some(&node).await;
    node.kill9();
    if !keeps_directory {
        std::fs::remove_dir_all(node.data_dir()).unwrap();
    }
    node.restart().await;
    let mut watcher = watcher(&node).await;
    expect_once(&mut watcher).await;
    // What was published is not there any more at the next start.
    node.restart().await;
    let stats = node.ctl().run(&["broker", "stats"]).await.ok();
    assert_eq!(stats["delayed.count"], 1);
}

#[tokio::test]
async fn what_is_held_on_disk_is_published_after_a_kill_once() {
    check_restart(NodeOptions::alone("n1").set("persistence.backend", "disk"), true).await;
}

fn in_redis(options: NodeOptions, server: &server::Server) -> NodeOptions {
    let options = options.set("persistence.backend", "redis").set("cluster.down_after", "1s");
    options.set("persistence.redis.address", &server.address())
}

#[tokio::test]
async fn what_is_held_in_redis_is_published_by_its_node_after_a_kill_once() {
    let server = server::Server::start();
    check_restart(in_redis(NodeOptions::alone("n1"), &server), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_held_in_redis_is_published_by_a_peer_once() {
    let server = server::Server::start();
    let mut cluster = Cluster::start_with(2, |options| in_redis(options, &server)).await;
    let mut watcher = watcher(&cluster.nodes[0]).await;
    delay_some(&cluster.nodes[1]).await;
    cluster.nodes[1].kill9();
    expect_once(&mut watcher).await;
    assert_eq!(metric(&cluster.nodes[0], "messages.delayed.adopted").await, 3, "and the one that is not due");
    cluster.nodes[1].restart().await;
    cluster.wait_until_all_up().await;
    watcher.publish("plant/marker", b"", 1).await;
    assert_eq!(watcher.receive().await.topic, "plant/marker");
}
