//! What a store that outlives the process promises when the node is killed with -9 under load, again and again: what was
//! acknowledged is at every subscriber, QoS 2 comes once, order holds, sessions and their subscriptions are there. On every
//! backend; where it is a server, with nothing left of the node's own directory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tests::history::{Message, Promises};
use tests::load::{Load, PATIENCE, World, rounds};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version};
use tests::raw::Raw;
use tests::seed::Seeded;
use tests::stores::{Backend, StoreServer};

/// Rounds that everybody waits for.
const ROUNDS: usize = 10;

fn node(server: &StoreServer) -> NodeOptions {
    let node = server.options(NodeOptions::alone("n1")).set("node.workers", "3");
    node.set("persistence.queue_depth", "1000000").set("persistence.queue_bytes", "1000000000")
}

async fn rounds_on(backend: Backend) {
    let mut chance = Seeded::announce(&format!("kill a node on {backend:?}"));
    let server = StoreServer::start(backend);
    let mut node = Node::start(node(&server)).await;
    let world = World::new(&[node.mqtt()]);
    let load = Load::start(&world, &mut chance).await;
    for round in 0..rounds(ROUNDS) {
        world.acknowledgements(50 + chance.below(800) as u64).await;
        // The moment is chance too: right after an acknowledgement is not when most is under way.
        tokio::time::sleep(Duration::from_micros(chance.below(8000) as u64)).await;
        world.kill(0, &mut node);
        if server.is_shared() && round % 2 == 0 {
            std::fs::remove_dir_all(node.data_dir()).expect("a directory to remove");
        }
        node.restart().await;
        world.is_back(0);
        world.mended();
    }
    load.finish(&world, Promises::of_one_node()).await;
    assert_eq!(world.refusals().keys().find(|(by, _)| *by != "end of a connection"), None, "nothing was refused");
    retained(&world, &node).await;
}

/// Of what was published with RETAIN, the last of each topic.
async fn retained(world: &World, node: &Node) {
    let mut client = Raw::connect(node.mqtt(), &Connect::new(Version::V5, "late")).await.patient(PATIENCE);
    let mut last = std::collections::BTreeMap::new();
    world.with_history(|history| {
        let retained = history.publications.iter().filter(|(message, _)| message.publisher == 0);
        last.extend(retained.map(|(message, published)| (published.topic.clone(), *message)));
    });
    for (topic, message) in last {
        client.subscribe(&topic, 1).await;
        let came = client.receive().await;
        let found = Message::decode(&came.payload).expect("a message of ours");
        assert!(came.retain, "retained of {topic}");
        assert_eq!(found, message, "retained of {topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kill_9_on_disk() {
    rounds_on(Backend::Disk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kill_9_in_redis() {
    rounds_on(Backend::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kill_9_in_postgres() {
    rounds_on(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kill_9_in_mariadb() {
    rounds_on(Backend::Mariadb).await;
}
