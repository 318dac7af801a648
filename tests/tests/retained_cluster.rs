//! What is retained on one node is retained on all: for who subscribes anywhere, over cuts, kills and restarts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use tests::cluster::{Cluster, metric};
use tests::mosquitto::{self, Subscriber};
use tests::node::Node;
use tests::packet::{Connect, PublishOut, Version, Will, property_four};
use tests::raw::Raw;
use tests::read::Packet;
use tests::sandbox::Sandbox;
use tests::wait::{SOON, eventually};

/// What a new subscriber gets at once, as `topic=payload`, in the order of topics.
async fn retained(address: SocketAddr, filter: &str) -> Vec<String> {
    let mut client = Raw::connect(address, &Connect::v5("looks")).await.patient(SOON * 3);
    client.subscribe(filter, 1).await;
    let (mut found, mut silences) = (Vec::new(), 0);
    // They come at the pace of its acknowledgements: twice in a row nothing came before the answer to a PINGREQ.
    while silences < 2 {
        silences += 1;
        for packet in client.fence().await {
            let Packet::Publish(publish) = packet else { panic!("a PUBLISH was expected: {packet:?}") };
            client.complete(&publish).await;
            // One that comes live in between is not what was retained.
            found.extend(publish.retain.then(|| format!("{}={}", publish.topic, publish.text())));
            silences = 0;
        }
    }
    found.sort();
    found
}

/// Waits until every node gives a new subscriber these.
async fn wait_for(addresses: &[SocketAddr], filter: &str, expected: &[&str]) {
    for address in addresses {
        eventually(SOON * 3, &format!("{address} retains {expected:?}"), async || {
            let found = retained(*address, filter).await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

fn addresses(nodes: &[Node]) -> Vec<SocketAddr> {
    nodes.iter().map(Node::mqtt).collect()
}

#[tokio::test]
async fn what_is_retained_replaced_and_deleted_on_one_node_is_so_on_all_with_the_acknowledgement() {
    let cluster = Cluster::start(3).await;
    let nodes = addresses(&cluster.nodes);
    let mut publishers = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        publishers.push(Raw::connect(*node, &Connect::v5(&format!("p{number}"))).await);
    }
    for (round, qos) in [(0, 1), (1, 2), (2, 1)] {
        // Less than a second apart, each on another node.
        for (number, publisher) in publishers.iter_mut().enumerate() {
            let text = format!("round {round} of {number}");
            publisher.publish_retained("plant/1/temp", text.as_bytes(), qos).await;
            for node in &nodes {
                assert_eq!(retained(*node, "plant/+/temp").await, [format!("plant/1/temp={text}")], "at {node}");
            }
        }
    }
    publishers[1].publish_retained("plant/1/temp", b"", 1).await;
    for node in &nodes {
        assert!(retained(*node, "plant/#").await.is_empty(), "it was deleted");
    }
    // At QoS 0 nothing says when it is there.
    publishers[2].publish_retained("plant/2/temp", b"last", 0).await;
    wait_for(&nodes, "plant/#", &["plant/2/temp=last"]).await;
}

#[tokio::test]
async fn a_message_keeps_its_qos_its_properties_and_the_time_it_has_left_on_another_node() {
    let cluster = Cluster::start(2).await;
    let mut publisher = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("publisher")).await;
    publisher.publish_retained("with/qos", b"2", 2).await;
    let mut subscriber = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("subscriber")).await;
    subscriber.subscribe("with/#", 2).await;
    let got = subscriber.receive().await;
    assert_eq!((got.qos, got.retain, got.text()), (2, true, "2"));
    let mut expiring = PublishOut::new("with/expiry", b"x", 0, 0).retained();
    expiring.properties = property_four(2, 60);
    publisher.send(&expiring.encode(Version::V5)).await;
    wait_for(&[cluster.nodes[1].mqtt()], "with/expiry", &["with/expiry=x"]).await;
}

#[tokio::test]
async fn retain_handling_says_what_comes_of_what_another_node_retained() {
    const IF_NEW: u8 = 1 << 4;
    const NEVER: u8 = 2 << 4;
    let cluster = Cluster::start(2).await;
    let mut publisher = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("publisher")).await;
    publisher.publish_retained("h/1", b"kept", 1).await;
    let mut subscriber = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("subscriber")).await;
    subscriber.subscribe("h/1", NEVER | 1).await;
    subscriber.expect_silence().await;
    subscriber.unsubscribe("h/1").await;
    for (options, comes) in [(IF_NEW | 1, true), (IF_NEW | 1, false), (1, true), (1, true)] {
        subscriber.subscribe("h/1", options).await;
        if comes {
            let got = subscriber.receive().await;
            assert_eq!((got.retain, got.text()), (true, "kept"));
        }
        subscriber.expect_silence().await;
    }
}

