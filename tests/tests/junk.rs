//! Strangers' bytes on every socket of a node: seeded noise, half a TLS handshake, HTTP. The node goes on serving and
//! the view of the cluster does not change.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tests::cluster::{Cluster, view};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::seed::Seeded;

const ROUNDS: usize = 60;

/// What a stranger may say.
fn junk(chance: &mut Seeded) -> Vec<u8> {
    let len = 1 + chance.below(1400);
    match chance.below(6) {
        0 => b"GET /metrics HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec(),
        1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\xff\xff\xff".to_vec(),
        2 => tls_client_hello()[..1 + chance.below(80)].to_vec(),
        3 => vec![0; len],
        4 => vec![0xff; len],
        _ => chance.bytes(len),
    }
}

/// The start of a TLS handshake: a record that announces more than will come.
fn tls_client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.extend([0x5a; 80]);
    hello
}

/// Writes, half of the time reads what comes back, and leaves without a word.
fn say(mut stream: impl Read + Write, chance: &mut Seeded) {
    let _ = stream.write_all(&junk(chance));
    if chance.below(2) == 0 {
        let _ = stream.read(&mut [0; 512]);
    }
}

fn tcp(address: SocketAddr, chance: &mut Seeded) {
    let stream = TcpStream::connect(address).expect("the socket is still open");
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    say(stream, chance);
}

/// Runs noise against one socket, then shows that nothing has changed.
async fn assert_unmoved(subject: &str, noise: impl Fn(&Cluster, &mut Seeded) + Send + 'static) {
    let mut chance = Seeded::announce(subject);
    let cluster = Cluster::start(2).await;
    let before = view(&cluster.nodes[0]).await.unwrap();
    let mut witness = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5("witness")).await;
    witness.subscribe("witness", 1).await;
    let mut publisher = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("publisher")).await;
    let cluster = tokio::task::spawn_blocking(move || {
        for _ in 0..ROUNDS {
            noise(&cluster, &mut chance);
        }
        cluster
    });
    let mut cluster = cluster.await.expect("the noise is made");
    publisher.publish("witness", b"served", 1).await;
    assert_eq!(witness.receive().await.text(), "served");
    for node in &mut cluster.nodes {
        assert_eq!(node.exit_status(), None, "{} has ended", node.name());
        assert_eq!(view(node).await.unwrap(), before, "as {} sees it", node.name());
        let log = node.log();
        assert!(!log.contains("panicked"), "{} panicked", node.name());
    }
}

#[tokio::test]
async fn junk_on_the_mqtt_listener_changes_nothing() {
    assert_unmoved("junk on MQTT", |cluster, chance| tcp(cluster.nodes[0].mqtt(), chance)).await;
}

#[tokio::test]
async fn junk_on_the_peer_listener_changes_nothing() {
    assert_unmoved("junk on peers", |cluster, chance| tcp(cluster.nodes[0].cluster(), chance)).await;
}

#[tokio::test]
async fn junk_on_the_gossip_socket_changes_nothing() {
    assert_unmoved("junk on gossip", |cluster, chance| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            socket.send_to(&junk(chance), cluster.nodes[0].cluster()).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn junk_on_the_admin_socket_changes_nothing() {
    assert_unmoved("junk on admin", |cluster, chance| {
        let stream = UnixStream::connect(cluster.nodes[0].admin_socket()).expect("the socket is still open");
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        say(stream, chance);
    })
    .await;
}
