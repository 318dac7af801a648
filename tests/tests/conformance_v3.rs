//! Statements of MQTT 3.1.1 that no other test proves: connecting, sessions and wills. Each is tried with 3.1 too where
//! that asks the same. `docs/conformance-3.1.1.md` says which test proves what.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::broker::Broker;
use tests::cluster::Cluster;
use tests::node::{Node, NodeOptions};
use tests::packet::{self, Connect, PublishOut, Version, Will};
use tests::raw::Raw;
use tests::read::Packet;

const VERSIONS: [Version; 2] = [Version::V31, Version::V311];

#[tokio::test]
async fn a_client_id_of_1_to_23_letters_and_digits_is_taken() {
    let broker = Broker::start().await;
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let ids = ["0", "Z", &all[..23], &all[23..46], &all[39..]];
    for version in VERSIONS {
        for id in ids {
            let (client, connack) = Raw::connect_with_answer(broker.address(), &Connect::new(version, id)).await;
            assert!(!connack.session_present, "{id}");
            client.disconnect().await;
        }
    }
}

#[tokio::test]
async fn a_client_id_that_the_server_rejects_is_answered_with_2_and_closed() {
    let node = Node::start(NodeOptions::alone("n1").set("mqtt.max_client_id_len", "23")).await;
    let (mut client, connack) = Raw::try_connect(node.mqtt(), &Connect::v311(&"x".repeat(24))).await;
    assert_eq!((connack.code, connack.session_present), (2, false));
    assert_eq!(client.next_or_end().await, None);
    Raw::connect(node.mqtt(), &Connect::v311(&"x".repeat(23))).await.disconnect().await;
}

#[tokio::test]
async fn each_client_without_an_id_is_a_client_of_its_own() {
    let broker = Broker::start().await;
    let topic = broker.own("nameless");
    let mut first = Raw::connect(broker.address(), &Connect::v311("")).await;
    let mut second = Raw::connect(broker.address(), &Connect::v311("")).await;
    first.subscribe(&topic, 1).await;
    second.publish(&topic, b"x", 1).await;
    assert_eq!(first.receive().await.text(), "x");
    second.expect_silence().await;
}

#[tokio::test]
async fn state_belongs_to_the_client_id_that_made_it() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let connects = ["a", "A"].map(|id| Connect::new(version, &broker.own(id)).persistent());
        let topics = ["a", "A"].map(|id| broker.own(&format!("of/{id}/{version:?}")));
        for (connect, topic) in connects.iter().zip(&topics) {
            let mut client = Raw::connect(broker.address(), connect).await;
            client.subscribe(topic, 1).await;
            client.disconnect().await;
        }
        let mut publisher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("publisher"))).await;
        for topic in &topics {
            publisher.publish(topic, topic.as_bytes(), 1).await;
        }
        for (connect, topic) in connects.iter().zip(&topics) {
            let mut client = Raw::connect(broker.address(), connect).await;
            assert_eq!(client.receive().await.text(), topic);
            client.expect_silence().await;
        }
    }
}

#[tokio::test]
async fn a_clean_session_ends_what_was_and_leaves_nothing_but_what_is_retained() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let topic = broker.own(&format!("clean{version:?}"));
        let retained = broker.own(&format!("retained{version:?}"));
        let clean = Connect::new(version, &broker.own("cleaner"));
        let kept = clean.clone().persistent();
        let mut publisher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("publisher"))).await;

        let mut client = Raw::connect(broker.address(), &kept).await;
        client.subscribe(&topic, 1).await;
        client.disconnect().await;
        publisher.publish(&topic, b"waits", 1).await;

        let mut client = Raw::connect(broker.address(), &clean).await;
        client.publish_retained(&retained, b"stays", 1).await;
        publisher.publish(&topic, b"not subscribed any more", 1).await;
        client.expect_silence().await;
        client.subscribe(&topic, 1).await;
        client.disconnect().await;
        publisher.publish(&topic, b"the clean session is over", 1).await;

        let mut client = Raw::connect(broker.address(), &kept).await;
        publisher.publish(&topic, b"nor is its subscription there", 1).await;
        client.expect_silence().await;
        client.subscribe(&retained, 1).await;
        assert_eq!(client.receive().await.text(), "stays", "{version:?}");
    }
}

