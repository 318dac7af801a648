//! Who receives what, at which QoS and with which flags, on one node. With `BROKERD_TEST_BROKER` the same claims are
//! tried on another broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::broker::Broker;
use tests::packet::{self, Connect, PublishOut, Version, property_four, property_text, user_property};
use tests::raw::Raw;
use tests::read::{Packet, Value};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

async fn pair(broker: &Broker, version: Version) -> (Raw, Raw) {
    let subscriber = Raw::connect(broker.address(), &Connect::new(version, &broker.own("subscriber"))).await;
    let publisher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("publisher"))).await;
    (subscriber, publisher)
}

#[tokio::test]
async fn the_delivered_qos_is_the_lower_of_published_and_granted() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        for granted in 0..=2 {
            let topic = broker.own(&format!("granted{granted}"));
            assert_eq!(subscriber.subscribe(&topic, granted).await, granted);
            for published in 0..=2 {
                publisher.publish(&topic, b"x", published).await;
                let received = subscriber.receive().await;
                assert_eq!(received.qos, published.min(granted), "{version:?}: {published} to {granted}");
                assert!(!received.retain && !received.dup);
            }
        }
    }
}

#[tokio::test]
async fn messages_of_a_publisher_keep_their_order() {
    let broker = Broker::start().await;
    for qos in 0..=2 {
        let (mut subscriber, mut publisher) = pair(&broker, Version::V311).await;
        let topic = broker.own(&format!("order{qos}"));
        subscriber.subscribe(&topic, qos).await;
        for number in 0..300_u16 {
            publisher
                .send(&PublishOut::new(&topic, &number.to_be_bytes(), qos, number + 1).encode(Version::V311))
                .await;
            if number % 10 == 9 {
                drain_answers(&mut publisher, qos, 10).await;
            }
            if number % 10 == 9 {
                for expected in number - 9..=number {
                    assert_eq!(subscriber.receive().await.payload, expected.to_be_bytes(), "QoS {qos}");
                }
            }
        }
    }
}

/// Completes what a burst of publications has started, checking that answers come in the order of the PUBLISHes.
async fn drain_answers(publisher: &mut Raw, qos: u8, count: u16) {
    let mut last = 0;
    let mut open = if qos == 0 { 0 } else { count };
    while open > 0 {
        match publisher.expect().await {
            Packet::Puback(id, _) => {
                assert!(id > last, "PUBACK {id} after {last} [MQTT-4.6.0-2]");
                last = id;
                open -= 1;
            }
            Packet::Pubrec(id, _) => {
                assert!(id > last, "PUBREC {id} after {last} [MQTT-4.6.0-3]");
                last = id;
                publisher.send(&packet::acknowledge(0x62, id)).await;
            }
            Packet::Pubcomp(..) => open -= 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn wildcards_match_as_the_specification_says() {
    let broker = Broker::start().await;
    let root = broker.own("w");
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("/a/+", &["/a/b", "/a/"], &["/a", "/a/b/c"]),
        ("/a/#", &["/a", "/a/b", "/a/b/c", "/a/"], &["/b", "/ab"]),
        ("/+/b/#", &["/x/b", "//b", "/x/b/c"], &["/b", "/x/c"]),
        ("/exact", &["/exact"], &["/exact/", "/Exact", "/exac"]),
        ("//", &["//"], &["/", "///"]),
    ];
    let (mut subscriber, mut publisher) = pair(&broker, Version::V311).await;
    for (filter, matching, others) in cases {
        let filter = format!("{root}{filter}");
        subscriber.subscribe(&filter, 1).await;
        for topic in matching {
            let topic = format!("{root}{topic}");
            publisher.publish(&topic, b"", 1).await;
            assert_eq!(subscriber.receive().await.topic, topic, "{filter}");
        }
        for topic in others {
            publisher.publish(&format!("{root}{topic}"), b"", 1).await;
        }
        subscriber.expect_silence().await;
        subscriber.unsubscribe(&filter).await;
    }
}

#[tokio::test]
async fn a_leading_wildcard_does_not_match_a_dollar_topic() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return; // what a client may publish below `$` is each broker's choice
    }
    let (mut subscriber, mut publisher) = pair(&broker, Version::V311).await;
    subscriber.subscribe("#", 1).await;
    subscriber.subscribe("+/hidden", 1).await;
    publisher.publish("$own/hidden", b"", 1).await;
    subscriber.expect_silence().await;
}

#[tokio::test]
async fn nothing_comes_after_unsuback() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topic = broker.own("left");
        subscriber.subscribe(&topic, 1).await;
        publisher.publish(&topic, b"before", 1).await;
        assert_eq!(subscriber.receive().await.text(), "before");
        let codes = subscriber.unsubscribe(&topic).await;
        assert_eq!(codes, if version.has_properties() { vec![0] } else { vec![] });
        publisher.publish(&topic, b"after", 1).await;
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn unsubscribing_from_what_was_never_subscribed_is_answered() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut client, _) = pair(&broker, version).await;
        let codes = client.unsubscribe(&broker.own("never")).await;
        assert_eq!(codes, if version.has_properties() { vec![0x11] } else { vec![] }, "{version:?}");
    }
}

