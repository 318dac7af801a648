//! Three nodes restarted one after the other under load at QoS 1: each is drained, ended, started and waited for. The
//! sessions of two subscribers follow them, and that of a client which is away goes along: what was acknowledged to the
//! publisher, each of the three has.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::cluster::Cluster;
use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::{Connack, Packet};
use tests::wait::{SOON, eventually};

#[derive(Default)]
struct Seen {
    acked: Mutex<BTreeSet<u32>>,
    /// Of the subscribers, in their order.
    received: [Mutex<BTreeSet<u32>>; 3],
    /// CONNECTs of subscribers that were answered with Session Present 1.
    resumed: AtomicU32,
    /// The same with 0, beyond the first of each.
    begun_anew: AtomicU32,
    /// Attempts at which no node took a client.
    homeless: AtomicU32,
    is_over: AtomicBool,
}

/// A connection to the first of these that takes one, beginning with the `from`th.
async fn connect(nodes: &[SocketAddr], from: usize, connect: &Connect, seen: &Seen) -> (Raw, Connack) {
    loop {
        for at in 0..nodes.len() {
            let address = nodes[(from + at) % nodes.len()];
            let Some(mut client) = Raw::open_if_there(address, Version::V5).await else { continue };
            client.send(&connect.encode()).await;
            if let Some(Packet::Connack(connack)) = client.next_or_end().await
                && connack.code == 0
            {
                return (client.patient(Duration::from_secs(30)), connack);
            }
        }
        seen.homeless.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

const NAMES: [&str; 3] = ["one", "other", "away"];

/// Begins the session of a subscriber and leaves it.
async fn subscribe(node: SocketAddr, who: usize) {
    let mut client = Raw::connect(node, &Connect::v5(NAMES[who]).persistent()).await;
    client.subscribe("load", 1).await;
    client.disconnect().await;
}

/// Takes what comes to its session, wherever it is sent, and never subscribes again.
async fn receive(nodes: Vec<SocketAddr>, who: usize, seen: Arc<Seen>) {
    loop {
        let (mut client, connack) = connect(&nodes, 0, &Connect::v5(NAMES[who]).persistent(), &seen).await;
        let count = if connack.session_present { &seen.resumed } else { &seen.begun_anew };
        count.fetch_add(1, Ordering::SeqCst);
        while let Some(packet) = client.next_or_end().await {
            if let Packet::Publish(publish) = packet {
                let number = u32::from_be_bytes(publish.payload.clone().try_into().unwrap());
                seen.received[who].lock().unwrap().insert(number);
                client.complete(&publish).await;
            }
        }
    }
}

async fn publish(nodes: Vec<SocketAddr>, seen: Arc<Seen>) {
    let publisher = Connect::v5("publisher");
    let mut client = connect(&nodes, 0, &publisher, &seen).await.0;
    let mut number = 0_u32;
    while !seen.is_over.load(Ordering::SeqCst) {
        let payload = number.to_be_bytes();
        client.send(&PublishOut::new("load", &payload, 1, 1).encode(Version::V5)).await;
        match client.next_or_end().await {
            Some(Packet::Puback(_, code)) if code < 0x80 => {
                seen.acked.lock().unwrap().insert(number);
                number += 1;
            }
            Some(_) => {}
            None => client = connect(&nodes, number as usize % 3, &publisher, &seen).await.0,
        }
    }
}

/// Waits until so many CONNECTs of subscribers found their session, or more: one that is sent away twice comes twice.
async fn resumed(seen: &Seen, count: u32) {
    eventually(SOON, "the subscribers are where they belong", async || {
        let (now, anew) = (seen.resumed.load(Ordering::SeqCst), seen.begun_anew.load(Ordering::SeqCst));
        assert_eq!(anew, 0, "a session was lost");
        if now >= count { Ok(()) } else { Err(format!("{now} of {count}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_nodes_in_memory_loses_nothing_that_was_acknowledged_for_any_session() {
    restart_one_after_the_other("memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_nodes_on_disk_loses_nothing_that_was_acknowledged_for_any_session() {
    restart_one_after_the_other("disk").await;
}

async fn restart_one_after_the_other(backend: &str) {
    let roomy = |options: tests::node::NodeOptions| {
        options.set("persistence.backend", backend).set("persistence.queue_depth", "1000000")
    };
    let mut cluster = Cluster::start_with(3, roomy).await;
    let nodes: Vec<SocketAddr> = cluster.nodes.iter().map(tests::node::Node::mqtt).collect();
    let seen = Arc::new(Seen::default());
    // One is on n1 and goes to n3, the other one on n2 and goes to n1, the third is away.
    for who in 0..3 {
        subscribe(nodes[who % 2], who).await;
    }
    let one = receive(vec![nodes[0], nodes[2], nodes[1]], 0, seen.clone());
    let other = receive(vec![nodes[1], nodes[0], nodes[2]], 1, seen.clone());
    let mut tasks = vec![tokio::spawn(one), tokio::spawn(other)];
    resumed(&seen, 2).await;
    tasks.push(tokio::spawn(publish(nodes.clone(), seen.clone())));
    for number in 0..3 {
        let before = seen.acked.lock().unwrap().len();
        eventually(SOON, "messages go through", async || match seen.acked.lock().unwrap().len() {
            now if now > before + 50 => Ok(()),
            now => Err(format!("{now} after {before}")),
        })
        .await;
        let node = &mut cluster.nodes[number];
        let drained = node.ctl().run(&["node", "drain"]).await.ok();
        assert_eq!(drained["state"], "drained");
        // The subscriber that was sent away is elsewhere before the node goes.
        resumed(&seen, 3 + number as u32).await;
        assert!(node.terminate().await.success());
        node.restart().await;
        cluster.wait_until_all_up().await;
    }
    seen.is_over.store(true, Ordering::SeqCst);
    tasks.push(tokio::spawn(receive(nodes, 2, seen.clone())));
    for (who, received) in seen.received.iter().enumerate() {
        eventually(SOON, &format!("`{}` has all that was acknowledged", NAMES[who]), async || {
            let (acked, received) = (seen.acked.lock().unwrap(), received.lock().unwrap());
            let lost: Vec<_> = acked.difference(&received).collect();
            if lost.is_empty() { Ok(()) } else { Err(format!("{} of {} lost: {lost:?}", lost.len(), acked.len())) }
        })
        .await;
    }
    assert_eq!(seen.begun_anew.load(Ordering::SeqCst), 0, "a session was lost");
    assert_eq!(seen.homeless.load(Ordering::SeqCst), 0, "a client found no node that took it");
    for task in tasks {
        task.abort();
    }
}
