//! Statements of MQTT 3.1.1 that no other test proves: publications, what is retained, subscriptions. Each is tried with
//! 3.1 too. `docs/conformance-3.1.1.md` says which test proves what.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::broker::Broker;
use tests::packet::{self, Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;

const VERSIONS: [Version; 2] = [Version::V31, Version::V311];

async fn pair(broker: &Broker, version: Version) -> (Raw, Raw) {
    let subscriber = Raw::connect(broker.address(), &Connect::new(version, &broker.own("subscriber"))).await;
    let publisher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("publisher"))).await;
    (subscriber, publisher)
}

#[tokio::test]
async fn the_dup_flag_of_a_publisher_goes_no_further() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topic = broker.own("dup");
        subscriber.subscribe(&topic, 2).await;
        for qos in [1, 2] {
            publisher.exchange(PublishOut::new(&topic, b"x", qos, 9).again()).await;
            let came = subscriber.receive().await;
            assert_eq!((came.qos, came.dup), (qos, false), "{version:?}");
        }
    }
}

#[tokio::test]
async fn after_its_acknowledgement_an_id_stands_for_a_new_message() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topic = broker.own("again");
        subscriber.subscribe(&topic, 2).await;
        for qos in [1, 2] {
            publisher.exchange(PublishOut::new(&topic, b"one", qos, 7)).await;
            // The flag says that it is a repetition; it is not the receiver's to believe it.
            publisher.exchange(PublishOut::new(&topic, b"two", qos, 7).again()).await;
            assert_eq!(subscriber.receive().await.text(), "one", "{version:?} QoS {qos}");
            assert_eq!(subscriber.receive().await.text(), "two", "{version:?} QoS {qos}");
        }
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn a_publish_without_retain_neither_stores_nor_replaces_nor_removes() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let never = broker.own(&format!("never{version:?}"));
        let kept = broker.own(&format!("kept{version:?}"));
        publisher.publish_retained(&kept, b"kept", 1).await;
        for payload in [&b"live"[..], b""] {
            for topic in [&never, &kept] {
                for qos in 0..=2 {
                    publisher.publish(topic, payload, qos).await;
                }
            }
        }
        publisher.fence().await;
        subscriber.subscribe(&never, 2).await;
        subscriber.expect_silence().await;
        subscriber.subscribe(&kept, 2).await;
        let came = subscriber.receive().await;
        assert_eq!((came.text(), came.retain), ("kept", true), "{version:?}");
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn what_is_retained_keeps_its_qos_and_comes_for_each_topic_that_matches() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let root = broker.own(&format!("stored{version:?}"));
        for qos in 0..=2 {
            publisher.publish_retained(&format!("{root}/{qos}"), b"old", 2).await;
            publisher.publish_retained(&format!("{root}/{qos}"), qos.to_string().as_bytes(), qos).await;
        }
        publisher.fence().await;
        for granted in [2, 1] {
            subscriber.subscribe(&format!("{root}/#"), granted).await;
            let mut came = vec![];
            for _ in 0..=2 {
                let publish = subscriber.receive().await;
                assert!(publish.retain && !publish.dup, "{version:?}: {publish:?}");
                came.push((publish.topic.clone(), publish.text().to_owned(), publish.qos));
            }
            came.sort();
            let expected = [0, 1, 2].map(|qos: u8| (format!("{root}/{qos}"), qos.to_string(), qos.min(granted)));
            assert_eq!(came, expected, "{version:?}: granted {granted}");
            subscriber.expect_silence().await;
        }
    }
}

#[tokio::test]
async fn overlapping_subscriptions_bring_one_copy_at_the_highest_qos() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return; // a copy for each subscription is as right
    }
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        for (filter, qos) in [("a/#", 0), ("a/+", 2), ("a/b", 1)] {
            subscriber.subscribe(filter, qos).await;
        }
        for (published, highest) in [(2, 2), (1, 1), (0, 0)] {
            publisher.publish("a/b", b"x", published).await;
            assert_eq!(subscriber.receive().await.qos, highest, "{version:?}");
            subscriber.expect_silence().await;
        }
    }
}

