//! Topic aliases from the server to a client that takes them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::broker::Broker;
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, property_two};
use tests::raw::Raw;
use tests::read::Publish;

const TOPIC_ALIAS: u8 = 0x23;

fn taking(name: &str, aliases: u16) -> Connect {
    Connect::v5(name).property(property_two(0x22, aliases))
}

fn named(publish: &Publish) -> (&str, Option<u32>) {
    (&publish.topic, publish.properties.number(TOPIC_ALIAS))
}

#[tokio::test]
async fn a_subscriber_gets_a_topics_name_once_and_its_alias_afterwards() {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let mut subscriber = Raw::connect(node.mqtt(), &taking("subscriber", 1)).await;
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    subscriber.subscribe("plant/#", 1).await;
    old.subscribe("plant/#", 1).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for topic in ["plant/pump", "plant/pump", "plant/other", "plant/pump"] {
        publisher.publish(topic, b"x", 1).await;
        assert_eq!(old.receive().await.topic, topic, "3.1.1 always gets the name");
    }
    assert_eq!(named(&subscriber.receive().await), ("plant/pump", Some(1)));
    assert_eq!(named(&subscriber.receive().await), ("", Some(1)));
    assert_eq!(named(&subscriber.receive().await), ("plant/other", None), "the client takes one alias");
    assert_eq!(named(&subscriber.receive().await), ("", Some(1)));
    let mut again = Raw::connect(node.mqtt(), &taking("subscriber", 1)).await;
    again.subscribe("plant/#", 0).await;
    publisher.publish("plant/pump", b"x", 1).await;
    assert_eq!(named(&again.receive().await), ("plant/pump", Some(1)), "aliases end with their connection");
}

#[tokio::test]
async fn an_operator_bounds_them() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.topic_alias_out", "0")).await;
    let mut client = Raw::connect(node.mqtt(), &taking("client", 10)).await;
    client.subscribe("plant/#", 0).await;
    for _ in 0..2 {
        client.publish("plant/pump", b"x", 0).await;
        assert_eq!(named(&client.receive().await), ("plant/pump", None));
    }
}

#[tokio::test]
async fn a_client_that_takes_none_gets_none() {
    let broker = Broker::start().await;
    let mut client = Raw::connect(broker.address(), &Connect::v5(&broker.own("client"))).await;
    let topic = broker.own("topic");
    client.subscribe(&topic, 0).await;
    for _ in 0..2 {
        client.publish(&topic, b"x", 0).await;
        assert_eq!(named(&client.receive().await), (topic.as_str(), None), "[MQTT-3.1.2-27]");
    }
}
