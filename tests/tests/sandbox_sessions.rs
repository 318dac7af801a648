//! Sessions in a store that all nodes share: each is one node's at a time and follows its client, whatever happens to the
//! node that had it. One process, real nodes; the store is in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::sandbox::Sandbox;
use tests::wait::SOON;

async fn resume(sandbox: &Sandbox, node: usize, client: &str) -> Raw {
    let (client, connack) =
        Raw::connect_with_answer(sandbox.nodes[node].mqtt, &Connect::v5(client).persistent()).await;
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
    assert_eq!((again.text(), again.dup, again.id), ("in flight".into(), true, sent.id));
    assert_eq!(panel.receive().await.text(), "queued");
    assert_eq!(panel.receive().await.text(), "once");
    pump.publish("t/1", b"live", 1).await;
    assert_eq!(panel.receive().await.text(), "live", "its subscriptions came with it");
    panel.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_publication_that_was_not_released_is_not_routed_again_on_another_node() {
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
    let sandbox = Sandbox::start_sharing(3, &[]).await;
    let mut panel = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("panel").persistent()).await.patient(SOON * 3);
    panel.subscribe("t", 1).await;
    let address = sandbox.nodes[2].mqtt;
    let publishing = tokio::spawn(async move {
        let mut pump = Raw::connect(address, &Connect::v5("pump")).await.patient(SOON * 3);
        for number in 0..COUNT {
            pump.publish("t", number.to_string().as_bytes(), 1).await;
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
