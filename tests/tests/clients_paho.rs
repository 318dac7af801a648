//! paho-mqtt, the client of most Python programs, in 3.1.1 and 5.0, on one node and across three.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::broker::Broker;
use tests::cluster::Cluster;
use tests::paho;

#[tokio::test]
async fn paho_works_on_one_node() {
    let broker = Broker::start().await;
    let address = broker.address().to_string();
    paho::run("check.py", &[&address, &address, &broker.own("paho")]).await;
}

#[tokio::test]
async fn paho_works_across_three_nodes() {
    let cluster = Cluster::start(3).await;
    let (here, there) = (cluster.nodes[1].mqtt().to_string(), cluster.nodes[2].mqtt().to_string());
    paho::run("check.py", &[&here, &there, "paho"]).await;
}
