//! Sessions in a store that all nodes share: each is one node's at a time and follows its client, whatever happens to the
//! node that had it. One process, real nodes; the store is in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;
use tests::sandbox::Sandbox;
use tests::wait::SOON;

async fn resume(sandbox: &Sandbox, node: usize, client: &str) -> Raw {
    let (client, connack) = Raw::connect_with_answer(sandbox.nodes[node].mqtt, &Connect::v5(client).persistent()).await;
    assert!(connack.session_present, "the session followed");
    client.patient(SOON * 3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_follows_its_client_with_its_queue_and_what_was_in_flight() {
    let sandbox = Sandbox::start_sharing(2, &[]).await;
    let mut panel = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("panel").persistent()).await;
    panel.subscribe("t/#", 2).await;
    let mut pump = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("pump")).await;
    pump.publish("t/1", b"acknowledged", 1).await;
    panel.receive().await;
    pump.publish("t/1", b"in flight", 1).await;
    let sent = panel.expect_publish().await;
    assert!(!sent.dup);
    panel.abandon();
    pump.publish("t/1", b"queued", 1).await;
    pump.publish("t/2", b"once", 2).await;
    let mut panel = resume(&sandbox, 1, "panel").await;
    let again = panel.receive().await;
    assert_eq!((again.text(), again.dup, again.id), ("in flight", true, sent.id));
    assert_eq!(panel.receive().await.text(), "queued");
    assert_eq!(panel.receive().await.text(), "once");
    pump.publish("t/1", b"live", 1).await;
    assert_eq!(panel.receive().await.text(), "live", "its subscriptions came with it");
    panel.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_8_a_qos_2_publication_that_was_not_released_is_not_routed_again_on_another_node() {
    let sandbox = Sandbox::start_sharing(2, &[]).await;
    let mut panel = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("panel")).await;
    panel.subscribe("t", 2).await;
    let mut pump = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("pump").persistent()).await;
    let publish = PublishOut::new("t", b"once", 2, 7);
    pump.send(&publish.encode(Version::V5)).await;
    pump.expect().await; // PUBREC
    pump.abandon();
    assert_eq!(panel.receive().await.text(), "once");
    let mut pump = resume(&sandbox, 1, "pump").await;
    pump.exchange(publish.again()).await;
    panel.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_starts_clean_elsewhere_is_gone_everywhere() {
    let sandbox = Sandbox::start_sharing(2, &[]).await;
    let mut panel = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("panel").persistent()).await;
    panel.subscribe("t", 1).await;
    panel.abandon();
    Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("panel")).await.disconnect().await;
    for node in [0, 1] {
        let connect = Connect::v5("panel").persistent();
        let (panel, connack) = Raw::connect_with_answer(sandbox.nodes[node].mqtt, &connect).await;
        assert_eq!(connack.session_present, node == 1, "the one that began on node 0 was resumed on node 1");
        panel.abandon();
    }
}

/// Three nodes and a publisher that does not wait: the client moves again and again while messages are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_that_chase_each_other_round_three_nodes_lose_and_reorder_nothing() {
    const COUNT: u32 = 600;
    const WINDOW: usize = 20;
    let sandbox = Sandbox::start_sharing(3, &[]).await;
    let mut panel = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("panel").persistent()).await.patient(SOON * 3);
    panel.subscribe("t", 1).await;
    let address = sandbox.nodes[2].mqtt;
    let publishing = tokio::spawn(async move {
        let mut pump = Raw::connect(address, &Connect::v5("pump")).await.patient(SOON * 3);
        for first in (0..COUNT).step_by(WINDOW) {
            let numbers = first..COUNT.min(first + WINDOW as u32);
            for number in numbers.clone() {
                let payload = number.to_string();
                let publish = PublishOut::new("t", payload.as_bytes(), 1, 1 + u16::try_from(number).unwrap());
                pump.send(&publish.encode(Version::V5)).await;
            }
            for _ in numbers {
                assert!(matches!(pump.expect().await, Packet::Puback(_, 0)));
            }
        }
    });
    let (mut next, mut moves) = (0, 0);
    while next < COUNT {
        for _ in 0..20 {
            if next == COUNT {
                break;
            }
            let publish = panel.expect_publish().await;
            let number: u32 = publish.text().parse().unwrap();
            assert!(number <= next, "{next} was lost, or came after {number}");
            assert!(number == next || publish.dup, "{number} came twice, though it was acknowledged");
            panel.complete(&publish).await;
            next = next.max(number + 1);
        }
        moves += 1;
        panel = resume(&sandbox, moves % 3, "panel").await;
    }
    publishing.await.unwrap();
    assert!(moves >= 10, "{moves} takeovers");
}

