//! Statements of MQTT 5.0 about subscriptions, topics and shared groups that no other test proves.
//! `docs/conformance-5.0.md` names each statement's test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::{self, Connect, Version, frame};
use tests::raw::Raw;
use tests::read::Packet;

const V5: Version = Version::V5;

async fn node() -> Node {
    Node::start(NodeOptions::alone("b1")).await
}

#[tokio::test]
async fn filters_of_one_subscribe_are_as_if_each_came_alone() {
    let node = node().await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for topic in ["a", "b", "c"] {
        publisher.publish_retained(topic, topic.as_bytes(), 1).await;
    }
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("client")).await;
    // `c` never wants what is retained; the last of two that are the same replaces the first.
    client.send(&packet::subscribe(V5, 9, &[("a", 1), ("b", 0), ("c", 0x21), ("a", 0x10)])).await;
    assert_eq!(client.expect().await, Packet::Suback(9, vec![1, 0, 1, 0]), "one answer, in order");
    let mut retained = [client.receive().await, client.receive().await];
    retained.sort_by(|one, other| one.topic.cmp(&other.topic));
    let seen: Vec<_> = retained.iter().map(|one| (one.text(), one.retain)).collect();
    assert_eq!(seen, [("a", true), ("b", true)]);
    for (topic, qos) in [("a", 0), ("b", 0), ("c", 1)] {
        publisher.publish(topic, b"live", 1).await;
        let live = client.receive().await;
        assert_eq!((live.topic.as_str(), live.qos), (topic, qos));
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn filters_of_one_unsubscribe_are_as_if_each_came_alone() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("client")).await;
    for filter in ["a", "b", "c"] {
        client.subscribe(filter, 0).await;
    }
    client.send(&packet::unsubscribe(V5, 77, &["c", "never", "a", "a"])).await;
    assert_eq!(client.expect().await, Packet::Unsuback(77, vec![0, 0x11, 0, 0x11]), "one answer, in order");
    for topic in ["a", "b", "c"] {
        client.publish(topic, b"", 0).await;
    }
    assert_eq!(client.receive().await.topic, "b");
    client.expect_silence().await;
}

#[tokio::test]
async fn unsubscribe_ends_only_the_filter_that_is_the_same_to_the_character() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("client")).await;
    client.subscribe("a/b", 0).await;
    for other in ["a/+", "#", "a/b/", "/a/b", "A/b", "a/b/#", "$share/g/a/b", "a/b\u{feff}"] {
        assert_eq!(client.unsubscribe(other).await, [0x11], "{other:?}");
    }
    client.publish("a/b", b"", 0).await;
    assert_eq!(client.receive().await.topic, "a/b");
    assert_eq!(client.unsubscribe("a/b").await, [0]);
}

#[tokio::test]
async fn what_is_under_way_when_its_subscription_ends_is_completed() {
    let node = node().await;
    let connect = Connect::v5("client").persistent();
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    client.subscribe("t", 2).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("t", b"one", 1).await;
    publisher.publish("t", b"two", 2).await;
    let (one, two) = (client.expect_publish().await, client.expect_publish().await);
    assert_eq!(client.unsubscribe("t").await, [0]);
    publisher.publish("t", b"three", 2).await;
    client.send(&packet::acknowledge(0x50, two.id)).await;
    assert_eq!(client.expect().await, Packet::Pubrel(two.id, 0));
    client.abandon();
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    let again = client.receive().await;
    assert_eq!((again.text(), again.id, again.dup), ("one", one.id, true));
    assert_eq!(client.expect().await, Packet::Pubrel(two.id, 0));
    client.send(&packet::acknowledge(0x70, two.id)).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn names_are_compared_as_they_are_and_come_as_they_were_sent() {
    let node = node().await;
    let names = [
        "a/b",
        "a//b",
        "/a/b",
        "a/b/",
        "A/b",
        "a/B",
        "a/./b",
        "a/ b",
        "a/b ",
        "\u{feff}a/b",
        "a/b\u{feff}",
        "\u{e9}",
        "e\u{301}",
        "\u{212b}",
        "\u{c5}",
        "\u{fb01}",
        "fi",
        "\u{1f600}",
        "a/%62",
        "a\\b",
        "\u{200b}a/b",
    ];
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for filter in names {
        let mut client = Raw::connect(node.mqtt(), &Connect::v5("client")).await;
        client.subscribe(filter, 0).await;
        for name in names {
            publisher.publish(name, b"", 1).await;
        }
        let received = client.receive().await;
        assert_eq!(received.topic, filter, "byte for byte [MQTT-4.7.3-4], [MQTT-1.5.4-3]");
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn a_topic_of_65535_bytes_is_taken_as_name_and_as_filter() {
    let limits = NodeOptions::alone("b1").set("mqtt.max_topic_len", "65535").set("mqtt.max_subscription_len", "65535");
    let node = Node::start(limits).await;
    let longest = "x".repeat(65_535);
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("client")).await;
    assert_eq!(client.subscribe(&longest, 1).await, 1);
    client.publish(&longest, b"x", 1).await;
    assert!(client.receive().await.topic == longest);
}

#[tokio::test]
async fn a_replaced_subscription_gets_its_options_identifier_and_retained_messages_anew() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("client")).await;
    let identified = |id: u8, options: u8| [0x82, 9, 0, 1, 2, 0x0b, id, 0, 1, b't', options];
    client.publish_retained("t", b"kept", 1).await;
    for (id, qos) in [(5, 1), (6, 0)] {
        client.send(&identified(id, qos)).await;
        assert_eq!(client.expect().await, Packet::Suback(1, vec![qos]));
        let retained = client.receive().await;
        assert_eq!((retained.text(), retained.qos), ("kept", qos), "[MQTT-3.8.4-4]");
        assert_eq!(retained.properties.number(0x0b), Some(id.into()));
        client.publish("t", b"live", 1).await;
        let live = client.receive().await;
        let ids: Vec<_> = live.properties.0.iter().filter(|(property, _)| *property == 0x0b).collect();
        assert_eq!((live.qos, live.properties.number(0x0b), ids.len()), (qos, Some(id.into()), 1), "[MQTT-3.8.4-3]");
    }
    client.subscribe("t", 0x20).await; // without an identifier, and not again what is retained
    client.publish("t", b"live", 1).await;
    assert_eq!(client.receive().await.properties.get(0x0b), None, "the identifier went with what was replaced");
    client.expect_silence().await;
}

