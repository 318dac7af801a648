//! Advisories of other brokers about what clients send, and when they go: each test is a row of `docs/bad-input.md`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use tests::cluster::Cluster;
use tests::malformed;
use tests::node::{Node, NodeOptions};
use tests::packet::{self, Connect, DISCONNECT, PINGREQ, PublishOut, Version, Will};
use tests::raw::Raw;
use tests::read::{self, Packet};
use tests::seed::Seeded;
use tests::wait::{SOON, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn open_files(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// Nothing tells a client when its broker has read that it broke off: the last ones may still be listed.
async fn nobody_is_left(node: &Node) {
    eventually(SOON, "no client and no topic is listed", async || {
        let clients = node.ctl().run(&["clients", "list"]).await.ok();
        let topics = node.ctl().run(&["topics", "list"]).await.ok();
        let none = serde_json::json!([]);
        if clients == none && topics == none { Ok(()) } else { Err(format!("{clients} {topics}")) }
    })
    .await;
}

/// Breaks off in the middle of everything that a client says first, and leaves by refusals.
async fn break_off(address: SocketAddr, rounds: usize) {
    let connect = Connect::v5("breaks").will(Will::new("w", &"x".repeat(3000))).login("name", "password").encode();
    let filters: Vec<_> = (0..50).map(|number| format!("{number}/+/x")).collect();
    let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
    let subscribe = packet::subscribe(Version::V5, 1, &filters);
    let mut bad_will = Will::new("w", &"x".repeat(3000));
    bad_will.properties = packet::property_four(0x18, 1).repeat(2);
    let refused = Connect::v5("refused").will(bad_will).encode();
    let publish = PublishOut::new("t", &[0; 2000], 2, 1).encode(Version::V5);
    let whole = [connect, subscribe, publish].concat();
    for round in 0..rounds {
        let mut client = Raw::open(address, Version::V5).await;
        client.send(&whole[..round * 37 % whole.len()]).await;
        client.abandon();
        let mut client = Raw::open(address, Version::V5).await;
        client.send(&refused).await;
        client.expect_close().await;
    }
}

#[tokio::test]
async fn connections_that_break_off_anywhere_leave_no_memory_and_no_socket_behind() {
    let node = Node::start(NodeOptions::alone("n1").set("node.workers", "2")).await;
    break_off(node.mqtt(), 500).await;
    let (files, memory) = (open_files(&node), node.resident());
    break_off(node.mqtt(), 1500).await;
    eventually(SOON, "all sockets are closed", async || {
        let open = open_files(&node);
        if open <= files + 2 { Ok(()) } else { Err(format!("{open} open files, {files} before")) }
    })
    .await;
    let grown = node.resident().saturating_sub(memory);
    // 1,500 wills of 3,000 bytes and as many subscriptions would be more.
    assert!(grown < 3 << 20, "{grown} bytes are left of 3,000 connections");
    nobody_is_left(&node).await;
}

/// Says CONNECT, then anything in any order, a life at a time.
async fn live(address: SocketAddr, name: String, mut chance: Seeded) {
    for life in 0..12 {
        let version = *chance.pick(&[Version::V31, Version::V311, Version::V5]);
        let mut connect = Connect::new(version, &name);
        if chance.below(2) == 0 {
            connect = connect.persistent();
        }
        let mut client = Raw::connect(address, &connect).await;
        for step in 0..40_u16 {
            let filter = *chance.pick(&["a", "a/#", "+/b", "a/b", "#", "$share/g/a", "/", "never"]);
            let qos = chance.below(3) as u8;
            let id = life * 100 + step + 1;
            let bytes = match chance.below(7) {
                0 | 1 => packet::subscribe(version, id, &[(filter, qos), (filter, qos), ("a", 0)]),
                2 => packet::unsubscribe(version, id, &[filter, filter, "never"]),
                3 => PublishOut::new(["a", "a/b", "/"][chance.below(3)], b"x", qos, id).encode(version),
                4 => packet::acknowledge(0x62, id),
                5 => packet::acknowledge(*chance.pick(&[0x40, 0x50, 0x70]), chance.below(20) as u16 + 1),
                _ => PINGREQ.to_vec(),
            };
            client.send(&bytes).await;
        }
        match chance.below(3) {
            0 => client.disconnect().await,
            1 => client.abandon(),
            _ => {
                client.send(&[DISCONNECT, &packet::subscribe(version, 9, &[("a", 0)])].concat()).await;
                client.expect_close().await;
            }
        }
    }
    Raw::connect(address, &Connect::v5(&name)).await.disconnect().await; // a clean start: nothing is left
}

#[tokio::test]
async fn any_sequence_of_subscribe_unsubscribe_and_disconnect_is_survived_and_forgotten() {
    let mut chance = Seeded::announce("sequences");
    let mut node = Node::start(NodeOptions::alone("n1")).await;
    let lives = (0..8).map(|number| tokio::spawn(live(node.mqtt(), format!("client{number}"), chance.child())));
    for life in lives.collect::<Vec<_>>() {
        life.await.expect("a client that is served");
    }
    assert_eq!(node.exit_status(), None);
    assert!(!node.log().contains("panicked"), "{}", node.log());
    nobody_is_left(&node).await;
}

/// One of many that want the same client id, on any node, with traffic.
async fn contend(addresses: Vec<SocketAddr>, mut chance: Seeded) {
    for round in 0..30 {
        let mut client = Raw::open(*chance.pick(&addresses), Version::V5).await;
        let mut connect = Connect::v5("wanted").will(Will::new("storm", "will"));
        if chance.below(3) > 0 {
            connect = connect.persistent();
        }
        let publish = PublishOut::new("storm", b"x", chance.below(3) as u8, round + 1).encode(Version::V5);
        let all = [connect.encode(), packet::subscribe(Version::V5, 99, &[("storm", 1)]), publish].concat();
        client.send(&all[..all.len() - chance.below(2) * chance.below(20)]).await;
        // A CONNACK or the end comes, whoever wins.
        if chance.below(2) == 0 {
            client.next_or_end().await;
        }
        client.abandon();
    }
}

#[tokio::test]
async fn a_storm_of_takeovers_with_traffic_ends_with_one_owner_that_is_served() {
    let mut chance = Seeded::announce("takeovers");
    let mut cluster = Cluster::start(2).await;
    let addresses: Vec<_> = cluster.nodes.iter().map(Node::mqtt).collect();
    let storm = (0..8).map(|_| tokio::spawn(contend(addresses.clone(), chance.child())));
    for one in storm.collect::<Vec<_>>() {
        one.await.expect("a contender that is answered");
    }
    // A CONNECT that its client did not wait for may come late, and take over whoever is there.
    eventually(SOON, "the nodes are done with all of them", async || {
        let rows = cluster.nodes[0].ctl().run(&["listeners"]).await.ok();
        let left: u64 = rows.as_array().unwrap().iter().filter_map(|row| row["current_conn"].as_u64()).sum();
        if left == 0 { Ok(()) } else { Err(rows.to_string()) }
    })
    .await;
    let mut last = Raw::connect(addresses[0], &Connect::v5("wanted")).await;
    last.subscribe("after", 1).await;
    let mut publisher = Raw::connect(addresses[1], &Connect::v5("publisher")).await;
    publisher.publish("after", b"served", 1).await;
    while last.receive().await.topic != "after" {}
    eventually(SOON, "one owner is left", async || {
        let rows = cluster.nodes[1].ctl().run(&["clients", "list"]).await.ok();
        let owners = rows.as_array().unwrap().iter().filter(|row| row["clientid"] == "wanted").count();
        if owners == 1 { Ok(()) } else { Err(rows.to_string()) }
    })
    .await;
    for node in &mut cluster.nodes {
        assert_eq!(node.exit_status(), None);
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

/// A masked frame; the mask is zero.
fn web_socket_frame(payload: &[u8]) -> Vec<u8> {
    let header = match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => vec![0x82, 0x80 | short],
        _ => [&[0x82, 0xfe][..], &u16::try_from(payload.len()).unwrap().to_be_bytes()].concat(),
    };
    [&header[..], &[0; 4], payload].concat()
}

async fn web_socket(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
        dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon("an upgrade", stream.read_u8()).await.unwrap());
    }
    stream
}

/// The payloads of all that comes until the end.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = soon("the end of the connection", stream.read_to_end(&mut all)).await; // a reset is an end
    let (mut rest, mut payload) = (&all[..], vec![]);
    while let [first, length, after @ ..] = rest {
        let length = usize::from(*length);
        assert!(length < 126 && after.len() >= length, "a frame that is none: {rest:02x?}");
        if *first == 0x82 {
            payload.extend_from_slice(&after[..length]);
        }
        rest = &after[length..];
    }
    payload
}

