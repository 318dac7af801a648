//! The phases of `offline`: each message once, also when the broker is killed between them.

use tests::node::{Node, NodeOptions};

use crate::{assert_figures, assert_measured, bench};

#[tokio::test]
async fn what_was_acknowledged_for_sessions_that_are_away_is_drained_after_a_kill() {
    for (qos, mqtt) in [(1, "3.1.1"), (2, "5")] {
        let mut node = Node::start(NodeOptions::alone("n1").set("persistence.backend", "disk")).await;
        let about = format!("QoS {qos}, {mqtt}");
        let same = format!("--sessions 30 --qos {qos} --mqtt {mqtt}");
        let prepared = bench(&node, &format!("offline prepare {same}")).await;
        assert_figures(&prepared, &about, &[("sessions", 30), ("refused_filters", 0)]);
        let filled = bench(&node, &format!("offline fill {same} --messages 301 --publishers 4")).await;
        assert_figures(&filled, &about, &[("sent", 301), ("acknowledged", 301), ("unanswered", 0)]);
        assert_measured(&filled, &about, &["ack_p99_us", "acknowledged_per_s"]);
        node.restart().await;
        let drained = bench(&node, &format!("offline drain {same} --messages 301 --connections 7")).await;
        assert_figures(&drained, &about, &[("delivered", 301), ("lost", 0), ("duplicates", 0), ("out_of_order", 0)]);
        assert_figures(&drained, &about, &[("sessions_not_there", 0)]);
        bench(&node, &format!("offline clear {same}")).await;
        let left = node.ctl().run(&["sessions", "list"]).await.ok().to_string();
        assert!(!left.contains("bench-offline"), "{left}");
    }
}

#[tokio::test]
async fn one_publish_reaches_all_sessions_that_are_away() {
    let node = Node::start(NodeOptions::alone("n1").set("persistence.backend", "disk")).await;
    let same = "--sessions 200 --fan-out";
    bench(&node, &format!("offline prepare {same}")).await;
    let filled = bench(&node, &format!("offline fill {same} --messages 3")).await;
    assert_figures(&filled, "fill", &[("acknowledged", 3)]);
    let drained = bench(&node, &format!("offline drain {same} --messages 3")).await;
    assert_figures(&drained, "drain", &[("delivered", 600), ("lost", 0), ("duplicates", 0), ("out_of_order", 0)]);
}
