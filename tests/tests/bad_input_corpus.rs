//! The codec's own corpus, sent to a live node: each frame that the decoder refuses closes its connection with the
//! reason of its violation, and nothing else happens. `bad_input` has a table that is independent of the codec.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../brokerd/mqtt/tests/codec/data/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the codec's tests use the rest")]
mod data;
#[path = "../../brokerd/mqtt/tests/codec/notation.rs"]
mod notation;

use std::net::SocketAddr;

use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PINGREQ, Version};
use tests::raw::Raw;
use tests::read::Packet;

/// With the limits that the corpus is written for.
async fn node() -> Node {
    let options = NodeOptions::alone("n1")
        .set("mqtt.max_packet_size", "70000")
        .set("mqtt.max_topic_len", "65000")
        .set("mqtt.max_subscription_len", "65000")
        .set("mqtt.max_topic_levels", "20");
    Node::start(options).await
}

const fn ours(version: mqtt::Version) -> Version {
    match version {
        mqtt::Version::V31 => Version::V31,
        mqtt::Version::V311 => Version::V311,
        mqtt::Version::V5 => Version::V5,
    }
}

/// Sends a frame and a PINGREQ, and tells the reason of the close. An answer to what was wrong is an error.
async fn reason_of_close(mut client: Raw, bytes: &[u8]) -> Result<Option<u8>, String> {
    client.send(&[bytes, PINGREQ].concat()).await;
    let mut reason = None;
    while let Some(packet) = client.next_or_end().await {
        reason = match packet {
            Packet::Disconnect(code) => Some(code),
            Packet::Connack(connack) if connack.code != 0 => Some(connack.code),
            other => return Err(format!("answered with {other:?}")),
        };
    }
    Ok(reason)
}

async fn assert_served(address: SocketAddr, after: &str) {
    let mut witness = Raw::connect(address, &Connect::v5("witness")).await;
    assert!(witness.fence().await.is_empty(), "after {after}");
}

fn assert_none_wrong(wrong: &[String], of: usize) {
    assert!(wrong.is_empty(), "{} of {of} reactions are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_frame_that_the_decoder_refuses_closes_with_its_reason() {
    let node = node().await;
    let (mut wrong, mut count) = (vec![], 0);
    for (versions, clause, what, text, violation) in data::INVALID_V3.iter().chain(data::INVALID_V5) {
        for &version in *versions {
            let connect = Connect::new(ours(version), "rude");
            let client = Raw::connect(node.mqtt(), &connect).await;
            let reason = reason_of_close(client, &notation::bytes(text)).await;
            let expected = connect.version.has_properties().then(|| violation.reason() as u8);
            if reason != Ok(expected) {
                wrong.push(format!("{version:?} {clause} {what}: {text}: {reason:02x?}, expected {expected:02x?}"));
            }
            count += 1;
        }
        assert_served(node.mqtt(), what).await;
    }
    assert_none_wrong(&wrong, count);
}

#[tokio::test]
async fn every_first_packet_that_the_decoder_refuses_is_answered_as_the_corpus_says() {
    let node = node().await;
    let mut wrong = vec![];
    for (clause, what, text, _, answer) in data::CONNECT_INVALID {
        // An answer in the form of 3.x is read as one of 5.0 too.
        let client = Raw::open(node.mqtt(), Version::V5).await;
        let reason = reason_of_close(client, &notation::bytes(text)).await;
        let expected = answer.map(|(version, reason)| match (version, reason) {
            (mqtt::Version::V5, reason) => reason as u8,
            (_, mqtt::ReasonCode::UnsupportedProtocolVersion) => 1,
            (_, mqtt::ReasonCode::ClientIdentifierNotValid) => 2,
            (_, other) => panic!("no code of 3.x for {other:?}"),
        });
        if reason != Ok(expected) {
            wrong.push(format!("{clause} {what}: {text}: {reason:02x?}, expected {expected:02x?}"));
        }
        assert_served(node.mqtt(), what).await;
    }
    assert_none_wrong(&wrong, data::CONNECT_INVALID.len());
}
