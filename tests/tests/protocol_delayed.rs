//! `$delayed/<seconds>/<topic>`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version, Will};
use tests::raw::Raw;
use tests::read::Packet;
use tests::users::Files;

async fn client(node: &Node, name: &str) -> Raw {
    Raw::connect(node.mqtt(), &Connect::v5(name)).await
}

/// Publishes at QoS 1 and gives the code of the answer.
async fn code(client: &mut Raw, topic: &str) -> u8 {
    let id = client.new_id();
    client.send(&PublishOut::new(topic, b"x", 1, id).encode(Version::V5)).await;
    match client.expect().await {
        Packet::Puback(found, code) if found == id => code,
        other => panic!("a PUBACK was expected, this came: {other:?}"),
    }
}

#[tokio::test]
async fn a_message_comes_when_it_is_due_under_its_own_topic() {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let mut watcher = client(&node, "watcher").await;
    watcher.subscribe("#", 2).await;
    watcher.subscribe("$delayed/#", 2).await;
    let mut publisher = client(&node, "publisher").await;
    let begin = Instant::now();
    publisher.publish("$delayed/1/plant/pump", b"later", 2).await;
    assert!(begin.elapsed() < Duration::from_millis(900), "it is acknowledged when it is held");
    publisher.publish("plant/pump", b"sooner", 1).await;
    assert_eq!(watcher.receive().await.text(), "sooner");
    let stats = node.ctl().run(&["broker", "stats"]).await.ok();
    assert_eq!(stats["delayed.count"], 1);
    let later = watcher.receive().await;
    assert_eq!((later.topic.as_str(), later.text(), later.qos), ("plant/pump", "later", 2));
    assert!(begin.elapsed() >= Duration::from_secs(1), "after {:?}", begin.elapsed());
    let stats = node.ctl().run(&["broker", "stats"]).await.ok();
    assert_eq!(stats["delayed.count"], 0);
}

#[tokio::test]
async fn a_retained_one_is_retained_when_it_is_due() {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let mut watcher = client(&node, "watcher").await;
    watcher.subscribe("t", 0).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v311("publisher")).await;
    publisher.publish_retained("$delayed/0/t", b"x", 1).await;
    assert!(!watcher.receive().await.retain);
    let mut late = client(&node, "late").await;
    late.subscribe("t", 0).await;
    assert!(late.receive().await.retain);
}

#[tokio::test]
async fn what_is_no_delay_is_refused_and_reaches_nobody() {
    let node = Node::start(NodeOptions::alone("b1")).await;
    let mut watcher = client(&node, "watcher").await;
    for filter in ["#", "$delayed/#"] {
        watcher.subscribe(filter, 0).await;
    }
    let mut publisher = client(&node, "publisher").await;
    for topic in ["$delayed/t", "$delayed/x/t", "$delayed/5/", "$delayed/1/$delayed/1/t", "$delayed/4294967295/t"] {
        assert_eq!(code(&mut publisher, topic).await, 0x90, "{topic}");
    }
    assert_eq!(code(&mut publisher, "$delayed/0/$SYS/broker/uptime").await, 0x87, "nobody writes there, later either");
    watcher.expect_silence().await;
}

#[tokio::test]
async fn the_bound_is_kept_told_and_counted() {
    let node = Node::start(NodeOptions::alone("b1").set("mqtt.max_delayed", "2")).await;
    let mut publisher = client(&node, "publisher").await;
    let mut codes = vec![];
    for topic in ["$delayed/1000/a", "$delayed/1000/b", "$delayed/0/c"] {
        codes.push(code(&mut publisher, topic).await);
    }
    assert_eq!(codes, [0, 0, 0x97]);
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    old.publish("$delayed/1000/d", b"x", 1).await;
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    assert_eq!(metrics["messages.delayed"], 2);
    assert_eq!(metrics["messages.dropped.delayed_full"], 2);
}

#[tokio::test]
async fn it_is_authorised_as_its_own_topic_also_in_a_will() {
    let rules = "allow user admin all #\nallow user ann publish mine/#\n";
    let files = Files::new(&["admin", "ann"], rules);
    let node = Node::start(files.node()).await;
    let login = |connect: Connect, user: &str| connect.login(user, user);
    let mut admin = Raw::connect(node.mqtt(), &login(Connect::v5("admin"), "admin")).await;
    admin.subscribe("#", 1).await;
    let mut ann = Raw::connect(node.mqtt(), &login(Connect::v5("ann"), "ann")).await;
    assert_eq!(code(&mut ann, "$delayed/0/other/t").await, 0x87);
    assert_eq!(code(&mut ann, "$delayed/0/mine/t").await, 0);
    assert_eq!(admin.receive().await.topic, "mine/t");
    let will = |topic| login(Connect::v5("dying").will(Will::new(topic, "x")), "ann");
    let (_, connack) = Raw::try_connect(node.mqtt(), &will("$delayed/0/other/will")).await;
    assert_eq!(connack.code, 0x87);
    Raw::connect(node.mqtt(), &will("$delayed/0/mine/will")).await.abandon();
    assert_eq!(admin.receive().await.topic, "mine/will");
}

#[tokio::test]
async fn other_nodes_get_it_when_it_is_due() {
    let first = Node::start(NodeOptions::clustered("b1", &[])).await;
    let second = Node::start(NodeOptions::clustered("b2", &[first.cluster()])).await;
    let mut watcher = client(&second, "watcher").await;
    watcher.subscribe("t", 1).await;
    client(&first, "publisher").await.publish("$delayed/0/t", b"x", 1).await;
    assert_eq!(watcher.receive().await.topic, "t");
}
