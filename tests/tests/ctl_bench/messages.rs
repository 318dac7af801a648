//! Scenarios that carry messages: each is sent, acknowledged and delivered as often as it should be.

use tests::cluster::Cluster;

use crate::{assert_figures, assert_measured, bench, bench_at, node};

const NO_FAULT: [(&str, u64); 6] =
    [("lost", 0), ("duplicates", 0), ("out_of_order", 0), ("unanswered", 0), ("foreign", 0), ("broken_connections", 0)];

/// Runs a scenario at each QoS, in both protocols.
async fn each(scenario: &str, deliveries: u64) {
    let node = node().await;
    for mqtt in ["3.1.1", "5"] {
        for qos in 0..=2 {
            let line = format!("{scenario} --count 201 --qos {qos} --mqtt {mqtt}");
            let report = bench(&node, &line).await;
            assert_figures(&report, &line, &NO_FAULT);
            assert_figures(&report, &line, &[("sent", 201), ("delivered", deliveries), ("qos", qos)]);
            assert_measured(
                &report,
                &line,
                &["latency_p50_us", "latency_p99.99_us", "cpu_us_per_delivery", "resident"],
            );
            if qos > 0 {
                assert_figures(&report, &line, &[("acknowledged", 201)]);
                assert_measured(&report, &line, &["ack_p50_us"]);
            }
        }
    }
}

#[tokio::test]
async fn point_to_point_delivers_each_message_once() {
    each("p2p --pairs 3", 201).await;
}

#[tokio::test]
async fn threads_share_the_pairs() {
    each("p2p --pairs 5 --threads 2 --persistent", 201).await;
}

#[tokio::test]
async fn fan_out_delivers_each_message_to_each_subscriber() {
    each("fanout --publishers 2 --subscribers 5", 1005).await;
}

#[tokio::test]
async fn fan_in_delivers_all_to_each_reader() {
    each("fanin --publishers 5 --subscribers 2", 402).await;
}

#[tokio::test]
async fn a_shared_subscription_delivers_each_message_to_one_member() {
    each("shared --publishers 5 --subscribers 3", 201).await;
}

#[tokio::test]
async fn wildcards_that_are_held_get_nothing_of_what_is_sent_beside_them() {
    let node = node().await;
    let line = "wildcard --held 1050 --holders 4 --pairs 2 --count 100 --qos 1";
    let report = bench(&node, line).await;
    assert_figures(&report, line, &[("held", 1050), ("delivered", 100), ("lost", 0), ("refused_filters", 0)]);
    assert_measured(&report, line, &["subscriptions_per_s", "bytes_per_subscription"]);
}

#[tokio::test]
async fn publishers_alone_are_told_how_long_their_acknowledgements_take() {
    let node = node().await;
    for qos in 0..=2 {
        let line = format!("pub --publishers 2 --topics 7 --count 101 --qos {qos} --mqtt 5");
        let report = bench(&node, &line).await;
        assert_figures(&report, &line, &NO_FAULT);
        assert_figures(&report, &line, &[("sent", 101)]);
        assert_eq!(report["ack_p99_us"].is_number(), qos > 0, "{report}");
    }
}

#[tokio::test]
async fn a_rate_is_kept_whatever_the_broker_does() {
    let node = node().await;
    let line = "p2p --pairs 3 --qos 1 --rate 1000 --warm-up 100ms --duration 400ms";
    let report = bench(&node, line).await;
    assert_figures(&report, line, &NO_FAULT);
    assert_figures(&report, line, &[("sent", 500), ("delivered", 500), ("unsent", 0), ("rate", 1000)]);
}

#[tokio::test]
async fn a_closed_loop_runs_for_its_time_and_draws_what_it_saw() {
    let node = node().await;
    let picture = tempfile::NamedTempFile::new().unwrap();
    let line = format!("p2p --pairs 2 --window 4 --warm-up 50ms --duration 600ms --plot {}", picture.path().display());
    let report = bench(&node, &line).await;
    assert_figures(&report, &line, &NO_FAULT);
    assert_measured(&report, &line, &["delivered_per_s", "cpu_cores", "load_cpu_cores"]);
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds >= 0.5, "{seconds} s of 0.6 were measured");
    let picture = std::fs::read_to_string(picture.path()).unwrap();
    assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"), "{picture}");
    for part in ["brokerctl bench p2p", ">latency<", "messages done", "CPU of the broker", "memory of the broker"] {
        assert!(picture.contains(part), "no `{part}` in {picture}");
    }
}

#[tokio::test]
async fn publishers_and_subscribers_go_to_different_nodes() {
    let cluster = Cluster::start(2).await;
    let [first, second] = [0, 1].map(|at| cluster.nodes[at].mqtt().to_string());
    let words = ["--pub-target", &first, "--sub-target", &second, "--target", &first];
    let line = "p2p --pairs 4 --count 100 --qos 2";
    let report = bench_at(&words, line).await;
    assert_figures(&report, line, &NO_FAULT);
    assert_figures(&report, line, &[("sent", 100), ("delivered", 100)]);
}

#[tokio::test]
async fn what_is_retained_is_all_received_and_then_cleared() {
    let node = node().await;
    for (qos, mqtt) in [(1, "3.1.1"), (2, "5")] {
        let line = format!("retained --messages 700 --subscribers 3 --qos {qos} --mqtt {mqtt}");
        let report = bench(&node, &line).await;
        assert_figures(&report, &line, &[("sent", 700), ("delivered", 2100), ("lost", 0), ("duplicates", 0)]);
        assert_measured(&report, &line, &["all_received_p50_us"]);
    }
    let info = node.ctl().run(&["retainer", "info"]).await.ok();
    assert!(info.to_string().contains("\"count\":0") || info.to_string().contains("\"messages\":0"), "{info}");
}