#[tokio::test]
async fn a_wrong_packet_closes_a_websocket_as_it_does_a_socket_however_frames_cut_it() {
    let node = Node::start(NodeOptions::alone("n1").set("listeners.ws.default.bind", "127.0.0.1:0")).await;
    let mut wrong = vec![];
    for case in malformed::after_connect() {
        let mut stream = web_socket(node.listener("ws:default")).await;
        let connect = Connect::new(case.version, "rude").encode();
        let (head, tail) = case.bytes.split_at(case.bytes.len() / 2);
        let frames = [&connect, head, tail, PINGREQ].map(web_socket_frame).concat();
        let _ = stream.write_all(&frames).await;
        let came = until_closed(&mut stream).await;
        let (mut at, mut reason) = (0, None);
        while let Some((packet, length)) = read::packet(&came[at..], case.version).expect("packets") {
            match packet {
                Packet::Connack(_) => {}
                Packet::Disconnect(code) => reason = Some(code),
                other => wrong.push(format!("{}: answered with {other:?}", case.what)),
            }
            at += length;
        }
        let is_right = reason.map_or(case.reasons.is_empty(), |code| case.reasons.contains(&code));
        if !is_right {
            wrong.push(format!("{}: closed with {reason:02x?}, expected {:02x?}", case.what, case.reasons));
        }
    }
    assert!(wrong.is_empty(), "{} reactions are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_packet_longer_than_its_websocket_frame_is_waited_for_and_never_read_beyond() {
    let node = Node::start(NodeOptions::alone("n1").set("listeners.ws.default.bind", "127.0.0.1:0")).await;
    let mut watcher = Raw::connect(node.mqtt(), &Connect::v5("watcher")).await;
    watcher.subscribe("#", 0).await;
    let mut stream = web_socket(node.listener("ws:default")).await;
    let long = PublishOut::new("t", &[7; 100], 0, 0).encode(Version::V311);
    let connect = Connect::v311("short").encode();
    stream.write_all(&[&connect[..], &long[..20]].map(web_socket_frame).concat()).await.unwrap();
    let mut connack = [0; 6];
    soon("a CONNACK", stream.read_exact(&mut connack)).await.unwrap();
    drop(stream);
    watcher.expect_silence().await;
}
