//! A node whose store's server is stopped, continued, killed and started under load: publishers are refused or wait, memory
//! stays bounded, the state is said, and all goes on by itself with nothing missing that was acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::history::Promises;
use tests::load::{Load, PATIENCE, World};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version};
use tests::raw::Raw;
use tests::seed::Seeded;
use tests::stores::{Backend, StoreServer};
use tests::wait::eventually;

/// What a node may have taken more at the end of an outage than at its begin.
const MEMORY: usize = 64 << 20;

async fn store_state(node: &Node) -> Result<String, String> {
    let status = node.ctl().run(&["status"]).await;
    let status = if status.code == 0 { status.json } else { return Err(status.stderr) };
    let state = status.pointer("/store/state").or_else(|| status.pointer("/nodes/0/store/state"));
    state.and_then(|state| state.as_str()).map(str::to_owned).ok_or_else(|| status.to_string())
}

async fn wait_for_state(node: &Node, expected: &str) {
    eventually(PATIENCE, &format!("brokerctl status says that the store is {expected}"), async || {
        let state = store_state(node).await?;
        if state == expected { Ok(()) } else { Err(state) }
    })
    .await;
}

/// A session cannot be had, and one that needs no store can.
async fn connects_are_answered(node: &Node) {
    for (version, refusal) in [(Version::V5, 0x88), (Version::V311, 3)] {
        let mut client = Raw::open(node.mqtt(), version).await.patient(PATIENCE);
        client.send(&Connect::new(version, "late").persistent().encode()).await;
        let tests::read::Packet::Connack(connack) = client.expect().await else { panic!("not a CONNACK") };
        assert_eq!(connack.code, refusal, "{version:?}: a session while the store is down");
    }
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("transient")).await.patient(PATIENCE);
    client.subscribe("transient", 0).await;
    client.publish("transient", b"served", 0).await;
    assert_eq!(client.receive().await.text(), "served", "who needs no store is served");
}

/// How often publishers of 5.0 were told a reason, and connections ended.
fn told(world: &World) -> (u64, u64) {
    let refusals = world.refusals();
    let of = |by, code| refusals.get(&(by, code)).copied().unwrap_or_default();
    (of("PUBACK", 0x83) + of("PUBREC", 0x83) + of("DISCONNECT", 0x83), of("end of a connection", 0))
}

/// 5.0 with a reason, 3.1.1 by the end of the connection; before that nothing is acknowledged, and nothing is read.
async fn publishers_are_told(world: &World, before: (u64, u64)) {
    eventually(PATIENCE, "publishers are told", async || {
        let now = told(world);
        if now.0 > before.0 && now.1 > before.1 { Ok(()) } else { Err(format!("{:?}", world.refusals())) }
    })
    .await;
}

async fn outages_of(backend: Backend) {
    let mut chance = Seeded::announce(&format!("outages of {backend:?}"));
    let mut server = StoreServer::start(backend);
    let options = server.options(NodeOptions::alone("n1")).set("node.workers", "2");
    let options = options.set("persistence.queue_depth", "1000000").set("persistence.queue_bytes", "1000000000");
    let timeout = format!("persistence.{}.timeout", server.name());
    let node = Node::start(options.set(&timeout, "1s")).await;
    let world = World::new(&[node.mqtt()]);
    let load = Load::start(&world, &mut chance).await;
    world.acknowledgements(500).await;
    let resident = node.resident();
    for is_killed in [false, true] {
        let before = told(&world);
        if is_killed {
            server.kill()
        } else {
            server.stop()
        }
        wait_for_state(&node, "down").await;
        connects_are_answered(&node).await;
        publishers_are_told(&world, before).await;
        assert!(node.resident() < resident + MEMORY, "{} bytes, {resident} before", node.resident());
        if is_killed {
            server.start_again()
        } else {
            server.cont()
        }
        wait_for_state(&node, "ok").await;
        world.acknowledgements(500).await;
    }
    // What the server took and could not answer is sent again by publishers that were refused: twice at QoS 2.
    load.finish(&world, Promises::of_one_node().counting_second_copies()).await;
}

#[ignore = "not kept yet: see docs/testing.md"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_redis_is_said_and_survived() {
    outages_of(Backend::Redis).await;
}

#[ignore = "not kept yet: see docs/testing.md"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_postgres_is_said_and_survived() {
    outages_of(Backend::Postgres).await;
}

#[ignore = "not kept yet: see docs/testing.md"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_mariadb_is_said_and_survived() {
    outages_of(Backend::Mariadb).await;
}
