//! How nodes find each other, what a SUBACK means across them, and who is let in.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use tests::cluster::{Cluster, metric, view, wait_for_states};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version};
use tests::ports;
use tests::raw::Raw;
use tests::seed::Seeded;
use tests::wait::{SOON, eventually};

fn member(number: usize, seed: std::net::SocketAddr) -> NodeOptions {
    let mut options = NodeOptions::clustered(&format!("n{number}"), &[seed]);
    if number == 1 {
        options.cluster_bind = seed;
    }
    options
}

/// A message published at the one arrives at a subscriber of the other.
async fn assert_delivers(from: &Node, to: &Node, topic: &str) {
    let mut subscriber = Raw::connect(to.mqtt(), &Connect::v5(&format!("{topic}-sub"))).await;
    subscriber.subscribe(topic, 1).await;
    let mut publisher = Raw::connect(from.mqtt(), &Connect::v311(&format!("{topic}-pub"))).await;
    publisher.publish(topic, b"across", 1).await;
    assert_eq!(subscriber.receive().await.text(), "across", "from {} to {}", from.name(), to.name());
}

#[tokio::test]
async fn three_nodes_started_at_once_find_each_other_by_one_seed() {
    let seed = ports::free();
    let mut nodes: Vec<_> = (1..=3).map(|number| Node::launch(member(number, seed))).collect();
    for node in &mut nodes {
        node.wait_until_ready().await;
    }
    let cluster = Cluster { nodes };
    cluster.wait_until_all_up().await;
    assert_delivers(&cluster.nodes[1], &cluster.nodes[2], "at-once").await;
}

#[tokio::test]
async fn nodes_whose_seed_starts_last_find_each_other_all_the_same() {
    let seed = ports::free();
    let mut order = [2, 3];
    Seeded::announce("order of the joiners").shuffle(&mut order);
    let mut nodes: Vec<_> = order.iter().map(|number| Node::launch(member(*number, seed))).collect();
    for node in &mut nodes {
        node.wait_until_ready().await; // alone, after `cluster.join_timeout`
    }
    nodes.push(Node::start(member(1, seed)).await);
    let cluster = Cluster { nodes };
    cluster.wait_until_all_up().await;
    assert_delivers(&cluster.nodes[0], &cluster.nodes[1], "seed-last").await;
}

#[tokio::test]
async fn what_is_published_anywhere_after_the_suback_arrives_a_thousand_times() {
    let cluster = Cluster::start(3).await;
    let mut subscriber = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("subscriber")).await;
    let mut b = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v311("b")).await;
    let mut c = Raw::connect(cluster.nodes[2].mqtt(), &Connect::v311("c")).await;
    for round in 0..1000 {
        let (filter, topic) = match round % 3 {
            0 => (format!("round/{round}"), format!("round/{round}")),
            1 => (format!("round/{round}/+"), format!("round/{round}/x")),
            _ => (format!("round/{round}/#"), format!("round/{round}/x/y")),
        };
        assert_eq!(subscriber.subscribe(&filter, 0).await, 0);
        b.send(&PublishOut::new(&topic, b"b", 0, 0).encode(Version::V311)).await;
        c.send(&PublishOut::new(&topic, b"c", 0, 0).encode(Version::V311)).await;
        let mut from = [subscriber.receive().await, subscriber.receive().await].map(|publish| {
            assert_eq!(publish.topic, topic, "round {round}");
            publish.payload
        });
        from.sort();
        assert_eq!(from, [b"b", b"c"], "round {round}");
    }
    for node in &cluster.nodes {
        assert_eq!(metric(node, "cluster.suback.timed_out").await, 0, "{}", node.name());
    }
}

#[tokio::test]
async fn messages_of_a_publisher_keep_their_order_across_nodes() {
    let cluster = Cluster::start(3).await;
    for qos in 0..=2 {
        let topic = format!("order/{qos}");
        let mut subscriber = Raw::connect(cluster.nodes[2].mqtt(), &Connect::v5(&format!("s{qos}"))).await;
        subscriber.subscribe(&topic, qos).await;
        let mut publisher = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v311(&format!("p{qos}"))).await;
        for number in 0..200_u16 {
            if qos == 2 {
                publisher.publish(&topic, &number.to_be_bytes(), 2).await;
            } else {
                publisher
                    .send(&PublishOut::new(&topic, &number.to_be_bytes(), qos, number + 1).encode(Version::V311))
                    .await;
            }
        }
        for number in 0..200_u16 {
            assert_eq!(subscriber.receive().await.payload, number.to_be_bytes(), "QoS {qos}");
        }
    }
}

