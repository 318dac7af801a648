//! Shared subscriptions over whole nodes in one process: each message once for each group, whoever comes or goes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use tests::packet::Connect;
use tests::raw::Raw;
use tests::read::{Packet, Publish};
use tests::sandbox::Sandbox;
use tests::wait::{SOON, eventually};

async fn client(sandbox: &Sandbox, node: usize, id: &str) -> Raw {
    Raw::connect(sandbox.nodes[node].mqtt, &Connect::v5(id)).await
}

async fn member(sandbox: &Sandbox, node: usize, id: &str, filter: &str, qos: u8) -> Raw {
    let mut member = client(sandbox, node, id).await;
    assert_eq!(member.subscribe(filter, qos).await, qos, "{id} is granted {filter}");
    member
}

/// All that the broker has for a client, its exchanges completed.
async fn drain(client: &mut Raw) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        let publications: Vec<Publish> = client.fence().await.into_iter().filter_map(publication).collect();
        if publications.is_empty() {
            return got;
        }
        for publish in publications {
            client.complete(&publish).await;
            got.push(publish.text().to_owned());
        }
    }
}

fn publication(packet: Packet) -> Option<Publish> {
    if let Packet::Publish(publish) = packet { Some(publish) } else { None }
}

/// Publishes numbers from three nodes in turn, and waits for each acknowledgement.
async fn publish_from_all(sandbox: &Sandbox, numbers: std::ops::Range<u32>, qos: u8) {
    let mut publishers = Vec::new();
    for node in 0..3 {
        publishers.push(client(sandbox, node, &format!("publisher{node}")).await);
    }
    for number in numbers {
        publishers[number as usize % 3].publish("jobs/1", number.to_string().as_bytes(), qos).await;
    }
}

/// How often each payload came.
fn tally<'a>(payloads: impl IntoIterator<Item = &'a String>) -> BTreeMap<u32, u32> {
    let mut tally = BTreeMap::new();
    payloads.into_iter().for_each(|payload| *tally.entry(payload.parse().unwrap()).or_default() += 1);
    tally
}

