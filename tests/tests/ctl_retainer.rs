//! `brokerctl retainer`: what it counts and lists, and that what it removes is gone for good, on every node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;

async fn retain(node: &Node, topics: &[&str]) {
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for topic in topics {
        publisher.publish_retained(topic, b"value", 1).await;
    }
}

async fn topics(node: &Node, filter: &[&str]) -> Vec<String> {
    let list = node.ctl().run(&[&["retainer", "topics"], filter].concat()).await.ok();
    list.as_array().unwrap().iter().map(|row| row["topic"].as_str().unwrap().to_owned()).collect()
}

async fn info(node: &Node) -> Value {
    node.ctl().run(&["retainer", "info"]).await.ok()
}

#[tokio::test]
async fn what_is_retained_is_counted_and_listed_by_filter() {
    let node = Node::start(NodeOptions::alone("n1").set("persistence.max_retained", "4")).await;
    retain(&node, &["a/1", "a/2", "b", "$own/c", "refused"]).await;
    let info = info(&node).await;
    assert_eq!(
        (&info[0]["node"], &info[0]["messages"], &info[0]["max_messages"]),
        (&json!("n1"), &json!(4), &json!(4))
    );
    assert_eq!(info[0]["refused"], 1);
    assert!(info[0]["bytes"].as_u64().unwrap() > 20, "{info}");
    assert_eq!(topics(&node, &[]).await, ["$own/c", "a/1", "a/2", "b"]);
    assert_eq!(topics(&node, &["a/+"]).await, ["a/1", "a/2"]);
    assert_eq!(topics(&node, &["nothing"]).await, [""; 0]);
    let table = node.ctl().table(&["retainer", "topics", "--limit", "1"]).await;
    assert!(table.stderr.contains("3 more"), "{} {}", table.stdout, table.stderr);
}

#[tokio::test]
async fn a_list_of_many_topics_is_complete() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    let names: Vec<String> = (0..1200).map(|number| format!("t/{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    retain(&node, &names).await;
    assert_eq!(topics(&node, &[]).await, names);
    assert_eq!(topics(&node, &["t/#"]).await, names);
    let cleaned = node.ctl().run(&["retainer", "clean"]).await.ok();
    assert_eq!(cleaned, json!({"removed": 1200, "nodes": {"n1": 1200}}));
    assert_eq!(info(&node).await[0]["messages"], 0);
}

#[tokio::test]
async fn what_is_cleaned_is_gone_after_a_kill_too_and_the_rest_is_there() {
    let mut node = Node::start(NodeOptions::alone("n1").set("persistence.backend", "disk")).await;
    retain(&node, &["a/1", "a/2", "b"]).await;
    let cleaned = node.ctl().run(&["retainer", "clean", "a/#"]).await.ok();
    assert_eq!(cleaned["removed"], 2);
    assert_eq!(topics(&node, &[]).await, ["b"]);
    node.restart().await;
    assert_eq!(topics(&node, &[]).await, ["b"]);
    retain(&node, &["a/1"]).await;
    node.restart().await;
    assert_eq!(topics(&node, &[]).await, ["a/1", "b"], "what was retained after the removal stays");
}

#[tokio::test]
async fn every_node_is_cleaned() {
    let cluster = Cluster::start(2).await;
    for node in &cluster.nodes {
        retain(node, &["a", "b"]).await;
    }
    cluster.nodes[0].ctl().run(&["retainer", "clean", "a"]).await.ok();
    for node in &cluster.nodes {
        let list = node.ctl().run(&["retainer", "topics", "a"]).await.ok();
        assert_eq!(list, json!([]));
        let one = node.ctl().run(&["retainer", "info", "--node", node.name()]).await.ok();
        assert_eq!(one[0]["messages"], 1, "{one}");
    }
}
