//! The same small conversation over every transport, in 3.1.1 and 5.0.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mqtt::{Client, Version};
use crate::node::{Io, Node, client, issue, request, secure, soon, tls_sets, unix, web_socket};
use crate::tls::with_certificate;

const ALL: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A node with a listener of every kind.
async fn node(more: &[&str]) -> Node {
    let mut sets = vec!["listeners.tcp.default.bind=127.0.0.1:0".to_owned()];
    sets.extend(tls_sets("tls", "server"));
    sets.extend(tls_sets("wss", "server"));
    sets.push("listeners.ws.default.bind=127.0.0.1:0".into());
    sets.push("listeners.unix.default.socket=DIR/mqtt.sock".into());
    sets.extend(more.iter().map(ToString::to_string));
    Node::start(&sets.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn open(node: &Node, kind: &str, tls: &'static rustls::SupportedProtocolVersion) -> Io {
    let config = client(node.directory.path(), "server", &[tls]);
    let tcp = async |id: &str| Box::new(TcpStream::connect(node.address(id)).await.unwrap()) as Io;
    match kind {
        "tcp" => tcp("tcp:default").await,
        "unix" => unix(&node.directory.path().join("mqtt.sock")).await,
        "tls" => secure(tcp("tls:server").await, &config).await.unwrap(),
        "ws" => web_socket(tcp("ws:default").await).await,
        _ => web_socket(secure(tcp("wss:server").await, &config).await.unwrap()).await,
    }
}

async fn converse(io: Io, version: Version, name: &str) {
    let mut client = Client::connect(io, version, name).await;
    client.subscribe(&format!("{name}/#"), 2).await;
    for qos in 0..3 {
        assert_eq!(client.round_trip(&format!("{name}/{qos}"), qos, b"hello").await, b"hello");
    }
    let large: Vec<u8> = (0..900 * 1024_u32).map(|at| (at % 251) as u8).collect();
    let came = client.round_trip(&format!("{name}/large"), 1, &large).await;
    assert!(came == large, "900 KB came back as {} other bytes", came.len());
    for byte in version.publish(&format!("{name}/slow"), 0, b"byte by byte") {
        client.send(&[byte]).await;
    }
    assert!(client.next().await.1.ends_with(b"byte by byte"));
    let many: Vec<u8> = (0..1000).flat_map(|_| version.publish(&format!("{name}/many"), 0, b"one of many")).collect();
    client.send(&many).await;
    for _ in 0..1000 {
        assert!(client.next().await.1.ends_with(b"one of many"));
    }
    client.ping().await;
}

#[tokio::test]
async fn every_transport_carries_both_versions() {
    let node = node(&[]).await;
    for version in [Version::V311, Version::V5] {
        for kind in ["tcp", "unix", "tls", "ws", "wss"] {
            for tls in if kind.ends_with('s') && kind != "ws" { &ALL[..] } else { &ALL[1..] } {
                // The workers accept in turn, and the client id is at home on one of the three: at least two of three
                // connections move.
                for _ in 0..3 {
                    let name = format!("{kind}-{version:?}-{:?}", tls.version);
                    converse(open(&node, kind, tls).await, version, &name).await;
                }
            }
        }
    }
    node.broker.stop().await;
}

#[tokio::test]
async fn no_transport_is_a_way_around_authentication() {
    let users = tempfile::NamedTempFile::new().unwrap(); // nobody
    let node = node(&[&format!("auth.password_file={}", users.path().display())]).await;
    for kind in ["tcp", "unix", "tls", "ws", "wss"] {
        let mut client = Client { io: open(&node, kind, &rustls::version::TLS13).await, version: Version::V5 };
        client.send(&Version::V5.connect("nobody")).await;
        let (first, body) = client.next().await;
        assert_eq!(first, 0x20, "{kind}");
        assert!(body[1] >= 0x80, "{kind} let a client in without a name: {body:?}");
        assert_eq!(client.next_or_end().await, None, "{kind}");
    }
    assert_eq!(node.metric("packets.connack.auth_error"), 5);
}

#[tokio::test]
async fn a_certificate_that_is_required_is_required_of_secure_websockets_too() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["server", "known", "stranger"] {
        issue(directory.path(), name);
    }
    let mut sets = tls_sets("wss", "server");
    sets.push("listeners.wss.server.client_ca=DIR/known.pem".into());
    let sets: Vec<_> = sets.iter().map(String::as_str).collect();
    let broker = Node::try_start(directory.path(), &sets).await.unwrap();
    let node = Node { directory, broker };
    let known = with_certificate(&node, "known", &ALL);
    let io = node.try_tls("wss:server", &known).await.unwrap();
    Client::connect(web_socket(io).await, Version::V5, "known").await.ping().await;
    let path = node.directory.path();
    for refused in [with_certificate(&node, "stranger", &ALL), client(path, "server", &ALL)] {
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        if let Ok(mut stream) = node.try_tls("wss:server", &refused).await {
            let _ = stream.write_all(&request("/mqtt", Some("mqtt"))).await;
            let end = soon("an end", stream.read_u8()).await;
            assert!(end.is_err(), "it was let in: {end:?}");
        }
    }
    node.until_metric("listener.tls.failed", 2).await;
}
