//! Listeners at run time: limits, drain, stop, restart.

use brokerd::listener::{ControlError, State};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::mqtt::{Client, Version};
use crate::node::{Io, Node, client, soon, tls_sets, unix};

async fn node(more: &[&str]) -> Node {
    let mut sets = vec!["listeners.tcp.default.bind=127.0.0.1:0".to_owned()];
    sets.extend(tls_sets("tls", "server"));
    sets.push("listeners.unix.local.socket=DIR/mqtt.sock".into());
    sets.extend(more.iter().map(ToString::to_string));
    Node::start(&sets.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn tcp(node: &Node) -> Io {
    Box::new(TcpStream::connect(node.address("tcp:default")).await.unwrap())
}

fn state(node: &Node, id: &str) -> State {
    node.broker.listeners().iter().find(|listener| listener.id() == id).unwrap().state()
}

#[tokio::test]
async fn a_drained_listener_keeps_its_clients_and_takes_no_more() {
    let node = node(&[]).await;
    let listeners = node.broker.listeners();
    let mut stays = Client::connect(tcp(&node).await, Version::V5, "stays").await;
    listeners.drain("tcp:default").await.unwrap();
    assert_eq!(state(&node, "tcp:default"), State::Drained);
    stays.ping().await;
    assert!(TcpStream::connect(node.address("tcp:default")).await.is_err(), "it takes more");
    assert!(matches!(listeners.drain("tcp:default").await, Err(ControlError::NotStarted)));
    listeners.start("tcp:default").await.unwrap();
    Client::connect(tcp(&node).await, Version::V5, "comes").await.ping().await;
    stays.ping().await;
    assert!(matches!(listeners.start("tcp:default").await, Err(ControlError::AlreadyStarted)));
    assert!(matches!(listeners.start("tcp:other").await, Err(ControlError::NotFound)));
}

#[tokio::test]
async fn a_stopped_listener_sends_its_own_clients_away_wherever_they_are() {
    let node = node(&[]).await;
    let listeners = node.broker.listeners();
    let config = client(node.directory.path(), "server", &[&rustls::version::TLS13]);
    let socket = node.directory.path().join("mqtt.sock");
    let mut other = Client::connect(unix(&socket).await, Version::V5, "other").await;
    let mut sent_away = Vec::new();
    for number in 0..8 {
        let id = format!("c{number}");
        sent_away.push(Client::connect(node.try_tls("tls:server", &config).await.unwrap(), Version::V5, &id).await);
    }
    let mut greeted = TcpStream::connect(node.address("tls:server")).await.unwrap();
    // The count of connections says that it is through the backlog.
    let tls = listeners.iter().find(|listener| listener.id() == "tls:server").unwrap().clone();
    soon("nine connections", async {
        while tls.connections() < 9 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    listeners.stop("tls:server").await.unwrap();
    for mut client in sent_away {
        assert_eq!(client.end().await, Some(0x8b), "DISCONNECT says that the server is shutting down");
    }
    assert_eq!(soon("an end", greeted.read(&mut [0; 8])).await.unwrap_or(0), 0, "not yet a client, and closed");
    soon("no connection", async {
        while tls.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    other.ping().await;
    assert_eq!(state(&node, "tls:server"), State::Stopped);
    assert!(matches!(listeners.stop("tls:server").await, Err(ControlError::NotStarted)));
    listeners.restart("tls:server").await.unwrap();
    Client::connect(node.try_tls("tls:server", &config).await.unwrap(), Version::V5, "back").await.ping().await;
    listeners.restart("unix:local").await.unwrap();
    assert_eq!(other.end().await, Some(0x8b));
    Client::connect(unix(&socket).await, Version::V311, "again").await.ping().await;
    node.broker.stop().await;
    assert!(!socket.exists(), "the socket's file stays behind");
}

#[tokio::test]
async fn a_listener_has_limits_of_its_own() {
    let node = node(&["listeners.tcp.default.max_connections=2", "listeners.tcp.default.max_packet_size=1KiB"]).await;
    let mut first = Client { io: tcp(&node).await, version: Version::V5 };
    first.send(&Version::V5.connect("first")).await;
    let (_, connack) = first.next().await;
    assert!(connack.windows(5).any(|it| it == [0x27, 0, 0, 4, 0]), "Maximum Packet Size of 1024: {connack:?}");
    let _second = Client::connect(tcp(&node).await, Version::V311, "second").await;
    let mut third = tcp(&node).await;
    assert_eq!(soon("an end", third.read(&mut [0; 8])).await.unwrap_or(0), 0, "a third connection is closed");
    first.send(&Version::V5.publish("t", 0, &[0; 1000])).await;
    first.ping().await;
    first.send(&Version::V5.publish("t", 0, &[0; 1024])).await;
    assert_eq!(first.end().await, Some(0x95), "Packet too large");
    let socket = node.directory.path().join("mqtt.sock");
    let mut unlimited = Client::connect(unix(&socket).await, Version::V5, "unlimited").await;
    unlimited.send(&Version::V5.publish("t", 0, &[0; 100_000])).await;
    unlimited.ping().await;
}
