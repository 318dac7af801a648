//! `brokerctl sessions` and the store in `status`: what is shown of sessions that are here and away, and what `delete`
//! leaves behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

async fn on_disk() -> Node {
    Node::start(NodeOptions::alone("n1").set("persistence.backend", "disk")).await
}

/// The session of a client that subscribed to its own id and went.
async fn away(node: &Node, id: &str) {
    let mut client = Raw::connect(node.mqtt(), &Connect::v5(id).persistent()).await;
    client.subscribe(id, 2).await;
    client.disconnect().await;
}

async fn shown(node: &Node, id: &str) -> Value {
    node.ctl().run(&["sessions", "show", id]).await.ok()
}

async fn wait_until_away(node: &Node, id: &str) {
    eventually(SOON, &format!("{id} is away"), async || {
        let session = shown(node, id).await;
        if session["connected"] == false { Ok(()) } else { Err(session.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_session_is_shown_with_what_waits_for_it_and_where_it_is_kept_also_after_a_restart() {
    let mut node = on_disk().await;
    away(&node, "pump").await;
    wait_until_away(&node, "pump").await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for _ in 0..3 {
        publisher.publish("pump", b"0123456789", 1).await;
    }
    let claims = async |node: &Node, when: &str| {
        let session = shown(node, "pump").await;
        for (key, value) in [
            ("clientid", json!("pump")),
            ("node", json!("n1")),
            ("connected", json!(false)),
            ("subscriptions", json!(1)),
            ("queued_msgs", json!(3)),
            ("inflight", json!(0)),
            ("awaiting_rel", json!(0)),
            ("kept", json!("disk")),
        ] {
            assert_eq!(session[key], value, "{when}: `{key}` in {session}");
        }
        assert!(session["queued_bytes"].as_u64().unwrap() >= 30, "{when}: {session}");
        assert!(session["disconnected_at"].as_u64().unwrap() > 0, "{when}: {session}");
        let left = session["expires_in"].as_u64().unwrap_or_else(|| panic!("{when}: it ends: {session}"));
        assert!(left > 0 && left <= session["session_expiry_interval"].as_u64().unwrap(), "{when}: {session}");
    };
    claims(&node, "before").await;
    node.restart().await;
    claims(&node, "after").await;
    let own = node.ctl().run(&["sessions", "show", "publisher"]).await;
    assert_eq!(own.code, 4, "one that ends with its connection is not back: {}", own.stdout);
}

#[tokio::test]
async fn a_session_that_ends_with_its_connection_is_in_memory_and_has_no_end_yet() {
    let node = on_disk().await;
    let _client = Raw::connect(node.mqtt(), &Connect::v5("brief")).await;
    let session = shown(&node, "brief").await;
    assert_eq!((&session["kept"], &session["connected"]), (&json!("memory"), &json!(true)));
    assert_eq!((&session["expires_in"], &session["disconnected_at"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_deleted_session_is_closed_with_its_reason_and_is_gone_from_the_store_too() {
    let mut node = on_disk().await;
    away(&node, "away").await;
    wait_until_away(&node, "away").await;
    let connect = Connect::v5("here").persistent();
    let mut here = Raw::connect(node.mqtt(), &connect).await;
    here.subscribe("a/#", 1).await;
    away(&node, "stays").await;
    for id in ["away", "here"] {
        let answer = node.ctl().run(&["sessions", "delete", id]).await.ok();
        assert_eq!(answer, json!({"clientid": id, "deleted": true, "nodes": ["n1"]}));
    }
    assert_eq!(here.expect_close().await, Some(0x98)); // Administrative action
    node.restart().await; // killed: what was not in the store when it was answered is not there
    let list = node.ctl().run(&["sessions", "list"]).await.ok();
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|row| &row["clientid"]).collect();
    assert_eq!(ids, ["stays"]);
    let (_, connack) = Raw::connect_with_answer(node.mqtt(), &connect).await;
    assert!(!connack.session_present);
}

#[tokio::test]
async fn a_session_that_is_nowhere_is_not_found() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    for what in ["show", "delete"] {
        let answer = node.ctl().run(&["sessions", what, "nobody"]).await;
        assert_eq!(answer.code, 4, "{what}: {}", answer.stderr);
        assert!(answer.stderr.contains("there is no session of `nobody`"), "{what}: {}", answer.stderr);
    }
}

#[tokio::test]
async fn sessions_of_all_nodes_are_listed_shown_and_deleted_from_any() {
    let cluster = Cluster::start_with(2, |options| options.set("persistence.backend", "disk")).await;
    let nodes = &cluster.nodes;
    away(&nodes[0], "first").await;
    away(&nodes[1], "second").await;
    wait_until_away(&nodes[1], "first").await;
    wait_until_away(&nodes[0], "second").await;
    let list = nodes[0].ctl().run(&["sessions", "list"]).await.ok();
    let rows: Vec<_> = list.as_array().unwrap().iter().map(|row| (&row["clientid"], &row["node"])).collect();
    let (one, two) = (json!(nodes[0].name()), json!(nodes[1].name()));
    assert_eq!(rows, [(&json!("first"), &one), (&json!("second"), &two)]);
    let narrowed = nodes[0].ctl().run(&["sessions", "list", "--node", nodes[1].name()]).await.ok();
    assert_eq!(narrowed.as_array().unwrap().len(), 1, "{narrowed}");
    nodes[0].ctl().run(&["sessions", "delete", "second"]).await.ok();
    assert_eq!(nodes[1].ctl().run(&["sessions", "show", "second"]).await.code, 4);
}

#[tokio::test]
async fn status_says_how_the_store_is() {
    let node = on_disk().await;
    away(&node, "pump").await;
    let status = node.ctl().run(&["status"]).await.ok();
    let store = &status["store"];
    assert_eq!((&store["backend"], &store["commit"], &store["state"]), (&json!("disk"), &json!("group"), &json!("ok")));
    assert!(store["commits"].as_u64().unwrap() > 0, "{store}");
    assert!(store["commit_p99_us"].as_u64().unwrap() >= 250, "{store}");
    assert!(store["disk_bytes"].as_u64().unwrap() > 0, "{store}");
    assert_eq!(store["quarantined"], 0);
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    assert!(metrics["store.commits"].as_u64().unwrap() > 0, "{metrics}");
    let table = node.ctl().table(&["status"]).await;
    assert!(table.stdout.contains("Store 'disk' (commit group) is ok"), "{}", table.stdout);
    assert!(!table.stdout.contains('!'), "{}", table.stdout);
}

#[tokio::test]
async fn a_node_that_keeps_nothing_says_so() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    assert_eq!(node.ctl().run(&["status"]).await.ok()["store"]["backend"], "memory");
    let table = node.ctl().table(&["status"]).await;
    assert!(table.stdout.contains("keeps nothing beyond the process"), "{}", table.stdout);
}
