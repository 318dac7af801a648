//! How connections begin and end, on one node: CONNECT, takeover, keep alive, wills, DISCONNECT, shutdown. With
//! `BROKERD_TEST_BROKER` the same claims are tried on another broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use tests::broker::Broker;
use tests::packet::{self, Connect, DISCONNECT, PINGREQ, PublishOut, Version, Will, property_byte, property_four};
use tests::raw::Raw;
use tests::read::Packet;
use tests::wait::soon;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[tokio::test]
async fn every_version_is_accepted_without_a_session() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let connect = Connect::new(version, &broker.own("first"));
        let (mut client, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
        assert!(!connack.session_present, "{version:?}");
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn user_name_and_password_are_ignored_without_an_authenticator() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut connect = Connect::new(version, &broker.own("alice"));
        connect.username = Some("alice".into());
        connect.password = Some(vec![0xff, 0x00, 0xfe]); // binary data: need not be UTF-8
        Raw::connect(broker.address(), &connect).await.disconnect().await;
    }
}

#[tokio::test]
async fn an_empty_client_id_is_assigned_one_in_5_and_told() {
    let broker = Broker::start().await;
    let mut assigned = vec![];
    for clean in [true, false] {
        let mut connect = Connect::v5("");
        connect.clean = clean;
        let (_, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
        let id = connack.properties.text(0x12).expect("Assigned Client Identifier");
        assert!(!id.is_empty());
        assigned.push(id.to_owned());
    }
    assert_ne!(assigned[0], assigned[1]);
}

#[tokio::test]
async fn an_empty_client_id_in_3_1_1_needs_a_clean_session() {
    let broker = Broker::start().await;
    Raw::connect(broker.address(), &Connect::v311("")).await.disconnect().await;
    let (mut refused, connack) = Raw::try_connect(broker.address(), &Connect::v311("").persistent()).await;
    assert_eq!((connack.code, connack.session_present), (2, false));
    refused.expect_close().await;
}

#[tokio::test]
async fn an_unknown_protocol_level_is_refused_and_closed() {
    let broker = Broker::start().await;
    for level in [0, 3, 6, 255] {
        let mut bytes = Connect::v311("level").encode();
        bytes[8] = level;
        // Read as 5.0, which takes the answer in its own form and in that of 3.x.
        let mut client = Raw::open(broker.address(), Version::V5).await;
        client.send(&bytes).await;
        let reason = client.expect_close().await;
        let is_stated = matches!(reason, Some(0x01 | 0x84));
        assert!(is_stated || broker.is_foreign(), "level {level}: {reason:02x?}");
    }
}

#[tokio::test]
async fn a_first_packet_that_is_not_connect_closes_without_an_answer() {
    let broker = Broker::start().await;
    let publish = PublishOut::new("a", b"b", 0, 0).encode(Version::V311);
    for first in [PINGREQ, DISCONNECT, &publish] {
        let mut client = Raw::open(broker.address(), Version::V311).await;
        client.send(first).await;
        assert_eq!(client.next_or_end().await, None, "{first:02x?}");
    }
}

#[tokio::test]
async fn a_second_connect_closes_the_connection() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let connect = Connect::new(version, &broker.own("twice"));
        let mut client = Raw::connect(broker.address(), &connect).await;
        client.send(&connect.encode()).await;
        let reason = client.expect_close().await;
        broker.assert_reason(reason, version.has_properties().then_some(0x82), &format!("{version:?}"));
    }
}

#[tokio::test]
async fn packets_that_follow_connect_without_waiting_are_handled_after_it_in_order() {
    let broker = Broker::start().await;
    let topic = broker.own("early");
    for version in VERSIONS {
        let mut client = Raw::open(broker.address(), version).await;
        let mut bytes = Connect::new(version, &broker.own("early")).encode();
        bytes.extend(packet::subscribe(version, 1, &[(&topic, 0)]));
        bytes.extend(PublishOut::new(&topic, b"now", 0, 0).encode(version));
        bytes.extend(PINGREQ);
        client.send(&bytes).await;
        let Packet::Connack(connack) = client.expect().await else { panic!("CONNACK is first") };
        assert_eq!(connack.code, 0);
        assert_eq!(client.expect().await, Packet::Suback(1, vec![0]));
        assert_eq!(client.expect_publish().await.text(), "now");
        assert_eq!(client.expect().await, Packet::Pingresp);
    }
}

