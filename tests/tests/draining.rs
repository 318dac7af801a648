//! Taking a node out of service: `node drain`, `cluster leave`, `cluster force-leave`, `rebalance`, and what load
//! balancers see of it. Real nodes, real clients.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::cluster::{Cluster, view, wait_for_states};
use tests::http::get;
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version, Will, property_four};
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

const USE_ANOTHER_SERVER: u8 = 0x9c;
const SERVER_MOVED: u8 = 0x9d;

/// Nodes that load balancers can ask and that clients can be sent to, quick to call another one down.
fn served(options: NodeOptions) -> NodeOptions {
    let reference = format!("{}.test:1883", options.name);
    options
        .set("health.listen", "127.0.0.1:0")
        .set("node.server_reference", &reference)
        .set("node.drain_wait", "0s")
        .set("cluster.peer_timeout", "1s")
        .set("cluster.down_after", "1s")
}

async fn clients(node: &Node, version: Version, prefix: &str, count: usize) -> Vec<Raw> {
    let mut clients = vec![];
    for number in 0..count {
        clients.push(Raw::connect(node.mqtt(), &Connect::new(version, &format!("{prefix}{number}"))).await);
    }
    clients
}

async fn readiness(node: &Node) -> (u16, String) {
    get(node.health(), "/readyz").await.unwrap_or_else(|| panic!("{} does not answer", node.name()))
}

fn ready() -> (u16, String) {
    (200, "ready\n".to_owned())
}

fn not_ready(why: &str) -> (u16, String) {
    (503, format!("{why}\n"))
}

#[tokio::test]
async fn a_drain_tells_clients_of_5_where_to_go_closes_those_of_3_and_takes_nobody_until_it_is_undone() {
    let cluster = Cluster::start_with(3, served).await;
    let [first, second, third] = &cluster.nodes[..] else { unreachable!() };
    let of_5 = clients(first, Version::V5, "five", 4).await;
    let of_3 = clients(first, Version::V311, "three", 2).await;
    let mut witness = Raw::connect(second.mqtt(), &Connect::v5("witness")).await;
    assert_eq!(readiness(first).await, ready());

    let drained = third.ctl().run(&["node", "drain", "--node", "n1"]).await.ok();
    assert_eq!(
        (&drained["state"], &drained["moved"], &drained["connected"]),
        (&"drained".into(), &6.into(), &0.into())
    );
    for mut client in of_5 {
        assert_eq!(client.expect_close().await, Some(USE_ANOTHER_SERVER));
        let reference = client.reason_string.unwrap_or_default();
        let mut names: Vec<&str> = reference.split(' ').collect();
        names.sort_unstable();
        assert_eq!(names, ["n2.test:1883", "n3.test:1883"], "`{reference}`");
    }
    for mut client in of_3 {
        assert_eq!(client.expect_close().await, None, "3.1.1 has no DISCONNECT of a server");
    }
    assert_eq!(readiness(first).await, not_ready("drained"));
    assert_eq!(get(first.health(), "/livez").await.unwrap().0, 200, "it lives");
    assert!(Raw::open_if_there(first.mqtt(), Version::V5).await.is_none(), "it accepts");
    assert_eq!(readiness(second).await, ready());
    witness.expect_silence().await;
    wait_for_states(second, &[("n1", "up"), ("n2", "up"), ("n3", "up")]).await;

    first.ctl().run(&["node", "undrain"]).await.ok();
    assert_eq!(readiness(first).await, ready());
    Raw::connect(first.mqtt(), &Connect::v5("back")).await.fence().await;
}

#[tokio::test]
async fn a_drain_that_is_undone_half_way_keeps_the_rest_and_one_begun_again_goes_on() {
    let cluster = Cluster::start_with(2, served).await;
    let node = &cluster.nodes[0];
    let mut there = clients(node, Version::V5, "c", 20).await;
    let begun = node.ctl().run(&["node", "drain", "--rate", "10/s", "--no-wait", "--to", "n2"]).await.ok();
    assert_eq!(begun["rate"], 10);
    eventually(SOON, "some are gone", async || {
        let moved = node.ctl().run(&["node", "status"]).await.ok()["moved"].as_u64().unwrap();
        if moved >= 3 { Ok(()) } else { Err(format!("{moved}")) }
    })
    .await;
    let stopped = node.ctl().run(&["node", "drain", "--stop"]).await.ok();
    let (moved, left) = (stopped["moved"].as_u64().unwrap(), stopped["connected"].as_u64().unwrap());
    assert_eq!(stopped["state"], "off");
    assert!(moved < 20, "all went before it could be stopped");
    assert_eq!(moved + left, 20);
    assert_eq!(readiness(node).await, ready());
    there.extend(clients(node, Version::V5, "new", 1).await);

    let drained = node.ctl().run(&["node", "drain", "--rate", "1000"]).await.ok();
    assert_eq!((&drained["state"], &drained["moved"]), (&"drained".into(), &(left + 1).into()));
    for mut client in there {
        assert_eq!(client.expect_close().await, Some(USE_ANOTHER_SERVER));
    }
}

