//! The PROXY protocol in front of plain and secure listeners.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mqtt::{Client, Version};
use crate::node::{Io, Node, client, secure, soon, tls_sets, web_socket};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 49153 1883\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\xc0\x01\x07\x5b";

async fn node(more: &[&str]) -> Node {
    let mut sets = vec!["listeners.tcp.default.bind=127.0.0.1:0".to_owned(), "mqtt.connect_timeout=1s".into()];
    sets.push("listeners.ws.server.bind=127.0.0.1:0".into());
    sets.extend(tls_sets("tls", "server"));
    sets.extend(tls_sets("wss", "server"));
    for listener in ["tcp.default", "tls.server", "ws.server", "wss.server"] {
        sets.push(format!("listeners.{listener}.proxy_protocol=true"));
        sets.push(format!("listeners.{listener}.allow_anonymous=true"));
    }
    sets.extend(more.iter().map(ToString::to_string));
    Node::start(&sets.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn dial(node: &Node, id: &str, bytes: &[u8]) -> Io {
    let mut stream = TcpStream::connect(node.address(id)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    Box::new(stream)
}

#[tokio::test]
async fn a_header_comes_before_everything_else_on_every_kind_of_listener() {
    let node = node(&[]).await;
    let config = client(node.directory.path(), "server", &[&rustls::version::TLS12, &rustls::version::TLS13]);
    for (at, header) in [V1, V2].into_iter().enumerate() {
        for kind in ["tcp:default", "tls:server", "ws:server", "wss:server"] {
            let mut io = dial(&node, kind, header).await;
            if kind == "tls:server" || kind == "wss:server" {
                io = secure(io, &config).await.unwrap();
            }
            if kind == "ws:server" || kind == "wss:server" {
                io = web_socket(io).await;
            }
            Client::connect(io, Version::V5, &format!("{kind}{at}")).await.ping().await;
        }
    }
    // In one segment with what follows, and byte by byte.
    let mut io = dial(&node, "tcp:default", &[V2, &Version::V311.connect("joined")].concat()).await;
    assert_eq!(soon("a CONNACK", io.read_u8()).await.unwrap(), 0x20);
    let mut io = dial(&node, "tcp:default", b"").await;
    for byte in [V2, &Version::V311.connect("slow")].concat() {
        io.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(soon("a CONNACK", io.read_u8()).await.unwrap(), 0x20);
    assert_eq!(node.metric("listener.proxy.refused"), 0);
}

#[tokio::test]
async fn missing_malformed_and_unfinished_headers_are_closed_and_counted() {
    let node = node(&[]).await;
    let connect = Version::V311.connect("x");
    let wrong: [&[u8]; 4] = [
        &connect,
        b"PROXY TCP4 1.2.3.4 nowhere 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\x16\x03\x01\x02\0",
    ];
    for bytes in wrong {
        let mut io = dial(&node, "tcp:default", bytes).await;
        assert_eq!(soon("an end", io.read(&mut [0; 8])).await.unwrap_or(0), 0, "{}", bytes.escape_ascii());
    }
    node.until_metric("listener.proxy.refused", 4).await;
    let mut io = dial(&node, "tcp:default", b"PROXY TC").await;
    assert_eq!(soon("an end in time", io.read(&mut [0; 8])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn health_checks_are_closed_and_not_counted() {
    let node = node(&[]).await;
    for bytes in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"] {
        let mut io = dial(&node, "tls:server", bytes).await;
        assert_eq!(soon("an end", io.read(&mut [0; 8])).await.unwrap_or(0), 0);
    }
    drop(dial(&node, "tcp:default", b"").await);
    Client::connect(dial(&node, "tcp:default", V1).await, Version::V5, "after").await.ping().await;
    assert_eq!((node.metric("listener.proxy.refused"), node.metric("listener.tls.failed")), (0, 0));
}

#[tokio::test]
async fn a_source_that_is_not_trusted_may_not_speak_for_others() {
    let node = node(&["listeners.tcp.default.proxy_protocol_from=10.0.0.0/8"]).await;
    let mut io = dial(&node, "tcp:default", V1).await;
    assert_eq!(soon("an end", io.read(&mut [0; 8])).await.unwrap_or(0), 0);
    node.until_metric("listener.proxy.refused", 1).await;
}
