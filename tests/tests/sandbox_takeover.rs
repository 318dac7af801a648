//! Sessions that follow their client where each node keeps its own, in memory or on its disk: handed over by the node
//! that had them. One process, real nodes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::packet::{self, Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;
use tests::sandbox::Sandbox;
use tests::wait::{SOON, eventually, soon};

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
async fn trap_3_and_11_takeovers_that_chase_each_other_round_three_nodes_lose_and_reorder_nothing_in_memory() {
    chase(MEMORY, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_3_and_11_takeovers_that_chase_each_other_round_three_nodes_lose_and_reorder_nothing_on_disk() {
    chase(DISK, 1).await;
}

/// What was received at QoS 2 and not released, and what was sent and not completed.
async fn qos_2_moves(settings: &[&str]) {
    let sandbox = Sandbox::start_with(2, settings).await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    panel.subscribe("t", 2).await;
    let mut pump = begin(&sandbox, 0, "pump").await;
    let publish = PublishOut::new("t", b"once", 2, 7);
    pump.send(&publish.encode(Version::V5)).await;
    assert!(matches!(pump.expect().await, Packet::Pubrec(7, 0)));
    pump.abandon();
    let sent = panel.expect_publish().await;
    panel.send(&packet::acknowledge(0x50, sent.id)).await;
    assert!(matches!(panel.expect().await, Packet::Pubrel(id, 0) if id == sent.id));
    panel.abandon();
    let mut pump = resume(&sandbox, 1, "pump").await;
    pump.exchange(publish.again()).await;
    pump.publish("t", b"next", 2).await;
    let mut panel = resume(&sandbox, 1, "panel").await;
    assert!(matches!(panel.expect().await, Packet::Pubrel(id, 0) if id == sent.id), "PUBREL is what is owed");
    panel.send(&packet::acknowledge(0x70, sent.id)).await;
    assert_eq!(panel.receive().await.text(), "next", "the repeated PUBLISH was no news");
    panel.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_2_is_once_in_both_directions_where_sessions_move_in_memory() {
    qos_2_moves(MEMORY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_2_is_once_in_both_directions_where_sessions_move_on_disk() {
    qos_2_moves(DISK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_start_on_another_node_ends_the_session_everywhere() {
    let sandbox = Sandbox::start_with(2, MEMORY).await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    panel.subscribe("t", 1).await;
    panel.abandon();
    Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("panel")).await.disconnect().await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    let mut pump = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("pump")).await;
    pump.publish("t", b"to nobody", 1).await;
    panel.expect_silence().await;
}

/// More than a page, and a message that is larger than one.
async fn a_long_queue(settings: &[&str]) {
    const COUNT: u32 = 3_000;
    let bounds = ["persistence.queue_depth=10000", "persistence.queue_bytes=100000000"];
    let settings: Vec<&str> = settings.iter().chain(&bounds).copied().collect();
    let sandbox = Sandbox::start_with(2, &settings).await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    panel.subscribe("t", 1).await;
    panel.abandon();
    let mut pump = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("pump")).await.patient(SOON * 6);
    let payload = |number: u32| match number {
        1_000 => vec![b'x'; 900_000],
        _ => format!("{number:0300}").into_bytes(),
    };
    for first in (0..COUNT).step_by(20) {
        for number in first..first + 20 {
            let payload = payload(number);
            let publish = PublishOut::new("t", &payload, 1, 1 + u16::try_from(number).unwrap());
            pump.send(&publish.encode(Version::V5)).await;
        }
        for _ in 0..20 {
            assert!(matches!(pump.expect().await, Packet::Puback(_, 0)));
        }
    }
    let mut panel = resume(&sandbox, 1, "panel").await;
    for number in 0..COUNT {
        let publish = panel.receive().await;
        assert!(publish.payload == payload(number), "{number} is not {:.20}", publish.text());
    }
    panel.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_and_a_large_message_follow_in_pages_in_memory() {
    a_long_queue(MEMORY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_and_a_large_message_follow_in_pages_on_disk() {
    a_long_queue(DISK).await;
}

/// Thirty connections of one client on three nodes at once: one stays, and it has the session.
async fn storm(settings: &[&str]) {
    let sandbox = Sandbox::start_with(3, settings).await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    panel.subscribe("t", 1).await;
    panel.abandon();
    let mut pump = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("pump")).await;
    pump.publish("t", b"queued", 1).await;
    let (text_tx, mut text) = tokio::sync::mpsc::channel(64);
    let open = Arc::new(AtomicUsize::new(30));
    for number in 0..30 {
        let (address, text, open) = (sandbox.nodes[number % 3].mqtt, text_tx.clone(), open.clone());
        tokio::spawn(async move {
            let mut raw = Raw::open(address, Version::V5).await.patient(SOON * 6);
            raw.send(&Connect::v5("panel").persistent().encode()).await;
            while let Some(packet) = raw.next_or_end().await {
                if let Packet::Publish(publish) = packet {
                    let _ = text.send(publish.text().to_owned()).await;
                    raw.complete(&publish).await;
                }
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    eventually(SOON * 6, "one connection stays", async || match open.load(Ordering::Relaxed) {
        1 => Ok(()),
        open => Err(format!("{open} are open")),
    })
    .await;
    let mut seen = Vec::new();
    pump.publish("t", b"after the storm", 1).await;
    while seen.last().is_none_or(|last| last != "after the storm") {
        seen.push(soon("a message", text.recv()).await.unwrap());
    }
    assert_eq!(seen.iter().filter(|text| *text == "after the storm").count(), 1, "{seen:?}");
    assert!(seen.iter().any(|text| text == "queued"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_storm_of_one_client_id_one_connection_stays_with_the_session_in_memory() {
    storm(MEMORY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_storm_of_one_client_id_one_connection_stays_with_the_session_on_disk() {
    storm(DISK).await;
}

/// Well beyond `cluster.claim_timeout` for the claim and for what is asked of the owner, and well below a client's.
const DEADLINE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_10_an_owner_that_cannot_be_reached_blocks_no_connect_and_after_the_heal_one_owner_remains() {
    let sandbox = Sandbox::start_with(2, MEMORY).await;
    let mut stale = begin(&sandbox, 0, "panel").await;
    stale.subscribe("t", 1).await;
    sandbox.cut();
    let begun = Instant::now();
    let mut panel = begin(&sandbox, 1, "panel").await;
    assert!(begun.elapsed() < DEADLINE, "a CONNECT took {:?}", begun.elapsed());
    panel.subscribe("t", 1).await;
    sandbox.heal();
    assert_eq!(stale.expect_close().await, Some(0x8e));
    let mut pump = Raw::connect(sandbox.nodes[0].mqtt, &Connect::v5("pump")).await.patient(SOON * 3);
    pump.publish("t", b"after the heal", 1).await;
    assert_eq!(panel.receive().await.text(), "after the heal");
    panel.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_died_blocks_no_connect() {
    let mut sandbox = Sandbox::start_with(3, MEMORY).await;
    for number in 0..20 {
        begin(&sandbox, 2, &format!("panel-{number}")).await.abandon();
    }
    sandbox.nodes[2].kill();
    let begun = Instant::now();
    let comes = |number: usize| {
        let address = sandbox.nodes[number % 2].mqtt;
        async move {
            let connect = Connect::v5(&format!("panel-{number}")).persistent();
            Raw::connect_with_answer(address, &connect).await.1
        }
    };
    for answer in futures_of((0..20).map(comes)).await {
        assert_eq!(answer.code, 0);
    }
    assert!(begun.elapsed() < DEADLINE, "20 CONNECTs took {:?}", begun.elapsed());
}

async fn futures_of<F: Future<Output: Send> + Send + 'static>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let tasks: Vec<_> = all.map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

/// Many clients change nodes at once: `BROKERD_TEST_CLIENTS` of them, which the soak sets to 10,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_that_change_nodes_at_once_all_have_their_sessions() {
    let count = std::env::var("BROKERD_TEST_CLIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let sandbox = Sandbox::start_with(3, MEMORY).await;
    let patience = SOON * 3 + Duration::from_millis(5 * count as u64);
    let mut pump = Raw::connect(sandbox.nodes[2].mqtt, &Connect::v5("pump")).await.patient(patience);
    for number in 0..count {
        let mut client = begin(&sandbox, number % 3, &format!("c-{number}")).await;
        client.subscribe(&format!("t/{number}"), 1).await;
        client.abandon();
        pump.publish(&format!("t/{number}"), number.to_string().as_bytes(), 1).await;
    }
    let moves = |number: usize| {
        let address = sandbox.nodes[(number + 1) % 3].mqtt;
        async move {
            let connect = Connect::v5(&format!("c-{number}")).persistent();
            let (client, connack) = Raw::connect_with_answer(address, &connect).await;
            assert!(connack.session_present, "c-{number}");
            assert_eq!(client.patient(patience).receive().await.text(), number.to_string());
        }
    };
    for first in (0..count).step_by(500) {
        futures_of((first..count.min(first + 500)).map(moves)).await;
    }
}

/// A node that leaves hands over what has no connection.
async fn given_away(settings: &[&str]) {
    let sandbox = Sandbox::start_with(2, settings).await;
    let mut pump = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("pump")).await;
    for number in 0..5 {
        let mut client = begin(&sandbox, 0, &format!("c-{number}")).await;
        client.subscribe("t", 1).await;
        client.abandon();
    }
    let staying = begin(&sandbox, 0, "staying").await;
    pump.publish("t", b"queued", 1).await;
    let workers = &sandbox.nodes[0].workers;
    let all = async || {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let (page, next) = workers.offline(from, 3).await;
            all.extend(page);
            from = next;
            if from.is_none() {
                return all;
            }
        }
    };
    eventually(SOON, "five are without a connection", async || match all().await.len() {
        5 => Ok(()),
        count => Err(format!("{count}")),
    })
    .await;
    for client_id in all().await {
        assert!(workers.give(&client_id, "s1").await, "{client_id}");
    }
    assert!(!workers.give(&Arc::from("staying"), "s1").await, "its client is connected");
    assert!(!workers.give(&Arc::from("c-0"), "s1").await, "it is there already");
    eventually(SOON, "none is left", async || match workers.count().await.total {
        1 => Ok(()),
        count => Err(format!("{count}")),
    })
    .await;
    pump.publish("t", b"afterwards", 1).await;
    for number in 0..5 {
        let mut client = resume(&sandbox, 1, &format!("c-{number}")).await;
        assert_eq!(client.receive().await.text(), "queued");
        assert_eq!(client.receive().await.text(), "afterwards");
    }
    staying.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gives_its_sessions_without_a_connection_to_another_in_memory() {
    given_away(MEMORY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gives_its_sessions_without_a_connection_to_another_on_disk() {
    given_away(DISK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_has_exclusively_it_has_where_it_moved() {
    let settings = [MEMORY, &["mqtt.exclusive_subscription=true"]].concat();
    let sandbox = Sandbox::start_with(2, &settings).await;
    let mut panel = begin(&sandbox, 0, "panel").await;
    assert_eq!(panel.subscribe("$exclusive/t", 1).await, 1);
    let mut panel = resume(&sandbox, 1, "panel").await;
    let mut rival = begin(&sandbox, 0, "rival").await;
    assert_eq!(rival.subscribe("$exclusive/t", 1).await, 0x97);
    rival.publish("t", b"to one", 1).await;
    assert_eq!(panel.receive().await.text(), "to one");
    panel.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_back_in_time_on_another_node_cancels_its_delayed_will() {
    let sandbox = Sandbox::start_with(2, MEMORY).await;
    let mut watcher = Raw::connect(sandbox.nodes[1].mqtt, &Connect::v5("watcher")).await;
    watcher.subscribe("will", 1).await;
    let delay = packet::property_four(0x18, 100);
    let will = packet::Will { properties: delay, ..packet::Will::new("will", "gone") };
    let connect = Connect::v5("panel").persistent().will(will);
    Raw::connect(sandbox.nodes[0].mqtt, &connect).await.abandon();
    let mut panel = resume(&sandbox, 1, "panel").await;
    eventually(SOON, "its old place has forgotten it", async || match sandbox.nodes[0].workers.count().await.total {
        0 => Ok(()),
        count => Err(format!("{count} sessions")),
    })
    .await;
    watcher.expect_silence().await;
    panel.fence().await;
}

/// A third of the ids have their registrar on a node that nobody knows to be dead yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_5_a_registrar_that_died_a_moment_ago_loses_no_session() {
    let mut sandbox = Sandbox::start_with(3, MEMORY).await;
    for number in 0..20 {
        begin(&sandbox, 0, &format!("c-{number}")).await.abandon();
    }
    sandbox.nodes[2].kill();
    let address = sandbox.nodes[1].mqtt;
    let comes = |number: usize| async move {
        let connect = Connect::v5(&format!("c-{number}")).persistent();
        Raw::connect_with_answer(address, &connect).await.1.session_present
    };
    let present = futures_of((0..20).map(comes)).await;
    assert_eq!(present.iter().filter(|is_present| **is_present).count(), 20, "{present:?}");
}
