//! What a server of 5.0 may say and how large: every kind of answer, right and refusing, read strictly (`tests::codes`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tests::node::{Node, NodeOptions};
use tests::packet::{
    self, Connect, PINGREQ, PublishOut, Version, property_byte, property_four, property_two, user_property,
};
use tests::raw::Raw;
use tests::read::{Packet, Value};
use tests::users::Files;

const V5: Version = Version::V5;
const NOT_AUTHORIZED: u8 = 0x87;
const ID_NOT_FOUND: u8 = 0x92;

/// Asks for one of each answer, by a client that may do nothing with `denied`, and gives what came.
async fn one_of_each(client: &mut Raw) -> Vec<Packet> {
    let requests = [
        PublishOut::new("denied", b"", 1, 1).encode(V5),
        PublishOut::new("denied", b"", 2, 2).encode(V5),
        PublishOut::new("free", b"", 1, 3).encode(V5),
        PublishOut::new("free", b"", 2, 4).encode(V5),
        packet::acknowledge(0x62, 4),
        packet::acknowledge(0x62, 5),
        packet::acknowledge(0x50, 6),
        packet::subscribe(V5, 7, &[("denied", 1), ("other", 2), ("other", 1), ("other", 0)]),
        packet::unsubscribe(V5, 8, &["denied", "other"]),
        PINGREQ.to_vec(),
    ];
    let mut answers = vec![];
    for request in requests {
        client.send(&request).await;
        answers.push(client.expect().await);
    }
    answers
}

fn expected() -> Vec<Packet> {
    vec![
        Packet::Puback(1, NOT_AUTHORIZED),
        Packet::Pubrec(2, NOT_AUTHORIZED),
        Packet::Puback(3, 0),
        Packet::Pubrec(4, 0),
        Packet::Pubcomp(4, 0),
        Packet::Pubcomp(5, ID_NOT_FOUND),
        Packet::Pubrel(6, ID_NOT_FOUND),
        Packet::Suback(7, vec![NOT_AUTHORIZED, 2, 1, 0]),
        Packet::Unsuback(8, vec![0x11, 0]),
        Packet::Pingresp,
    ]
}

async fn guarded() -> (Files, Node) {
    let rules = "allow user ann all free\nallow user ann all other\n";
    let files = Files::new(&["ann"], rules);
    let node = Node::start(files.node()).await;
    (files, node)
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request_and_a_code_of_its_packet() {
    let (_files, node) = guarded().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("ann").login("ann", "ann")).await;
    assert_eq!(one_of_each(&mut client).await, expected());
}

#[tokio::test]
async fn no_answer_is_larger_than_the_client_takes_and_none_is_missing_for_that() {
    let (_files, node) = guarded().await;
    for limit in [20, 21, 25, 30] {
        let connect = Connect::v5("ann").login("ann", "ann").property(property_four(0x27, limit));
        let mut client = Raw::open(node.mqtt(), V5).await.at_most(limit);
        client.send(&connect.encode()).await;
        let Packet::Connack(connack) = client.expect().await else { panic!("CONNACK is first") };
        assert_eq!(connack.code, 0, "{limit} bytes");
        assert_eq!(one_of_each(&mut client).await, expected(), "{limit} bytes");
        client.send(&[0x36, 0]).await; // QoS 3
        assert_eq!(client.expect_close().await, Some(0x81), "{limit} bytes");
    }
}

#[tokio::test]
async fn who_wants_no_problem_information_gets_codes_alone() {
    let (_files, node) = guarded().await;
    let connect = Connect::v5("ann").login("ann", "ann").property(property_byte(0x17, 0));
    // SUBACK with four codes is the longest answer, and has no room for a property.
    let mut client = Raw::connect(node.mqtt(), &connect).await.at_most(9);
    assert_eq!(one_of_each(&mut client).await, expected(), "[MQTT-3.1.2-29]");
}

#[tokio::test]
async fn what_is_kept_keeps_its_properties_and_loses_the_time_that_it_waited() {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let sleeper = Connect::v5("sleeper").persistent();
    let mut client = Raw::connect(node.mqtt(), &sleeper).await;
    client.subscribe("t/#", 0x21).await; // what is retained it has seen
    client.disconnect().await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for (topic, expiry) in [("t/short", 1), ("t/long", 100)] {
        let mut publish = PublishOut::new(topic, b"x", 1, 9).retained();
        publish.properties = [property_four(0x02, expiry), user_property("b", "1"), user_property("a", "2")].concat();
        publish.properties.extend(packet::property_text(0x03, "text/plain"));
        publish.properties.extend(property_two(0x23, 1)); // concerns the publisher and us alone
        publisher.exchange(publish).await;
    }
    tokio::time::sleep(Duration::from_millis(2100)).await; // the clock is what is under test
    let mut late = Raw::connect(node.mqtt(), &Connect::v5("late")).await;
    late.subscribe("t/#", 1).await;
    let mut client = Raw::connect(node.mqtt(), &sleeper).await;
    for (receiver, what) in [(&mut late, "retained"), (&mut client, "queued")] {
        let received = receiver.receive().await;
        assert_eq!(received.topic, "t/long", "{what}");
        let left = received.properties.number(0x02).expect("Message Expiry Interval");
        assert!((90..=98).contains(&left), "{what}: {left} s left of 100 after 2 [MQTT-3.3.2-6]");
        assert_eq!(received.properties.text(0x03), Some("text/plain"), "{what}");
        let pairs: Vec<_> = received.properties.0.iter().filter(|(id, _)| *id == 0x26).map(|(_, pair)| pair).collect();
        let pair = |name: &str, value: &str| Value::Pair(name.into(), value.into());
        assert_eq!(pairs, [&pair("b", "1"), &pair("a", "2")], "{what} [MQTT-3.3.2-18]");
        assert_eq!(received.properties.0.len(), 4, "{what}: {:?}", received.properties);
        receiver.expect_silence().await; // [MQTT-3.3.2-5]
    }
}
