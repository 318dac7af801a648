//! brokerctl beside three nodes: answers are for the whole cluster, narrow by `--node`, and say who did not answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tests::cluster::{Cluster, wait_for_states};
use tests::packet::Connect;
use tests::raw::Raw;

/// A cluster with one client on n1 and two on n2; each subscribes to `common` and to its own id.
async fn populated() -> (Cluster, Vec<Raw>) {
    let cluster = Cluster::start(3).await;
    let mut clients = vec![];
    for (id, node) in [("a", 0), ("b", 1), ("c", 1)] {
        let mut client = Raw::connect(cluster.nodes[node].mqtt(), &Connect::v5(id)).await;
        client.subscribe("common", 1).await;
        client.subscribe(id, 0).await;
        clients.push(client);
    }
    (cluster, clients)
}

fn pairs(rows: &Value, keys: [&str; 2]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().unwrap_or_else(|| panic!("not an array: {rows}"));
    let mut pairs: Vec<_> = rows.iter().map(|row| (text(&row[keys[0]]), text(&row[keys[1]]))).collect();
    pairs.sort();
    pairs
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(one, two)| ((*one).to_owned(), (*two).to_owned())).collect()
}

#[tokio::test]
async fn every_node_gives_the_answer_of_the_cluster() {
    let (cluster, _clients) = populated().await;
    let count = json!({"total": 3, "connected": 3, "nodes": {
        "n1": {"total": 1, "connected": 1}, "n2": {"total": 2, "connected": 2}, "n3": {"total": 0, "connected": 0}}});
    for node in &cluster.nodes {
        let ctl = node.ctl();
        assert_eq!(ctl.run(&["clients", "count"]).await.ok(), count, "asked at {}", node.name());
        let clients = ctl.run(&["clients", "list"]).await.ok();
        assert_eq!(pairs(&clients, ["clientid", "node"]), owned(&[("a", "n1"), ("b", "n2"), ("c", "n2")]));
        let topics = ctl.run(&["topics", "list"]).await.ok();
        let expected = [("a", "n1"), ("b", "n2"), ("c", "n2"), ("common", "n1"), ("common", "n2")];
        assert_eq!(pairs(&topics, ["topic", "node"]), owned(&expected));
        let shown = ctl.run(&["topics", "show", "common"]).await.ok();
        assert_eq!(pairs(&shown, ["topic", "node"]), owned(&[("common", "n1"), ("common", "n2")]));
        let subscriptions = ctl.run(&["subscriptions", "show", "c"]).await.ok();
        assert_eq!(pairs(&subscriptions, ["clientid", "topic"]), owned(&[("c", "c"), ("c", "common")]));
        let listeners = ctl.run(&["listeners"]).await.ok();
        let expected = [("n1", "tcp:default"), ("n2", "tcp:default"), ("n3", "tcp:default")];
        assert_eq!(pairs(&listeners, ["node", "id"]), owned(&expected));
        let status = ctl.run(&["cluster", "status"]).await.ok();
        assert_eq!(pairs(&status["nodes"], ["name", "state"]), owned(&[("n1", "up"), ("n2", "up"), ("n3", "up")]));
    }
}

#[tokio::test]
async fn node_narrows_an_answer() {
    let (cluster, _clients) = populated().await;
    let ctl = cluster.nodes[0].ctl();
    let clients = ctl.run(&["--node", "n2", "clients", "list"]).await.ok();
    assert_eq!(pairs(&clients, ["clientid", "node"]), owned(&[("b", "n2"), ("c", "n2")]));
    let clients = ctl.run(&["clients", "list", "--node", "n3"]).await.ok();
    assert_eq!(clients, json!([]));
    let nobody = ctl.run(&["clients", "list", "--node", "n9"]).await;
    assert_eq!(nobody.code, 4, "{}{}", nobody.stdout, nobody.stderr);
}

#[tokio::test]
async fn a_client_is_kicked_wherever_it_is() {
    let (cluster, mut clients) = populated().await;
    cluster.nodes[2].ctl().run(&["clients", "kick", "a"]).await.ok();
    assert_eq!(clients[0].expect_close().await, Some(0x98));
}

#[tokio::test]
async fn a_member_that_is_up_and_does_not_answer_is_named_and_the_exit_code_is_3() {
    let (cluster, _clients) = populated().await;
    cluster.nodes[1].stop();
    let answer = cluster.nodes[0].ctl().run(&["clients", "list"]).await;
    cluster.nodes[1].cont();
    assert_eq!(answer.code, 3, "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stderr.contains("n2"), "the silent one is not named: {}", answer.stderr);
    assert_eq!(pairs(&answer.json, ["clientid", "node"]), owned(&[("a", "n1")]), "the others are listed");
}

#[tokio::test]
async fn routes_are_not_said_to_agree_everywhere_where_a_member_did_not_answer() {
    let (cluster, _clients) = populated().await;
    cluster.nodes[1].stop();
    let answer = cluster.nodes[0].ctl().run(&["routes", "check"]).await;
    cluster.nodes[1].cont();
    assert_eq!((answer.code, &answer.json["complete"]), (3, &false.into()), "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stderr.contains("n2"), "the silent one is not named: {}", answer.stderr);
}

#[tokio::test]
async fn a_member_that_is_down_is_listed_and_not_asked() {
    let (mut cluster, _clients) = populated().await;
    cluster.nodes[1].kill9();
    let first = &cluster.nodes[0];
    wait_for_states(first, &[("n2", "down")]).await;
    let status = first.ctl().run(&["cluster", "status"]).await;
    assert_eq!(status.code, 0, "{}", status.stderr);
    let clients = first.ctl().run(&["clients", "list"]).await.ok();
    assert_eq!(pairs(&clients, ["clientid", "node"]), owned(&[("a", "n1")]));
}
