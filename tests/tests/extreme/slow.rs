//! One byte at a time, for ever: every phase of a connection has an end. The bytes come at a pace of their own; nothing
//! else waits for time to pass.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::cluster::metric;
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::wait::{SOON, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// In place of the second of a real one, as the timeout is in place of its ten.
const PACE: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_millis(400);

/// Sends one byte after the other until the connection ends. Answers how many went, and how long it took.
async fn drip(address: SocketAddr, bytes: &[u8]) -> (usize, Duration) {
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    let started = Instant::now();
    let mut sent = 0;
    let dripping = async {
        let mut pace = tokio::time::interval(PACE);
        for byte in bytes {
            pace.tick().await;
            sent += usize::from(writing.write_all(&[*byte]).await.is_ok());
        }
        std::future::pending::<()>().await;
    };
    let ending = async { while reading.read(&mut [0; 256]).await.is_ok_and(|read| read > 0) {} };
    within(SOON, "the end of a connection that drips", async {
        tokio::select! {
            () = dripping => {}
            () = ending => {}
        }
    })
    .await;
    (sent, started.elapsed())
}

/// The node ends it at its timeout: not before, which would be a refusal of its bytes, and with bytes still to come.
async fn assert_timed_out(node: &Node, id: &str, bytes: &[u8], what: &str) {
    let (sent, took) = drip(node.listener(id), bytes).await;
    assert!(sent < bytes.len(), "{what}: all {sent} bytes were waited for");
    assert!(took >= TIMEOUT * 9 / 10, "{what}: ended after {took:?}, that is no timeout");
    assert!(took < TIMEOUT * 8, "{what}: ended after {took:?} only");
}

/// Nobody is left behind, and clients are served.
async fn assert_forgotten(node: &Node) {
    eventually(SOON, "no connection is left", async || {
        let rows = node.ctl().run(&["listeners"]).await.ok();
        let left: u64 = rows.as_array().unwrap().iter().filter_map(|row| row["current_conn"].as_u64()).sum();
        if left == 0 { Ok(()) } else { Err(rows.to_string()) }
    })
    .await;
    Raw::connect(node.mqtt(), &Connect::v5("witness")).await.fence().await;
}

fn options() -> NodeOptions {
    NodeOptions::alone("n1").set("mqtt.connect_timeout", "400ms")
}

fn long_connect() -> Vec<u8> {
    Connect::v311(&"x".repeat(5000)).encode()
}

#[tokio::test]
async fn a_connect_that_drips_is_ended_by_the_timeout() {
    let node = Node::start(options()).await;
    assert_timed_out(&node, "tcp:default", &long_connect(), "CONNECT").await;
    assert_forgotten(&node).await;
}

#[tokio::test]
async fn a_proxy_header_that_drips_is_ended_by_the_timeout_and_so_is_the_connect_behind_it() {
    let options = options()
        .set("listeners.tcp.balanced.bind", "127.0.0.1:0")
        .set("listeners.tcp.balanced.proxy_protocol", "true")
        .set("listeners.tcp.balanced.allow_anonymous", "true");
    let node = Node::start(options).await;
    let v1 = b"PROXY TCP6 2001:db8:1111:2222:3333:4444:5555:6666 2001:db8::1 49153 1883\r\n";
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x04\0"[..], &[0; 1024]].concat();
    assert_timed_out(&node, "tcp:balanced", v1, "version 1").await;
    assert_timed_out(&node, "tcp:balanced", &v2, "version 2").await;
    let short = [&b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"[..], &long_connect()].concat();
    assert_timed_out(&node, "tcp:balanced", &short, "CONNECT behind version 1").await;
    assert_forgotten(&node).await;
}

#[tokio::test]
async fn a_websocket_upgrade_that_drips_is_ended_by_the_timeout() {
    let node = Node::start(options().set("listeners.ws.default.bind", "127.0.0.1:0")).await;
    let request = format!("GET /mqtt HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n", "x".repeat(2000));
    assert_timed_out(&node, "ws:default", request.as_bytes(), "the upgrade").await;
    assert_forgotten(&node).await;
    assert_eq!(metric(&node, "packets.connect.received").await, 1, "the witness alone");
}

fn issue(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("server.key"), made.signing_key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn a_tls_handshake_that_drips_is_ended_by_the_timeout_and_gives_its_place_back() {
    let directory = tempfile::tempdir().unwrap();
    issue(directory.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let options = options()
        .set("listeners.tls.default.bind", "127.0.0.1:0")
        .set("listeners.tls.default.certificate", &file("server.pem"))
        .set("listeners.tls.default.key", &file("server.key"))
        .set("listeners.tls.default.max_handshakes", "1");
    let node = Node::start(options).await;
    // A record of 512 bytes with the begin of a ClientHello in it.
    let hello = [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03][..], &[0x5a; 501]].concat();
    for attempt in ["first", "second, in its place"] {
        assert_timed_out(&node, "tls:default", &hello, attempt).await;
    }
    assert_forgotten(&node).await;
}

#[tokio::test]
async fn a_packet_that_drips_does_not_keep_its_client_alive() {
    let node = Node::start(options()).await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("drips").keep_alive(1)).await;
    let packet = PublishOut::new("t", &[0; 1000], 0, 0).encode(Version::V5);
    let started = Instant::now();
    let mut pace = tokio::time::interval(PACE);
    // Half of the packet in ten seconds: the keep alive is over long before.
    let closed = async {
        for byte in &packet[..500] {
            pace.tick().await;
            if client.send_until_answered(&[*byte]).await {
                break;
            }
        }
        client.expect_close().await
    };
    assert_eq!(within(SOON, "an end by the keep alive", closed).await, Some(0x8d));
    assert!(started.elapsed() >= Duration::from_millis(1400), "after {:?}", started.elapsed());
    assert_forgotten(&node).await;
}
