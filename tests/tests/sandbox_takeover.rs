//! Sessions that follow their client where each node keeps its own, in memory or on its disk: handed over by the node
//! that had them. One process, real nodes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;
use tests::sandbox::Sandbox;
use tests::wait::SOON;

const MEMORY: &[&str] = &["persistence.backend=memory"];
const DISK: &[&str] = &["persistence.backend=disk"];

async fn connect(sandbox: &Sandbox, node: usize, client: &str) -> (Raw, bool) {
    let connect = Connect::v5(client).persistent();
    let (raw, connack) = Raw::connect_with_answer(sandbox.nodes[node].mqtt, &connect).await;
    (raw.patient(SOON * 3), connack.session_present)
}

async fn resume(sandbox: &Sandbox, node: usize, client: &str) -> Raw {
    let (raw, session_present) = connect(sandbox, node, client).await;
    assert!(session_present, "the session of {client} followed to node {node}");
    raw
}

async fn begin(sandbox: &Sandbox, node: usize, client: &str) -> Raw {
    let (raw, session_present) = connect(sandbox, node, client).await;
    assert!(!session_present, "{client} had no session");
    raw
}

async fn follows_with_everything(settings: &[&str], is_live: bool) {
    let sandbox = Sandbox::start_with(2, settings).await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    panel.subscribe("t/#", 2).await;
    let mut pump = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("pump")).await;
    pump.publish("t/1", b"acknowledged", 1).await;
    panel.receive().await;
    pump.publish("t/1", b"in flight", 1).await;
    let sent = panel.expect_publish().await;
    assert!(!sent.dup);
    let mut before = Some(panel);
    if !is_live {
        before.take().unwrap().abandon();
        pump.publish("t/1", b"queued", 1).await;
        pump.publish("t/2", b"once", 2).await;
    }
    let mut panel = resume(&sandbox, 1, "panel").await;
    if let Some(mut before) = before {
        assert_eq!(before.expect_close().await, Some(0x8e), "the connection before is told why");
    }
    let again = panel.receive().await;
    assert_eq!((again.text(), again.dup, again.id), ("in flight", true, sent.id));
    if !is_live {
        assert_eq!(panel.receive().await.text(), "queued");
        assert_eq!(panel.receive().await.text(), "once");
    }
    pump.publish("t/1", b"live", 1).await;
    assert_eq!(panel.receive().await.text(), "live", "its subscriptions came with it");
    let mut near = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("near")).await;
    near.publish("t/1", b"from where it was", 2).await;
    assert_eq!(panel.receive().await.text(), "from where it was");
    panel.expect_silence().await;
    // And back.
    panel.abandon();
    near.publish("t/1", b"meanwhile", 1).await;
    let mut panel = resume(&sandbox, 0, "panel").await;
    assert_eq!(panel.receive().await.text(), "meanwhile");
    panel.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_session_in_memory_follows_its_client() {
    follows_with_everything(MEMORY, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_session_on_disk_follows_its_client() {
    follows_with_everything(DISK, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_session_in_memory_follows_its_client() {
    follows_with_everything(MEMORY, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_session_on_disk_follows_its_client() {
    follows_with_everything(DISK, true).await;
}

/// Three nodes and a publisher that does not wait: the client moves again and again while messages are on their way.
async fn chase(settings: &[&str], qos: u8) {
    const COUNT: u32 = 600;
    const WINDOW: usize = 20;
    let sandbox = Sandbox::start_with(3, settings).await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    panel.subscribe("t", qos).await;
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
            assert!(number <= next, "{next} was lost, or came after {number} ({moves} moves)");
            assert!(number == next || publish.dup, "{number} came twice, though it was acknowledged ({moves} moves)");
            panel.complete(&publish).await;
            next = next.max(number + 1);
        }
        moves += 1;
        panel = resume(&sandbox, moves % 3, "panel").await;
    }
    publishing.await.unwrap();
    panel.expect_silence().await;
    assert!(moves >= 10, "{moves} takeovers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_that_chase_each_other_round_three_nodes_lose_and_reorder_nothing_in_memory() {
    chase(MEMORY, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_that_chase_each_other_round_three_nodes_lose_and_reorder_nothing_on_disk() {
    chase(DISK, 1).await;
}
