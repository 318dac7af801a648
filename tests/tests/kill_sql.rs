//! The promise of a PUBACK with sessions in PostgreSQL and in MariaDB, when the broker is killed with -9: what it
//! acknowledged is there when it starts again, with nothing left of its own directory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;

#[path = "../../brokerd/store/src/contract/servers.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the tests of the backends use the rest of it")]
mod servers;

use servers::{Kind, Server};

fn options(server: &Server, backend: &str) -> NodeOptions {
    let key = |name: &str| format!("persistence.{backend}.{name}");
    let options = NodeOptions::alone("n1").set("persistence.backend", backend);
    let options = options.set(&key("address"), &server.address());
    options.set(&key("database"), &server.database()).set(&key("user"), server.user())
}

#[tokio::test]
async fn a_session_and_its_queue_in_postgres_survive_the_broker() {
    survives(Kind::Postgres, "postgres").await;
}

#[tokio::test]
async fn a_session_and_its_queue_in_mariadb_survive_the_broker() {
    survives(Kind::Mariadb, "mysql").await;
}

async fn survives(kind: Kind, backend: &str) {
    let server = Server::start(kind);
    let mut node = Node::start(options(&server, backend)).await;
    let subscriber = Connect::v5("subscriber").persistent();
    let mut client = Raw::connect(node.mqtt(), &subscriber).await;
    assert_eq!(client.subscribe("load/#", 2).await, 2);
    client.abandon();
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for number in 0..50u8 {
        publisher.publish("load/a", &[number], 1 + number % 2).await;
    }
    publisher.publish_retained("state", b"on", 1).await;
    node.kill9();
    std::fs::remove_dir_all(node.data_dir()).unwrap();
    node.restart().await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &subscriber).await;
    assert!(connack.session_present);
    for number in 0..50u8 {
        let publish = client.receive().await;
        assert_eq!((publish.payload, publish.qos), (vec![number], 1 + number % 2), "in order, at its QoS");
    }
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("load/b", b"its subscription is live", 1).await;
    assert_eq!(client.receive().await.text(), "its subscription is live");
    assert_eq!(client.subscribe("state", 1).await, 1);
    let retained = client.receive().await;
    assert_eq!((retained.text(), retained.retain), ("on", true));
}