/// A stranger asks to join by a live member's address: it is told why not, and nobody sees it.
async fn assert_refused(stranger: NodeOptions, reason: &str) {
    let cluster = Cluster::start(2).await;
    let seed = cluster.nodes[0].cluster().to_string();
    let stranger = Node::start(stranger).await;
    let answer = stranger.ctl().run(&["cluster", "join", &seed]).await;
    assert_eq!(answer.code, 1, "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stderr.contains(reason), "`{reason}` is not in: {}", answer.stderr);
    let both = ["n1", "n2"].map(|name| (name.to_owned(), "up".to_owned()));
    for node in &cluster.nodes {
        assert_eq!(view(node).await.unwrap(), BTreeMap::from(both.clone()), "as {} sees it", node.name());
    }
    assert_delivers(&cluster.nodes[0], &cluster.nodes[1], "undisturbed").await;
    let own: Vec<_> = view(&stranger).await.unwrap().into_keys().filter(|name| name.starts_with('n')).collect();
    assert!(own.is_empty(), "the stranger has learned of {own:?}");
}

#[tokio::test]
async fn a_node_with_another_secret_does_not_join_and_is_told_so() {
    let mut stranger = NodeOptions::clustered("stranger", &[]);
    stranger.secret = Some("not the secret of the others".into());
    assert_refused(stranger, "secret").await;
}

#[tokio::test]
async fn a_node_of_another_cluster_name_does_not_join_and_is_told_so() {
    assert_refused(NodeOptions::clustered("stranger", &[]).set("cluster.name", "other"), "cluster").await;
}

#[tokio::test]
async fn a_seed_that_does_not_answer_is_called_unreachable() {
    let node = Node::start(NodeOptions::clustered("n1", &[])).await;
    let nobody = ports::free().to_string();
    let answer = node.ctl().run(&["cluster", "join", &nobody]).await;
    assert_eq!(answer.code, 1, "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stderr.contains(&nobody), "the seed is not named: {}", answer.stderr);
}

#[tokio::test]
async fn a_running_node_joins_remembers_its_seed_over_a_restart_and_leaves() {
    let first = Node::start(NodeOptions::clustered("n1", &[])).await;
    let mut second = Node::start(NodeOptions::clustered("n2", &[])).await;
    let mut subscriber = Raw::connect(second.mqtt(), &Connect::v5("before")).await;
    subscriber.subscribe("before/join", 1).await;

    second.ctl().run(&["cluster", "join", &first.cluster().to_string()]).await.ok();
    wait_for_states(&first, &[("n1", "up"), ("n2", "up")]).await;
    let mut publisher = Raw::connect(first.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("before/join", b"reached", 1).await;
    assert_eq!(subscriber.receive().await.text(), "reached");

    second.restart().await; // it was started without a seed
    wait_for_states(&second, &[("n1", "up"), ("n2", "up")]).await;

    second.ctl().run(&["cluster", "leave"]).await.ok();
    eventually(SOON, "the one that left is alone", async || {
        let seen = view(&second).await?;
        if seen.len() == 1 && seen["n2"] == "up" { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    eventually(SOON, "the others do not count it any more", async || {
        let seen = view(&first).await?;
        if seen.get("n2").is_some_and(|state| state == "up") { Err(format!("{seen:?}")) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_killed_node_is_declared_down_and_used_again_when_it_is_back() {
    let mut cluster = Cluster::start(3).await;
    cluster.nodes[2].kill9();
    for node in &cluster.nodes[..2] {
        wait_for_states(node, &[("n1", "up"), ("n2", "up"), ("n3", "down")]).await;
    }
    assert_delivers(&cluster.nodes[0], &cluster.nodes[1], "without").await;
    cluster.nodes[2].restart().await;
    cluster.wait_until_all_up().await;
    assert_delivers(&cluster.nodes[0], &cluster.nodes[2], "to-it").await;
    assert_delivers(&cluster.nodes[2], &cluster.nodes[1], "from-it").await;
}

/// What a node keeps of where its peers are has so many lines.
async fn knows(node: &Node, peers: usize) {
    eventually(SOON, "the node keeps where its peers are", async || {
        let kept = std::fs::read_to_string(node.data_dir().join("peers")).unwrap_or_default();
        if kept.lines().count() == peers { Ok(()) } else { Err(kept) }
    })
    .await;
}

#[tokio::test]
async fn the_first_node_which_knows_no_seed_serves_again_only_as_one_of_its_cluster() {
    let mut cluster = Cluster::start(3).await;
    let mut subscriber = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("subscriber")).await;
    subscriber.subscribe("again", 1).await;
    knows(&cluster.nodes[0], 2).await;
    cluster.nodes[0].restart().await;
    let mut publisher = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v311("publisher")).await;
    publisher.publish("again", b"first", 1).await;
    assert_eq!(subscriber.receive().await.text(), "first", "what it acknowledges first is delivered");
    cluster.wait_until_all_up().await;
    cluster.nodes[0].ctl().run(&["cluster", "leave"]).await.ok();
    knows(&cluster.nodes[0], 0).await;
}

#[tokio::test]
async fn a_client_id_that_connects_elsewhere_is_taken_over() {
    let cluster = Cluster::start(3).await;
    let mut before = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("mover")).await;
    for node in cluster.nodes.iter().cycle().skip(1).take(6) {
        let next = Raw::connect(node.mqtt(), &Connect::v5("mover")).await;
        assert_eq!(before.expect_close().await, Some(0x8e), "taken over by {}", node.name());
        before = next;
    }
    before.expect_silence().await;
    eventually(SOON, "one client is counted", async || {
        let count = cluster.nodes[1].ctl().run(&["clients", "count"]).await.ok();
        if count["connected"] == 1 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}
