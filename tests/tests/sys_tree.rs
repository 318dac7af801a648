//! The `$SYS` tree: who sees it, when, and what is never seen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::mosquitto::Subscriber;
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version};
use tests::raw::Raw;

async fn client(node: &Node, name: &str) -> Raw {
    Raw::connect(node.mqtt(), &Connect::new(Version::V5, name)).await
}

#[tokio::test]
async fn a_new_subscriber_gets_the_last_values_at_once_flagged_as_retained() {
    let node = Node::start(NodeOptions::alone("b1").set("sys.interval", "1d")).await;
    let mut watcher = client(&node, "watcher").await;
    watcher.subscribe("$SYS/broker/version", 0).await;
    let version = watcher.receive().await;
    assert_eq!((version.topic.as_str(), version.retain), ("$SYS/broker/version", true));
    assert_eq!(version.payload, format!("brokerd version {}", env!("CARGO_PKG_VERSION")).as_bytes());
    watcher.subscribe("$SYS/brokers/+/stats/connections/count", 0).await;
    assert_eq!(watcher.receive().await.topic, "$SYS/brokers/b1/stats/connections/count");
    watcher.subscribe("$SYS/brokers", 0).await;
    assert_eq!(watcher.receive().await.payload, b"b1");
    let mut all = client(&node, "all").await;
    all.subscribe("$SYS/#", 0).await;
    let topics = all.fence().await.len();
    assert!(topics > 100, "{topics} values under $SYS");
}

#[tokio::test]
async fn values_are_published_again_and_count_what_happened() {
    let node = Node::start(NodeOptions::alone("b1").set("sys.interval", "100ms")).await;
    let mut watcher = client(&node, "watcher").await;
    watcher.subscribe("$SYS/brokers/b1/stats/live_connections/count", 0).await;
    let _other = client(&node, "other").await;
    let mut publish = watcher.receive().await;
    while publish.payload != b"2" {
        publish = watcher.receive().await;
    }
    assert!(!publish.retain, "a live value is not flagged as retained [MQTT-3.3.1-9]");
}

#[tokio::test]
async fn wildcards_at_the_first_level_do_not_see_it_and_nobody_else_may_write_it() {
    let node = Node::start(NodeOptions::alone("b1").set("sys.interval", "100ms")).await;
    let mut wide = client(&node, "wide").await;
    for filter in ["#", "+/broker/uptime", "+/#", "+/brokers"] {
        wide.subscribe(filter, 0).await;
    }
    let mut watcher = client(&node, "watcher").await;
    watcher.subscribe("$SYS/broker/uptime", 0).await;
    for _ in 0..3 {
        watcher.receive().await; // as many rounds have gone by
    }
    wide.expect_silence().await;
    watcher.unsubscribe("$SYS/broker/uptime").await;
    watcher.fence().await;
    wide.publish("$SYS/broker/uptime", b"forged", 1).await;
    wide.publish_retained("$SYS/broker/mine", b"forged", 1).await;
    watcher.subscribe("$SYS/broker/mine", 0).await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn an_interval_of_zero_leaves_no_tree() {
    let node = Node::start(NodeOptions::alone("b1").set("sys.interval", "0s")).await;
    let mut watcher = client(&node, "watcher").await;
    watcher.subscribe("$SYS/#", 0).await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn each_node_of_a_cluster_speaks_for_itself() {
    let first = Node::start(NodeOptions::clustered("b1", &[]).set("sys.interval", "100ms")).await;
    let second = Node::start(NodeOptions::clustered("b2", &[first.cluster()]).set("sys.interval", "100ms")).await;
    let mut watcher = client(&second, "watcher").await;
    watcher.subscribe("$SYS/brokers", 0).await;
    while watcher.receive().await.payload != b"b1,b2" {}
    watcher.unsubscribe("$SYS/brokers").await;
    watcher.fence().await;
    watcher.subscribe("$SYS/brokers/+/uptime", 0).await;
    for _ in 0..4 {
        assert_eq!(watcher.receive().await.topic, "$SYS/brokers/b2/uptime", "what b1 says is for its own clients");
    }
}

#[tokio::test]
async fn mosquitto_sub_reads_it() {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let mut watcher = Subscriber::start(node.mqtt(), &["-v", "-t", "$SYS/broker/uptime"]).await;
    let line = watcher.message().await;
    assert!(line.starts_with("$SYS/broker/uptime ") && line.ends_with(" seconds"), "{line}");
}
