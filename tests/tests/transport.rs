//! Foreign clients over TLS and WebSocket, and what an operator does with listeners: the two programs as they are.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use tests::mosquitto::{self, Subscriber};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version};
use tests::raw::Raw;
use tests::wait::{SOON, eventually};
use tests::{ctl::Answer, paho};
use tokio::io::AsyncWriteExt;

/// A certificate for 127.0.0.1 that vouches for itself.
fn issue(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(directory.join("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("server.key"), made.signing_key.serialize_pem()).unwrap();
}

/// A node with a listener of every kind whose files are in `directory`.
async fn node(directory: &Path) -> Node {
    issue(directory);
    let mut options = NodeOptions::alone("n1").set("listeners.ws.default.bind", "127.0.0.1:0");
    for kind in ["tls", "wss"] {
        let key = |key: &str| format!("listeners.{kind}.default.{key}");
        let file = |name: &str| directory.join(name).display().to_string();
        options = options
            .set(&key("bind"), "127.0.0.1:0")
            .set(&key("certificate"), &file("server.pem"))
            .set(&key("key"), &file("server.key"));
    }
    let socket = directory.join("mqtt.sock").display().to_string();
    Node::start(options.set("listeners.unix.default.socket", &socket)).await
}

fn address(node: &Node, id: &str) -> SocketAddr {
    let listeners = &node.reported().listeners;
    listeners.iter().find(|(name, _)| name == id).unwrap_or_else(|| panic!("no {id} in {listeners:?}")).1
}

#[tokio::test]
async fn mosquittos_clients_work_over_tls_1_2_and_1_3() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(directory.path()).await;
    let ca = directory.path().join("server.pem").display().to_string();
    let broker = address(&node, "tls:default");
    for version in ["tlsv1.2", "tlsv1.3"] {
        for protocol in ["mqttv311", "mqttv5"] {
            let secure = ["--cafile", &ca, "--tls-version", version, "-V", protocol, "-q", "2", "-t", "a/b"];
            let mut subscriber = Subscriber::start(broker, &secure).await;
            mosquitto::publish(broker, &[&secure[..], &["-m", "sealed"]].concat()).await;
            assert_eq!(subscriber.message().await, "sealed", "{version} {protocol}");
        }
    }
}

#[tokio::test]
async fn paho_works_over_websocket_plain_and_secure() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(directory.path()).await;
    let ca = directory.path().join("server.pem").display().to_string();
    let (ws, wss) = (address(&node, "ws:default").to_string(), address(&node, "wss:default").to_string());
    paho::run("websocket.py", &[&ws, &wss, &ca]).await;
}

/// The row of a listener.
async fn row(node: &Node, id: &str) -> serde_json::Value {
    let listeners = node.ctl().run(&["listeners"]).await.ok();
    listeners.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone()
}

fn says(answer: &Answer, code: i32, text: &str) {
    assert_eq!(answer.code, code, "{answer:?}");
    assert!(format!("{}{}", answer.stdout, answer.stderr).contains(text), "not `{text}`: {answer:?}");
}

#[tokio::test]
async fn listeners_are_drained_stopped_started_and_restarted_by_brokerctl() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(directory.path()).await;
    let order = async |verb: &str, id: &str| node.ctl().table(&["listeners", verb, id]).await;
    let mut client = Raw::connect(node.mqtt(), &Connect::new(Version::V5, "stays")).await;
    says(&order("drain", "tcp:default").await, 0, "Drained tcp:default listener successfully.");
    let drained = row(&node, "tcp:default").await;
    assert_eq!((&drained["state"], &drained["running"]), (&"drained".into(), &false.into()));
    assert_eq!(drained["current_conn"], 1);
    client.fence().await;
    says(&order("start", "tcp:default").await, 0, "Started tcp:default listener successfully.");
    says(&order("start", "tcp:default").await, 1, "Failed to start tcp:default listener: already_started");
    says(&order("stop", "tcp:default").await, 0, "Stop tcp:default listener successfully.");
    assert_eq!(client.expect_close().await, Some(0x8b));
    assert_eq!(row(&node, "tcp:default").await["state"], "stopped");
    says(&order("restart", "ssl:default").await, 0, "Restarted tls:default listener successfully.");
    says(&order("restart", "tcp:default").await, 0, "Restarted tcp:default listener successfully.");
    Raw::connect(node.mqtt(), &Connect::new(Version::V311, "back")).await;
    says(&order("stop", "tcp:nowhere").await, 4, "Invalid listener: tcp:nowhere");
}

#[tokio::test]
async fn certificates_are_read_again_by_brokerctl_and_by_sighup_all_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(directory.path()).await;
    let ca = directory.path().join("server.pem").display().to_string();
    let broker = address(&node, "tls:default");
    let mut stays = Subscriber::start(broker, &["--cafile", &ca, "-t", "#", "-i", "stays"]).await;
    issue(directory.path());
    let reloaded = node.ctl().run(&["tls", "reload"]).await.ok();
    assert_eq!(reloaded.as_array().map(Vec::len), Some(2), "{reloaded}");
    mosquitto::publish(broker, &["--cafile", &ca, "-t", "new", "-m", "1"]).await;
    std::fs::write(directory.path().join("server.key"), "no key").unwrap();
    says(&node.ctl().run(&["tls", "reload"]).await, 1, "n1 keeps its certificates: `listeners.tls.default.key`");
    mosquitto::publish(broker, &["--cafile", &ca, "-t", "kept", "-m", "2"]).await;
    issue(directory.path());
    kill_process(Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap(), Signal::HUP).unwrap();
    eventually(SOON, "the log tells of the reload", async || {
        if node.log().contains("certificates were read again") { Ok(()) } else { Err(node.log()) }
    })
    .await;
    mosquitto::publish(broker, &["--cafile", &ca, "-t", "hangup", "-m", "3"]).await;
    for expected in ["1", "2", "3"] {
        assert_eq!(stays.message().await, expected);
    }
}

#[tokio::test]
async fn clients_list_shows_the_address_behind_the_load_balancer() {
    let key = |key: &str| format!("listeners.tcp.default.{key}");
    let options = NodeOptions::alone("n1").set(&key("proxy_protocol"), "true").set(&key("allow_anonymous"), "true");
    let node = Node::start(options).await;
    let mut stream = tokio::net::TcpStream::connect(node.mqtt()).await.unwrap();
    let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 49153 1883\r\n";
    stream.write_all(&[&header[..], &Connect::new(Version::V311, "far").encode()].concat()).await.unwrap();
    let peer = eventually(SOON, "the client is listed", async || {
        let listed = node.ctl().run(&["clients", "list"]).await.json;
        listed[0]["peername"].as_str().map(ToOwned::to_owned).ok_or_else(|| listed.to_string())
    })
    .await;
    assert_eq!(peer, "192.0.2.7:49153");
    assert_eq!(row(&node, "tcp:default").await["proxy_protocol"], true);
}
