//! A server of sessions that is not there when the broker starts: it is waited for, with the listeners closed, and a
//! server that does not let us in is not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use tests::http::get;
use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};
use tokio::net::TcpStream;

#[path = "../../brokerd/store/tests/redis/server.rs"]
#[allow(dead_code, reason = "the tests of the backend use the rest of it")]
mod redis;
#[path = "../../brokerd/store/src/contract/servers.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the tests of the backends use the rest of it")]
mod sql;

use sql::{Kind, Server};

fn in_redis(server: &redis::Server) -> NodeOptions {
    let options = NodeOptions::alone("n1").set("persistence.backend", "redis");
    options.set("persistence.redis.address", &server.address())
}

fn in_sql(server: &Server, backend: &str) -> NodeOptions {
    let key = |name: &str| format!("persistence.{backend}.{name}");
    let options = NodeOptions::alone("n1").set("persistence.backend", backend);
    let options = options.set(&key("address"), &server.address());
    options.set(&key("database"), &server.database()).set(&key("user"), server.user())
}

/// It tries again and again, says so, and serves nobody.
async fn is_waiting(node: &mut Node, address: Option<SocketAddr>) {
    eventually(SOON, "it says that it waits", async || {
        let log = node.log();
        let count = log.matches("the store does not answer; nothing is served before it does").count();
        if count >= 3 { Ok(()) } else { Err(format!("{count} times in {log}")) }
    })
    .await;
    assert_eq!(node.exit_status(), None);
    if let Some(address) = address {
        assert!(TcpStream::connect(address).await.is_err(), "its listener is open");
    }
}

/// What was kept before is there when it serves.
async fn serves_what_was_kept(node: &mut Node) {
    node.wait_until_ready().await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("kept").persistent()).await;
    assert!(connack.session_present);
    assert_eq!(client.receive().await.text(), "while it was away");
}

async fn leave_a_session(node: &Node) {
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("kept").persistent()).await;
    assert_eq!(client.subscribe("t", 1).await, 1);
    client.abandon();
    Raw::connect(node.mqtt(), &Connect::v5("publisher")).await.publish("t", b"while it was away", 1).await;
}

#[tokio::test]
async fn a_broker_that_starts_before_redis_waits_for_it_and_then_serves() {
    let mut server = redis::Server::start();
    let mut node = Node::start(in_redis(&server)).await;
    leave_a_session(&node).await;
    let address = node.mqtt();
    server.kill();
    node.start_again();
    is_waiting(&mut node, Some(address)).await;
    server.start_again();
    serves_what_was_kept(&mut node).await;
}

#[tokio::test]
async fn a_broker_that_waits_for_its_store_is_not_ready_and_says_why() {
    let mut server = redis::Server::start();
    let health = tests::ports::free();
    let mut node = Node::start(in_redis(&server).set("health.listen", &health.to_string())).await;
    leave_a_session(&node).await;
    server.kill();
    node.start_again();
    is_waiting(&mut node, None).await;
    let why = "waiting for the store, which does not answer\n".to_owned();
    assert_eq!(get(health, "/readyz").await, Some((503, why)));
    server.start_again();
    serves_what_was_kept(&mut node).await;
    assert_eq!(get(health, "/readyz").await, Some((200, "ready\n".to_owned())));
}

#[tokio::test]
async fn a_broker_that_starts_before_postgres_waits_for_it_and_then_serves() {
    waits_for(Kind::Postgres, "postgres").await;
}

#[tokio::test]
async fn a_broker_that_starts_before_mariadb_waits_for_it_and_then_serves() {
    waits_for(Kind::Mariadb, "mysql").await;
}

async fn waits_for(kind: Kind, backend: &str) {
    let server = Server::start(kind);
    let mut node = Node::start(in_sql(&server, backend)).await;
    leave_a_session(&node).await;
    let address = node.mqtt();
    server.kill();
    node.start_again();
    is_waiting(&mut node, Some(address)).await;
    server.go_on();
    serves_what_was_kept(&mut node).await;
}

#[tokio::test]
async fn a_signal_ends_a_broker_that_waits() {
    let mut server = redis::Server::start();
    server.kill();
    let mut node = Node::launch(in_redis(&server));
    is_waiting(&mut node, None).await;
    assert!(node.terminate().await.success());
}

async fn ends_with(options: NodeOptions, key: &str, said: &str) {
    let mut node = Node::launch(options);
    let status = node.wait_for_exit().await;
    let log = node.log();
    assert!(!status.success() && log.contains(key) && log.contains(said), "{status}: {log}");
    assert!(!log.contains("does not answer") && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_password_that_is_not_right_or_a_database_that_is_not_there_ends_the_start_at_once() {
    let server = redis::Server::with(&["--requirepass", "open sesame"]);
    let wrong = in_redis(&server).set("persistence.redis.password", "hunter2");
    ends_with(wrong, "persistence.redis.address", "assword authentication failed").await;
    ends_with(in_redis(&server), "persistence.redis.address", "NOAUTH").await;
    for (kind, backend) in [(Kind::Postgres, "postgres"), (Kind::Mariadb, "mysql")] {
        let server = Server::start(kind);
        let database = format!("persistence.{backend}.database");
        let wrong =
            in_sql(&server, backend).set(&database, "nowhere").set(&database.replace("database", "user"), "nobody");
        ends_with(wrong, &format!("persistence.{backend}.address"), "nobody").await;
    }
}