#[tokio::test]
async fn a_retained_will_and_what_was_delayed_are_retained_on_all_nodes() {
    let cluster = Cluster::start(2).await;
    let mut will = Will::new("will/1", "gone");
    will.retain = true;
    let client = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("dies").will(will)).await;
    client.abandon();
    let mut publisher = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("publisher")).await;
    publisher.publish_retained("$delayed/1/will/2", b"late", 1).await;
    wait_for(&addresses(&cluster.nodes), "will/#", &["will/1=gone", "will/2=late"]).await;
}

#[tokio::test]
async fn the_programs_of_mosquitto_get_on_any_node_what_was_retained_on_another() {
    let cluster = Cluster::start(3).await;
    for (number, node) in cluster.nodes.iter().enumerate() {
        let (topic, text) = (format!("m/{number}"), format!("from {number}"));
        mosquitto::publish(node.mqtt(), &["-r", "-q", "1", "-t", &topic, "-m", &text]).await;
    }
    for node in &cluster.nodes {
        let mut subscriber = Subscriber::start(node.mqtt(), &["-t", "m/#", "-q", "1", "-F", "%t %r %p"]).await;
        for number in 0..3 {
            assert_eq!(subscriber.message().await, format!("m/{number} 1 from {number}"), "at {}", node.name());
        }
    }
}

#[tokio::test]
async fn a_node_that_was_killed_has_what_was_retained_meanwhile_before_it_serves() {
    let mut cluster = Cluster::start(2).await;
    let mut publisher = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("publisher")).await.patient(SOON * 3);
    for number in 0..500 {
        publisher.publish_retained(&format!("k/{number}"), b"before", 1).await;
    }
    cluster.nodes[1].kill9();
    publisher.publish_retained("k/0", b"", 1).await;
    publisher.publish_retained("k/new", b"meanwhile", 1).await;
    cluster.nodes[1].restart().await;
    let found = retained(cluster.nodes[1].mqtt(), "k/#").await;
    assert_eq!(found.len(), 500);
    assert!(found.contains(&"k/new=meanwhile".to_owned()) && !found.iter().any(|one| one.starts_with("k/0=")));
}

#[tokio::test]
async fn a_node_with_a_disk_repairs_by_what_it_missed_alone() {
    let disk = |options: tests::node::NodeOptions| options.set("persistence.backend", "disk");
    let mut cluster = Cluster::start_with(2, disk).await;
    let mut publisher = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("publisher")).await.patient(SOON * 3);
    for number in 0..200 {
        publisher.publish_retained(&format!("d/{number}"), b"before", 1).await;
    }
    cluster.nodes[1].kill9();
    publisher.publish_retained("d/0", b"", 1).await;
    publisher.publish_retained("d/1", b"changed", 1).await;
    publisher.publish_retained("d/new", b"meanwhile", 1).await;
    cluster.nodes[1].restart().await;
    let found = retained(cluster.nodes[1].mqtt(), "d/#").await;
    assert_eq!(found.len(), 200, "what peers brought was on its disk");
    assert!(found.contains(&"d/1=changed".to_owned()) && !found.iter().any(|one| one.starts_with("d/0=")));
    assert_eq!(metric(&cluster.nodes[1], "cluster.retained.received").await, 2, "and no other message came");
    // A deletion is on disk too: it stands when the node that has it comes back, and the other one does not.
    cluster.nodes[1].restart().await;
    assert_eq!(retained(cluster.nodes[1].mqtt(), "d/#").await.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sides_of_a_cut_that_retain_and_delete_agree_after_it_within_seconds() {
    let sandbox = Sandbox::start(2).await;
    let nodes = [sandbox.nodes[0].mqtt, sandbox.nodes[1].mqtt];
    let mut near = Raw::connect(nodes[0], &Connect::v5("near")).await.patient(SOON * 3);
    let mut far = Raw::connect(nodes[1], &Connect::v5("far")).await.patient(SOON * 3);
    for topic in ["c/both", "c/deleted", "c/stays"] {
        near.publish_retained(topic, b"before", 1).await;
    }
    sandbox.cut();
    // Each is acknowledged once the other side is down.
    far.publish_retained("c/both", b"far, first", 1).await;
    far.publish_retained("c/deleted", b"", 1).await;
    far.publish_retained("c/far", b"new", 1).await;
    near.publish_retained("c/both", b"near, last", 1).await;
    near.publish_retained("c/near", b"new", 1).await;
    assert_eq!(retained(nodes[0], "c/#").await.len(), 4, "a side serves what it knows");
    sandbox.heal();
    wait_for(&nodes, "c/#", &["c/both=near, last", "c/far=new", "c/near=new", "c/stays=before"]).await;
}