#[tokio::test]
async fn a_suback_has_a_code_for_each_filter_in_order() {
    let broker = Broker::start().await;
    let (mut client, _) = pair(&broker, Version::V5).await;
    let filters = [("a/b", 2), ("c/+", 0), ("d/#", 1)];
    client.send(&packet::subscribe(Version::V5, 9, &filters)).await;
    assert_eq!(client.expect().await, Packet::Suback(9, vec![2, 0, 1]));
}

#[tokio::test]
async fn a_repeated_subscription_replaces_the_first() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topic = broker.own("twice");
        subscriber.subscribe(&topic, 2).await;
        subscriber.subscribe(&topic, 0).await;
        publisher.publish(&topic, b"x", 1).await;
        assert_eq!(subscriber.receive().await.qos, 0, "{version:?}");
        subscriber.expect_silence().await;
        subscriber.unsubscribe(&topic).await;
        publisher.publish(&topic, b"x", 1).await;
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn a_retained_message_comes_to_a_new_subscription_with_retain_set() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topic = broker.own(&format!("kept{version:?}"));
        publisher.publish_retained(&topic, b"first", 1).await;
        publisher.publish_retained(&topic, b"second", 0).await;
        publisher.fence().await;
        subscriber.subscribe(&topic, 2).await;
        let retained = subscriber.receive().await;
        assert_eq!((retained.text(), retained.retain, retained.qos), ("second", true, 0), "{version:?}");
        publisher.publish_retained(&topic, b"live", 1).await;
        let live = subscriber.receive().await;
        assert_eq!((live.text(), live.retain), ("live", false), "{version:?}");
    }
}

#[tokio::test]
async fn an_empty_retained_payload_deletes_and_is_delivered_to_those_who_listen() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topic = broker.own(&format!("deleted{version:?}"));
        publisher.publish_retained(&topic, b"x", 1).await;
        subscriber.subscribe(&topic, 1).await;
        assert_eq!(subscriber.receive().await.text(), "x");
        publisher.publish_retained(&topic, b"", 1).await;
        let deletion = subscriber.receive().await;
        assert_eq!((deletion.text(), deletion.retain), ("", false), "{version:?}");
        let mut late = Raw::connect(broker.address(), &Connect::new(version, &broker.own("late"))).await;
        late.subscribe(&topic, 1).await;
        late.expect_silence().await;
    }
}

#[tokio::test]
async fn retained_messages_come_again_as_the_retain_handling_says() {
    let broker = Broker::start().await;
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5).await;
    let topic = broker.own("handled");
    publisher.publish_retained(&topic, b"x", 1).await;
    subscriber.subscribe(&topic, 0x21).await; // handling 2: never
    subscriber.expect_silence().await;
    subscriber.subscribe(&topic, 0x11).await; // 1: only if it is new, and it is not
    subscriber.expect_silence().await;
    subscriber.subscribe(&topic, 0x01).await; // 0: always
    assert_eq!(subscriber.receive().await.text(), "x");
    subscriber.unsubscribe(&topic).await;
    subscriber.subscribe(&topic, 0x11).await; // 1, and new
    assert_eq!(subscriber.receive().await.text(), "x");
}

#[tokio::test]
async fn retain_as_published_keeps_the_flag() {
    let broker = Broker::start().await;
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5).await;
    let topic = broker.own("rap");
    subscriber.subscribe(&topic, 0x09).await;
    publisher.publish_retained(&topic, b"x", 1).await;
    assert!(subscriber.receive().await.retain);
}

#[tokio::test]
async fn no_local_keeps_a_clients_own_messages_from_it() {
    let broker = Broker::start().await;
    let (mut client, mut other) = pair(&broker, Version::V5).await;
    let topic = broker.own("echo");
    client.subscribe(&topic, 0x05).await;
    client.publish(&topic, b"own", 1).await;
    client.expect_silence().await;
    other.publish(&topic, b"other", 1).await;
    assert_eq!(client.receive().await.text(), "other");
}

#[tokio::test]
async fn properties_reach_the_subscriber_unaltered_and_in_order() {
    let broker = Broker::start().await;
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5).await;
    let topic = broker.own("props");
    subscriber.subscribe(&topic, 1).await;
    let mut publish = PublishOut::new(&topic, b"x", 1, 9);
    publish.properties = [
        property_text(0x03, "text/plain"),
        property_text(0x08, "answer/here"),
        property_text(0x09, "correlation"),
        user_property("b", "1"),
        user_property("a", "2"),
        user_property("b", "1"),
    ]
    .concat();
    publisher.exchange(publish).await;
    let received = subscriber.receive().await;
    assert_eq!(received.properties.text(0x03), Some("text/plain"));
    assert_eq!(received.properties.text(0x08), Some("answer/here"));
    assert_eq!(received.properties.text(0x09), Some("correlation"));
    let pairs: Vec<_> = received.properties.0.iter().filter(|(id, _)| *id == 0x26).map(|(_, value)| value).collect();
    let pair = |name: &str, value: &str| Value::Pair(name.into(), value.into());
    assert_eq!(pairs, [&pair("b", "1"), &pair("a", "2"), &pair("b", "1")]);
    assert_eq!(received.properties.0.len(), 6, "nothing is added: {:?}", received.properties);
}