#[tokio::test]
async fn a_client_that_is_sent_away_leaves_its_will_which_waits_for_its_delay() {
    let cluster = Cluster::start_with(2, served).await;
    let [first, second] = &cluster.nodes[..] else { unreachable!() };
    let mut watcher = Raw::connect(second.mqtt(), &Connect::v5("watcher")).await;
    watcher.subscribe("wills/#", 1).await;
    let at_once = Connect::v5("at-once").will(Will::new("wills/at-once", "gone"));
    let mut later = Will::new("wills/later", "gone");
    later.properties = property_four(0x18, 3600);
    let later = Connect::v5("later").persistent().will(later);
    let mut here = [Raw::connect(first.mqtt(), &at_once).await, Raw::connect(first.mqtt(), &later).await];
    first.ctl().run(&["node", "drain"]).await.ok();
    for client in &mut here {
        assert_eq!(client.expect_close().await, Some(USE_ANOTHER_SERVER));
    }
    assert_eq!(watcher.receive().await.topic, "wills/at-once");
    let mut publisher = Raw::connect(second.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("wills/marker", b"", 1).await;
    assert_eq!(watcher.receive().await.topic, "wills/marker", "the delayed will came");
}

#[tokio::test]
async fn a_node_that_leaves_sends_its_clients_away_for_good_and_may_join_again() {
    let cluster = Cluster::start_with(3, served).await;
    let [first, second, third] = &cluster.nodes[..] else { unreachable!() };
    let mut client = Raw::connect(third.mqtt(), &Connect::v5("mover")).await;
    client.subscribe("left/behind", 1).await;
    third.ctl().run(&["cluster", "leave"]).await.ok();
    assert_eq!(client.expect_close().await, Some(SERVER_MOVED));
    for node in [first, second] {
        wait_for_states(node, &[("n1", "up"), ("n2", "up")]).await;
        assert_ne!(view(node).await.unwrap().get("n3").map(String::as_str), Some("up"));
    }
    assert_eq!(view(third).await.unwrap().len(), 1);
    assert_eq!(readiness(third).await, not_ready("drained"), "a node that has left is no place for clients");

    third.ctl().run(&["cluster", "join", &first.cluster().to_string()]).await.ok();
    third.ctl().run(&["node", "undrain"]).await.ok();
    cluster.wait_until_all_up().await;
    assert_eq!(readiness(third).await, ready());
    let mut subscriber = Raw::connect(third.mqtt(), &Connect::v5("again")).await;
    subscriber.subscribe("again", 1).await;
    let mut publisher = Raw::connect(second.mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("again", b"there", 1).await;
    assert_eq!(subscriber.receive().await.text(), "there");
}

#[tokio::test]
async fn sessions_in_memory_whose_client_is_away_are_on_other_nodes_when_theirs_has_left() {
    sessions_go_along("memory").await;
}

#[tokio::test]
async fn sessions_on_disk_whose_client_is_away_are_on_other_nodes_when_theirs_has_left() {
    sessions_go_along("disk").await;
}

async fn sessions_go_along(backend: &str) {
    const SESSIONS: u64 = 20;
    let kept = |options: NodeOptions| options.set("persistence.backend", backend);
    let mut cluster = Cluster::start_with(3, kept).await;
    for number in 0..SESSIONS {
        let away = Connect::v5(&format!("away{number}")).persistent();
        let mut client = Raw::connect(cluster.nodes[0].mqtt(), &away).await;
        client.subscribe(&format!("queue/{number}"), 1).await;
        client.disconnect().await;
    }
    let mut publisher = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("publisher")).await;
    for text in [b"first", b"later"] {
        for number in 0..SESSIONS {
            publisher.publish(&format!("queue/{number}"), text, 1).await;
        }
    }
    cluster.nodes[0].ctl().run(&["cluster", "leave"]).await.ok();
    let status = cluster.nodes[0].ctl().run(&["node", "status"]).await.ok();
    assert_eq!(status["handed_over"], SESSIONS, "{status}");
    for number in 0..SESSIONS {
        publisher.publish(&format!("queue/{number}"), b"after", 1).await;
    }
    assert!(cluster.nodes[0].terminate().await.success());
    for number in 0..SESSIONS {
        let node = &cluster.nodes[1 + number as usize % 2];
        let away = Connect::v5(&format!("away{number}")).persistent();
        let (mut client, connack) = Raw::connect_with_answer(node.mqtt(), &away).await;
        assert!(connack.session_present, "away{number} begins anew on {}", node.name());
        for text in ["first", "later", "after"] {
            assert_eq!(client.receive().await.text(), text, "away{number}");
        }
    }
}

#[tokio::test]
async fn sessions_whose_client_is_away_go_to_the_node_that_is_named() {
    let cluster = Cluster::start(3).await;
    for number in 0..8 {
        let away = Connect::v5(&format!("away{number}")).persistent();
        let mut client = Raw::connect(cluster.nodes[0].mqtt(), &away).await;
        client.subscribe("any", 1).await;
        client.disconnect().await;
    }
    let drained = cluster.nodes[1].ctl().run(&["node", "drain", "--node", "n1", "--to", "n3"]).await.ok();
    assert_eq!(drained["handed_over"], 8, "{drained}");
    let sessions = async |node: &Node| node.ctl().run(&["node", "status"]).await.ok()["offline"].clone();
    assert_eq!((sessions(&cluster.nodes[1]).await, sessions(&cluster.nodes[2]).await), (0.into(), 8.into()));
}

#[tokio::test]
async fn only_a_member_that_is_down_is_forgotten_by_all_and_it_may_come_back() {
    let mut cluster = Cluster::start_with(3, served).await;
    let alive = cluster.nodes[0].ctl().run(&["cluster", "force-leave", "n3"]).await;
    assert_eq!(alive.code, 1, "{}{}", alive.stdout, alive.stderr);
    assert!(alive.stderr.contains("is not down"), "{}", alive.stderr);
    let nobody = cluster.nodes[0].ctl().run(&["cluster", "force-leave", "n9"]).await;
    assert_eq!(nobody.code, 4, "{}{}", nobody.stdout, nobody.stderr);

    cluster.nodes[2].kill9();
    for node in &cluster.nodes[..2] {
        wait_for_states(node, &[("n3", "down")]).await;
        let alarms = node.ctl().run(&["alarms", "list", "--node", node.name()]).await.ok();
        let is_it = |row: &&serde_json::Value| row["name"] == "member_down" && row["subject"] == "n3";
        assert_eq!(alarms.as_array().unwrap().iter().filter(is_it).count(), 1, "{alarms}");
    }
    cluster.nodes[0].ctl().run(&["cluster", "force-leave", "n3"]).await.ok();
    for node in &cluster.nodes[..2] {
        let seen = view(node).await.unwrap();
        assert!(!seen.contains_key("n3"), "{} sees {seen:?}", node.name());
        eventually(SOON, "no alarm is left", async || {
            let alarms = node.ctl().run(&["alarms", "list", "--node", node.name()]).await.ok();
            if alarms.as_array().unwrap().is_empty() { Ok(()) } else { Err(alarms.to_string()) }
        })
        .await;
    }
    cluster.nodes[2].restart().await;
    cluster.wait_until_all_up().await;
}

#[tokio::test]
async fn a_rebalance_sends_away_what_is_above_the_average_and_no_more() {
    let cluster = Cluster::start_with(3, served).await;
    let node = &cluster.nodes[0];
    let mut skewed = clients(node, Version::V5, "c", 30).await;
    let plan = node.ctl().run(&["rebalance", "plan"]).await.ok();
    let total: u64 = plan["moves"].as_array().unwrap().iter().map(|one| one["clients"].as_u64().unwrap()).sum();
    assert_eq!((total, &plan["started"]), (20, &false.into()), "{plan}");
    assert!(node.ctl().run(&["rebalance", "stop"]).await.stderr.contains("already disabled"));

    cluster.nodes[1].ctl().run(&["rebalance", "start", "--rate", "10/s"]).await.ok();
    assert_eq!(readiness(node).await, not_ready("rebalancing"));
    let again = node.ctl().run(&["rebalance", "start"]).await;
    assert!(again.stderr.contains("already enabled"), "{}", again.stderr);
    eventually(SOON, "n1 has sent 20 clients away", async || {
        let rows = cluster.nodes[2].ctl().run(&["rebalance", "status"]).await.ok();
        let row = &rows[0];
        if row["state"] == "off" && row["moved"] == 20 { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    assert_eq!(readiness(node).await, ready());
    let mut first_choices = std::collections::BTreeMap::new();
    let mut stayed = 0;
    for client in &mut skewed {
        match client.fence_or_close().await {
            None => stayed += 1,
            Some(code) => {
                assert_eq!(code, Some(USE_ANOTHER_SERVER));
                let reference = client.reason_string.clone().unwrap_or_default();
                *first_choices.entry(reference.split(' ').next().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(stayed, 10);
    let names: Vec<&String> = first_choices.keys().collect();
    assert_eq!(names, ["n2.test:1883", "n3.test:1883"], "{first_choices:?}");
}

#[tokio::test]
async fn a_node_is_not_ready_before_it_has_joined_and_counts_in_the_format_of_prometheus() {
    let silent = tests::ports::free();
    let health = tests::ports::free();
    let options = NodeOptions::clustered("n1", &[silent]).set("cluster.join_timeout", "2s");
    let mut node = Node::launch(options.set("health.listen", &health.to_string()));
    let mut seen = vec![];
    eventually(SOON, "it is ready", async || {
        let answer = get(health, "/readyz").await;
        if let Some((status, why)) = &answer
            && seen.last() != Some(why)
        {
            assert_eq!(*status == 200, why == "ready\n", "{answer:?}");
            seen.push(why.clone());
        }
        if answer == Some(ready()) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert!(seen.contains(&"joining\n".to_owned()), "{seen:?}");
    node.wait_until_ready().await;
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("counted")).await;
    client.publish("counted", b"1", 1).await;
    let (status, page) = get(health, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    for line in ["brokerd_packets_connect_received_total 1", "brokerd_live_connections 1", "brokerd_alarms 1"] {
        assert!(page.lines().any(|found| found == line), "no `{line}` in\n{page}");
    }
    let named: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let names: std::collections::BTreeSet<&str> = named.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names.len(), named.len(), "a name twice in\n{page}");
    assert_eq!(get(health, "/nothing").await.unwrap().0, 404);
    assert!(node.ctl().run(&["alarms", "list"]).await.ok()[0]["name"] == "alone");
}

#[tokio::test]
async fn connections_for_health_checks_are_bounded_and_free_again() {
    let node = Node::start(NodeOptions::alone("n1").set("health.listen", "127.0.0.1:0")).await;
    let mut idle = vec![];
    for _ in 0..64 {
        idle.push(tokio::net::TcpStream::connect(node.health()).await.unwrap());
    }
    eventually(SOON, "the 65th is closed without an answer", async || match get(node.health(), "/livez").await {
        None => Ok(()),
        Some(answer) => Err(format!("{answer:?}")),
    })
    .await;
    drop(idle);
    eventually(SOON, "there is room again", async || get(node.health(), "/livez").await.map(drop).ok_or(String::new()))
        .await;
}

#[tokio::test]
async fn all_nodes_agree_about_routes_and_status_says_how_each_is() {
    let cluster = Cluster::start_with(3, served).await;
    let mut subscriber = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("subscriber")).await;
    for number in 0..50 {
        subscriber.subscribe(&format!("rows/{number}/+"), 1).await;
    }
    subscriber.subscribe("$share/group/rows/#", 1).await;
    let report = cluster.nodes[0].ctl().run(&["routes", "check", "--fix"]).await.ok();
    assert_eq!(
        (&report["nodes"], &report["routes"], &report["fixed"]),
        (&3.into(), &51.into(), &false.into()),
        "{report}"
    );
    assert_eq!((&report["differences"], &report["complete"]), (&serde_json::json!([]), &true.into()));

    let status = cluster.nodes[0].ctl().run(&["cluster", "status"]).await.ok();
    let second = &status["nodes"][1];
    assert_eq!((&second["clients"], &second["drain"]), (&1.into(), &"off".into()), "{status}");
    assert!(second["uptime"].is_u64(), "{status}");
    let links = status["links"].as_array().unwrap();
    assert_eq!(links.len(), 6, "each node has one to each other: {status}");
    assert!(links.iter().all(|link| link["is_open"] == true && link["silent_ms"].is_u64()), "{status}");
}
