//! Statements of MQTT 5.0 about wills that no other test proves. `docs/conformance-5.0.md` names each statement's test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::cluster::Cluster;
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Will, property_byte, property_four, property_text, user_property};
use tests::raw::Raw;
use tests::read::Value;

async fn watched(topic: &str) -> (Node, Raw) {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let mut watcher = Raw::connect(node.mqtt(), &Connect::v5("watcher")).await;
    watcher.subscribe(topic, 2).await;
    (node, watcher)
}

#[tokio::test]
async fn a_will_comes_with_its_qos_and_its_properties_in_their_order() {
    let (node, mut watcher) = watched("will").await;
    let pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("b", "0")];
    for qos in 0..=2 {
        let mut will = Will { qos, ..Will::new("will", "gone") };
        will.properties =
            [property_byte(0x01, 1), property_four(0x02, 900), property_text(0x03, "text/plain")].concat();
        will.properties.extend([property_text(0x08, "answer/here"), property_text(0x09, "correlation")].concat());
        will.properties.extend(pairs.iter().flat_map(|(name, value)| user_property(name, value)));
        Raw::connect(node.mqtt(), &Connect::v5("mortal").will(will)).await.abandon();
        let received = watcher.receive().await;
        assert_eq!((received.text(), received.qos, received.retain), ("gone", qos, false));
        let properties = &received.properties;
        assert_eq!((properties.number(0x01), properties.number(0x02)), (Some(1), Some(900)));
        let texts = [0x03, 0x08, 0x09].map(|id| properties.text(id).unwrap_or_default());
        assert_eq!(texts, ["text/plain", "answer/here", "correlation"]);
        let found: Vec<_> = properties.0.iter().filter(|(id, _)| *id == 0x26).map(|(_, value)| value.clone()).collect();
        let sent = pairs.map(|(name, value)| Value::Pair(name.into(), value.into()));
        assert_eq!(found, sent, "[MQTT-3.1.3-10]");
    }
}

#[tokio::test]
async fn a_will_without_retain_leaves_what_is_retained_as_it_was() {
    let (node, mut watcher) = watched("will").await;
    watcher.publish_retained("will", b"before", 1).await;
    assert_eq!(watcher.receive().await.text(), "before");
    Raw::connect(node.mqtt(), &Connect::v5("mortal").will(Will::new("will", "gone"))).await.abandon();
    assert_eq!(watcher.receive().await.text(), "gone");
    let mut late = Raw::connect(node.mqtt(), &Connect::v5("late")).await;
    late.subscribe("will", 1).await;
    assert_eq!(late.receive().await.text(), "before", "[MQTT-3.1.2-14]");
    late.expect_silence().await;
}

#[tokio::test]
async fn a_will_is_sent_once_and_belongs_to_the_connection_that_gave_it() {
    let (node, mut watcher) = watched("will").await;
    let without = Connect::v5("mortal").persistent();
    Raw::connect(node.mqtt(), &without.clone().will(Will::new("will", "first"))).await.abandon();
    assert_eq!(watcher.receive().await.text(), "first");
    let (client, connack) = Raw::connect_with_answer(node.mqtt(), &without).await;
    assert!(connack.session_present);
    client.abandon();
    // The next of this name finds the session away: its connection has ended, and a will would be there by now.
    Raw::connect(node.mqtt(), &without).await.disconnect().await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn silence_beyond_the_keep_alive_is_a_failure_and_sends_the_will() {
    let (node, mut watcher) = watched("will").await;
    let connect = Connect::v5("silent").keep_alive(1).will(Will::new("will", "silent"));
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    assert_eq!(client.expect_close().await, Some(0x8d), "[MQTT-3.1.2-22]");
    assert_eq!(watcher.receive().await.text(), "silent");
}

#[tokio::test]
async fn a_node_that_stops_sends_the_wills_whose_delay_its_sessions_do_not_outlive() {
    // In memory: where sessions outlive the process, so do their wills.
    let mut cluster = Cluster::start_with(2, |options| options.set("persistence.backend", "memory")).await;
    let mut watcher = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("watcher")).await;
    watcher.subscribe("will/#", 1).await;
    let delayed = |name: &str| {
        let mut will = Will::new(&format!("will/{name}"), "gone");
        will.properties = property_four(0x18, 600);
        Connect::v5(name).persistent().will(will)
    };
    let _here = Raw::connect(cluster.nodes[0].mqtt(), &delayed("here")).await;
    let away = Raw::connect(cluster.nodes[0].mqtt(), &delayed("away")).await;
    away.abandon();
    watcher.expect_silence().await;
    let status = cluster.nodes[0].terminate().await;
    assert!(status.success(), "{status}");
    let mut topics = [watcher.receive().await.topic, watcher.receive().await.topic];
    topics.sort_unstable();
    assert_eq!(topics, ["will/away", "will/here"]);
    watcher.expect_silence().await;
}