#[tokio::test]
async fn a_message_goes_to_every_session_with_a_filter_that_matches_and_to_no_other() {
    let node = node().await;
    let matching = ["a/b/c", "a/+/c", "+/+/+", "a/#", "#", "a/b/c/#", "$share/g/a/b/c", "$share/h/#"];
    let others = ["a/b", "a/b/c/d", "a/b/c/+", "+/b", "b/#", "/a/b/c", "a/B/c", "$share/g/a/b"];
    let (mut here, mut away) = (vec![], vec![]);
    for (at, filter) in matching.iter().chain(&others).enumerate() {
        let mut client = Raw::connect(node.mqtt(), &Connect::v5(&format!("here-{at}"))).await;
        client.subscribe(filter, 1).await;
        here.push((*filter, client));
        if !filter.starts_with("$share") {
            let connect = Connect::v5(&format!("away-{at}")).persistent();
            let mut client = Raw::connect(node.mqtt(), &connect).await;
            client.subscribe(filter, 1).await;
            client.disconnect().await;
            away.push((*filter, connect));
        }
    }
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("a/b/c", b"to all", 1).await;
    for (filter, connect) in away {
        here.push((filter, Raw::connect(node.mqtt(), &connect).await));
    }
    for (filter, mut client) in here {
        if matching.contains(&filter) {
            assert_eq!(client.receive().await.text(), "to all", "{filter}");
        }
        client.expect_silence().await;
    }
}

/// Two members of one group, of which the first has been sent a message at this QoS and has not acknowledged it.
async fn one_of_two_members_has_it(node: &Node, qos: u8) -> (Raw, u16, Raw) {
    let mut first = Raw::connect(node.mqtt(), &Connect::v5("first")).await;
    first.subscribe("$share/g/t", qos).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("t", b"one member's", qos).await;
    let publish = first.expect_publish().await;
    let mut second = Raw::connect(node.mqtt(), &Connect::v5("second")).await;
    second.subscribe("$share/g/t", qos).await;
    (first, publish.id, second)
}

#[tokio::test]
async fn what_a_member_refuses_goes_to_no_other_member() {
    let node = node().await;
    for (qos, first_byte) in [(1, 0x40), (2, 0x50)] {
        let (mut first, id, mut second) = one_of_two_members_has_it(&node, qos).await;
        first.send(&frame(first_byte, &[&id.to_be_bytes()[..], &[0x83]].concat())).await;
        first.expect_silence().await;
        first.disconnect().await;
        second.expect_silence().await;
        second.unsubscribe("$share/g/t").await;
    }
}

#[tokio::test]
async fn a_qos_2_message_of_a_member_whose_session_ends_goes_to_no_other_member() {
    let node = node().await;
    let (first, _, mut second) = one_of_two_members_has_it(&node, 2).await;
    first.disconnect().await; // expiry 0: the session ends with its connection
    second.publish("t", b"for who is left", 2).await;
    assert_eq!(second.receive().await.text(), "for who is left");
    second.expect_silence().await;
}
