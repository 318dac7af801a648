//! Whole nodes in one process: what a client on one node sees of clients on others, and what a cut link changes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tests::packet::Connect;
use tests::raw::Raw;
use tests::sandbox::Step::{Abandon, Connect as Connects, Expect, ExpectNothing, Publish, Subscribe, Unsubscribe};
use tests::sandbox::{Sandbox, play};
use tests::wait::{SOON, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_one_broker_to_their_clients() {
    let sandbox = Sandbox::start(3).await;
    play(
        &sandbox,
        &[
            Connects(0, "pump"),
            Connects(1, "valve"),
            Connects(2, "panel"),
            Subscribe("panel", "plant/+/temp", 1),
            Publish("pump", "plant/1/temp", "20", 1),
            Publish("valve", "plant/2/temp", "21", 2),
            Expect("panel", "plant/1/temp", "20"),
            Expect("panel", "plant/2/temp", "21"),
            Publish("pump", "plant/1/pressure", "3", 1),
            ExpectNothing("panel"),
            Subscribe("pump", "#", 0),
            Publish("panel", "x", "0", 0),
            Expect("pump", "x", "0"),
            Unsubscribe("panel", "plant/+/temp"),
            Publish("valve", "plant/3/temp", "22", 1),
            ExpectNothing("panel"),
            Expect("pump", "plant/3/temp", "22"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_on_another_node_is_closed_where_it_was() {
    let sandbox = Sandbox::start(2).await;
    let mut before = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("roamer")).await;
    play(&sandbox, &[Connects(1, "roamer"), Subscribe("roamer", "a", 1)]).await;
    assert_eq!(before.expect_close().await, Some(0x8e));
    play(
        &sandbox,
        &[
            Connects(0, "other"),
            Connects(1, "stays"),
            Subscribe("stays", "a", 1),
            Publish("other", "a", "once", 1),
            Expect("stays", "a", "once"),
            Abandon("other"),
        ],
    )
    .await;
}

const CUT: Duration = Duration::from_millis(300);

/// A cut shorter than `cluster.down_after`: what was forwarded and not acknowledged is kept, and sent again once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_delays_acknowledged_messages_and_loses_and_repeats_none() {
    let sandbox = Sandbox::start(2).await;
    let mut subscriber = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("subscriber")).await;
    subscriber.subscribe("t/#", 1).await;
    let mut publisher = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("publisher")).await;
    for number in 0..300_u32 {
        let payload = number.to_string();
        let publishing = publisher.publish("t/1", payload.as_bytes(), 1);
        if number % 100 == 50 {
            sandbox.cut();
            let heal = async {
                tokio::time::sleep(CUT).await; // how long the link is cut is what is tested
                sandbox.heal();
            };
            tokio::join!(publishing, heal);
        } else {
            publishing.await;
        }
    }
    for number in 0..300_u32 {
        let got = subscriber.receive().await;
        assert_eq!(got.text(), number.to_string(), "in order, each once");
    }
    subscriber.expect_silence().await;
}

/// A cut that lasts: each side serves its own clients, and after it the cluster is one again without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_long_cut_serve_and_are_one_broker_after_it() {
    let sandbox = Sandbox::start(2).await;
    let mut near = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("near")).await.patient(SOON * 3);
    let mut far = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("far")).await.patient(SOON * 3);
    near.subscribe("t/+", 1).await;
    far.subscribe("t/+", 1).await;
    sandbox.cut();
    near.publish("t/near", b"in the cut", 1).await; // acknowledged once the other side is down
    far.publish("t/far", b"in the cut", 1).await;
    assert_eq!(near.receive().await.topic, "t/near");
    assert_eq!(far.receive().await.topic, "t/far");
    sandbox.heal();
    let mut round = 0;
    eventually(SOON, "a message of one side reaches the other", async || {
        round += 1;
        near.publish("t/near", format!("healed {round}").as_bytes(), 1).await;
        let _own = near.receive().await;
        let seen = far.fence().await;
        if seen.is_empty() { Err(format!("round {round}: nothing yet")) } else { Ok(()) }
    })
    .await;
}
