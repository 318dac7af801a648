//! HAProxy in front of two nodes, as `config/haproxy.cfg` has it: PROXY protocol version 2, health checks that say LOCAL.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod balanced;

use balanced::Behind;
use tests::balancer::{BALANCED, Balancer};
use tests::cluster::metric;
use tests::node::Node;
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

#[tokio::test]
async fn clients_are_listed_with_their_own_address_on_the_node_that_haproxy_chose() {
    let behind = Behind::start().await;
    let haproxy = Balancer::haproxy(&behind.cluster.nodes).await;
    behind.clients_have_their_own_address(&haproxy).await;
}

#[tokio::test]
async fn a_message_goes_in_at_one_node_and_comes_out_at_the_other_through_haproxy() {
    let behind = Behind::start().await;
    let haproxy = Balancer::haproxy(&behind.cluster.nodes).await;
    behind.messages_cross(&haproxy).await;
}

/// Waits until HAProxy's checks have found out.
async fn says(haproxy: &Balancer, text: &str) {
    eventually(SOON, &format!("HAProxy says `{text}`"), async || {
        let log = haproxy.log();
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn haproxys_checks_find_a_node_that_was_killed_and_new_clients_go_to_the_other() {
    let mut behind = Behind::start().await;
    let nodes = &behind.cluster.nodes;
    let haproxy = Balancer::haproxy(nodes).await;
    behind.survives_a_kill(&haproxy, async || says(&haproxy, "Server brokerd/b1 is DOWN").await).await;
}

#[tokio::test]
async fn haproxy_gives_no_client_to_a_node_that_is_drained_and_its_clients_are_sent_away_by_the_node() {
    let behind = Behind::start().await;
    let nodes = &behind.cluster.nodes;
    let haproxy = Balancer::haproxy(nodes).await;
    let [mut first, mut second] = behind.one_on_each(&haproxy).await;
    let (leaving, drained) = (nodes[0].ctl(), async || says(&haproxy, "Server brokerd/b1 is DOWN").await);
    leaving.run(&["node", "drain", "--rate", "1", "--no-wait"]).await.ok();
    drained().await;
    assert_eq!(first.client.expect_close().await, Some(0x9c), "HAProxy cut it off");
    for number in 0..4 {
        let client_id = format!("later{number}");
        Raw::connect(haproxy.address(), &Connect::v5(&client_id)).await.fence().await;
    }
    second.client.expect_silence().await;
    leaving.run(&["node", "undrain"]).await.ok();
    says(&haproxy, "Server brokerd/b1 is UP").await;
}

/// Connections that its listener for the balancer has accepted.
async fn accepted(node: &Node) -> u64 {
    let rows = node.ctl().run(&["listeners", "--node", node.name()]).await.ok();
    let row = rows.as_array().unwrap().iter().find(|row| row["id"] == BALANCED).unwrap().clone();
    row["accepted"].as_u64().unwrap_or_else(|| panic!("no `accepted` in {row}"))
}

#[tokio::test]
async fn haproxys_checks_are_no_clients_no_errors_and_not_logged() {
    let behind = Behind::start().await;
    let node = &behind.cluster.nodes[0];
    let before = node.log();
    let haproxy = Balancer::haproxy_without_readyz(&behind.cluster.nodes).await;
    eventually(SOON, "ten checks came", async || {
        let accepted = accepted(node).await;
        if accepted >= 10 { Ok(()) } else { Err(format!("{accepted} connections")) }
    })
    .await;
    assert!(!haproxy.log().contains("DOWN"), "they fail: {}", haproxy.log());
    for name in ["listener.proxy.refused", "client.protocol_errors", "client.connected", "packets.connect.received"] {
        assert_eq!(metric(node, name).await, 0, "{name}");
    }
    let clients = node.ctl().run(&["clients", "list"]).await.ok();
    assert_eq!(clients, serde_json::json!([]), "checks are listed as clients");
    assert_eq!(node.log(), before, "checks are logged");
}