#[tokio::test]
async fn the_filters_of_one_subscribe_are_handled_in_order_and_answered_together() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let [a, b, c] = ["a", "b", "c"].map(|name| broker.own(&format!("{name}{version:?}")));
        publisher.publish_retained(&b, b"retained", 2).await;
        subscriber.send(&packet::subscribe(version, 0xabcd, &[(&a, 0), (&b, 2), (&c, 1), (&a, 1)])).await;
        assert_eq!(subscriber.expect().await, Packet::Suback(0xabcd, vec![0, 2, 1, 1]), "{version:?}");
        assert_eq!(subscriber.receive().await.text(), "retained");
        for (topic, granted) in [(&a, 1), (&b, 2), (&c, 1)] {
            publisher.publish(topic, b"x", 2).await;
            let came = subscriber.receive().await;
            assert_eq!((&came.topic, came.qos), (topic, granted), "{version:?}");
        }
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn a_repeated_subscription_brings_what_is_retained_again() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topic = broker.own(&format!("again{version:?}"));
        publisher.publish_retained(&topic, b"x", 2).await;
        for granted in [1, 1, 0, 2] {
            assert_eq!(subscriber.subscribe(&topic, granted).await, granted);
            let came = subscriber.receive().await;
            assert_eq!((came.text(), came.retain, came.qos), ("x", true, granted), "{version:?}");
            subscriber.expect_silence().await;
        }
    }
}

#[tokio::test]
async fn unsubscribe_takes_filters_as_they_are_written_and_all_of_them() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let [exact, wild] = ["x/b", "+/b"].map(|tail| format!("{}/{tail}", broker.own("root")));
        let topic = exact.clone();
        let near = [exact.to_uppercase(), format!("{exact}/"), format!("{}/#", broker.own("root")), "#".to_owned()];
        subscriber.subscribe(&exact, 1).await;
        let near: Vec<&str> = near.iter().map(String::as_str).chain([wild.as_str()]).collect();
        subscriber.send(&packet::unsubscribe(version, 11, &near)).await;
        assert_eq!(subscriber.expect().await, Packet::Unsuback(11, vec![]), "{version:?}: nothing was deleted");
        publisher.publish(&topic, b"still", 1).await;
        assert_eq!(subscriber.receive().await.text(), "still", "{version:?}");

        subscriber.subscribe(&wild, 2).await;
        subscriber.send(&packet::unsubscribe(version, 12, &[&exact, "never", &wild])).await;
        assert_eq!(subscriber.expect().await, Packet::Unsuback(12, vec![]), "{version:?}: one answer to all");
        publisher.publish(&topic, b"no more", 1).await;
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn what_was_in_flight_is_completed_after_an_unsubscribe() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let topic = broker.own("flying");
        let connect = Connect::new(version, &broker.own("leaver")).persistent();
        let mut client = Raw::connect(broker.address(), &connect).await;
        let mut publisher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("publisher"))).await;
        client.subscribe(&topic, 2).await;
        for (text, qos) in [("one", 1), ("two", 2), ("three", 2)] {
            publisher.publish(&topic, text.as_bytes(), qos).await;
        }
        let [one, two, three] =
            [client.expect_publish().await, client.expect_publish().await, client.expect_publish().await];
        client.unsubscribe(&topic).await;
        client.complete(&two).await;
        client.expect_silence().await;
        client.abandon();
        let mut client = Raw::connect(broker.address(), &connect).await;
        for open in [one, three] {
            let again = client.receive().await;
            assert_eq!((again.id, again.text(), again.dup), (open.id, open.text(), true), "{version:?}");
        }
        client.expect_silence().await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn topics_are_compared_byte_by_byte() {
    let broker = Broker::start().await;
    // Composed and decomposed, with and without a byte order mark, in two cases, with a space, unassigned, private, and
    // two that look alike.
    let names =
        ["\u{e9}", "e\u{301}", "a", "\u{feff}a", "a\u{feff}", "A", "a ", "\u{378}", "\u{e000}", "\u{3a9}", "\u{2126}"];
    for version in VERSIONS {
        let (mut subscriber, mut publisher) = pair(&broker, version).await;
        let topics = names.map(|name| format!("{}/{name}", broker.own("bytes")));
        for topic in &topics {
            subscriber.subscribe(topic, 1).await;
            publisher.publish(topic, topic.as_bytes(), 1).await;
            let came = subscriber.receive().await;
            assert_eq!((&came.topic, came.payload.as_slice()), (topic, topic.as_bytes()), "{version:?}");
            for other in topics.iter().filter(|other| *other != topic) {
                publisher.publish(other, b"", 0).await;
            }
            publisher.fence().await;
            subscriber.expect_silence().await;
            subscriber.unsubscribe(topic).await;
        }
    }
}
