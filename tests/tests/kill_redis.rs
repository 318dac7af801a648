//! The promise of a PUBACK with sessions in Redis, when the broker is killed with -9: what it acknowledged is there when it
//! starts again, with nothing left of its own directory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut};
use tests::raw::Raw;

#[path = "../../brokerd/store/tests/redis/server.rs"]
#[allow(dead_code, reason = "the tests of the backend use the rest of it")]
mod server;

fn in_redis(server: &server::Server) -> NodeOptions {
    let options = NodeOptions::alone("n1").set("persistence.backend", "redis");
    options.set("persistence.redis.address", &server.address())
}

#[tokio::test]
async fn a_session_and_its_queue_survive_the_broker() {
    let server = server::Server::start();
    let mut node = Node::start(in_redis(&server)).await;
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

#[tokio::test]
async fn an_exchange_of_qos_2_goes_on_where_the_broker_was_killed() {
    let server = server::Server::start();
    let mut node = Node::start(in_redis(&server)).await;
    let (receiver, sender) = (Connect::v5("receiver").persistent(), Connect::v5("sender").persistent());
    let mut client = Raw::connect(node.mqtt(), &receiver).await;
    assert_eq!(client.subscribe("once", 2).await, 2);
    let mut publisher = Raw::connect(node.mqtt(), &sender).await;
    let publish = PublishOut::new("once", b"one", 2, 7).encode(sender.version);
    publisher.send(&publish).await;
    assert!(matches!(publisher.expect().await, tests::read::Packet::Pubrec(7, _)));
    let first = client.expect_publish().await;
    node.restart().await;
    let (mut publisher, connack) = Raw::connect_with_answer(node.mqtt(), &sender).await;
    assert!(connack.session_present);
    publisher.exchange(PublishOut::new("once", b"one", 2, 7)).await;
    let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &receiver).await;
    assert!(connack.session_present);
    let again = client.receive().await;
    assert_eq!((again.id, again.dup, again.text()), (first.id, true, "one"));
    client.expect_silence().await; // what the sender repeated was known
}
