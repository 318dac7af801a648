//! A cluster in which one node speaks the version of the peer protocol before: it takes part in all that version knows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::cluster::Cluster;
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::SOON;

/// Of three nodes the last one speaks the version before.
async fn mixed() -> Cluster {
    let previous = |options: tests::node::NodeOptions| {
        if options.name == "n3" { options.set("cluster.protocol", "1") } else { options }
    };
    Cluster::start_with(3, previous).await
}

#[tokio::test]
async fn routes_and_messages_go_to_and_from_a_node_of_the_previous_version() {
    let cluster = mixed().await;
    for (from, to) in [(2, 0), (0, 2), (1, 2), (2, 1)] {
        let (filter, topic) = (format!("from/{from}/{to}/+"), format!("from/{from}/{to}/x"));
        let mut subscriber = Raw::connect(cluster.nodes[to].mqtt(), &Connect::v5("subscriber")).await;
        assert_eq!(subscriber.subscribe(&filter, 2).await, 2);
        let mut publisher = Raw::connect(cluster.nodes[from].mqtt(), &Connect::v5("publisher")).await;
        for qos in 0..=2 {
            publisher.publish(&topic, &[qos], qos).await;
            assert_eq!(subscriber.receive().await.payload, [qos], "from n{} to n{}", from + 1, to + 1);
        }
        publisher.publish_retained(&format!("kept/{from}"), b"kept", 1).await;
        assert_eq!(subscriber.subscribe(&format!("kept/{from}"), 0).await, 0);
        assert_eq!(subscriber.receive().await.text(), "kept");
    }
}

#[tokio::test]
async fn a_client_id_has_one_owner_also_where_the_previous_version_claims_it_or_keeps_its_register() {
    let cluster = mixed().await;
    for number in 0..8 {
        let client_id = format!("client-{number}"); // each has another registrar
        let mut before = Raw::connect(cluster.nodes[0].mqtt(), &Connect::v5(&client_id)).await.patient(SOON);
        for node in [2, 1, 2, 0] {
            let next = Raw::connect(cluster.nodes[node].mqtt(), &Connect::v5(&client_id)).await.patient(SOON);
            assert_eq!(before.expect_close().await, Some(0x8e), "{client_id} was taken over by n{}", node + 1);
            before = next;
        }
    }
}

#[tokio::test]
async fn sessions_last_on_a_node_of_the_previous_version_and_move_between_the_others() {
    let cluster = mixed().await;
    for (client_id, nodes) in [("stays", [2, 2]), ("moves", [0, 1])] {
        let connect = Connect::v5(client_id).persistent();
        let (mut client, connack) = Raw::connect_with_answer(cluster.nodes[nodes[0]].mqtt(), &connect).await;
        assert!(!connack.session_present);
        client.subscribe(client_id, 1).await;
        client.disconnect().await;
        let mut publisher = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("publisher")).await;
        publisher.publish(client_id, b"meanwhile", 1).await;
        let (client, connack) = Raw::connect_with_answer(cluster.nodes[nodes[1]].mqtt(), &connect).await;
        assert!(connack.session_present, "{client_id}");
        assert_eq!(client.patient(SOON).receive().await.text(), "meanwhile");
    }
}

#[tokio::test]
async fn a_session_of_the_previous_version_begins_anew_on_another_node_and_no_connect_waits_for_it() {
    let cluster = mixed().await;
    let connect = Connect::v5("panel").persistent();
    let (mut client, _) = Raw::connect_with_answer(cluster.nodes[2].mqtt(), &connect).await;
    client.subscribe("t", 1).await;
    client.disconnect().await;
    let (client, connack) = Raw::connect_with_answer(cluster.nodes[0].mqtt(), &connect).await;
    assert_eq!((connack.code, connack.session_present), (0, false), "version 1 hands nothing over");
    let mut client = client.patient(SOON);
    client.subscribe("u", 1).await;
    let mut publisher = Raw::connect(cluster.nodes[2].mqtt(), &Connect::v5("publisher")).await;
    publisher.publish("t", b"to what it had there", 1).await;
    publisher.publish("u", b"to what it has here", 1).await;
    assert_eq!(client.receive().await.text(), "to what it has here", "one session is left of the two");
}
