//! Statements of MQTT 5.0 about CONNECT and CONNACK that no other test proves. `docs/conformance-5.0.md` names each
//! statement's test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::malformed;
use tests::node::{Node, NodeOptions};
use tests::packet::{self, Connect, PINGREQ, PublishOut, Version, property_byte, property_four, property_text};
use tests::raw::Raw;
use tests::read::Packet;

const CLIENT_ID_INVALID: u8 = 0x85;
const ASSIGNED_CLIENT_ID: u8 = 0x12;
const SERVER_KEEP_ALIVE: u8 = 0x13;

async fn node() -> Node {
    Node::start(NodeOptions::alone("b1")).await
}

#[tokio::test]
async fn a_clean_start_discards_what_the_session_had() {
    let node = node().await;
    let kept = Connect::v5("pump").persistent();
    let mut client = Raw::connect(node.mqtt(), &kept).await;
    client.subscribe("t", 1).await;
    client.disconnect().await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("t", b"queued", 1).await;
    let mut clean = kept.clone();
    clean.clean = true;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &clean).await;
    assert!(!connack.session_present, "[MQTT-3.2.2-2]");
    publisher.publish("t", b"live", 1).await;
    client.expect_silence().await;
    client.disconnect().await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &kept).await;
    assert!(connack.session_present, "the new session lives on [MQTT-3.1.2-23]");
    client.expect_silence().await;
}

#[tokio::test]
async fn each_client_id_has_a_session_of_its_own() {
    let node = node().await;
    for (id, topic) in [("pump", "t/1"), ("Pump", "t/2"), ("pump ", "t/3"), ("pump\u{feff}", "t/4")] {
        let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5(id).persistent()).await;
        assert!(!connack.session_present, "{id:?} is another client's id");
        client.subscribe(topic, 1).await;
        client.disconnect().await;
    }
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for topic in ["t/1", "t/2", "t/3", "t/4"] {
        publisher.publish(topic, b"", 1).await;
    }
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("Pump").persistent()).await;
    assert!(connack.session_present);
    assert_eq!(client.receive().await.topic, "t/2");
    client.expect_silence().await;
}

#[tokio::test]
async fn every_client_id_of_23_letters_and_digits_is_taken_and_one_above_the_limit_is_refused() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.max_client_id_len", "23")).await;
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for at in 0..=all.len() - 23 {
        Raw::connect(node.mqtt(), &Connect::v5(&all[at..at + 23])).await.disconnect().await;
    }
    Raw::connect(node.mqtt(), &Connect::v5("Z")).await.disconnect().await;
    let (mut refused, connack) = Raw::try_connect(node.mqtt(), &Connect::v5(&all[..24])).await;
    assert_eq!(connack.code, CLIENT_ID_INVALID, "[MQTT-3.1.3-8]");
    assert_eq!(refused.next_or_end().await, None);
}

#[tokio::test]
async fn an_assigned_client_id_names_the_session_from_then_on() {
    let node = node().await;
    let mut connect = Connect::v5("").property(property_four(0x11, 60));
    connect.clean = false;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &connect).await;
    let assigned = connack.properties.text(ASSIGNED_CLIENT_ID).expect("Assigned Client Identifier").to_owned();
    client.subscribe("t", 1).await;
    client.disconnect().await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("t", b"kept", 1).await;
    let named = Connect::v5(&assigned).persistent();
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &named).await;
    assert!(connack.session_present);
    assert_eq!(connack.properties.get(ASSIGNED_CLIENT_ID), None, "it named itself");
    assert_eq!(client.receive().await.text(), "kept");
}

#[tokio::test]
async fn the_clients_keep_alive_holds_unless_the_server_states_its_own() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.max_keep_alive", "1")).await;
    let (client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("as asked").keep_alive(1)).await;
    assert_eq!(connack.properties.get(SERVER_KEEP_ALIVE), None);
    client.disconnect().await;
    for asked in [0, 600] {
        let connect = Connect::v5(&format!("asks-{asked}")).keep_alive(asked);
        let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &connect).await;
        assert_eq!(connack.properties.number(SERVER_KEEP_ALIVE), Some(1), "{asked}");
        assert_eq!(client.expect_close().await, Some(0x8d), "{asked}: the server keeps to what it states");
    }
}