#[tokio::test]
async fn a_message_that_has_expired_is_not_delivered_and_one_that_has_not_tells_the_time_left() {
    let broker = Broker::start().await;
    let topic = broker.own("expiring");
    let connect = Connect::v5(&broker.own("sleeper")).persistent();
    let mut sleeper = Raw::connect(broker.address(), &connect).await;
    sleeper.subscribe(&topic, 1).await;
    sleeper.disconnect().await;
    let mut publisher = Raw::connect(broker.address(), &Connect::v5(&broker.own("publisher"))).await;
    for (payload, expiry) in [(&b"short"[..], 1), (b"long", 100)] {
        let id = publisher.new_id();
        let mut publish = PublishOut::new(&topic, payload, 1, id);
        publish.properties = property_four(0x02, expiry);
        publisher.exchange(publish).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await; // the clock is what is under test
    let mut sleeper = Raw::connect(broker.address(), &connect).await;
    let received = sleeper.receive().await;
    assert_eq!(received.text(), "long");
    let left = received.properties.number(0x02).expect("Message Expiry Interval");
    assert!((90..=98).contains(&left), "{left} s left of 100 after 2");
    sleeper.expect_silence().await;
}

#[tokio::test]
async fn a_large_payload_arrives_whole() {
    let broker = Broker::start().await;
    for qos in 0..=2 {
        let (mut subscriber, mut publisher) = pair(&broker, Version::V5).await;
        let topic = broker.own(&format!("large{qos}"));
        subscriber.subscribe(&topic, qos).await;
        let payload: Vec<u8> = (0..700_000_u32).map(|at| (at * 7 + at / 251) as u8).collect();
        publisher.publish(&topic, &payload, qos).await;
        assert!(subscriber.receive().await.payload == payload, "QoS {qos}");
    }
}

#[tokio::test]
async fn a_message_larger_than_the_client_takes_is_dropped_for_it_alone() {
    let broker = Broker::start().await;
    let topic = broker.own("sized");
    let connect = Connect::v5(&broker.own("small")).property(property_four(0x27, 200));
    let mut small = Raw::connect(broker.address(), &connect).await;
    small.subscribe(&topic, 1).await;
    let (mut large, mut publisher) = pair(&broker, Version::V5).await;
    large.subscribe(&topic, 1).await;
    publisher.publish(&topic, &[b'x'; 400], 1).await;
    publisher.publish(&topic, b"fits", 1).await;
    assert_eq!(large.receive().await.payload.len(), 400);
    assert_eq!(large.receive().await.text(), "fits");
    assert_eq!(small.receive().await.text(), "fits");
}

#[tokio::test]
async fn a_thousand_packets_in_one_write_are_a_thousand_packets() {
    let broker = Broker::start().await;
    let (mut subscriber, mut publisher) = pair(&broker, Version::V311).await;
    let topic = broker.own("burst");
    subscriber.subscribe(&topic, 0).await;
    let burst: Vec<u8> = (0..1000_u16)
        .flat_map(|number| PublishOut::new(&topic, &number.to_be_bytes(), 0, 0).encode(Version::V311))
        .collect();
    publisher.send(&burst).await;
    for number in 0..1000_u16 {
        assert_eq!(subscriber.receive().await.payload, number.to_be_bytes());
    }
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic_and_does_not_leak() {
    let broker = Broker::start().await;
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5).await;
    let topic = broker.own("aliased");
    subscriber.subscribe(&topic, 1).await;
    for (name, id) in [(topic.as_str(), 1), ("", 2)] {
        let mut publish = PublishOut::new(name, b"x", 1, id);
        publish.properties = packet::property_two(0x23, 1);
        publisher.exchange(publish).await;
        let received = subscriber.receive().await;
        assert_eq!(received.topic, topic);
        assert_eq!(received.properties.get(0x23), None);
    }
}

#[tokio::test]
async fn subscription_identifiers_come_with_what_they_matched() {
    let broker = Broker::start().await;
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5).await;
    let topic = broker.own("identified");
    let mut body = 5_u16.to_be_bytes().to_vec();
    body.extend(packet::with_length(&[0x0b, 0x81, 0x01])); // 129
    body.extend(packet::string(&topic));
    body.push(1);
    subscriber.send(&packet::frame(0x82, &body)).await;
    assert_eq!(subscriber.expect().await, Packet::Suback(5, vec![1]));
    publisher.publish(&topic, b"x", 1).await;
    assert_eq!(subscriber.receive().await.properties.number(0x0b), Some(129));
}
