//! brokerctl beside one node: what it prints as JSON, what it counts, and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tests::ctl::Ctl;
use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

async fn node() -> Node {
    Node::start(NodeOptions::alone("n1")).await
}

/// Asks until the answer is this: brokerctl may come before the broker has seen a close.
async fn assert_becomes(node: &Node, arguments: &[&str], expected: &Value) {
    eventually(SOON, &format!("{arguments:?} is {expected}"), async || {
        let answer = node.ctl().run(arguments).await.ok();
        if answer == *expected { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

fn column<'a>(rows: &'a Value, key: &str) -> Vec<&'a str> {
    let rows = rows.as_array().unwrap_or_else(|| panic!("not an array: {rows}"));
    let mut column: Vec<_> = rows.iter().map(|row| row[key].as_str().unwrap_or_default()).collect();
    column.sort_unstable();
    column
}

#[tokio::test]
async fn status_names_the_node_and_says_it_is_started() {
    let node = node().await;
    let answer = node.ctl().run(&["status"]).await.ok();
    assert_eq!(answer["node"], "n1");
    assert_eq!(answer["status"], "started");
    let table = node.ctl().table(&["status"]).await;
    assert_eq!(table.code, 0);
    assert!(table.stdout.contains("n1"), "{}", table.stdout);
}

#[tokio::test]
async fn clients_are_counted_connected_and_kept() {
    let node = node().await;
    assert_becomes(
        &node,
        &["clients", "count"],
        &json!({"total": 0, "connected": 0, "nodes": {"n1": {"total": 0, "connected": 0}}}),
    )
    .await;
    let _one = Raw::connect(node.mqtt(), &Connect::v5("one")).await;
    Raw::connect(node.mqtt(), &Connect::v311("two").persistent()).await.disconnect().await;
    Raw::connect(node.mqtt(), &Connect::v311("three")).await.disconnect().await;
    assert_becomes(
        &node,
        &["clients", "count"],
        &json!({"total": 2, "connected": 1, "nodes": {"n1": {"total": 2, "connected": 1}}}),
    )
    .await;
}

#[tokio::test]
async fn clients_are_listed_and_shown() {
    let node = node().await;
    assert_eq!(node.ctl().run(&["clients", "list"]).await.ok(), json!([]));
    let mut connect = Connect::v5("shown").keep_alive(30);
    connect.username = Some("alice".into());
    let mut client = Raw::connect(node.mqtt(), &connect).await;
    client.subscribe("a/#", 1).await;
    let list = node.ctl().run(&["clients", "list"]).await.ok();
    assert_eq!(column(&list, "clientid"), ["shown"]);
    let shown = node.ctl().run(&["clients", "show", "shown"]).await.ok();
    let shown = if shown.is_array() { shown[0].clone() } else { shown };
    for (key, value) in [
        ("clientid", json!("shown")),
        ("username", json!("alice")),
        ("keepalive", json!(30)),
        ("connected", json!(true)),
        ("clean_start", json!(true)),
        ("subscriptions", json!(1)),
        ("proto_ver", json!(5)),
        ("node", json!("n1")),
    ] {
        assert_eq!(shown[key], value, "`{key}` in {shown}");
    }
}

#[tokio::test]
async fn a_kicked_client_is_closed_and_in_5_told_so() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("kicked")).await;
    node.ctl().run(&["clients", "kick", "kicked"]).await.ok();
    assert_eq!(client.expect_close().await, Some(0x98)); // Administrative action
    assert_becomes(&node, &["clients", "list"], &json!([])).await;
}

#[tokio::test]
async fn subscriptions_and_topics_are_listed_and_shown() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("subscriber")).await;
    client.subscribe("a/+", 2).await;
    client.subscribe("b/#", 0).await;
    let mut other = Raw::connect(node.mqtt(), &Connect::v5("other")).await;
    other.subscribe("b/#", 1).await;
    let list = node.ctl().run(&["subscriptions", "list"]).await.ok();
    assert_eq!(column(&list, "topic"), ["a/+", "b/#", "b/#"]);
    let own = node.ctl().run(&["subscriptions", "show", "subscriber"]).await.ok();
    assert_eq!(column(&own, "topic"), ["a/+", "b/#"]);
    let row = own.as_array().unwrap().iter().find(|row| row["topic"] == "a/+").unwrap();
    assert_eq!((&row["clientid"], &row["qos"]), (&json!("subscriber"), &json!(2)));
    let topics = node.ctl().run(&["topics", "list"]).await.ok();
    assert_eq!(column(&topics, "topic"), ["a/+", "b/#"]);
    let shown = node.ctl().run(&["topics", "show", "b/#"]).await.ok();
    assert_eq!(column(&shown, "node"), ["n1"]);
}

#[tokio::test]
async fn a_list_is_complete_however_long_and_as_long_as_its_limit_says() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("many")).await;
    for number in 0..2500 {
        client.subscribe(&format!("many/{number}"), 0).await;
    }
    let list = node.ctl().run(&["topics", "list"]).await.ok();
    assert_eq!(list.as_array().map(Vec::len), Some(2500));
    let list = node.ctl().run(&["topics", "list", "--limit", "7"]).await.ok();
    assert_eq!(list.as_array().map(Vec::len), Some(7));
}

