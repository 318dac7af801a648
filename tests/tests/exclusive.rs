//! `$exclusive/filter`: one subscriber at a time, on one node and in a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::cluster::{Cluster, MEMBERSHIP, metric};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version, subscribe, unsubscribe};
use tests::raw::Raw;
use tests::read::Packet;
use tests::users::Files;
use tests::wait::{SOON, eventually};

fn on(options: NodeOptions) -> NodeOptions {
    options.set("mqtt.exclusive_subscription", "true")
}

async fn client(node: &Node, id: &str) -> Raw {
    Raw::connect(node.mqtt(), &Connect::v5(id)).await
}

/// Waits until a client gets what was another's.
async fn wait_to_get(client: &mut Raw, filter: &str, deadline: std::time::Duration) {
    eventually(deadline, &format!("{filter} is free"), async || match client.subscribe(filter, 1).await {
        1 => Ok(()),
        code => Err(format!("0x{code:02x}")),
    })
    .await;
}

#[tokio::test]
async fn where_it_is_off_every_exclusive_subscription_is_refused() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    assert_eq!(client(&node, "new").await.subscribe("$exclusive/t", 1).await, 0x8F);
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    assert_eq!(old.subscribe("$exclusive/t", 1).await, 0x80);
}

#[tokio::test]
async fn one_client_has_it_and_gets_what_is_published_to_the_plain_topic() {
    let node = Node::start(on(NodeOptions::alone("n1"))).await;
    let mut publisher = client(&node, "publisher").await;
    publisher.publish_retained("t/1", b"kept", 1).await;
    let mut ann = client(&node, "ann").await;
    assert_eq!(ann.subscribe("$exclusive/t/1", 1).await, 1);
    assert_eq!((ann.receive().await.text(), "retained as for any other"), ("kept", "retained as for any other"));
    assert_eq!(client(&node, "bob").await.subscribe("$exclusive/t/1", 1).await, 0x97);
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    assert_eq!(old.subscribe("$exclusive/t/1", 1).await, 0x80);
    assert_eq!(old.subscribe("t/1", 1).await, 1, "a plain subscription is nobody's alone");
    assert_eq!(old.receive().await.text(), "kept");
    assert_eq!(ann.subscribe("$exclusive/t/1", 2).await, 2, "its own is replaced");
    ann.receive().await;
    publisher.publish("t/1", b"news", 1).await;
    let news = ann.receive().await;
    assert_eq!((news.topic.as_str(), news.text()), ("t/1", "news"));
    assert_eq!(old.receive().await.text(), "news");
    let listed = node.ctl().run(&["subscriptions", "list"]).await.ok();
    assert!(listed.to_string().contains("$exclusive/t/1"), "{listed}");
    assert_eq!(metric(&node, "subscriptions.exclusive.refused").await, 2);
}

#[tokio::test]
async fn it_is_free_after_an_unsubscribe_and_after_the_end_of_the_session_and_not_before() {
    let node = Node::start(on(NodeOptions::alone("n1"))).await;
    let (mut ann, mut bob) = (client(&node, "ann").await, client(&node, "bob").await);
    assert_eq!(ann.subscribe("$exclusive/t", 1).await, 1);
    assert_eq!(bob.unsubscribe("$exclusive/t").await, [0x11], "what one does not have one does not free");
    assert_eq!(bob.subscribe("$exclusive/t", 1).await, 0x97);
    assert_eq!(ann.unsubscribe("$exclusive/t").await, [0]);
    assert_eq!(bob.subscribe("$exclusive/t", 1).await, 1);
    bob.disconnect().await; // its session ends with its connection
    wait_to_get(&mut ann, "$exclusive/t", SOON).await;
    ann.disconnect().await;

    let mut away = Raw::connect(node.mqtt(), &Connect::v5("away").persistent()).await;
    wait_to_get(&mut away, "$exclusive/t", SOON).await;
    away.disconnect().await;
    let mut cid = client(&node, "cid").await;
    assert_eq!(cid.subscribe("$exclusive/t", 1).await, 0x97, "a session that waits keeps it");
    cid.publish("t", b"meanwhile", 1).await;
    let (mut away, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("away").persistent()).await;
    assert!(connack.session_present);
    assert_eq!(away.receive().await.text(), "meanwhile");
}

