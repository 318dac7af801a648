//! What an operator turned off is stated in the CONNACK and kept to, with the code that MQTT has for it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version, Will, property_byte};
use tests::raw::Raw;
use tests::read::Packet;

const QOS_NOT_SUPPORTED: u8 = 0x9b;
const RETAIN_NOT_SUPPORTED: u8 = 0x9a;

async fn node(key: &str, value: &str) -> Node {
    Node::start(NodeOptions::alone("b1").set(key, value)).await
}

#[tokio::test]
async fn a_server_without_qos_2_says_so_grants_less_and_closes_who_publishes_it() {
    let node = node("mqtt.max_qos", "1").await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("c")).await;
    assert_eq!(connack.properties.number(0x24), Some(1), "Maximum QoS");
    assert_eq!(client.subscribe("t", 2).await, 1, "granted down");
    client.publish("t", b"x", 1).await;
    assert_eq!(client.receive().await.qos, 1);
    client.send(&PublishOut::new("t", b"x", 2, 9).encode(Version::V5)).await;
    assert_eq!(client.expect_close().await, Some(QOS_NOT_SUPPORTED), "[MQTT-3.2.2-11]");
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    assert_eq!(old.subscribe("t", 2).await, 1);
    old.send(&PublishOut::new("t", b"x", 2, 9).encode(Version::V311)).await;
    assert_eq!(old.expect_close().await, None, "3.1.1 has no word for it");
    let will = Will { qos: 2, ..Will::new("w", "x") };
    let (mut client, connack) = Raw::try_connect(node.mqtt(), &Connect::v5("w").will(will)).await;
    assert_eq!(connack.code, QOS_NOT_SUPPORTED, "[MQTT-3.2.2-12]");
    client.expect_close().await;
}

#[tokio::test]
async fn a_server_without_retain_says_so_and_closes_who_uses_it() {
    let node = node("mqtt.retain_available", "false").await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("c")).await;
    assert_eq!(connack.properties.number(0x25), Some(0), "Retain Available");
    client.send(&PublishOut::new("t", b"x", 0, 0).retained().encode(Version::V5)).await;
    assert_eq!(client.expect_close().await, Some(RETAIN_NOT_SUPPORTED), "[MQTT-3.2.2-14]");
    let will = Will { retain: true, ..Will::new("w", "x") };
    let (_, connack) = Raw::try_connect(node.mqtt(), &Connect::v5("w").will(will)).await;
    assert_eq!(connack.code, RETAIN_NOT_SUPPORTED, "[MQTT-3.2.2-13]");
    let mut later = Raw::connect(node.mqtt(), &Connect::v5("later")).await;
    later.subscribe("t", 0).await;
    later.expect_silence().await;
}

#[tokio::test]
async fn a_server_without_wildcards_refuses_each_such_filter() {
    let node = node("mqtt.wildcard_subscription", "false").await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("c")).await;
    assert_eq!(connack.properties.number(0x28), Some(0), "Wildcard Subscription Available");
    let codes = [client.subscribe("a/#", 0).await, client.subscribe("+", 0).await, client.subscribe("a", 1).await];
    assert_eq!(codes, [0xa2, 0xa2, 1]);
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    assert_eq!(old.subscribe("a/#", 0).await, 0x80);
    client.publish("a/b", b"x", 1).await;
    client.publish("a", b"x", 1).await;
    assert_eq!(client.receive().await.topic, "a", "what was refused gets nothing");
}

#[tokio::test]
async fn a_server_without_subscription_identifiers_refuses_who_names_one() {
    let node = node("mqtt.subscription_identifiers", "false").await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("c")).await;
    assert_eq!(connack.properties.number(0x29), Some(0), "Subscription Identifiers Available");
    client.send(&[0x82, 9, 0, 1, 2, 0x0b, 7, 0, 1, b'a', 0]).await;
    assert_eq!(client.expect().await, Packet::Suback(1, vec![0xa1]));
    assert_eq!(client.subscribe("a", 0).await, 0);
}

#[tokio::test]
async fn response_information_goes_to_those_who_ask_for_it() {
    let node = node("mqtt.response_information", "reply/").await;
    let asking = Connect::v5("asks").property(property_byte(0x19, 1));
    let (_, connack) = Raw::connect_with_answer(node.mqtt(), &asking).await;
    assert_eq!(connack.properties.text(0x1a), Some("reply/"));
    let (_, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("does not")).await;
    assert_eq!(connack.properties.get(0x1a), None);
}

#[tokio::test]
async fn a_server_that_leaves_nothing_out_states_nothing() {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let (_, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("c")).await;
    for id in [0x24, 0x25, 0x28, 0x29, 0x1a] {
        assert_eq!(connack.properties.get(id), None, "property {id:#x}");
    }
}
