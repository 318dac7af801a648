//! Statements of MQTT 5.0 about PUBLISH and its acknowledgements that no other test proves. `docs/conformance-5.0.md`
//! names each statement's test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::{self, Connect, PINGREQ, PublishOut, Version, frame, property_byte, property_two};
use tests::raw::Raw;
use tests::read::Packet;

const V5: Version = Version::V5;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

/// A subscriber to `t`, and a publisher.
async fn pair(node: &Node, qos: u8) -> (Raw, Raw) {
    let mut subscriber = Raw::connect(node.mqtt(), &Connect::v5("subscriber")).await;
    subscriber.subscribe("t", qos).await;
    (subscriber, Raw::connect(node.mqtt(), &Connect::v5("publisher")).await)
}

async fn node() -> Node {
    Node::start(NodeOptions::alone("b1")).await
}

/// An acknowledgement that says no.
fn refusing(first: u8, id: u16) -> Vec<u8> {
    frame(first, &[&id.to_be_bytes()[..], &[0x83]].concat())
}

#[tokio::test]
async fn each_qos_has_its_answer_with_the_id_that_was_sent() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    client.send(&PublishOut::new("t", b"", 0, 0).encode(V5)).await;
    client.expect_silence().await;
    for id in [1, 0x1234, u16::MAX] {
        client.send(&PublishOut::new("t", b"", 1, id).encode(V5)).await;
        let answer = client.expect().await;
        assert!(matches!(answer, Packet::Puback(found, 0 | 0x10) if found == id), "{answer:?}");
        client.send(&PublishOut::new("t", b"", 2, id).encode(V5)).await;
        let answer = client.expect().await;
        assert!(matches!(answer, Packet::Pubrec(found, 0 | 0x10) if found == id), "{answer:?}");
        client.send(&packet::acknowledge(PUBREL, id)).await;
        assert_eq!(client.expect().await, Packet::Pubcomp(id, 0));
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn dup_of_the_publisher_is_not_passed_on() {
    let node = node().await;
    let (mut subscriber, mut publisher) = pair(&node, 2).await;
    for qos in [1, 2] {
        publisher.exchange(PublishOut::new("t", b"x", qos, 9).again()).await;
        assert!(!subscriber.receive().await.dup, "QoS {qos} [MQTT-3.3.1-3]");
    }
}

#[tokio::test]
async fn after_its_acknowledgement_an_id_stands_for_a_new_message_whatever_dup_says() {
    let node = node().await;
    let (mut subscriber, mut publisher) = pair(&node, 2).await;
    for qos in [1, 2] {
        for payload in [&b"first"[..], b"second"] {
            publisher.exchange(PublishOut::new("t", payload, qos, 9).again()).await;
            assert_eq!(subscriber.receive().await.payload, payload, "QoS {qos}");
        }
    }
    subscriber.expect_silence().await;
}

#[tokio::test]
async fn a_message_that_is_not_retained_leaves_what_is_retained_as_it_was() {
    let node = node().await;
    let (mut subscriber, mut publisher) = pair(&node, 0x08).await; // retain as published
    publisher.publish("t", b"never kept", 1).await;
    let received = subscriber.receive().await;
    assert_eq!((received.text(), received.retain), ("never kept", false), "[MQTT-3.3.1-13]");
    let mut late = Raw::connect(node.mqtt(), &Connect::v5("late")).await;
    late.subscribe("t", 1).await;
    late.expect_silence().await;
    publisher.publish_retained("t", b"kept", 1).await;
    publisher.publish("t", b"", 1).await;
    publisher.publish("t", b"passing", 1).await;
    let mut later = Raw::connect(node.mqtt(), &Connect::v5("later")).await;
    later.subscribe("t", 1).await;
    assert_eq!(later.receive().await.text(), "kept", "[MQTT-3.3.1-8]");
    later.expect_silence().await;
}

#[tokio::test]
async fn the_payload_format_is_passed_on_as_it_was_given() {
    let node = node().await;
    let (mut subscriber, mut publisher) = pair(&node, 1).await;
    for format in [Some(0), Some(1), None] {
        let mut publish = PublishOut::new("t", b"x", 1, 9);
        publish.properties = format.map(|format| property_byte(0x01, format)).unwrap_or_default();
        publisher.exchange(publish).await;
        let received = subscriber.receive().await.properties;
        assert_eq!(received.number(0x01), format.map(u32::from));
        assert_eq!(received.0.len(), usize::from(format.is_some()), "{received:?}");
    }
}

#[tokio::test]
async fn every_alias_up_to_the_stated_maximum_is_taken_and_the_next_is_not() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.topic_alias_maximum", "5")).await;
    let (mut publisher, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("publisher")).await;
    assert_eq!(connack.properties.number(0x22), Some(5), "Topic Alias Maximum");
    let mut subscriber = Raw::connect(node.mqtt(), &Connect::v5("subscriber")).await;
    subscriber.subscribe("t/#", 0).await;
    let topics: Vec<_> = (1..=5).map(|alias| (alias, format!("t/{alias}"))).collect();
    let aliased = |topic: &str, alias| {
        let mut publish = PublishOut::new(topic, b"", 0, 0);
        publish.properties = property_two(0x23, alias);
        publish.encode(V5)
    };
    for name_is_sent in [true, false] {
        for (alias, topic) in topics.iter().rev() {
            publisher.send(&aliased(if name_is_sent { topic } else { "" }, *alias)).await;
            assert_eq!(subscriber.receive().await.topic, *topic, "[MQTT-3.3.2-12]");
        }
    }
    publisher.send(&aliased("t/6", 6)).await;
    assert_eq!(publisher.expect_close().await, Some(0x94), "[MQTT-3.3.2-9]");
    subscriber.expect_silence().await;
}

