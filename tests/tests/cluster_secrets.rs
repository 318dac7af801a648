//! The secret of a running cluster is exchanged for another, node by node, under load; who has only the old one is refused
//! afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tests::cluster::{Cluster, metric};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;
use tests::wait::{SOON, eventually};

const OLD: &str = "the secret that the cluster began with";
const NEW: &str = "the secret that it has in the end";

fn write(path: &Path, lines: &str) {
    use std::io::Write;
    let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.unwrap().write_all(lines.as_bytes()).unwrap();
}

fn options(name: &str, secrets: &Path, seeds: &[SocketAddr]) -> NodeOptions {
    let options = NodeOptions { secret: None, ..NodeOptions::clustered(name, seeds) };
    options.set("cluster.bind", "127.0.0.1:0").set("cluster.secret_file", &secrets.display().to_string())
}

/// The ids of the secrets of each member, as this node sees them.
async fn secrets(node: &Node) -> Result<Vec<String>, String> {
    let answer = node.ctl().run(&["cluster", "status"]).await;
    let nodes = answer.json["nodes"].as_array().ok_or_else(|| answer.stderr.clone())?;
    Ok(nodes.iter().map(|member| member["secrets"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Gives these lines to one node after the other, and waits until each sees that all have them.
async fn step(cluster: &Cluster, files: &[PathBuf], lines: &str, ids: &str) {
    for (node, file) in cluster.nodes.iter().zip(files) {
        write(file, lines);
        node.hang_up();
        let what = format!("{} says that it has {ids}", node.name());
        eventually(SOON, &what, async || match secrets(node).await? {
            seen if seen.iter().any(|one| one == ids) => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    }
    for node in &cluster.nodes {
        let what = format!("{} sees {ids} everywhere", node.name());
        eventually(SOON, &what, async || match secrets(node).await? {
            seen if seen.len() == 3 && seen.iter().all(|one| one == ids) => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    }
    cluster.wait_until_all_up().await;
}

#[derive(Default)]
struct Load {
    acked: Mutex<BTreeSet<u32>>,
    received: [Mutex<BTreeSet<u32>>; 2],
    is_over: AtomicBool,
}

async fn publish(mut client: Raw, load: Arc<Load>) {
    for number in 0_u32.. {
        if load.is_over.load(Ordering::SeqCst) {
            return;
        }
        client.send(&PublishOut::new("load", &number.to_be_bytes(), 1, 1).encode(Version::V5)).await;
        match client.next_or_end().await {
            Some(Packet::Puback(_, code)) if code < 0x80 => drop(load.acked.lock().unwrap().insert(number)),
            other => panic!("{number} was answered with {other:?}"),
        }
    }
}

async fn receive(mut client: Raw, load: Arc<Load>, at: usize) {
    loop {
        match client.next_or_end().await {
            Some(Packet::Publish(publish)) => {
                let number = u32::from_be_bytes(publish.payload.clone().try_into().unwrap());
                load.received[at].lock().unwrap().insert(number);
                client.complete(&publish).await;
            }
            other => panic!("subscriber {at} got {other:?}"),
        }
    }
}

/// More messages have gone through than before.
async fn more(load: &Load) {
    let before = load.acked.lock().unwrap().len();
    eventually(SOON, "messages go through", async || match load.acked.lock().unwrap().len() {
        now if now > before + 20 => Ok(()),
        now => Err(format!("{now} after {before}")),
    })
    .await;
}

async fn all_received(load: &Load) {
    eventually(SOON, "all that was acknowledged has come to both", async || {
        let acked = load.acked.lock().unwrap();
        for received in &load.received {
            let received = received.lock().unwrap();
            let lost: Vec<_> = acked.difference(&received).collect();
            if !lost.is_empty() {
                return Err(format!("{} of {} lost: {lost:?}", lost.len(), acked.len()));
            }
        }
        Ok(())
    })
    .await;
}

async fn start(directory: &Path) -> (Cluster, Vec<PathBuf>) {
    let files: Vec<_> = (1..=3).map(|number| directory.join(format!("n{number}.secret"))).collect();
    files.iter().for_each(|file| write(file, &format!("{OLD}\n")));
    let mut nodes = vec![Node::start(options("n1", &files[0], &[])).await];
    let seed = nodes[0].cluster();
    for number in 2..=3 {
        nodes.push(Node::start(options(&format!("n{number}"), &files[number - 1], &[seed])).await);
    }
    let cluster = Cluster { nodes };
    cluster.wait_until_all_up().await;
    (cluster, files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_exchanged_under_load_and_who_has_only_the_old_one_is_refused_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let (cluster, files) = start(directory.path()).await;
    let load = Arc::new(Load::default());
    let mut tasks = Vec::new();
    for (at, node) in [0, 2].into_iter().enumerate() {
        let mut client = Raw::connect(cluster.nodes[node].mqtt(), &Connect::v5(&format!("s{at}"))).await.patient(SOON);
        client.subscribe("load", 1).await;
        tasks.push(tokio::spawn(receive(client, load.clone(), at)));
    }
    let client = Raw::connect(cluster.nodes[1].mqtt(), &Connect::v5("p")).await.patient(SOON);
    let publisher = tokio::spawn(publish(client, load.clone()));
    more(&load).await;

    let old = secrets(&cluster.nodes[0]).await.unwrap().remove(0);
    write(&files[0], &format!("{OLD}\n{NEW}\n"));
    cluster.nodes[0].hang_up();
    let both = eventually(SOON, "the second secret has an id", async || {
        let seen = secrets(&cluster.nodes[0]).await?;
        seen.iter().find(|ids| ids.contains(',')).cloned().ok_or_else(|| format!("{seen:?}"))
    })
    .await;
    let new = both.strip_prefix(&format!("{old},")).expect("the one in use comes first").to_owned();

    step(&cluster, &files, &format!("{OLD}\n{NEW}\n"), &format!("{old},{new}")).await;
    more(&load).await;
    step(&cluster, &files, &format!("{NEW}\n{OLD}\n"), &format!("{new},{old}")).await;
    more(&load).await;
    step(&cluster, &files, &format!("{NEW}\n"), &new).await;
    more(&load).await;

    load.is_over.store(true, Ordering::SeqCst);
    publisher.await.unwrap();
    all_received(&load).await;
    for (number, task) in tasks.into_iter().enumerate() {
        assert!(!task.is_finished(), "the connection of subscriber {number} did not last");
        task.abort();
    }
    assert_is_refused(&cluster, directory.path()).await;
}

/// A node that has only the old secret.
async fn assert_is_refused(cluster: &Cluster, directory: &Path) {
    let first = &cluster.nodes[0];
    let (heard, refused) =
        (metric(first, "cluster.gossip.stranger").await, metric(first, "cluster.peer.refused").await);
    let file = directory.join("late.secret");
    write(&file, OLD);
    let late = Node::start(options("late", &file, &[first.cluster()]).set("cluster.join_timeout", "500ms")).await;
    let answer = late.ctl().run(&["cluster", "join", &first.cluster().to_string()]).await;
    assert!(answer.code != 0 && answer.stderr.contains("refused the cluster secret"), "{answer:?}");
    assert!(metric(first, "cluster.peer.refused").await > refused);
    eventually(SOON, "its gossip is counted", async || match metric(first, "cluster.gossip.stranger").await {
        now if now > heard => Ok(()),
        now => Err(format!("{now}")),
    })
    .await;
    assert_eq!(secrets(&late).await.unwrap().len(), 1, "it sees only itself");
    assert_eq!(secrets(first).await.unwrap().len(), 3, "and nobody sees it");
}

#[tokio::test]
async fn secrets_that_cannot_serve_are_refused_at_a_hangup_and_the_old_ones_stay() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    write(&file, OLD);
    let node = Node::start(options("n1", &file, &[])).await;
    let before = secrets(&node).await.unwrap();
    write(&file, &format!("{OLD}\nshort\n"));
    node.hang_up();
    eventually(SOON, "it says why", async || {
        let log = node.log();
        let is_said = log.contains("the secrets of the cluster stay as they were") && log.contains("5 bytes");
        is_said.then_some(()).ok_or(log)
    })
    .await;
    assert_eq!(secrets(&node).await.unwrap(), before);
    assert!(!node.log().contains(OLD), "a secret is in the log");
}
