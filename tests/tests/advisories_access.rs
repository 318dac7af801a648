//! Advisories of other brokers about who may do what: each test is a row of `docs/bad-input.md`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version, Will, subscribe};
use tests::raw::Raw;
use tests::read::Packet;
use tests::users::Files;

async fn client(node: &Node, id: &str, user: &str) -> Raw {
    Raw::connect(node.mqtt(), &Connect::v5(id).login(user, user)).await
}

#[tokio::test]
async fn a_client_id_that_is_a_pattern_or_a_template_stands_for_itself() {
    let files = Files::new(&["ann"], "allow all all c/%c/#\n");
    let node = Node::start(files.node()).await;
    for id in [".*", "c1|c2", "[a-z]{1}", "c?", "^", "%c", "%u", "${clientid}", "$1", "\\", "a b", "*"] {
        let mut client = client(&node, id, "ann").await;
        for other in ["c1", "c", "x", "a"] {
            assert_eq!(client.subscribe(&format!("c/{other}/x"), 0).await, 0x87, "client id {id}: {other}");
        }
        assert_eq!(client.subscribe(&format!("c/{id}/x"), 0).await, 0, "client id {id}: its own");
    }
}

#[tokio::test]
async fn a_client_id_cannot_bring_groups_or_templates_into_a_rewritten_topic() {
    let rule = r#"[{action = "publish", source = "in/#", regex = "^in/(.+)$", destination = "out/%c/%u/$1"}]"#;
    let node = Node::start(NodeOptions::alone("n1").set("rewrite", rule)).await;
    let mut watcher = Raw::connect(node.mqtt(), &Connect::v5("watcher")).await;
    watcher.subscribe("#", 0).await;
    // Where a name could be more than a part of a level, the topic stays as it is.
    for (id, user, topic) in [
        ("c1", "ann", "out/c1/ann/x"),
        ("$1", "ann", "in/x"),
        ("${1}", "ann", "in/x"),
        ("%u", "ann", "in/x"),
        ("a/b", "ann", "in/x"),
        ("c1", "$1", "in/x"),
        ("c1", "#", "in/x"),
        (".*", "^(", "out/.*/^(/x"),
    ] {
        let mut client = client(&node, id, user).await;
        client.publish("in/x", b"", 0).await;
        assert_eq!(watcher.receive().await.topic, topic, "client id {id}, user {user}");
    }
}

#[tokio::test]
async fn no_prefix_replay_or_group_is_a_way_around_the_rules() {
    let files = Files::new(&["admin", "ann"], "allow user admin all #\nallow user ann all open/#\n");
    let node = Node::start(files.node()).await;
    let mut admin = client(&node, "admin", "admin").await;
    admin.publish_retained("shut/x", b"retained", 1).await;
    admin.subscribe("shut/#", 1).await;
    admin.receive().await;
    let mut ann = client(&node, "ann", "ann").await;
    for filter in ["$share/g/shut/x", "$share/g/#", "$share/g/+/x", "shut/x", "+/x", "$delayed/1/shut/x"] {
        assert_eq!(ann.subscribe(filter, 1).await, 0x87, "{filter}");
    }
    assert_eq!(ann.subscribe("$share/g/open/x", 1).await, 1);
    for topic in ["shut/x", "$delayed/0/shut/x", "$delayed/1/shut/x", "$share/g/shut/x", "$SYS/x"] {
        ann.send(&PublishOut::new(topic, b"", 1, 9).encode(Version::V5)).await;
        let answer = ann.expect().await;
        assert!(matches!(answer, Packet::Puback(9, code) if code >= 0x80), "{topic}: {answer:?}");
    }
    let wills = [Connect::v5("w"), Connect::v5("w").property(vec![0x11, 0, 0, 0, 9])];
    for connect in wills {
        let will = connect.login("ann", "ann").will(Will::new("shut/x", "will"));
        assert_eq!(Raw::try_connect(node.mqtt(), &will).await.1.code, 0x87);
    }
    admin.expect_silence().await;
    ann.expect_silence().await;
}

#[tokio::test]
async fn a_keep_alive_of_0_or_18_hours_becomes_the_longest_that_is_allowed() {
    let node = Node::start(NodeOptions::alone("n1").set("mqtt.max_keep_alive", "1")).await;
    let started = Instant::now();
    let mut silent = vec![];
    for keep_alive in [0, 65_535] {
        let connect = Connect::v5(&format!("new{keep_alive}")).keep_alive(keep_alive);
        let (client, connack) = Raw::connect_with_answer(node.mqtt(), &connect).await;
        assert_eq!(connack.properties.number(0x13), Some(1), "Server Keep Alive for {keep_alive}");
        silent.push((client, Some(0x8d)));
    }
    // 3.1.1 has no way to be told.
    let old = Raw::connect(node.mqtt(), &Connect::v311("old").keep_alive(0)).await;
    for (client, reason) in &mut silent {
        assert_eq!(client.expect_close().await, *reason);
    }
    assert!(started.elapsed() >= Duration::from_millis(1400), "after {:?}", started.elapsed());
    drop(old);
}

#[tokio::test]
async fn topics_that_begin_with_a_dollar_end_nobody() {
    let mut node = Node::start(NodeOptions::alone("n1")).await;
    let topics = [
        "$",
        "$/",
        "$$",
        "$SYS",
        "$SYS/",
        "$SYS/x",
        "$share",
        "$share/",
        "$share//",
        "$share/g",
        "$share/g/",
        "$share/g/x",
        "$queue",
        "$queue/",
        "$queue/x",
        "$delayed",
        "$delayed/",
        "$delayed//",
        "$delayed/1",
        "$delayed/1/",
        "$delayed/x/y",
        "$delayed/-1/x",
        "$delayed/99999999999999999999/x",
        "$delayed/0/$delayed/0/x",
        "$delayed/0/$SYS/x",
        "$exclusive",
        "$exclusive/",
        "$exclusive/x",
        "$MQTT",
        "$MQTT/x",
        "/",
        "//",
        " ",
    ];
    for topic in topics {
        for version in [Version::V311, Version::V5] {
            for qos in 0..=2 {
                let mut client = Raw::connect(node.mqtt(), &Connect::new(version, "curious")).await;
                client.send(&PublishOut::new(topic, b"x", qos, 1).retained().encode(version)).await;
                client.send(&PublishOut::new(topic, b"", qos, 2).retained().encode(version)).await;
                client.send(&subscribe(version, 3, &[(topic, qos)])).await;
                client.send(tests::packet::DISCONNECT).await;
                client.expect_close().await;
            }
            let will = Connect::new(version, "dies").will(Will::new(topic, "x"));
            Raw::try_connect(node.mqtt(), &will).await.0.abandon();
        }
    }
    Raw::connect(node.mqtt(), &Connect::v5("witness")).await.fence().await;
    assert_eq!(node.exit_status(), None);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
