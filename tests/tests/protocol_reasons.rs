//! What the broker says beside a code: to whom, and within which size (MQTT 5.0).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::{self, Connect, PublishOut, Version, acknowledge, property_byte, property_four, property_two};
use tests::raw::Raw;
use tests::read::Packet;

/// No wildcards, nothing retained: refusals that need no rules.
async fn node() -> Node {
    let options = NodeOptions::alone("n1");
    Node::start(
        options
            .set("mqtt.wildcard_subscription", "false")
            .set("mqtt.max_client_id_len", "30")
            .set("persistence.max_retained", "0"),
    )
    .await
}

/// What a client is told for each answer that tells of an error.
async fn told(node: &Node, connect: &Connect) -> Vec<(Packet, Option<String>)> {
    let mut client = Raw::connect(node.mqtt(), connect).await;
    let retained = |qos| PublishOut::new("t", b"x", qos, qos.into()).retained().encode(Version::V5);
    let asked = [
        retained(1),
        retained(2),
        acknowledge(0x62, 9),
        acknowledge(0x50, 9),
        packet::subscribe(Version::V5, 5, &[("a", 0), ("#", 0)]),
        PublishOut { properties: property_two(0x23, 0), ..PublishOut::new("t", b"x", 0, 0) }.encode(Version::V5),
    ];
    let mut answers = vec![];
    for packet in asked {
        client.send(&packet).await;
        answers.push((client.expect().await, client.reason_string.clone()));
    }
    answers
}

/// The answers without their reason strings.
fn codes() -> [Packet; 6] {
    [
        Packet::Puback(1, 0x97),
        Packet::Pubrec(2, 0x97),
        Packet::Pubcomp(9, 0x92),
        Packet::Pubrel(9, 0x92),
        Packet::Suback(5, vec![0, 0xa2]),
        Packet::Disconnect(0x94),
    ]
}

#[tokio::test]
async fn every_answer_that_tells_of_an_error_says_why() {
    let node = node().await;
    let (answers, reasons): (Vec<_>, Vec<_>) = told(&node, &Connect::v5("c")).await.into_iter().unzip();
    assert_eq!(answers, codes());
    let (quota, unknown) = ("quota exceeded", "packet identifier not found");
    let wildcard = "wildcard subscriptions not supported";
    let reasons: Vec<_> = reasons.iter().map(|reason| reason.as_deref().unwrap_or("nothing")).collect();
    assert_eq!(reasons[..5], [quota, quota, unknown, unknown, wildcard]);
    assert!(reasons[5].starts_with("Topic Alias 0"), "{reasons:?}");
}

#[tokio::test]
async fn who_wants_no_problem_information_is_told_why_only_at_the_end() {
    let node = node().await;
    let connect = Connect::v5("c").property(property_byte(0x17, 0));
    let (answers, reasons): (Vec<_>, Vec<_>) = told(&node, &connect).await.into_iter().unzip();
    assert_eq!(answers, codes());
    assert_eq!(reasons[..5], [const { None }; 5]);
    assert!(reasons[5].is_some(), "DISCONNECT may say why all the same");
}

#[tokio::test]
async fn who_takes_small_packets_only_is_told_the_code_alone() {
    let node = node().await;
    let connect = Connect::v5("c").property(property_four(0x27, 22));
    let (answers, reasons): (Vec<_>, Vec<_>) = told(&node, &connect).await.into_iter().unzip();
    assert_eq!(answers, codes());
    assert_eq!(reasons[2..], [const { None }; 4], "their reasons are longer");
}

#[tokio::test]
async fn a_refused_connect_says_why_within_what_the_client_takes() {
    let node = node().await;
    let long = Connect::v5(&"x".repeat(31));
    let refused = async |connect: &Connect| {
        let (mut client, connack) = Raw::try_connect(node.mqtt(), connect).await;
        let reason = client.reason_string.take();
        assert_eq!(client.expect_close().await, None);
        (connack.code, reason)
    };
    assert_eq!(refused(&long).await, (0x85, Some("client identifier not valid".to_owned())));
    let silent = long.clone().property(property_byte(0x17, 0));
    assert!(refused(&silent).await.1.is_some(), "CONNACK says why all the same");
    let small = long.property(property_four(0x27, 20));
    assert_eq!(refused(&small).await, (0x85, None));
    let malformed = Connect::v5("c").property(property_four(0x27, 20)).property(property_two(0x21, 0));
    assert_eq!(refused(&malformed).await, (0x82, None), "also where the CONNECT is wrong further on");
}

#[tokio::test]
async fn a_subscribe_whose_suback_the_client_would_not_take_is_refused_with_0x95_and_does_nothing() {
    let node = node().await;
    let connect = Connect::v5("c").persistent().property(property_four(0x27, 30));
    let filters: Vec<String> = (0..26).map(|number| format!("f/{number}")).collect();
    let asked: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    client.send(&packet::subscribe(Version::V5, 1, &asked[..25])).await;
    assert_eq!(client.expect().await, Packet::Suback(1, vec![0; 25]), "30 bytes");
    client.send(&packet::subscribe(Version::V5, 2, &asked)).await;
    assert_eq!(client.expect_close().await, Some(0x95));
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    client.publish("f/25", b"x", 1).await;
    client.expect_silence().await;
    let names: Vec<&str> = filters.iter().map(String::as_str).collect();
    client.send(&packet::unsubscribe(Version::V5, 3, &names)).await;
    assert_eq!(client.expect_close().await, Some(0x95));
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    client.publish("f/0", b"y", 1).await;
    assert_eq!(client.receive().await.text(), "y", "nothing was unsubscribed either");
}
