//! Three nodes restarted one after the other under load at QoS 1: each is drained, ended, started and waited for. Sessions
//! in memory begin anew on the node that a client moves to, so there are two subscribers, on different nodes: what was
//! acknowledged to the publisher, one of them has.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::cluster::Cluster;
use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;
use tests::wait::{SOON, eventually};

#[derive(Default)]
struct Seen {
    acked: Mutex<BTreeSet<u32>>,
    received: Mutex<BTreeSet<u32>>,
    subscribed: AtomicU32,
    /// Attempts at which no node took a client.
    homeless: AtomicU32,
    is_over: AtomicBool,
}

/// A connection to the first of these that takes one, beginning with the `from`th.
async fn connect(nodes: &[SocketAddr], from: usize, client_id: &str, seen: &Seen) -> Raw {
    loop {
        for at in 0..nodes.len() {
            let address = nodes[(from + at) % nodes.len()];
            let Some(mut client) = Raw::open_if_there(address, Version::V5).await else { continue };
            client.send(&Connect::v5(client_id).encode()).await;
            if let Some(Packet::Connack(connack)) = client.next_or_end().await
                && connack.code == 0
            {
                return client.patient(Duration::from_secs(30));
            }
        }
        seen.homeless.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

async fn subscribe(nodes: Vec<SocketAddr>, client_id: &'static str, seen: Arc<Seen>) {
    loop {
        let mut client = connect(&nodes, 0, client_id, &seen).await;
        client.send(&tests::packet::subscribe(Version::V5, 1, &[("load", 1)])).await;
        while let Some(packet) = client.next_or_end().await {
            match packet {
                Packet::Suback(..) => drop(seen.subscribed.fetch_add(1, Ordering::SeqCst)),
                Packet::Publish(publish) => {
                    let number = u32::from_be_bytes(publish.payload.clone().try_into().unwrap());
                    seen.received.lock().unwrap().insert(number);
                    client.complete(&publish).await;
                }
                _ => {}
            }
        }
    }
}

async fn publish(nodes: Vec<SocketAddr>, seen: Arc<Seen>) {
    let mut client = connect(&nodes, 0, "publisher", &seen).await;
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
            None => client = connect(&nodes, number as usize % 3, "publisher", &seen).await,
        }
    }
}

/// Waits until so many SUBSCRIBEs were answered in all.
async fn subscribed(seen: &Seen, count: u32) {
    eventually(SOON, "the subscribers are where they belong", async || match seen.subscribed.load(Ordering::SeqCst) {
        now if now == count => Ok(()),
        now => Err(format!("{now} of {count}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing_that_was_acknowledged_and_leaves_no_client_without_a_node() {
    let mut cluster = Cluster::start(3).await;
    let nodes: Vec<SocketAddr> = cluster.nodes.iter().map(tests::node::Node::mqtt).collect();
    let seen = Arc::new(Seen::default());
    // One is on n1 and goes to n3, the other one on n2 and goes to n1: never both on the node that is drained.
    let one = subscribe(vec![nodes[0], nodes[2], nodes[1]], "one", seen.clone());
    let other = subscribe(vec![nodes[1], nodes[0], nodes[2]], "other", seen.clone());
    let mut tasks = vec![tokio::spawn(one), tokio::spawn(other)];
    subscribed(&seen, 2).await;
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
        subscribed(&seen, 3 + number as u32).await;
        assert!(node.terminate().await.success());
        node.restart().await;
        cluster.wait_until_all_up().await;
    }
    seen.is_over.store(true, Ordering::SeqCst);
    eventually(SOON, "all that was acknowledged has come", async || {
        let (acked, received) = (seen.acked.lock().unwrap(), seen.received.lock().unwrap());
        let lost: Vec<_> = acked.difference(&received).collect();
        if lost.is_empty() { Ok(()) } else { Err(format!("{} of {} lost: {lost:?}", lost.len(), acked.len())) }
    })
    .await;
    assert_eq!(seen.homeless.load(Ordering::SeqCst), 0, "a client found no node that took it");
    for task in tasks {
        task.abort();
    }
}