#[tokio::test]
async fn nothing_behind_a_refused_connect_is_handled() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.max_client_id_len", "23")).await;
    let mut watcher = Raw::connect(node.mqtt(), &Connect::v5("watcher")).await;
    watcher.subscribe("#", 1).await;
    let behind = [&PublishOut::new("t", b"x", 1, 1).encode(Version::V5)[..], PINGREQ].concat();
    let well_formed = Connect::v5(&"x".repeat(24)).encode();
    let mut malformed = Connect::v5("flagged").encode();
    malformed[9] |= 1; // the reserved flag
    for (connect, code) in [(well_formed, CLIENT_ID_INVALID), (malformed, 0x81)] {
        let mut client = Raw::open(node.mqtt(), Version::V5).await;
        client.send(&[&connect[..], &behind].concat()).await;
        let Some(Packet::Connack(connack)) = client.next_or_end().await else { panic!("a refusal is a CONNACK") };
        assert_eq!((connack.code, connack.session_present), (code, false), "[MQTT-3.2.2-6]");
        assert_eq!(client.next_or_end().await, None, "[MQTT-3.1.4-6]");
    }
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_refused_connect_takes_nothing_from_the_client_of_that_name() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("pump").persistent()).await;
    client.subscribe("t", 1).await;
    let refused = Connect::v5("pump").property(property_text(0x15, "NO SUCH METHOD"));
    let (_, connack) = Raw::try_connect(node.mqtt(), &refused).await;
    assert_eq!((connack.code, connack.session_present), (0x8c, false));
    client.publish("t", b"still here", 1).await;
    assert_eq!(client.receive().await.text(), "still here");
}

#[tokio::test]
async fn before_it_accepts_a_client_the_server_says_connack_or_nothing_and_never_disconnect() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.connect_timeout", "200ms")).await;
    let not_connect = [PINGREQ.to_vec(), PublishOut::new("t", b"x", 1, 1).encode(Version::V5), vec![0xe0, 0]];
    let refused = malformed::connect().into_iter().filter(|case| case.version == Version::V5).map(|case| case.bytes);
    for bytes in refused.chain(not_connect).chain([vec![], vec![0x10]]) {
        let mut client = Raw::open(node.mqtt(), Version::V5).await;
        client.send(&bytes).await;
        match client.next_or_end().await {
            None => continue,
            Some(Packet::Connack(connack)) => assert!(connack.code >= 0x80, "{bytes:02x?}"),
            Some(other) => panic!("{other:?} to {bytes:02x?} [MQTT-3.14.0-1]"),
        }
        assert_eq!(client.next_or_end().await, None, "[MQTT-3.2.2-7] {bytes:02x?}");
    }
}

#[tokio::test]
async fn who_names_no_authentication_method_hears_of_none() {
    let node = node().await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("plain")).await;
    assert_eq!([0x15, 0x16].map(|id| connack.properties.get(id)), [None; 2], "[MQTT-4.12.0-6]");
    client.expect_silence().await; // no AUTH
}

#[tokio::test]
async fn response_information_is_not_given_to_who_declines_it() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.response_information", "reply/")).await;
    let declining = Connect::v5("declines").property(property_byte(0x19, 0));
    let (_, connack) = Raw::connect_with_answer(node.mqtt(), &declining).await;
    assert_eq!(connack.properties.get(0x1a), None);
}

#[tokio::test]
async fn a_resumed_session_gets_its_connack_first_and_only_one() {
    let node = node().await;
    let connect = Connect::v5("pump").persistent();
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    client.subscribe("t", 1).await;
    client.disconnect().await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for _ in 0..20 {
        publisher.publish("t", b"queued", 1).await;
    }
    let mut client = Raw::open(node.mqtt(), Version::V5).await;
    let subscribe = packet::subscribe(Version::V5, 1, &[("u", 0)]);
    client.send(&[&connect.encode()[..], &subscribe, PINGREQ].concat()).await;
    let Packet::Connack(connack) = client.expect().await else { panic!("CONNACK is first [MQTT-3.2.0-1]") };
    assert!(connack.session_present);
    let came = client.fence().await;
    let is_connack = |packet: &&Packet| matches!(packet, Packet::Connack(_));
    assert_eq!(came.iter().filter(is_connack).count(), 0, "[MQTT-3.2.0-2]");
    assert!(came.iter().any(|packet| matches!(packet, Packet::Publish(_))), "{came:?}");
}
