//! Shared subscriptions as users of mosquitto's programs and of brokerctl see them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use tests::broker::Broker;
use tests::cluster::Cluster;
use tests::mosquitto::{Subscriber, publish};
use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;

/// Two members and a plain subscriber: messages alternate between the members, and the third has them all.
async fn three_see_four_messages(members: [SocketAddr; 2], plain: SocketAddr, publisher: SocketAddr, topic: &str) {
    let shared = format!("$share/workers/{topic}");
    let mut one = Subscriber::start(members[0], &["-V", "mqttv5", "-q", "1", "-t", &shared]).await;
    let mut two = Subscriber::start(members[1], &["-V", "mqttv311", "-q", "1", "-t", &shared]).await;
    let mut all = Subscriber::start(plain, &["-q", "1", "-t", topic]).await;
    for number in 0..4 {
        publish(publisher, &["-q", "1", "-t", topic, "-m", &number.to_string()]).await;
        assert_eq!(all.message().await, number.to_string());
    }
    let mut got = vec![one.message().await, one.message().await, two.message().await, two.message().await];
    got.sort_unstable();
    assert_eq!(got, ["0", "1", "2", "3"], "two each, and no message twice");
}

#[tokio::test]
async fn members_share_what_a_plain_subscriber_has_all_of_on_one_node() {
    let broker = Broker::start().await;
    let (here, topic) = (broker.address(), broker.own("shared"));
    three_see_four_messages([here, here], here, here, &topic).await;
}

#[tokio::test]
async fn members_share_what_a_plain_subscriber_has_all_of_across_three_nodes() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = [0, 1, 2].map(|node| cluster.nodes[node].mqtt());
    three_see_four_messages([a, b], c, c, "jobs/shared").await;
}

#[tokio::test]
async fn listings_show_a_shared_subscription_as_its_client_wrote_it() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("pump")).await;
    assert_eq!(client.subscribe("$share/g/plant/+/temp", 1).await, 1);
    assert_eq!(client.subscribe("plant/1/temp", 0).await, 0);
    let subscriptions = node.ctl().run(&["subscriptions", "list"]).await.ok();
    let mut topics: Vec<&str> =
        subscriptions.as_array().unwrap().iter().map(|row| row["topic"].as_str().unwrap()).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["$share/g/plant/+/temp", "plant/1/temp"]);
    let listed = node.ctl().run(&["topics", "list"]).await.ok();
    let mut topics: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["topic"].as_str().unwrap()).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["$share/g/plant/+/temp", "plant/1/temp"]);
    assert_eq!(client.unsubscribe("$share/g/plant/+/temp").await, [0]);
    let listed = node.ctl().run(&["topics", "list"]).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}
