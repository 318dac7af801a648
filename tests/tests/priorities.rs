//! What leaves a session's queue first: `[[queue_priority]]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;

const ALARMS: &str = r#"[{topic="alarm/#",priority=200},{topic="log/+",priority=1}]"#;

/// What a client that was away gets, of six messages and a queue of four.
async fn after_absence(options: NodeOptions) -> Vec<String> {
    let options = options.set("queue_priority", ALARMS).set("persistence.queue_depth", "4");
    let node = Node::start(options).await;
    let away = Connect::v5("away").persistent();
    let mut client = Raw::connect(node.mqtt(), &away).await;
    client.subscribe("#", 1).await;
    client.disconnect().await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for (topic, payload) in
        [("plain", "a"), ("log/1", "b"), ("alarm/1", "c"), ("plain", "d"), ("alarm/2/x", "e"), ("log/2", "f")]
    {
        publisher.publish(topic, payload.as_bytes(), 1).await;
    }
    let mut client = Raw::connect(node.mqtt(), &away).await;
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(client.receive().await.text().to_owned());
    }
    client.expect_silence().await;
    got
}

#[tokio::test]
async fn a_client_that_was_away_gets_what_is_urgent_first_and_loses_what_is_not() {
    assert_eq!(after_absence(NodeOptions::alone("n1")).await, ["c", "e", "b", "f"]);
}

#[tokio::test]
async fn what_has_no_priority_may_stand_before_all_that_has() {
    let options = NodeOptions::alone("n1").set("persistence.default_priority", "highest");
    assert_eq!(after_absence(options).await, ["a", "d", "c", "e"]);
}