#[tokio::test]
async fn listeners_tell_the_real_port_and_its_connections() {
    let node = node().await;
    let _client = Raw::connect(node.mqtt(), &Connect::v5("one")).await;
    let listeners = node.ctl().run(&["listeners"]).await.ok();
    let default = listeners.as_array().unwrap().iter().find(|row| row["id"] == "tcp:default").unwrap();
    assert_eq!(default["listen_on"], node.mqtt().to_string());
    assert_eq!(default["running"], true);
    assert_eq!(default["current_conn"], 1);
}

#[tokio::test]
async fn metrics_and_stats_are_names_and_numbers() {
    let node = node().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("counted")).await;
    client.subscribe("counted", 1).await;
    client.publish("counted", b"x", 1).await;
    client.receive().await;
    client.fence().await;
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    for (name, value) in [
        ("messages.qos1.received", 1),
        ("messages.qos1.sent", 1),
        ("messages.acked", 1),
        ("packets.connect.received", 1),
        ("packets.subscribe.received", 1),
        ("cluster.suback.timed_out", 0),
    ] {
        assert_eq!(metrics[name], value, "`{name}` in {metrics}");
    }
    let stats = node.ctl().run(&["broker", "stats"]).await.ok();
    assert_eq!(stats["connections.count"], 1, "{stats}");
    assert_eq!(stats["subscriptions.count"], 1, "{stats}");
}

#[tokio::test]
async fn a_node_without_a_secret_is_a_cluster_of_itself() {
    let node = node().await;
    let status = node.ctl().run(&["cluster", "status"]).await.ok();
    assert_eq!(column(&status["nodes"], "name"), ["n1"]);
    assert_eq!(status["nodes"][0]["state"], "up");
    assert!(status["nodes"][0]["generation"].is_u64(), "{status}");
    let join = node.ctl().run(&["cluster", "join", "127.0.0.1:1"]).await;
    assert_eq!(join.code, 1, "{}", join.stderr);
    assert!(join.stderr.contains("secret"), "{}", join.stderr);
}

#[tokio::test]
async fn a_generation_rises_at_every_start() {
    let mut node = node().await;
    let generation = async |node: &Node| {
        let status = node.ctl().run(&["cluster", "status"]).await.ok();
        status["nodes"][0]["generation"].as_u64().unwrap()
    };
    let before = generation(&node).await;
    node.restart().await;
    assert!(generation(&node).await > before);
}

#[tokio::test]
async fn what_is_not_there_is_4() {
    let node = node().await;
    for arguments in [
        &["clients", "show", "nobody"][..],
        &["clients", "kick", "nobody"],
        &["subscriptions", "show", "nobody"],
        &["topics", "show", "no/such/filter"],
    ] {
        let answer = node.ctl().run(arguments).await;
        assert_eq!(answer.code, 4, "{arguments:?}: {}{}", answer.stdout, answer.stderr);
        assert!(!answer.stderr.is_empty(), "{arguments:?} says why");
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_6() {
    for endpoint in ["unix:/nonexistent/admin.sock", "127.0.0.1:1"] {
        let answer = Ctl::at(endpoint).run(&["status"]).await;
        assert_eq!(answer.code, 6, "{endpoint}: {}", answer.stderr);
        assert!(answer.stderr.contains(endpoint), "{endpoint} is not named: {}", answer.stderr);
    }
}

#[tokio::test]
async fn global_flags_work_before_and_after_the_subcommand() {
    let node = node().await;
    let after = Ctl::at("unix:/nonexistent").run(&["status", "--endpoint"]).await;
    assert_eq!(after.code, 2, "an incomplete flag is a mistake of usage: {}", after.stderr);
    let endpoint = format!("unix:{}", node.admin_socket().display());
    let mut command = tokio::process::Command::new(tests::binaries::brokerctl());
    let output = command.args(["clients", "count", "-o", "json", "--endpoint", &endpoint]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap();
}

#[tokio::test]
async fn the_endpoint_comes_from_the_environment_too() {
    let node = node().await;
    let endpoint = format!("unix:{}", node.admin_socket().display());
    let mut command = tokio::process::Command::new(tests::binaries::brokerctl());
    let output = command.args(["status"]).env("BROKERCTL_ENDPOINT", &endpoint).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn keygen_prints_a_new_secret_and_asks_no_broker() {
    let mut secrets = vec![];
    for _ in 0..2 {
        let answer = Ctl::at("unix:/nonexistent").table(&["cluster", "keygen"]).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        assert!(answer.stdout.trim().len() >= 32, "{}", answer.stdout);
        secrets.push(answer.stdout);
    }
    assert_ne!(secrets[0], secrets[1]);
}

#[tokio::test]
async fn the_admin_socket_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let node = node().await;
    let mode = std::fs::metadata(node.admin_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "mode {mode:o}");
}
