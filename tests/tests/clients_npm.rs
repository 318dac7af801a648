//! `mqtt` of npm, the client of JavaScript programs and of browsers: over WebSocket, plain and secure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::npm;

#[tokio::test]
async fn mqtt_of_npm_works_over_websocket() {
    let node = Node::start(NodeOptions::alone("n1").set("listeners.ws.default.bind", "127.0.0.1:0")).await;
    npm::run("mqtt.js", &[&format!("ws://{}/mqtt", node.listener("ws:default"))]).await;
}

#[tokio::test]
async fn mqtt_of_npm_works_over_secure_websocket() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(file("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("server.key"), made.signing_key.serialize_pem()).unwrap();
    let options = NodeOptions::alone("n1")
        .set("listeners.wss.default.bind", "127.0.0.1:0")
        .set("listeners.wss.default.certificate", &file("server.pem"))
        .set("listeners.wss.default.key", &file("server.key"));
    let node = Node::start(options).await;
    npm::run("mqtt.js", &[&format!("wss://{}/mqtt", node.listener("wss:default")), &file("server.pem")]).await;
}
