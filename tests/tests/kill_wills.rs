//! Wills of clients whose node is killed with -9, or stopped: the nodes that live send each once, and none that was
//! deleted or whose client is back in time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use tests::cluster::{Cluster, metric, wait_for_states};
use tests::packet::{Connect, Will, property_four};
use tests::raw::Raw;

/// For a node to be held to be down, and the longest delay here.
const PATIENCE: Duration = Duration::from_secs(30);
const CLIENTS: usize = 9;

async fn cluster() -> Cluster {
    Cluster::start_with(3, |options| options.set("cluster.down_after", "1s")).await
}

async fn watcher(cluster: &Cluster, node: usize) -> Raw {
    let connect = Connect::v5(&format!("watcher{node}"));
    let mut watcher = Raw::connect(cluster.nodes[node].mqtt(), &connect).await.patient(PATIENCE);
    assert_eq!(watcher.subscribe("will/#", 1).await, 1);
    watcher
}

/// A client that is kept for a while, with a will that waits for so many seconds.
fn mortal(client: &str, delay: u32) -> Connect {
    let mut will = Will::new(&format!("will/{client}"), client);
    will.properties = property_four(0x18, delay);
    Connect::v5(client).persistent().will(will)
}

async fn next_wills(watcher: &mut Raw, count: usize) -> BTreeMap<String, usize> {
    let mut wills = BTreeMap::new();
    for _ in 0..count {
        *wills.entry(watcher.receive().await.topic).or_default() += 1;
    }
    wills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wills_of_a_killed_nodes_clients_are_sent_once_after_their_delay_and_not_where_the_client_is_back() {
    let mut cluster = cluster().await;
    let victim = cluster.nodes[2].mqtt();
    let mut watchers = [watcher(&cluster, 0).await, watcher(&cluster, 1).await];
    let mut clients = vec![];
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..CLIENTS {
        for (client, delay) in [(format!("now{number}"), 0), (format!("later{number}"), 3)] {
            clients.push(Raw::connect(victim, &mortal(&client, delay)).await);
            expected.insert(format!("will/{client}"), 1);
        }
        let old = format!("old{number}");
        let connect = Connect::v311(&old).will(Will::new(&format!("will/{old}"), "gone"));
        clients.push(Raw::connect(victim, &connect).await);
        expected.insert(format!("will/{old}"), 1);
        Raw::connect(victim, &mortal(&format!("left{number}"), 0)).await.disconnect().await;
        // Its will would come before those of `later`.
        clients.push(Raw::connect(victim, &mortal(&format!("back{number}"), 1)).await);
        Raw::connect(victim, &mortal(&format!("waits{number}"), 3)).await.abandon();
        expected.insert(format!("will/waits{number}"), 1);
    }
    // What was said before this is answered is known to the others.
    let mut last = Raw::connect(victim, &mortal("last", 0)).await;
    last.fence().await;
    expected.insert("will/last".into(), 1);
    cluster.nodes[2].kill9();
    let mut back = vec![];
    for number in 0..CLIENTS {
        let node = &cluster.nodes[number % 2];
        let connect = Connect::v5(&format!("back{number}")).persistent();
        back.push(Raw::connect(node.mqtt(), &connect).await);
    }
    for watcher in &mut watchers {
        assert_eq!(next_wills(watcher, expected.len()).await, expected);
        watcher.expect_silence().await;
    }
    let mut sent = 0;
    for node in &cluster.nodes[..2] {
        sent += metric(node, "cluster.wills.sent").await;
    }
    assert_eq!(sent, expected.len() as u64);
    cluster.nodes[2].restart().await;
    cluster.wait_until_all_up().await;
    let mut publisher = Raw::connect(cluster.nodes[2].mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("will/marker", b"", 1).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.receive().await.topic, "will/marker", "no will came again with the node");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_stopped_and_goes_on_does_not_send_a_will_a_second_time() {
    let cluster = cluster().await;
    let stopped = &cluster.nodes[2];
    let mut watchers = [watcher(&cluster, 0).await, watcher(&cluster, 1).await];
    let mut clients = vec![];
    for number in 0..CLIENTS {
        clients.push(Raw::connect(stopped.mqtt(), &mortal(&format!("pump{number}"), 0)).await);
    }
    stopped.stop();
    for watcher in &mut watchers {
        let wills = next_wills(watcher, CLIENTS).await;
        assert_eq!(wills.len(), CLIENTS, "each once: {wills:?}");
    }
    stopped.cont();
    for node in &cluster.nodes {
        wait_for_states(node, &[("n1", "up"), ("n2", "up"), ("n3", "up")]).await;
    }
    let mut there = watcher(&cluster, 2).await;
    clients.into_iter().for_each(Raw::abandon);
    let wills = next_wills(&mut there, CLIENTS).await;
    assert_eq!(wills.len(), CLIENTS, "who had not got them gets them: {wills:?}");
    there.publish("will/marker", b"", 1).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.receive().await.topic, "will/marker", "a second copy came");
    }
}