#[tokio::test]
async fn nothing_behind_a_connect_that_is_refused_is_handled() {
    let broker = Broker::start().await;
    let topic = broker.own("refused");
    let mut watcher = Raw::connect(broker.address(), &Connect::v311(&broker.own("watcher"))).await;
    watcher.subscribe(&topic, 1).await;
    let publish = PublishOut::new(&topic, b"x", 0, 0).retained().encode(Version::V311);
    let mut of_no_level = Connect::v311(&broker.own("level")).encode();
    of_no_level[8] = 0;
    for (connect, code) in [(Connect::v311("").persistent().encode(), 2), (of_no_level, 1)] {
        let mut client = Raw::open(broker.address(), Version::V311).await;
        client.send(&[connect, publish.clone(), packet::subscribe(Version::V311, 1, &[("#", 0)])].concat()).await;
        let Packet::Connack(connack) = client.expect().await else { panic!("CONNACK is first") };
        assert_eq!((connack.code, connack.session_present), (code, false));
        assert_eq!(client.next_or_end().await, None, "a close is all that follows");
    }
    watcher.expect_silence().await;
    watcher.subscribe(&topic, 0).await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_will_comes_once_at_its_qos_and_is_retained_only_where_it_says_so() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut watcher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("watcher"))).await;
        for (qos, retain) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
            let topic = broker.own(&format!("will/{version:?}/{qos}/{retain}"));
            watcher.subscribe(&topic, 2).await;
            let will = Will { qos, retain, ..Will::new(&topic, "gone") };
            let mortal = Connect::new(version, &broker.own("mortal")).persistent();
            Raw::connect(broker.address(), &mortal.clone().will(will)).await.abandon();
            let came = watcher.receive().await;
            assert_eq!((came.text(), came.qos, came.retain), ("gone", qos, false), "{version:?}");
            // The session goes on without it: no end of a later connection sends it again.
            Raw::connect(broker.address(), &mortal).await.disconnect().await;
            Raw::connect(broker.address(), &mortal).await.abandon();
            Raw::connect(broker.address(), &mortal).await.disconnect().await;
            watcher.expect_silence().await;
            let mut late = Raw::connect(broker.address(), &Connect::new(version, &broker.own("late"))).await;
            late.subscribe(&topic, 2).await;
            if retain {
                let kept = late.receive().await;
                assert_eq!((kept.text(), kept.qos, kept.retain), ("gone", qos, true), "{version:?}");
            }
            late.expect_silence().await;
        }
    }
}

#[tokio::test]
async fn a_will_is_sent_however_a_connection_ends_without_disconnect() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    let mut watcher = Raw::connect(node.mqtt(), &Connect::v311("watcher")).await;
    watcher.subscribe("will", 1).await;
    for version in VERSIONS {
        let connect = Connect::new(version, "mortal").persistent().will(Will::new("will", "gone"));
        let mut client = Raw::connect(node.mqtt(), &connect.clone().keep_alive(1)).await;
        assert_eq!(client.next_or_end().await, None, "{version:?}: silent for too long");
        assert_eq!(watcher.receive().await.text(), "gone");

        let wrong: [&[u8]; 2] = [&[0x36, 3, 0, 1, b'a'], &[0xe1, 0]]; // QoS 3, and a DISCONNECT with flags
        for packet in wrong {
            let mut client = Raw::connect(node.mqtt(), &connect).await;
            client.send(packet).await;
            assert_eq!(watcher.receive().await.text(), "gone", "{version:?}: {packet:02x?}");
            assert_eq!(client.next_or_end().await, None);
        }

        let _kicked = Raw::connect(node.mqtt(), &connect).await;
        node.ctl().run(&["clients", "kick", "mortal"]).await.ok();
        assert_eq!(watcher.receive().await.text(), "gone", "{version:?}: kicked");

        let _taken_over = Raw::connect(node.mqtt(), &connect).await;
        let mut successor = Raw::connect(node.mqtt(), &Connect::new(version, "mortal").persistent()).await;
        assert_eq!(watcher.receive().await.text(), "gone", "{version:?}: taken over");
        successor.expect_silence().await;
        successor.disconnect().await;
        watcher.expect_silence().await;
    }
}