#[tokio::test]
async fn a_full_window_holds_back_nothing_but_qos_1_and_2() {
    let node = node().await;
    let narrow = Connect::v5("subscriber").property(property_two(0x21, 1));
    let mut subscriber = Raw::connect(node.mqtt(), &narrow).await;
    subscriber.subscribe("t", 1).await;
    subscriber.subscribe("zero", 0).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("t", b"fills the window", 1).await;
    let first = subscriber.expect_publish().await;
    publisher.publish("zero", b"", 0).await;
    publisher.fence().await;
    assert_eq!(subscriber.expect_publish().await.topic, "zero", "[MQTT-3.3.4-10]");
    assert_eq!(subscriber.subscribe("u", 2).await, 2, "[MQTT-4.9.0-3]");
    assert_eq!(subscriber.unsubscribe("u").await, [0]);
    subscriber.publish("v", b"", 1).await;
    subscriber.publish("v", b"", 2).await;
    subscriber.send(PINGREQ).await;
    assert_eq!(subscriber.expect().await, Packet::Pingresp);
    publisher.publish("t", b"waits", 1).await;
    subscriber.expect_silence().await;
    subscriber.complete(&first).await;
    assert_eq!(subscriber.receive().await.text(), "waits");
}

#[tokio::test]
async fn messages_of_a_client_keep_their_order_by_topic_and_qos() {
    let node = node().await;
    let mut subscriber = Raw::connect(node.mqtt(), &Connect::v5("subscriber")).await;
    subscriber.subscribe("t/+", 2).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    let mut last = [[0; 3]; 3];
    for number in 1..=90_u8 {
        let (topic, qos) = (["t/0", "t/1", "t/2"][usize::from(number % 3)], number / 3 % 3);
        publisher.send(&PublishOut::new(topic, &[number], qos, number.into()).encode(V5)).await;
    }
    for _ in 0..90 {
        let received = subscriber.receive().await;
        let place = &mut last[usize::from(received.topic.as_bytes()[2] - b'0')][usize::from(received.qos)];
        assert!(received.payload[0] > *place, "{received:?} after {place}");
        *place = received.payload[0];
    }
    assert!(last.as_flattened().iter().all(|number| *number > 80), "{last:?}");
}

#[tokio::test]
async fn a_delivery_that_its_receiver_refuses_is_done_with() {
    let node = node().await;
    let connect = Connect::v5("subscriber").persistent().property(property_two(0x21, 1));
    let mut subscriber = Raw::connect(node.mqtt(), &connect).await;
    subscriber.subscribe("t", 2).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for (qos, first) in [(1, 0x40), (2, PUBREC)] {
        publisher.publish("t", b"refused", qos).await;
        publisher.publish("t", b"next", qos).await;
        let refused = subscriber.expect_publish().await;
        subscriber.send(&refusing(first, refused.id)).await;
        let next = subscriber.receive().await; // not a PUBREL: the window of one is free again
        assert_eq!((next.text(), next.dup), ("next", false), "QoS {qos}");
    }
    subscriber.abandon();
    let mut subscriber = Raw::connect(node.mqtt(), &connect).await;
    subscriber.expect_silence().await; // [MQTT-4.4.0-2]
}

#[tokio::test]
async fn a_qos_2_delivery_takes_its_four_steps_with_one_id_and_no_second_publish() {
    let node = node().await;
    let connect = Connect::v5("subscriber").persistent();
    let mut subscriber = Raw::connect(node.mqtt(), &connect).await;
    subscriber.subscribe("t", 2).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("t", b"x", 2).await;
    let publish = subscriber.expect_publish().await;
    assert!(publish.id != 0 && !publish.dup && publish.qos == 2);
    subscriber.abandon();
    let mut subscriber = Raw::connect(node.mqtt(), &connect).await;
    let again = subscriber.expect_publish().await;
    assert_eq!((again.id, again.dup), (publish.id, true), "unacknowledged until PUBREC [MQTT-4.3.3-3]");
    subscriber.send(&packet::acknowledge(PUBREC, publish.id)).await;
    assert_eq!(subscriber.expect().await, Packet::Pubrel(publish.id, 0), "[MQTT-4.3.3-4]");
    for _ in 0..2 {
        subscriber.abandon();
        subscriber = Raw::connect(node.mqtt(), &connect).await;
        assert_eq!(subscriber.expect().await, Packet::Pubrel(publish.id, 0), "[MQTT-4.3.3-5, -6]");
    }
    subscriber.send(&packet::acknowledge(PUBCOMP, publish.id)).await;
    subscriber.expect_silence().await;
    subscriber.abandon();
    Raw::connect(node.mqtt(), &connect).await.expect_silence().await;
}
