//! Topic rewrite: `[[rewrite]]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version, Will, property_two};
use tests::raw::Raw;
use tests::read::Packet;
use tests::users::Files;

const ALL: &str = r#"[{action="all",source="x/#",regex="^x/y/(.+)$",destination="z/y/$1"}]"#;

async fn client(node: &Node, name: &str) -> Raw {
    Raw::connect(node.mqtt(), &Connect::v5(name)).await
}

#[tokio::test]
async fn publications_wills_and_subscriptions_take_their_new_names() {
    let node = Node::start(NodeOptions::alone("b1").set("rewrite", ALL)).await;
    let mut plain = client(&node, "plain").await;
    plain.subscribe("z/#", 1).await;
    let mut rewritten = client(&node, "rewritten").await;
    assert_eq!(rewritten.subscribe("x/y/+", 1).await, 1);
    rewritten.publish_retained("x/y/1", b"a", 1).await;
    for subscriber in [&mut plain, &mut rewritten] {
        assert_eq!(subscriber.receive().await.topic, "z/y/1");
    }
    let mut late = client(&node, "late").await;
    late.subscribe("z/y/1", 0).await;
    assert!(late.receive().await.retain);
    let will = Connect::v5("dying").will(Will::new("x/y/will", "w"));
    Raw::connect(node.mqtt(), &will).await.abandon();
    assert_eq!(plain.receive().await.topic, "z/y/will");
    assert_eq!(rewritten.receive().await.topic, "z/y/will");
    assert_eq!(rewritten.unsubscribe("x/y/+").await, [0], "by the name that it was asked for");
    plain.publish("x/other", b"b", 1).await;
    plain.publish("x/y/2", b"c", 1).await;
    assert_eq!(plain.receive().await.topic, "z/y/2", "x/other keeps its name");
    rewritten.expect_silence().await;
}

#[tokio::test]
async fn an_alias_stands_for_the_new_name() {
    let node = Node::start(NodeOptions::alone("b1").set("rewrite", ALL)).await;
    let mut client = client(&node, "c").await;
    client.subscribe("#", 0).await;
    for topic in ["x/y/1", ""] {
        let mut publish = PublishOut::new(topic, b"x", 0, 0);
        publish.properties = property_two(0x23, 1);
        client.send(&publish.encode(Version::V5)).await;
        assert_eq!(client.receive().await.topic, "z/y/1");
    }
}

#[tokio::test]
async fn what_is_rewritten_is_what_is_authorised() {
    let files = Files::new(&["ann"], "allow user ann all z/#\n");
    let node = Node::start(files.node().set("rewrite", ALL)).await;
    let mut ann = Raw::connect(node.mqtt(), &Connect::v5("ann").login("ann", "ann")).await;
    assert_eq!(ann.subscribe("x/y/#", 0).await, 0);
    assert_eq!(ann.subscribe("x/#", 0).await, 0x87);
    ann.send(&PublishOut::new("x/y/1", b"x", 1, 1).encode(Version::V5)).await;
    assert_eq!(ann.receive().await.topic, "z/y/1");
    assert_eq!(ann.expect().await, Packet::Puback(1, 0));
    ann.send(&PublishOut::new("x/other", b"x", 1, 2).encode(Version::V5)).await;
    assert_eq!(ann.expect().await, Packet::Puback(2, 0x87));
}