#[tokio::test]
async fn the_wills_of_a_client_that_moves_and_of_a_node_that_stops_are_sent_on_other_nodes() {
    let mut cluster = Cluster::start(2).await;
    let mut watcher = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v311("watcher")).await;
    watcher.subscribe("will", 1).await;
    for version in VERSIONS {
        let connect = Connect::new(version, "mortal").will(Will::new("will", "gone"));
        let _left = Raw::connect(cluster.nodes[0].mqtt(), &connect).await;
        Raw::connect(cluster.nodes[1].mqtt(), &connect).await.disconnect().await;
        assert_eq!(watcher.receive().await.text(), "gone", "{version:?}: moved");
        watcher.expect_silence().await;
    }
    let _served = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v311("served").will(Will::new("will", "gone"))).await;
    let status = cluster.nodes[0].terminate().await;
    assert!(status.success(), "{status}");
    assert_eq!(watcher.receive().await.text(), "gone", "its node has stopped");
}

#[tokio::test]
async fn the_end_of_a_connection_without_a_will_publishes_nothing() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return; // others publish there too
    }
    let mut watcher = Raw::connect(broker.address(), &Connect::v311("watcher")).await;
    watcher.subscribe("#", 2).await;
    for version in VERSIONS {
        let mortal = Connect::new(version, "mortal").persistent();
        let had_one = mortal.clone().will(Will::new("will", "of an earlier connection"));
        Raw::connect(broker.address(), &had_one).await.disconnect().await;
        Raw::connect(broker.address(), &mortal).await.abandon();
        // Taken over or resumed, the connection before it has ended when this one is answered.
        Raw::connect(broker.address(), &mortal).await.disconnect().await;
    }
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_pubrel_that_was_not_completed_comes_again_in_3x() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let topic = broker.own(&format!("release{version:?}"));
        let connect = Connect::new(version, &broker.own("releaser")).persistent();
        let mut client = Raw::connect(broker.address(), &connect).await;
        client.subscribe(&topic, 2).await;
        let mut publisher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("publisher"))).await;
        publisher.publish(&topic, b"once", 2).await;
        let publish = client.expect_publish().await;
        client.send(&packet::acknowledge(0x50, publish.id)).await;
        assert_eq!(client.expect().await, Packet::Pubrel(publish.id, 0));
        client.abandon();
        let mut client = Raw::connect(broker.address(), &connect).await;
        assert_eq!(client.expect().await, Packet::Pubrel(publish.id, 0), "{version:?}: and no second PUBLISH");
        client.send(&packet::acknowledge(0x70, publish.id)).await;
        client.expect_silence().await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn pubrels_leave_in_the_order_of_the_pubrecs() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let topic = broker.own("order");
        let mut client = Raw::connect(broker.address(), &Connect::new(version, &broker.own("slow"))).await;
        client.subscribe(&topic, 2).await;
        let mut publisher = Raw::connect(broker.address(), &Connect::new(version, &broker.own("publisher"))).await;
        let mut ids = vec![];
        for _ in 0..4 {
            publisher.publish(&topic, b"x", 2).await;
            ids.push(client.expect_publish().await.id);
        }
        let order = [ids[2], ids[0], ids[3], ids[1]];
        client.send(&order.map(|id| packet::acknowledge(0x50, id)).concat()).await;
        for id in order {
            assert_eq!(client.expect().await, Packet::Pubrel(id, 0), "{version:?}: PUBRECs of {order:?}");
        }
    }
}