#[tokio::test]
async fn several_in_one_subscribe_are_answered_each_and_what_follows_is_in_order() {
    let node = Node::start(on(NodeOptions::alone("n1"))).await;
    let (mut ann, mut bob) = (client(&node, "ann").await, client(&node, "bob").await);
    assert_eq!(bob.subscribe("$exclusive/b", 0).await, 0);
    let filters = [("$exclusive/a", 1), ("plain", 0), ("$exclusive/b", 1), ("$exclusive/a", 2), ("$exclusive/", 0)];
    ann.send(&subscribe(Version::V5, 9, &filters)).await;
    assert_eq!(ann.expect().await, Packet::Suback(9, vec![1, 0, 0x97, 2, 0x8F]));
    // Not waited for in between.
    ann.send(&subscribe(Version::V5, 10, &[("$exclusive/c", 1)])).await;
    ann.send(&unsubscribe(Version::V5, 11, &["$exclusive/c"])).await;
    let mut came = [ann.expect().await, ann.expect().await].map(|packet| format!("{packet:?}"));
    came.sort();
    assert!(came[0].starts_with("Suback(10,") && came[1].starts_with("Unsuback(11, [0]"), "{came:?}");
    assert_eq!(bob.subscribe("$exclusive/c", 1).await, 1, "nobody wants it any more");
    bob.publish("a", b"x", 1).await;
    assert_eq!(ann.receive().await.text(), "x");
    ann.expect_silence().await;
}

#[tokio::test]
async fn who_may_not_read_the_plain_topic_is_refused_and_keeps_nobody_out() {
    let files = Files::new(&["ann", "bob"], "allow user ann subscribe t\n");
    let node = Node::start(on(files.node())).await;
    let mut bob = Raw::connect(node.mqtt(), &Connect::v5("bob").login("bob", "bob")).await;
    assert_eq!(bob.subscribe("$exclusive/t", 1).await, 0x87);
    let mut ann = Raw::connect(node.mqtt(), &Connect::v5("ann").login("ann", "ann")).await;
    assert_eq!(ann.subscribe("$exclusive/t", 1).await, 1);
}

#[tokio::test]
async fn one_client_of_the_whole_cluster_has_it_and_its_node_takes_the_right_with_it_when_it_dies() {
    let mut cluster = Cluster::start_with(3, on).await;
    let mut clients = Vec::new();
    for (number, node) in cluster.nodes.iter().enumerate() {
        clients.push(client(node, &format!("c{number}")).await.patient(MEMBERSHIP));
    }
    let filters: Vec<String> = (0..9).map(|number| format!("$exclusive/t/{number}")).collect();
    for filter in &filters {
        assert_eq!(clients[0].subscribe(filter, 1).await, 1);
        for other in [1, 2] {
            assert_eq!(clients[other].subscribe(filter, 1).await, 0x97, "{filter}");
        }
    }
    clients[1].publish("t/0", b"to one", 1).await;
    assert_eq!(clients[0].receive().await.text(), "to one");
    for filter in &filters[..3] {
        assert_eq!(clients[0].unsubscribe(filter).await, [0]);
        assert_eq!(clients[2].subscribe(filter, 1).await, 1, "free at once on another node: {filter}");
        assert_eq!(clients[1].subscribe(filter, 1).await, 0x97, "{filter}");
    }
    // The same client on another node: its session ended where it was, and the right is its own still.
    let mut moved = client(&cluster.nodes[1], "c0").await;
    assert_eq!(moved.subscribe(&filters[3], 1).await, 1);
    assert_eq!(clients[2].subscribe(&filters[3], 1).await, 0x97);
    // What c2 has goes with its node.
    cluster.nodes[2].kill9();
    let mut last = client(&cluster.nodes[0], "last").await.patient(MEMBERSHIP);
    for filter in &filters[..3] {
        wait_to_get(&mut last, filter, MEMBERSHIP).await;
    }
    assert_eq!(last.subscribe(&filters[3], 1).await, 0x97, "what a node that lives has is not free");
}
