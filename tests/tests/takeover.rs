//! Sessions that follow their client between real nodes, each with a store of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::cluster::{Cluster, metric};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

async fn connect(cluster: &Cluster, node: usize, connect: Connect) -> (Raw, bool) {
    let (raw, connack) = Raw::connect_with_answer(cluster.nodes[node].mqtt(), &connect.persistent()).await;
    (raw.patient(SOON * 3), connack.session_present)
}

async fn round(backend: &str) {
    let cluster = Cluster::start_with(3, |options| options.set("persistence.backend", backend)).await;
    let mut pump = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("pump")).await.patient(SOON * 3);
    let id = |version: &str| format!("panel-{version}");
    for version in ["v5", "v311"] {
        let as_version = || if version == "v5" { Connect::v5(&id(version)) } else { Connect::v311(&id(version)) };
        let (mut panel, is_present) = connect(&cluster, 0, as_version()).await;
        assert!(!is_present);
        panel.subscribe("t", 2).await;
        for turn in 1..7 {
            if turn % 2 == 0 {
                panel.abandon();
            }
            for qos in 1..=2 {
                pump.publish("t", format!("{turn} at {qos}").as_bytes(), qos).await;
            }
            let is_present;
            (panel, is_present) = connect(&cluster, turn % 3, as_version()).await;
            assert!(is_present, "turn {turn} of {version} on {backend}");
            for qos in 1..=2 {
                assert_eq!(panel.receive().await.text(), format!("{turn} at {qos}"), "{version} on {backend}");
            }
            panel.expect_silence().await;
        }
        panel.disconnect().await;
        let (mut panel, _) = connect(&cluster, 2, as_version()).await;
        panel.unsubscribe("t").await;
    }
    let (mut followed, mut failed) = (0, 0);
    for node in &cluster.nodes {
        followed += metric(node, "session.followed").await;
        failed += metric(node, "session.takeover.failed").await;
    }
    assert!(followed >= 12 && failed == 0, "{followed} followed, {failed} failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_round_three_nodes_with_sessions_in_memory() {
    round("memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_round_three_nodes_with_sessions_on_disk() {
    round("disk").await;
}

/// Its client began anew elsewhere while the node was away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_with_an_older_session_on_its_disk_drops_it_and_keeps_the_others() {
    let mut cluster = Cluster::start_with(2, |options| options.set("persistence.backend", "disk")).await;
    for name in ["panel", "lamp"] {
        let (mut client, _) = connect(&cluster, 1, Connect::v5(name)).await;
        client.subscribe(&format!("{name}/t"), 1).await;
        client.abandon();
        let mut pump = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("pump")).await;
        pump.publish(&format!("{name}/t"), b"before the kill", 1).await;
    }
    cluster.nodes[1].kill9();
    let (mut panel, is_present) = connect(&cluster, 0, Connect::v5("panel")).await;
    assert!(!is_present, "its node is gone with its session");
    panel.subscribe("panel/t", 1).await;
    cluster.nodes[1].restart().await;
    cluster.wait_until_all_up().await;
    let mut pump = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("pump")).await.patient(SOON * 3);
    pump.publish("panel/t", b"after", 1).await;
    assert_eq!(panel.receive().await.text(), "after", "the later session is the one that there is");
    eventually(SOON * 3, "the older session is dropped, and what waited in it is counted", async || {
        match metric(&cluster.nodes[1], "delivery.dropped.superseded").await {
            0 => Err("nothing is counted".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    panel.expect_silence().await;
    panel.abandon();
    let (mut panel, is_present) = connect(&cluster, 1, Connect::v5("panel")).await;
    assert!(is_present, "the later session comes to where the older one was");
    panel.expect_silence().await;
    let (mut lamp, is_present) = connect(&cluster, 0, Connect::v5("lamp")).await;
    assert!(is_present, "a session that came back with its node's disk follows its client");
    assert_eq!(lamp.receive().await.text(), "before the kill");
}
