//! Subscriptions that the broker makes for its clients: `[[auto_subscribe]]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::users::Files;

const INBOX: &str = r#"[{topic="inbox/%c",qos=1},{topic="of/%u/#"}]"#;

#[tokio::test]
async fn a_client_gets_its_own_messages_without_subscribing_until_it_unsubscribes() {
    let node = Node::start(NodeOptions::alone("b1").set("auto_subscribe", INBOX)).await;
    let mut other = Raw::connect(node.mqtt(), &Connect::v5("other").login("bob", "x")).await;
    other.publish_retained("inbox/c1", b"kept", 1).await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("c1").login("ann", "x")).await;
    let kept = client.receive().await;
    assert_eq!((kept.text(), kept.retain, kept.qos), ("kept", true, 1), "what is retained comes first, and no SUBACK");
    for topic in ["inbox/c2", "of/bob/x", "inbox/c1", "of/ann/x"] {
        other.publish(topic, topic.as_bytes(), 1).await;
    }
    assert_eq!(client.receive().await.text(), "inbox/c1");
    let last = client.receive().await;
    assert_eq!((last.text(), last.qos), ("of/ann/x", 0));
    assert_eq!(other.receive().await.text(), "of/bob/x");
    assert_eq!(client.unsubscribe("inbox/c1").await, [0]);
    other.publish("inbox/c1", b"late", 1).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn a_client_id_with_a_wildcard_is_given_nothing() {
    let node = Node::start(NodeOptions::alone("b1").set("auto_subscribe", INBOX)).await;
    let mut nosy = Raw::connect(node.mqtt(), &Connect::v5("#")).await;
    let mut other = Raw::connect(node.mqtt(), &Connect::v311("other")).await;
    other.publish("inbox/c1", b"x", 1).await;
    nosy.expect_silence().await;
    assert_eq!(nosy.unsubscribe("inbox/#").await, [0x11]);
}

#[tokio::test]
async fn the_rules_are_asked_for_it() {
    let files = Files::new(&["ann"], "allow user ann publish #\nallow user ann subscribe of/#\n");
    let node = Node::start(files.node().set("auto_subscribe", INBOX)).await;
    let mut ann = Raw::connect(node.mqtt(), &Connect::v5("c1").login("ann", "ann")).await;
    ann.publish("inbox/c1", b"not allowed", 1).await;
    ann.publish("of/ann/x", b"allowed", 1).await;
    assert_eq!(ann.receive().await.text(), "allowed");
    ann.expect_silence().await;
}