#[tokio::test]
async fn a_packet_byte_by_byte_is_the_same_packet() {
    let broker = Broker::start().await;
    let topic = broker.own("slow");
    for version in VERSIONS {
        let mut client = Raw::open(broker.address(), version).await;
        let mut bytes = Connect::new(version, &broker.own("slow")).encode();
        bytes.extend(packet::subscribe(version, 1, &[(&topic, 1)]));
        bytes.extend(PublishOut::new(&topic, b"drop by drop", 1, 7).encode(version));
        for byte in bytes {
            client.send(&[byte]).await; // TCP_NODELAY: a segment each
        }
        let Packet::Connack(_) = client.expect().await else { panic!("CONNACK is first") };
        assert_eq!(client.expect().await, Packet::Suback(1, vec![1]));
        let mut rest = [client.expect().await, client.expect().await];
        rest.sort_by_key(|packet| matches!(packet, Packet::Publish(_)));
        assert!(matches!(rest[0], Packet::Puback(7, _)), "{rest:?}");
        let Packet::Publish(publish) = &rest[1] else { panic!("{rest:?}") };
        assert_eq!(publish.text(), "drop by drop");
    }
}

#[tokio::test]
async fn a_taken_over_client_is_closed_and_in_5_told_why() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let connect = Connect::new(version, &broker.own("taken"));
        let mut first = Raw::connect(broker.address(), &connect).await;
        let mut second = Raw::connect(broker.address(), &connect).await;
        let reason = first.expect_close().await;
        broker.assert_reason(reason, version.has_properties().then_some(0x8e), &format!("{version:?}"));
        second.expect_silence().await;
    }
}

#[tokio::test]
async fn silence_of_one_and_a_half_keep_alives_closes() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let connect = Connect::new(version, &broker.own("silent")).keep_alive(1);
        let mut client = Raw::connect(broker.address(), &connect).await;
        let started = Instant::now();
        let reason = client.expect_close().await;
        let silence = started.elapsed();
        broker.assert_reason(reason, version.has_properties().then_some(0x8d), &format!("{version:?}"));
        assert!(silence >= Duration::from_millis(1400), "{version:?}: closed after {silence:?}");
        let late = Duration::from_millis(if broker.is_foreign() { 8000 } else { 2600 });
        assert!(silence <= late, "{version:?}: closed after {silence:?}");
    }
}

#[tokio::test]
async fn any_packet_keeps_a_connection_alive() {
    let broker = Broker::start().await;
    let mut client = Raw::connect(broker.address(), &Connect::v311(&broker.own("lively")).keep_alive(1)).await;
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(500)); // the clock is what is under test
    while started.elapsed() < Duration::from_secs(3) {
        tick.tick().await;
        client.publish("lively", b"", 1).await;
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn a_will_is_sent_when_the_connection_breaks() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let topic = broker.own("will");
        let mut watcher = Raw::connect(broker.address(), &Connect::v5(&broker.own("watcher"))).await;
        watcher.subscribe(&topic, 1).await;
        let connect = Connect::new(version, &broker.own("mortal")).will(Will::new(&topic, "gone"));
        Raw::connect(broker.address(), &connect).await.abandon();
        assert_eq!(watcher.receive().await.text(), "gone", "{version:?}");
    }
}

