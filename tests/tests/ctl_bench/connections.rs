//! Scenarios of connections and subscriptions: as many as were asked for, over TCP and TLS, from several addresses.

use tests::node::{Node, NodeOptions};

use crate::{assert_figures, assert_measured, bench, bench_at, node};

#[tokio::test]
async fn connections_are_made_as_fast_as_asked_and_no_faster() {
    let node = node().await;
    let report = bench(&node, "conn --connections 100 --rate 1000").await;
    assert_figures(&report, "conn", &[("connections", 100)]);
    assert_measured(&report, "conn", &["connect_p50_us", "cpu_us_per_connection"]);
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds >= 0.099, "100 connections at 1000 a second took {seconds} s");
}

#[tokio::test]
async fn connections_come_from_the_addresses_that_are_named() {
    let node = node().await;
    let target = node.mqtt().to_string();
    let words = ["--target", &target, "--source", "127.0.0.2,127.0.0.3", "--name", "far"];
    let listening = bench_at(&words, "sub --connections 4 --listen 1500ms");
    let seen = async {
        tests::wait::eventually(tests::wait::SOON, "four clients from two addresses", async || {
            let clients = node.ctl().run(&["clients", "list"]).await.ok().to_string();
            let count = |address: &str| clients.matches(&format!("{address}:")).count();
            let counts = (count("127.0.0.2"), count("127.0.0.3"));
            if counts == (2, 2) { Ok(()) } else { Err(clients) }
        })
        .await;
    };
    let (report, ()) = tokio::join!(listening, seen);
    assert_figures(&report, "sub", &[("connections", 4), ("delivered", 0), ("broken_connections", 0)]);
}

#[tokio::test]
async fn idle_connections_are_weighed_and_go() {
    let node = node().await;
    let report = bench(&node, "idle --connections 500 --rest 100ms").await;
    assert_figures(&report, "idle", &[("connections", 500), ("broken_connections", 0)]);
    assert_measured(&report, "idle", &["bytes_per_connection", "resident_when_they_left"]);
}

#[tokio::test]
async fn subscriptions_are_counted_timed_and_weighed() {
    let node = node().await;
    for qos in 0..=2 {
        let line = format!("sub --connections 7 --filters 250 --wildcard # --mqtt 5 --qos {qos} --rest 50ms");
        let report = bench(&node, &line).await;
        assert_figures(&report, &line, &[("subscriptions", 1750), ("refused_filters", 0)]);
        assert_measured(&report, &line, &["suback_p50_us", "subscriptions_per_s"]);
    }
}

#[tokio::test]
async fn all_come_back_after_a_storm() {
    let node = node().await;
    let report = bench(&node, "storm --connections 300").await;
    assert_figures(&report, "storm", &[("connections", 300), ("never_back", 0)]);
    assert_measured(&report, "storm", &["back_99_percent_ms", "back_all_ms"]);
}

#[tokio::test]
async fn those_who_come_and_go_are_counted() {
    let node = node().await;
    let report = bench(&node, "churn --window 5 --count 200").await;
    assert_figures(&report, "churn", &[("connections", 200)]);
    let accepted = node.ctl().run(&["listeners"]).await.ok().to_string();
    assert!(accepted.contains("\"accepted\":200"), "{accepted}");
}

#[tokio::test]
async fn handshakes_are_full_or_resumed_as_asked_for_and_messages_go_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("server.key"), made.signing_key.serialize_pem()).unwrap();
    let options = NodeOptions::alone("n1").set("listeners.tls.default.bind", "127.0.0.1:0");
    let options = options.set("listeners.tls.default.certificate", &file("server.pem"));
    let node = Node::start(options.set("listeners.tls.default.key", &file("server.key"))).await;
    let (target, ca) = (node.listener("tls:default").to_string(), file("server.pem"));
    let words = ["--target", &target, "--tls-ca", &ca];
    let report = bench_at(&words, "tls --window 2 --count 20").await;
    assert_figures(&report, "full", &[("full_handshakes", 20), ("resumed_handshakes", 0), ("connections", 20)]);
    let report = bench_at(&words, "tls --window 2 --count 20 --resume").await;
    assert_figures(&report, "resumed", &[("full_handshakes", 2), ("resumed_handshakes", 18)]);
    let report = bench_at(&words, "p2p --pairs 2 --qos 1 --count 50 --size 100000").await;
    assert_figures(&report, "over TLS", &[("delivered", 50), ("lost", 0)]);
}
