//! What a session keeps while its client is away, on one node. With `BROKERD_TEST_BROKER` the same claims are tried on
//! another broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::broker::Broker;
use tests::packet::{self, Connect, PublishOut, Version, Will, property_four};
use tests::raw::Raw;
use tests::read::Packet;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const WITH_SESSION_PRESENT: [Version; 2] = [Version::V311, Version::V5];

#[tokio::test]
async fn session_present_tells_whether_state_was_kept() {
    let broker = Broker::start().await;
    for version in WITH_SESSION_PRESENT {
        let id = broker.own(&format!("kept{version:?}"));
        let connect = Connect::new(version, &id).persistent();
        let (first, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
        assert!(!connack.session_present, "{version:?}: new");
        first.disconnect().await;
        let (second, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
        assert!(connack.session_present, "{version:?}: kept");
        second.disconnect().await;
        let clean = Connect::new(version, &id);
        let (third, connack) = Raw::connect_with_answer(broker.address(), &clean).await;
        assert!(!connack.session_present, "{version:?}: clean");
        third.disconnect().await;
        let (_, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
        assert!(!connack.session_present, "{version:?}: discarded by the clean one");
    }
}

#[tokio::test]
async fn a_session_of_5_without_expiry_ends_with_its_connection() {
    let broker = Broker::start().await;
    let mut connect = Connect::v5(&broker.own("brief"));
    connect.clean = false;
    Raw::connect(broker.address(), &connect).await.disconnect().await;
    let (_, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
    assert!(!connack.session_present);
}

#[tokio::test]
async fn disconnect_may_end_a_session_early() {
    let broker = Broker::start().await;
    let connect = Connect::v5(&broker.own("early")).persistent();
    let mut client = Raw::connect(broker.address(), &connect).await;
    let properties = packet::with_length(&property_four(0x11, 0));
    client.send(&packet::frame(0xe0, &[&[0][..], &properties].concat())).await;
    client.expect_close().await;
    let (_, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
    assert!(!connack.session_present);
}

#[tokio::test]
async fn what_is_published_while_a_client_is_away_comes_in_order_when_it_returns() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        for qos in [1, 2] {
            let topic = broker.own(&format!("away{qos}"));
            let connect = Connect::new(version, &broker.own(&format!("away{qos}{version:?}"))).persistent();
            let mut client = Raw::connect(broker.address(), &connect).await;
            assert_eq!(client.subscribe(&topic, qos).await, qos);
            client.disconnect().await;
            let mut publisher = Raw::connect(broker.address(), &Connect::v311(&broker.own("publisher"))).await;
            for number in 0..20 {
                publisher.publish(&topic, number.to_string().as_bytes(), qos).await;
            }
            let mut client = Raw::connect(broker.address(), &connect).await;
            for number in 0..20 {
                let publish = client.receive().await;
                assert_eq!((publish.text(), publish.qos), (number.to_string().as_str(), qos), "{version:?}");
            }
            client.expect_silence().await;
        }
    }
}

#[tokio::test]
async fn an_unacknowledged_message_is_sent_again_with_dup_and_the_same_id_before_newer_ones() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let topic = broker.own("again");
        let gone = broker.own("gone");
        let connect = Connect::new(version, &broker.own(&format!("again{version:?}"))).persistent();
        let connect = connect.will(Will::new(&gone, ""));
        let mut client = Raw::connect(broker.address(), &connect).await;
        client.subscribe(&topic, 1).await;
        let mut publisher = Raw::connect(broker.address(), &Connect::v311(&broker.own("publisher"))).await;
        publisher.publish(&topic, b"one", 1).await;
        publisher.publish(&topic, b"two", 1).await;
        let (one, two) = (client.expect_publish().await, client.expect_publish().await);
        publisher.subscribe(&gone, 1).await;
        client.abandon();
        publisher.receive().await; // the will: the broker knows that the client is away
        publisher.publish(&topic, b"three", 1).await;
        let mut client = Raw::connect(broker.address(), &connect).await;
        for before in [one, two] {
            let again = client.receive().await;
            assert!(again.dup, "{version:?}");
            assert_eq!((again.id, again.text()), (before.id, before.text()), "{version:?}");
        }
        let three = client.receive().await;
        assert_eq!((three.text(), three.dup), ("three", false), "{version:?}");
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn a_pubrel_without_pubcomp_is_sent_again_after_a_reconnect() {
    let broker = Broker::start().await;
    let topic = broker.own("rel");
    let connect = Connect::v5(&broker.own("rel")).persistent();
    let mut client = Raw::connect(broker.address(), &connect).await;
    client.subscribe(&topic, 2).await;
    let mut publisher = Raw::connect(broker.address(), &Connect::v311(&broker.own("publisher"))).await;
    publisher.publish(&topic, b"once", 2).await;
    let publish = client.expect_publish().await;
    client.send(&packet::acknowledge(0x50, publish.id)).await;
    assert!(matches!(client.expect().await, Packet::Pubrel(id, _) if id == publish.id));
    client.abandon();
    let mut client = Raw::connect(broker.address(), &connect).await;
    assert!(matches!(client.expect().await, Packet::Pubrel(id, _) if id == publish.id));
    client.send(&packet::acknowledge(0x70, publish.id)).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn a_qos_2_publish_repeated_after_a_reconnect_is_delivered_once() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let topic = broker.own("once");
        let mut subscriber = Raw::connect(broker.address(), &Connect::v5(&broker.own("subscriber"))).await;
        subscriber.subscribe(&topic, 2).await;
        let connect = Connect::new(version, &broker.own(&format!("sender{version:?}"))).persistent();
        let publish = PublishOut::new(&topic, b"once", 2, 77);
        let mut sender = Raw::connect(broker.address(), &connect).await;
        sender.send(&publish.encode(version)).await;
        assert!(matches!(sender.expect().await, Packet::Pubrec(77, _)));
        sender.abandon();
        let mut sender = Raw::connect(broker.address(), &connect).await;
        sender.exchange(publish.again()).await;
        assert_eq!(subscriber.receive().await.text(), "once", "{version:?}");
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn a_qos_2_publish_repeated_at_once_is_delivered_once() {
    let broker = Broker::start().await;
    let topic = broker.own("once");
    let mut subscriber = Raw::connect(broker.address(), &Connect::v5(&broker.own("subscriber"))).await;
    subscriber.subscribe(&topic, 2).await;
    let mut sender = Raw::connect(broker.address(), &Connect::v311(&broker.own("sender"))).await;
    let publish = PublishOut::new(&topic, b"once", 2, 77);
    sender.send(&publish.encode(Version::V311)).await;
    assert!(matches!(sender.expect().await, Packet::Pubrec(77, _)));
    sender.exchange(publish.again()).await;
    assert_eq!(subscriber.receive().await.text(), "once");
    subscriber.expect_silence().await;
}

#[tokio::test]
async fn a_pubrel_for_an_unknown_id_is_answered() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut client = Raw::connect(broker.address(), &Connect::new(version, &broker.own("unknown"))).await;
        client.send(&packet::acknowledge(0x62, 4711)).await;
        let answer = client.expect().await;
        let code = if version.has_properties() { 0x92 } else { 0 };
        let is_as_wanted = answer == Packet::Pubcomp(4711, code);
        let is_tolerable = broker.is_foreign() && matches!(answer, Packet::Pubcomp(4711, _));
        assert!(is_as_wanted || is_tolerable, "{version:?}: {answer:?}");
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn a_taken_over_session_goes_on_at_the_new_connection() {
    let broker = Broker::start().await;
    let topic = broker.own("moved");
    let connect = Connect::v5(&broker.own("mover")).persistent();
    let mut first = Raw::connect(broker.address(), &connect).await;
    first.subscribe(&topic, 1).await;
    let (mut second, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
    assert!(connack.session_present);
    broker.assert_reason(first.expect_close().await, Some(0x8e), "the connection that was taken over");
    let mut publisher = Raw::connect(broker.address(), &Connect::v311(&broker.own("publisher"))).await;
    publisher.publish(&topic, b"here", 1).await;
    assert_eq!(second.receive().await.text(), "here");
}

#[tokio::test]
async fn no_more_than_receive_maximum_is_in_flight_and_an_acknowledgement_opens_the_window() {
    let broker = Broker::start().await;
    let topic = broker.own("window");
    let connect = Connect::v5(&broker.own("narrow")).property(packet::property_two(0x21, 2));
    let mut client = Raw::connect(broker.address(), &connect).await;
    client.subscribe(&topic, 1).await;
    let mut publisher = Raw::connect(broker.address(), &Connect::v311(&broker.own("publisher"))).await;
    for number in 0..5 {
        publisher.publish(&topic, &[b'0' + number], 1).await;
    }
    let first = client.expect_publish().await;
    let second = client.expect_publish().await;
    client.expect_silence().await;
    client.complete(&first).await;
    let third = client.expect_publish().await;
    if broker.is_foreign() {
        return; // mosquitto 2.0.11 sends one more than it may from here on
    }
    client.expect_silence().await;
    client.complete(&second).await;
    client.complete(&third).await;
    for text in ["3", "4"] {
        assert_eq!(client.receive().await.text(), text);
    }
}

#[tokio::test]
async fn a_session_ends_when_it_expires() {
    let broker = Broker::start().await;
    let mut connect = Connect::v5(&broker.own("expiring")).property(property_four(0x11, 1));
    connect.clean = false;
    Raw::connect(broker.address(), &connect).await.disconnect().await;
    tests::wait::eventually(tests::wait::SOON, "the session is gone", async || {
        // Asked at intervals of more than its expiry: each CONNECT of its own would keep it alive.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let (client, connack) = Raw::connect_with_answer(broker.address(), &connect).await;
        client.disconnect().await;
        if connack.session_present { Err("it is still there".to_owned()) } else { Ok(()) }
    })
    .await;
}
