//! A node whose store's server is stopped, continued, killed and started under load: publishers are refused or wait, memory
//! stays bounded, the state is said, and all goes on by itself with nothing missing that was acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::history::Promises;
use tests::load::{Load, PATIENCE, World};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;
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
        let Packet::Connack(connack) = client.expect().await else { panic!("not a CONNACK") };
        assert_eq!(connack.code, refusal, "{version:?}: a session while the store is down");
    }
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("transient")).await.patient(PATIENCE);
    client.subscribe("transient", 0).await;
    client.publish("transient", b"served", 0).await;
    assert_eq!(client.receive().await.text(), "served", "who needs no store is served");
}

/// What a publication is answered that nobody is subscribed to; `None` is the end of the connection.
async fn answer(node: &Node, version: Version) -> Option<Packet> {
    let mut client = Raw::connect(node.mqtt(), &Connect::new(version, "told")).await.patient(PATIENCE);
    client.send(&PublishOut::new("told", b"x", 1, 1).encode(version)).await;
    client.next_or_end().await
}

/// 5.0 with a reason, 3.1.1 by the end of the connection. Asked of clients without a session: those of the load have one, and
/// are not let in again while the store is down.
async fn publishers_are_told(node: &Node) {
    eventually(PATIENCE, "publishers are told", async || {
        let (five, three) = (answer(node, Version::V5).await, answer(node, Version::V311).await);
        match (&five, &three) {
            (Some(Packet::Puback(_, 0x83)), None) => Ok(()),
            _ => Err(format!("5.0: {five:?}, 3.1.1: {three:?}")),
        }
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
        if is_killed {
            server.kill()
        } else {
            server.stop()
        }
        wait_for_state(&node, "down").await;
        connects_are_answered(&node).await;
        publishers_are_told(&node).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_redis_is_said_and_survived() {
    outages_of(Backend::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_postgres_is_said_and_survived() {
    outages_of(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_mariadb_is_said_and_survived() {
    outages_of(Backend::Mariadb).await;
}
