//! What clients and operators see when the disk store cannot do its work: no room, no directory, another process in it.
//! And that what a queue holds expires there too while nobody looks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tests::binaries;
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, PublishOut, Version, property_four};
use tests::raw::Raw;
use tests::read::Packet;
use tests::wait::{SOON, eventually};

/// Others use the file system too, meanwhile.
const MARGIN: u64 = 1 << 30;

fn durable() -> NodeOptions {
    NodeOptions::alone("durable").set("persistence.backend", "disk")
}

fn free(directory: &Path) -> u64 {
    let stat = statvfs(directory).expect("a file system");
    stat.f_bavail * stat.f_frsize
}

async fn metric(node: &Node, name: &str) -> u64 {
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    metrics[name].as_u64().unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// A session that waits, with one message in its queue.
async fn leave_a_session(node: &Node, publisher: &mut Raw) {
    let mut away = Raw::connect(node.mqtt(), &Connect::v5("away").persistent()).await;
    away.subscribe("t", 2).await;
    away.abandon();
    publisher.publish("t", b"before", 1).await;
}

async fn publish_for_answer(client: &mut Raw, qos: u8, id: u16) -> Option<Packet> {
    client.send(&PublishOut::new("t", b"while full", qos, id).encode(Version::V5)).await;
    client.next_or_end().await
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_published_drains_what_is_queued_and_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    let free = free(directory.path());
    if free < 6 * MARGIN {
        println!("SKIPPED: {free} bytes free, too few to use some up");
        return;
    }
    let mut node = Node::start(durable().set("persistence.disk.reserve", &(free - MARGIN).to_string())).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    leave_a_session(&node, &mut publisher).await;
    let filler = File::create(directory.path().join("filler")).expect("a file");
    fallocate(&filler, FallocateFlags::empty(), 0, 3 * MARGIN).expect("a file system that can");

    // The store looks again after some thousand changes; a start is sooner.
    node.restart().await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    assert_eq!(publish_for_answer(&mut publisher, 1, 1).await, Some(Packet::Puback(1, 0x97)));
    assert_eq!(publish_for_answer(&mut publisher, 2, 2).await, Some(Packet::Pubrec(2, 0x97)));
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    old.send(&PublishOut::new("t", b"while full", 1, 1).encode(Version::V311)).await;
    assert_eq!(old.next_or_end().await, None, "3.1.1 has no word for it but the end of the connection");
    assert_eq!(metric(&node, "messages.dropped.not_kept").await, 3);
    assert!(node.log().contains("there is no room"), "the log says why");

    let (mut away, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("away").persistent()).await;
    assert!(connack.session_present);
    assert_eq!(away.receive().await.text(), "before");
    away.expect_silence().await;
    away.abandon();

    filler.set_len(0).expect("room");
    eventually(SOON, "the store takes messages again", async || {
        publisher.send(&PublishOut::new("t", b"after", 1, 3).encode(Version::V5)).await;
        match publisher.expect().await {
            Packet::Puback(3, 0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    node.restart().await;
    let mut away = Raw::connect(node.mqtt(), &Connect::v5("away").persistent()).await;
    assert_eq!(away.receive().await.text(), "after");
    away.expect_silence().await;
}

fn refused(data: &Path) -> String {
    let mut command = Command::new(binaries::brokerd());
    let (data_dir, socket) = (format!("node.data_dir={}", data.display()), data.join("other.sock"));
    let admin = format!("admin.listen=unix:{}", socket.display());
    for set in ["listeners.tcp.default.bind=127.0.0.1:0", "persistence.backend=disk", &data_dir, &admin] {
        command.args(["--set", set]);
    }
    let output = command.output().expect("brokerd runs");
    assert!(!output.status.success(), "it started");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_second_process_on_the_directory_of_another_says_so_and_ends() {
    let node = Node::start(durable()).await;
    let said = refused(&node.data_dir());
    assert!(said.contains(&node.data_dir().display().to_string()) && said.contains(&node.pid().to_string()), "{said}");
    let mut client = Raw::connect(node.mqtt(), &Connect::v5("a")).await;
    client.publish("t", b"still served", 1).await;
}

#[test]
fn a_store_that_cannot_be_opened_ends_the_start_and_says_which() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("store"), "not a directory").expect("a file");
    let said = refused(directory.path());
    let store = directory.path().join("store").display().to_string();
    assert!(said.contains("persistence.backend") && said.contains(&store), "{said}");
}

#[tokio::test]
async fn what_expires_in_a_queue_is_gone_from_the_disk_before_its_client_comes() {
    let mut node = Node::start(durable()).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    leave_a_session(&node, &mut publisher).await;
    let mut mortal = PublishOut::new("t", b"mortal", 1, 9);
    mortal.properties = property_four(0x02, 1);
    publisher.exchange(mortal).await;
    eventually(SOON, "the message that expired is dropped", async || {
        match metric(&node, "delivery.dropped.expired").await {
            1 => Ok(()),
            other => Err(format!("{other} dropped")),
        }
    })
    .await;
    node.restart().await;
    let mut away = Raw::connect(node.mqtt(), &Connect::v5("away").persistent()).await;
    assert_eq!(away.receive().await.text(), "before");
    away.expect_silence().await;
    assert_eq!(metric(&node, "delivery.dropped.expired").await, 0, "after the restart it was not there to expire");
}
