//! rumqttc, in 3.1.1 and 5.0, on one node and across three.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use rumqttc::{QoS, v5};
use tests::broker::Broker;
use tests::cluster::Cluster;
use tests::rumqtt::{Seen, V4, V5};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const QOS_5: [v5::mqttbytes::QoS; 3] =
    [v5::mqttbytes::QoS::AtMostOnce, v5::mqttbytes::QoS::AtLeastOnce, v5::mqttbytes::QoS::ExactlyOnce];

fn message(topic: &str, number: u32) -> Seen {
    Seen::Message { topic: topic.to_owned(), payload: number.to_string().into_bytes() }
}

async fn publish_and_receive_v4(here: SocketAddr, there: SocketAddr, own: impl Fn(&str) -> String) {
    let (mut subscriber, _) = V4::connect(here, &own("subscriber4"), true).await;
    let (mut publisher, _) = V4::connect(there, &own("publisher4"), true).await;
    for qos in QOS {
        let topic = own(&format!("v4/{qos:?}"));
        subscriber.subscribe(&topic, qos).await;
        for number in 0..50 {
            publisher.client.publish(&topic, qos, false, number.to_string()).await.unwrap();
        }
        let answers = if qos as u8 == 0 { 0 } else { 50 };
        for _ in 0..answers {
            let answer = publisher.next().await;
            assert!(matches!(answer, Seen::Acknowledged | Seen::Completed), "{answer:?}");
        }
        for number in 0..50 {
            assert_eq!(subscriber.next().await, message(&topic, number), "{qos:?}");
        }
    }
}

async fn publish_and_receive_v5(here: SocketAddr, there: SocketAddr, own: impl Fn(&str) -> String) {
    let (mut subscriber, _) = V5::connect(here, &own("subscriber5"), true).await;
    let (mut publisher, _) = V5::connect(there, &own("publisher5"), true).await;
    for qos in QOS_5 {
        let topic = own(&format!("v5/{qos:?}"));
        subscriber.subscribe(&topic, qos).await;
        for number in 0..50 {
            publisher.client.publish(&topic, qos, false, number.to_string()).await.unwrap();
        }
        let answers = if qos as u8 == 0 { 0 } else { 50 };
        for _ in 0..answers {
            let answer = publisher.next().await;
            assert!(matches!(answer, Seen::Acknowledged | Seen::Completed), "{answer:?}");
        }
        for number in 0..50 {
            assert_eq!(subscriber.next().await, message(&topic, number), "{qos:?}");
        }
    }
}

#[tokio::test]
async fn each_qos_of_3_1_1_arrives_in_order_on_one_node() {
    let broker = Broker::start().await;
    publish_and_receive_v4(broker.address(), broker.address(), |name| broker.own(name)).await;
}

#[tokio::test]
async fn each_qos_of_5_arrives_in_order_on_one_node() {
    let broker = Broker::start().await;
    publish_and_receive_v5(broker.address(), broker.address(), |name| broker.own(name)).await;
}

#[tokio::test]
async fn each_qos_of_3_1_1_arrives_in_order_across_three_nodes() {
    let cluster = Cluster::start(3).await;
    publish_and_receive_v4(cluster.nodes[1].mqtt(), cluster.nodes[2].mqtt(), str::to_owned).await;
}

#[tokio::test]
async fn each_qos_of_5_arrives_in_order_across_three_nodes() {
    let cluster = Cluster::start(3).await;
    publish_and_receive_v5(cluster.nodes[1].mqtt(), cluster.nodes[2].mqtt(), str::to_owned).await;
}

#[tokio::test]
async fn a_kept_session_of_3_1_1_receives_what_it_missed() {
    let broker = Broker::start().await;
    let (id, topic) = (broker.own("kept4"), broker.own("missed4"));
    let (mut subscriber, session_present) = V4::connect(broker.address(), &id, false).await;
    assert!(!session_present);
    subscriber.subscribe(&topic, QoS::AtLeastOnce).await;
    drop(subscriber);
    let (mut publisher, _) = V4::connect(broker.address(), &broker.own("publisher4"), true).await;
    publisher.client.publish(&topic, QoS::AtLeastOnce, false, "0").await.unwrap();
    assert_eq!(publisher.next().await, Seen::Acknowledged);
    let (mut subscriber, session_present) = V4::connect(broker.address(), &id, false).await;
    assert!(session_present);
    assert_eq!(subscriber.next().await, message(&topic, 0));
}

#[tokio::test]
async fn a_kept_session_of_5_receives_what_it_missed() {
    let broker = Broker::start().await;
    let (id, topic) = (broker.own("kept5"), broker.own("missed5"));
    let (mut subscriber, session_present) = V5::connect(broker.address(), &id, false).await;
    assert!(!session_present);
    subscriber.subscribe(&topic, v5::mqttbytes::QoS::ExactlyOnce).await;
    drop(subscriber);
    let (mut publisher, _) = V5::connect(broker.address(), &broker.own("publisher5"), true).await;
    publisher.client.publish(&topic, v5::mqttbytes::QoS::ExactlyOnce, false, "0").await.unwrap();
    assert_eq!(publisher.next().await, Seen::Completed);
    let (mut subscriber, session_present) = V5::connect(broker.address(), &id, false).await;
    assert!(session_present);
    assert_eq!(subscriber.next().await, message(&topic, 0));
}
