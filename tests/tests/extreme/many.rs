//! Many connections that each hold the half of a packet: their sum is bounded, over the node, and who began first goes.

use std::net::SocketAddr;

use tests::cluster::metric;
use tests::node::NodeOptions;
use tests::packet::{Connect, PublishOut, Version, Will};
use tests::raw::Raw;
use tests::read::Packet;
use tests::wait::{SOON, eventually};

use crate::{MIB, Measured};

const CLIENTS: usize = 100;

/// With eight MiB for all packets that are not whole.
async fn measured() -> Measured {
    // Nobody goes for another reason while memory is waited for.
    let options = NodeOptions::alone("n1").set("mqtt.max_partial_bytes", "8MiB").set("mqtt.connect_timeout", "5m");
    Measured::start(options).await
}

async fn until_sent_away(measured: &Measured, least: u64) {
    eventually(SOON, "most are sent away", async || {
        let dropped = metric(&measured.node, "client.partial_packets.dropped").await;
        if dropped >= least { Ok(()) } else { Err(format!("{dropped} of {least}")) }
    })
    .await;
}

#[tokio::test]
async fn half_packets_of_many_clients_are_bounded_together_and_a_later_one_comes_whole() {
    let measured = measured().await;
    let packet = PublishOut::new("t", &vec![7; MIB - 100], 1, 1).encode(Version::V5);
    let (half, rest) = packet.split_at(packet.len() / 2);
    let mut clients = vec![];
    for number in 0..CLIENTS {
        let mut client = Raw::connect(measured.node.mqtt(), &Connect::v5(&format!("half{number}"))).await;
        client.send(half).await;
        clients.push(client);
    }
    // A half is 512 KiB: no more than sixteen fit.
    until_sent_away(&measured, CLIENTS as u64 - 16).await;
    measured.assert_bounded(32 * MIB, "50 MB of half packets").await;
    let (mut whole, mut sent_away) = (0, 0);
    for client in &mut clients {
        client.send(rest).await;
        match client.next_or_end().await {
            Some(Packet::Puback(1, _)) => whole += 1,
            Some(Packet::Disconnect(0x97)) | None => sent_away += 1, // a reset may overtake the reason
            other => panic!("{other:?}"),
        }
    }
    assert!(whole > 0, "of {CLIENTS} clients nobody could publish");
    assert_eq!(metric(&measured.node, "client.partial_packets.dropped").await, sent_away);
    Raw::connect(measured.node.mqtt(), &Connect::v5("after")).await.publish("t", &vec![7; MIB - 100], 1).await;
}

#[tokio::test]
async fn who_is_sent_away_is_told_that_it_is_over_a_quota() {
    let measured = measured().await;
    let packet = PublishOut::new("t", &vec![7; MIB - 100], 1, 1).encode(Version::V5);
    let mut first = Raw::connect(measured.node.mqtt(), &Connect::v5("first")).await;
    first.send(&packet[..packet.len() / 2]).await;
    let mut others = vec![];
    for number in 0..CLIENTS {
        let mut client = Raw::connect(measured.node.mqtt(), &Connect::v5(&format!("other{number}"))).await;
        client.send(&packet[..packet.len() / 2]).await;
        others.push(client);
    }
    assert_eq!(first.expect_close().await, Some(0x97));
}

/// The half of a CONNECT that is within its own limit.
async fn half_a_connect(address: SocketAddr) -> Raw {
    let will = Will::new("w", &"x".repeat(65_000));
    let mut connect = Connect::v5("half").will(will);
    connect = connect.property(tests::packet::user_property("k", &"v".repeat(60_000)));
    connect = connect.property(tests::packet::user_property("k", &"v".repeat(60_000)));
    let packet = connect.encode();
    let mut stranger = Raw::open(address, Version::V5).await;
    stranger.send(&packet[..packet.len() - 1]).await;
    stranger
}

#[tokio::test]
async fn half_connects_of_many_strangers_are_bounded_together_and_a_client_is_served_beside_them() {
    let measured = measured().await;
    let mut strangers = vec![];
    for _ in 0..4 * CLIENTS {
        strangers.push(half_a_connect(measured.node.mqtt()).await);
    }
    // 185 KB each, in buffers of 256 KiB or so: no more than 45 fit.
    until_sent_away(&measured, 4 * CLIENTS as u64 - 45).await;
    measured.wait_until_bounded(48 * MIB, "74 MB of half CONNECTs").await;
    assert_eq!(strangers[0].expect_close().await, None, "nothing is said to one who is no client");
    let large = Connect::v5("large").will(Will::new("w", &"x".repeat(65_000)));
    Raw::connect(measured.node.mqtt(), &large).await.disconnect().await;
}