#[tokio::test]
async fn a_will_is_not_sent_after_a_disconnect() {
    let broker = Broker::start().await;
    let topic = broker.own("will");
    let mut watcher = Raw::connect(broker.address(), &Connect::v5(&broker.own("watcher"))).await;
    watcher.subscribe(&topic, 1).await;
    for version in VERSIONS {
        let connect = Connect::new(version, &broker.own("polite")).will(Will::new(&topic, "gone"));
        Raw::connect(broker.address(), &connect).await.disconnect().await;
    }
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_will_is_sent_after_disconnect_with_will_message() {
    let broker = Broker::start().await;
    let topic = broker.own("will");
    let mut watcher = Raw::connect(broker.address(), &Connect::v5(&broker.own("watcher"))).await;
    watcher.subscribe(&topic, 1).await;
    let connect = Connect::v5(&broker.own("dramatic")).will(Will::new(&topic, "wanted"));
    let mut client = Raw::connect(broker.address(), &connect).await;
    client.send(&[0xe0, 1, 0x04]).await;
    assert_eq!(watcher.receive().await.text(), "wanted");
}

#[tokio::test]
async fn a_will_is_sent_after_a_protocol_error() {
    let broker = Broker::start().await;
    let topic = broker.own("will");
    let mut watcher = Raw::connect(broker.address(), &Connect::v5(&broker.own("watcher"))).await;
    watcher.subscribe(&topic, 1).await;
    let connect = Connect::v5(&broker.own("rude")).will(Will::new(&topic, "thrown out"));
    let mut client = Raw::connect(broker.address(), &connect).await;
    client.send(&packet::frame(0x36, &packet::string("a"))).await; // QoS 3
    client.expect_close().await;
    assert_eq!(watcher.receive().await.text(), "thrown out");
}

#[tokio::test]
async fn a_retained_will_is_there_for_those_who_come_later() {
    let broker = Broker::start().await;
    let topic = broker.own("status");
    let mut watcher = Raw::connect(broker.address(), &Connect::v5(&broker.own("watcher"))).await;
    watcher.subscribe(&topic, 1).await;
    let will = Will { retain: true, ..Will::new(&topic, "offline") };
    Raw::connect(broker.address(), &Connect::v311(&broker.own("device")).will(will)).await.abandon();
    assert_eq!(watcher.receive().await.text(), "offline");
    let mut late = Raw::connect(broker.address(), &Connect::v311(&broker.own("late"))).await;
    late.subscribe(&topic, 1).await;
    let retained = late.receive().await;
    assert!(retained.retain);
    assert_eq!(retained.text(), "offline");
}

#[tokio::test]
async fn a_will_waits_for_its_delay_and_a_return_cancels_it() {
    let broker = Broker::start().await;
    let topic = broker.own("will");
    let mut watcher = Raw::connect(broker.address(), &Connect::v5(&broker.own("watcher"))).await;
    watcher.subscribe(&topic, 1).await;
    let mut will = Will::new(&topic, "late");
    will.properties = property_four(0x18, 2);
    let connect = Connect::v5(&broker.own("delayed")).persistent().will(will);
    Raw::connect(broker.address(), &connect).await.abandon();
    let broke = Instant::now();
    let (back, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
    assert!(connack.session_present);
    watcher.expect_silence().await;
    back.abandon();
    assert_eq!(watcher.receive().await.text(), "late");
    assert!(broke.elapsed() >= Duration::from_millis(1900), "after {:?}", broke.elapsed());
    watcher.expect_silence().await;
}

#[tokio::test]
async fn the_end_of_a_session_sends_a_delayed_will_at_once() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return; // mosquitto 2.0.11 waits for the delay, against [MQTT-3.1.3-9]
    }
    let topic = broker.own("will");
    let mut watcher = Raw::connect(broker.address(), &Connect::v5(&broker.own("watcher"))).await;
    watcher.subscribe(&topic, 1).await;
    let mut will = Will::new(&topic, "ended");
    will.properties = property_four(0x18, 600);
    let connect = Connect::v5(&broker.own("short")).will(will); // expiry 0: the session ends with the connection
    Raw::connect(broker.address(), &connect).await.abandon();
    assert_eq!(watcher.receive().await.text(), "ended");
}

#[tokio::test]
async fn a_disconnect_may_not_give_an_expiry_to_a_session_without_one() {
    let broker = Broker::start().await;
    let mut client = Raw::connect(broker.address(), &Connect::v5(&broker.own("more"))).await;
    let properties = packet::with_length(&property_four(0x11, 60));
    client.send(&packet::frame(0xe0, &[&[0][..], &properties].concat())).await;
    assert_eq!(client.expect_close().await, Some(0x82));
}

#[tokio::test]
async fn an_authentication_method_is_refused_as_bad() {
    let broker = Broker::start().await;
    let connect = Connect::v5(&broker.own("method")).property(packet::property_text(0x15, "GUESS"));
    let (mut client, connack) = Raw::try_connect(broker.address(), &connect).await;
    assert_eq!(connack.code, 0x8c);
    client.expect_close().await;
}

#[tokio::test]
async fn request_response_information_is_accepted() {
    let broker = Broker::start().await;
    let connect = Connect::v5(&broker.own("info")).property(property_byte(0x19, 1)).property(property_byte(0x17, 0));
    Raw::connect(broker.address(), &connect).await.disconnect().await;
}

#[tokio::test]
async fn sigterm_says_server_shutting_down_to_5_and_closes_3_1_1_and_exits_with_0() {
    let mut broker = Broker::start().await;
    if broker.is_foreign() {
        return; // not ours to stop
    }
    let mut five = Raw::connect(broker.address(), &Connect::v5("five")).await;
    let mut three = Raw::connect(broker.address(), &Connect::v311("three")).await;
    let status = broker.node().unwrap().terminate().await;
    assert_eq!(five.expect_close().await, Some(0x8b));
    assert_eq!(three.expect_close().await, None);
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_holds_nobody_up() {
    let broker = Broker::start().await;
    let mut silent = vec![];
    for _ in 0..200 {
        silent.push(Raw::open(broker.address(), Version::V311).await);
    }
    let connect = Connect::v311(&broker.own("served"));
    soon("another client is served", Raw::connect(broker.address(), &connect)).await.expect_silence().await;
}

#[tokio::test]
async fn a_first_packet_larger_than_a_connect_may_be_is_refused_by_its_header() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return; // `mqtt.max_connect_size` is ours
    }
    for length in [262_145, 900_000, 268_435_455] {
        let mut stranger = Raw::open(broker.address(), Version::V5).await;
        stranger.send(&[&[0x10], packet::variable(length).as_slice()].concat()).await;
        assert_eq!(stranger.expect_close().await, None, "a CONNECT of {length} bytes");
    }
    let client = Connect::v5(&broker.own("large")).will(Will::new("w", &"x".repeat(65_000)));
    Raw::connect(broker.address(), &client).await.disconnect().await;
}
