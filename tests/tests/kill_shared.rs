//! Three nodes with one store, of which one at a time is killed with -9 under load: clients resume on another node, with
//! everything that was queued or published meanwhile, once at QoS 2 and in order, on every store that nodes can share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tests::cluster::{Cluster, metric};
use tests::history::Promises;
use tests::load::{Load, World, rounds};
use tests::node::NodeOptions;
use tests::seed::Seeded;
use tests::stores::{Backend, StoreServer};

/// Rounds that everybody waits for, a store.
const ROUNDS: usize = 4;
const NODES: usize = 3;

fn node(server: &StoreServer, node: NodeOptions) -> NodeOptions {
    let node = server.options(node).set("cluster.down_after", "1s");
    node.set("persistence.queue_depth", "1000000").set("persistence.queue_bytes", "1000000000")
}

async fn rounds_on(backend: Backend) {
    let mut chance = Seeded::announce(&format!("kill one of three nodes on {backend:?}"));
    let server = StoreServer::start(backend);
    let mut cluster = Cluster::start_with(NODES, |options| node(&server, options)).await;
    let places: Vec<_> = cluster.nodes.iter().map(tests::node::Node::mqtt).collect();
    let world = World::new(&places);
    let load = Load::start(&world, &mut chance).await;
    let (mut adopted, mut killed) = (0, vec![]);
    for _ in 0..rounds(ROUNDS) {
        world.acknowledgements(50 + chance.below(400) as u64).await;
        tokio::time::sleep(Duration::from_micros(chance.below(8000) as u64)).await;
        let victim = chance.below(NODES);
        killed.push(victim + 1);
        println!("{:?}: n{} is killed", world.moment(), victim + 1);
        world.kill(victim, &mut cluster.nodes[victim]);
        // It is back before anybody took its sessions, or long after.
        if chance.below(3) > 0 {
            world.acknowledgements(400).await;
            let survivors = (0..NODES).filter(|node| *node != victim);
            for survivor in survivors {
                adopted += metric(&cluster.nodes[survivor], "session.adopted").await;
            }
        }
        cluster.nodes[victim].restart().await;
        world.is_back(victim);
        println!("{:?}: n{} is back, {} acknowledged", world.moment(), victim + 1, world.count());
        cluster.wait_until_all_up().await;
        world.acknowledgements(400).await;
        world.mended();
    }
    println!("killed in turn: {killed:?}; {adopted} sessions adopted");
    // That QoS 2 comes once does not hold yet where an exchange is cut off between two nodes: see docs/delivery.md.
    load.finish(&world, Promises::of_many_nodes().counting_second_copies()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_node_find_everything_on_another_with_redis() {
    rounds_on(Backend::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_node_find_everything_on_another_with_postgres() {
    rounds_on(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_node_find_everything_on_another_with_mariadb() {
    rounds_on(Backend::Mariadb).await;
}