const CUT: &[&str] = &["cluster.down_after=1s"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_owner_cannot_write_and_after_the_cut_one_owner_remains() {
    let sandbox = Sandbox::start_sharing(2, CUT).await;
    let mut stale = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("panel").persistent()).await.patient(SOON * 3);
    stale.subscribe("t", 1).await;
    let mut near = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("near")).await.patient(SOON * 3);
    sandbox.cut();
    let mut panel = resume(&sandbox, 1, "panel").await;
    // The store refuses it, and the owner cannot be reached yet: acknowledged once it has the message.
    let publishing = near.publish("t", b"from the stale side", 1);
    let heal = async {
        assert_eq!(stale.expect_close().await, Some(0x8e), "the stale owner learns it from the store");
        sandbox.heal();
    };
    tokio::join!(publishing, heal);
    assert_eq!(panel.receive().await.text(), "from the stale side");
    near.publish("t", b"after the cut", 1).await;
    assert_eq!(panel.receive().await.text(), "after the cut");
    panel.expect_silence().await;
}

/// The sessions of a node that is gone are taken by the others, and what was published meanwhile waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_4_what_is_published_while_the_owner_is_dead_is_there_when_the_client_comes_back_elsewhere() {
    let mut sandbox = Sandbox::start_sharing(3, CUT).await;
    let mut panel = Raw::connect(sandbox.nodes[2].mqtt, &Connect::v5("panel").persistent()).await;
    panel.subscribe("t", 2).await;
    let mut pump = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("pump")).await.patient(SOON * 3);
    pump.publish("t", b"in flight", 1).await;
    assert_eq!(panel.expect_publish().await.text(), "in flight");
    panel.abandon();
    pump.publish("t", b"queued", 1).await;
    sandbox.nodes[2].kill();
    for number in 0..20 {
        pump.publish("t", format!("meanwhile {number}").as_bytes(), 1 + number % 2).await;
    }
    let mut panel = resume(&sandbox, 1, "panel").await;
    assert_eq!(panel.receive().await.text(), "in flight");
    assert_eq!(panel.receive().await.text(), "queued");
    for number in 0..20 {
        assert_eq!(panel.receive().await.text(), format!("meanwhile {number}"));
    }
    panel.expect_silence().await;
}

/// The client is faster than the nodes: it comes back before anybody knows that its node is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_at_once_after_its_node_died_misses_nothing_that_was_acknowledged() {
    let mut sandbox = Sandbox::start_sharing(3, CUT).await;
    let mut panel = Raw::connect(sandbox.nodes[2].mqtt, &Connect::v5("panel").persistent()).await;
    panel.subscribe("t", 1).await;
    let mut pump = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("pump")).await.patient(SOON * 3);
    pump.publish("t", b"before", 1).await;
    sandbox.nodes[2].kill();
    panel.abandon();
    let publishing = async {
        for number in 0..20 {
            pump.publish("t", number.to_string().as_bytes(), 1).await;
        }
    };
    let resuming = resume(&sandbox, 1, "panel");
    let ((), mut panel) = tokio::join!(publishing, resuming);
    assert_eq!(panel.receive().await.text(), "before");
    for number in 0..20 {
        assert_eq!(panel.receive().await.text(), number.to_string());
    }
    panel.expect_silence().await;
}

/// Killed and back before anybody took its sessions, then killed for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_has_the_sessions_that_were_left_and_not_those_that_were_taken() {
    let mut sandbox = Sandbox::start_sharing(2, CUT).await;
    let mut pump = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("pump")).await.patient(SOON * 3);
    let mut panel = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("panel").persistent()).await;
    panel.subscribe("t", 1).await;
    panel.abandon();
    pump.publish("t", b"before", 1).await;
    sandbox.nodes[1].kill();
    sandbox.restart(1).await;
    pump.publish("t", b"after the restart", 1).await;
    let mut panel = resume(&sandbox, 1, "panel").await;
    assert_eq!(panel.receive().await.text(), "before");
    assert_eq!(panel.receive().await.text(), "after the restart");
    panel.publish("fence", b"", 1).await; // its acknowledgements are kept by then
    panel.disconnect().await;
    sandbox.nodes[1].kill();
    pump.publish("t", b"to who took it", 1).await; // acknowledged once somebody has
    sandbox.restart(1).await;
    pump.publish("t", b"after the second restart", 1).await;
    let mut panel = resume(&sandbox, 1, "panel").await;
    assert_eq!(panel.receive().await.text(), "to who took it");
    assert_eq!(panel.receive().await.text(), "after the second restart");
    panel.expect_silence().await;
}
