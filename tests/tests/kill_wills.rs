//! Wills of clients whose node is killed with -9, or stopped: the nodes that live send each once, and none that was
//! deleted or whose client is back in time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use tests::cluster::{Cluster, metric, wait_for_states};
use tests::node::NodeOptions;
use tests::packet::{Connect, Will, property_four};
use tests::raw::Raw;

#[path = "../../brokerd/store/tests/redis/server.rs"]
#[allow(dead_code, reason = "the tests of the backend use the rest of it")]
mod server;

/// For a node to be held to be down, and the longest delay here.
const PATIENCE: Duration = Duration::from_secs(30);
const CLIENTS: usize = 9;

/// Three nodes, which share a store if there is one.
async fn cluster(server: Option<&server::Server>) -> Cluster {
    let options = |options: NodeOptions| {
        let options = options.set("cluster.down_after", "1s");
        match server {
            Some(server) => {
                let options = options.set("persistence.backend", "redis");
                options.set("persistence.redis.address", &server.address())
            }
            None => options,
        }
    };
    Cluster::start_with(3, options).await
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
    check_kill(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_where_the_nodes_share_a_store_and_adopt_the_sessions() {
    check_kill(Some(&server::Server::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_stopped_and_goes_on_does_not_send_a_will_a_second_time() {
    check_stop(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_does_one_whose_sessions_were_adopted_meanwhile() {
    check_stop(Some(&server::Server::start())).await;
}

async fn check_kill(server: Option<&server::Server>) {
    let mut cluster = cluster(server).await;
    let victim = cluster.nodes[2].mqtt();
    let mut watchers = [watcher(&cluster, 0).await, watcher(&cluster, 1).await];
    let mut clients = vec![];
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..CLIENTS {
        for (client, delay) in [(format!("now{number}"), 0), (format!("later{number}"), 4)] {
            clients.push(Raw::connect(victim, &mortal(&client, delay)).await);
            expected.insert(format!("will/{client}"), 1);
        }
        let old = format!("old{number}");
        let connect = Connect::v311(&old).will(Will::new(&format!("will/{old}"), "gone"));
        clients.push(Raw::connect(victim, &connect).await);
        expected.insert(format!("will/{old}"), 1);
        Raw::connect(victim, &mortal(&format!("left{number}"), 0)).await.disconnect().await;
        // Its will would come before those of `later`.
        clients.push(Raw::connect(victim, &mortal(&format!("back{number}"), 2)).await);
        Raw::connect(victim, &mortal(&format!("waits{number}"), 4)).await.abandon();
        expected.insert(format!("will/waits{number}"), 1);
    }
    // What was said before this is answered is known to the others.
    let mut last = Raw::connect(victim, &mortal("last", 0)).await;
    last.fence().await;
    expected.insert("will/last".into(), 1);
    cluster.nodes[2].kill9();
    let mut connecting = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let address = cluster.nodes[number % 2].mqtt();
        let connect = Connect::v5(&format!("back{number}")).persistent();
        connecting.spawn(async move { Raw::connect(address, &connect).await });
    }
    let _back = connecting.join_all().await;
    for watcher in &mut watchers {
        assert_eq!(next_wills(watcher, expected.len()).await, expected);
        watcher.expect_silence().await;
    }
    let mut sent = 0;
    for node in &cluster.nodes[..2] {
        sent += metric(node, "cluster.wills.sent").await;
    }
    let adopted = if server.is_some() { expected.len() - CLIENTS } else { 0 }; // only the old ones are not kept
    assert_eq!(sent, (expected.len() - adopted) as u64);
    cluster.nodes[2].restart().await;
    cluster.wait_until_all_up().await;
    let mut publisher = Raw::connect(cluster.nodes[2].mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("will/marker", b"", 1).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.receive().await.topic, "will/marker", "no will came again with the node");
    }
}

async fn check_stop(server: Option<&server::Server>) {
    let cluster = cluster(server).await;
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
    if server.is_none() {
        let wills = next_wills(&mut there, CLIENTS).await;
        assert_eq!(wills.len(), CLIENTS, "who had not got them gets them: {wills:?}");
    } // else the sessions are others' by now, and so are their wills
    there.publish("will/marker", b"", 1).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.receive().await.topic, "will/marker", "a second copy came");
    }
}