fn once_each(count: u32) -> BTreeMap<u32, u32> {
    (0..count).map(|number| (number, 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_1000_messages_comes_once_to_each_group_and_to_each_plain_subscriber() {
    let sandbox = Sandbox::start(3).await;
    let mut workers = Vec::new();
    for (node, id) in [(0, "w0"), (0, "w1"), (1, "w2"), (2, "w3")] {
        workers.push(member(&sandbox, node, id, "$share/workers/jobs/+", 1).await);
    }
    let mut audit = Vec::new();
    for (node, id) in [(1, "a0"), (2, "a1")] {
        audit.push(member(&sandbox, node, id, "$share/audit/jobs/#", 2).await);
    }
    let mut plain = member(&sandbox, 2, "plain", "jobs/1", 1).await;
    let numbers = 0..1_000;
    let publishing = publish_from_all(&sandbox, numbers, 1);
    let reading = async {
        let (mut by_worker, mut by_audit, mut by_plain) = (vec![Vec::new(); 4], Vec::new(), Vec::new());
        eventually(SOON, "all messages came to all who are to have them", async || {
            for (worker, got) in workers.iter_mut().zip(&mut by_worker) {
                got.append(&mut drain(worker).await);
            }
            for auditor in &mut audit {
                by_audit.append(&mut drain(auditor).await);
            }
            by_plain.append(&mut drain(&mut plain).await);
            let worked: usize = by_worker.iter().map(Vec::len).sum();
            let counts = (worked, by_audit.len(), by_plain.len());
            if counts.0.min(counts.1).min(counts.2) >= 1_000 { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
        (by_worker, by_audit, by_plain)
    };
    let ((), (by_worker, by_audit, by_plain)) = tokio::join!(publishing, reading);
    assert_eq!(tally(by_worker.iter().flatten()), once_each(1_000), "the workers");
    assert_eq!(tally(&by_audit), once_each(1_000), "the auditors");
    assert_eq!(tally(&by_plain), once_each(1_000), "the plain subscriber");
    let shares: Vec<usize> = by_worker.iter().map(Vec::len).collect();
    assert!(shares.iter().all(|share| (225..=275).contains(share)), "nodes by their members: {shares:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_that_goes_has_not_acknowledged_goes_to_a_member_on_another_node() {
    let sandbox = Sandbox::start(3).await;
    let mut leaver = member(&sandbox, 1, "leaver", "$share/workers/jobs/+", 1).await;
    publish_from_all(&sandbox, 0..300, 1).await;
    let taken = leaver.expect_publish().await;
    leaver.complete(&taken).await;
    leaver.fence().await; // the acknowledgement has arrived
    let mut other = member(&sandbox, 2, "other", "$share/workers/jobs/+", 1).await;
    leaver.abandon();
    let mut got = Vec::new();
    eventually(SOON, "the rest came to the other", async || {
        got.append(&mut drain(&mut other).await);
        if got.len() >= 299 { Ok(()) } else { Err(got.len().to_string()) }
    })
    .await;
    let mut all = tally(&got);
    all.insert(taken.text().parse().unwrap(), 1);
    assert_eq!(all, once_each(300));
    assert_eq!(drain(&mut other).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_away_gets_nothing_while_one_on_another_node_is_there() {
    let sandbox = Sandbox::start(2).await;
    let kept = Connect::v5("away").persistent();
    let mut away = Raw::connect(sandbox.nodes[0].mqtt, &kept).await;
    away.subscribe("$share/workers/jobs/+", 1).await;
    away.disconnect().await;
    let mut there = member(&sandbox, 1, "there", "$share/workers/jobs/+", 1).await;
    let mut publisher = client(&sandbox, 0, "publisher").await;
    for number in 0..50_u32 {
        publisher.publish("jobs/1", number.to_string().as_bytes(), 1).await;
    }
    assert_eq!(tally(&drain(&mut there).await), once_each(50));
    there.disconnect().await;
    publisher.publish("jobs/1", b"50", 1).await;
    let mut back = Raw::connect(sandbox.nodes[0].mqtt, &kept).await;
    assert_eq!(drain(&mut back).await, ["50"], "where all are away it waits for one of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_takes_no_message_of_a_group_with_it() {
    let mut sandbox = Sandbox::start(3).await;
    let mut stays = member(&sandbox, 1, "stays", "$share/workers/jobs/+", 1).await;
    let mut goes = member(&sandbox, 2, "goes", "$share/workers/jobs/+", 1).await;
    let mut publisher = client(&sandbox, 0, "publisher").await;
    let (mut got, mut stopping) = (Vec::new(), None);
    for number in 0..300_u32 {
        publisher.publish("jobs/1", number.to_string().as_bytes(), 1).await;
        if number == 100 {
            got.append(&mut drain(&mut goes).await);
        }
        if number == 150 {
            let node = sandbox.nodes.pop();
            stopping = Some(tokio::task::spawn_blocking(move || drop(node)));
        }
    }
    stopping.unwrap().await.unwrap();
    eventually(SOON, "every message came to one of them", async || {
        got.append(&mut drain(&mut stays).await);
        let missing: Vec<u32> = (0..300).filter(|number| !got.contains(&number.to_string())).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
}

/// While a link is cut the nodes are out of sync and flood: the frames say which groups are served (cluster-traps 14).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_14_a_short_cut_of_all_links_neither_loses_nor_repeats_a_message_of_a_group() {
    let sandbox = Sandbox::start(3).await;
    let mut members = Vec::new();
    for (node, id) in [(0, "w0"), (1, "w1"), (2, "w2")] {
        members.push(member(&sandbox, node, id, "$share/workers/jobs/+", 1).await);
    }
    let mut publisher = client(&sandbox, 0, "publisher").await;
    for number in 0..300_u32 {
        let payload = number.to_string();
        let publishing = publisher.publish("jobs/1", payload.as_bytes(), 1);
        if number % 100 == 50 {
            sandbox.cut();
            let heal = async {
                tokio::time::sleep(Duration::from_millis(300)).await; // how long the link is cut is what is tested
                sandbox.heal();
            };
            tokio::join!(publishing, heal);
        } else {
            publishing.await;
        }
    }
    let mut got = Vec::new();
    for member in &mut members {
        got.append(&mut drain(member).await);
    }
    assert_eq!(tally(&got), once_each(300));
}
