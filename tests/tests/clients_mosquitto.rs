//! The programs that come with mosquitto, as their users type them, on one node and across three.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use tests::broker::Broker;
use tests::cluster::Cluster;
use tests::mosquitto::{Subscriber, publish};

/// The session that an operator of one broker starts with: two users subscribe, a third publishes.
async fn the_first_session(subscribers: SocketAddr, publisher: SocketAddr) {
    let alice = ["-t", "sensors/+/temperature", "-u", "alice", "-P", "password"];
    let mut alice = Subscriber::start(subscribers, &alice).await;
    let charlie = ["-t", "commands/lights/bedroom", "-u", "charlie", "-P", "password"];
    let mut charlie = Subscriber::start(subscribers, &charlie).await;
    let bob = ["-t", "commands/lights/bedroom", "-m", "ON", "-u", "bob", "-P", "password"];
    publish(publisher, &bob).await;
    assert_eq!(charlie.message().await, "ON");
    let bob = ["-t", "sensors/kitchen/temperature", "-m", "21.5", "-u", "bob", "-P", "password"];
    publish(publisher, &bob).await;
    assert_eq!(alice.message().await, "21.5");
}

/// Every version and QoS, from one address to another.
async fn every_version_and_qos(subscribers: SocketAddr, publisher: SocketAddr, root: &str) {
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("{root}/{version}/{qos}");
            let mut subscriber = Subscriber::start(subscribers, &["-V", version, "-q", qos, "-v", "-t", &topic]).await;
            publish(publisher, &["-V", version, "-q", qos, "-t", &topic, "-m", "hello"]).await;
            assert_eq!(subscriber.message().await, format!("{topic} hello"));
        }
    }
}

#[tokio::test]
async fn the_first_session_works_on_one_node() {
    let broker = Broker::start().await;
    the_first_session(broker.address(), broker.address()).await;
}

#[tokio::test]
async fn every_version_and_qos_works_on_one_node() {
    let broker = Broker::start().await;
    every_version_and_qos(broker.address(), broker.address(), &broker.own("mosquitto")).await;
}

#[tokio::test]
async fn a_retained_message_is_shown_to_who_comes_later() {
    let broker = Broker::start().await;
    let topic = broker.own("retained");
    publish(broker.address(), &["-r", "-q", "1", "-t", &topic, "-m", "kept"]).await;
    let mut subscriber = Subscriber::start(broker.address(), &["-t", &topic, "-F", "%r %p"]).await;
    assert_eq!(subscriber.message().await, "1 kept");
    publish(broker.address(), &["-r", "-n", "-t", &topic]).await;
}

#[tokio::test]
async fn the_first_session_works_across_three_nodes() {
    let cluster = Cluster::start(3).await;
    the_first_session(cluster.nodes[2].mqtt(), cluster.nodes[0].mqtt()).await;
}

#[tokio::test]
async fn every_version_and_qos_works_across_three_nodes() {
    let cluster = Cluster::start(3).await;
    every_version_and_qos(cluster.nodes[1].mqtt(), cluster.nodes[2].mqtt(), "mosquitto").await;
}
