//! What clients and operators see when the disk store cannot do its work: no room, no directory, another process in it.
//! And that what a queue holds expires there too while nobody looks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tests::binaries;
use tests::node::{Node, NodeOptions, mounts_are_allowed};
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

/// Until the file system has so little left that the next writes fail.
fn use_up(directory: &Path, left: u64) {
    let mut filler = File::create(directory.join("filler")).expect("a file");
    let block = [0; 4096];
    while free(directory) > left {
        filler.write_all(&block).expect("there is room for this");
    }
}

#[tokio::test]
async fn a_write_that_fails_stops_the_store_and_nothing_is_acknowledged_that_is_not_kept() {
    if !mounts_are_allowed() {
        return;
    }
    let options = durable().set("persistence.disk.reserve", "0").set("node.workers", "1");
    let mut node = Node::start(options.mounting("mount -t tmpfs -o size=96m tmpfs \"$DATA\"")).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    leave_a_session(&node, &mut publisher).await;
    let mut bystander = Raw::connect(node.mqtt(), &Connect::v5("bystander")).await;
    let mut old = Raw::connect(node.mqtt(), &Connect::v311("old")).await;
    use_up(&node.mounted_data_dir(), 256 << 10);

    let payload = [b'x'; 20_000];
    let mut acknowledged = 0;
    let end = loop {
        publisher.send(&PublishOut::new("t", &payload, 1, 1).encode(Version::V5)).await;
        match publisher.next_or_end().await {
            Some(Packet::Puback(1, 0)) if acknowledged < 1000 => acknowledged += 1,
            other => break other,
        }
    };
    // What was under way when the write failed: its connection ends.
    assert!(matches!(end, Some(Packet::Disconnect(0x83))), "{end:?} after {acknowledged}");
    assert!(node.log().contains("the store is down"), "the log says so");
    assert_eq!(publish_for_answer(&mut bystander, 1, 1).await, Some(Packet::Puback(1, 0x83)));
    assert_eq!(publish_for_answer(&mut bystander, 2, 2).await, Some(Packet::Pubrec(2, 0x83)));
    old.send(&PublishOut::new("t", b"while down", 1, 1).encode(Version::V311)).await;
    assert_eq!(old.next_or_end().await, None, "3.1.1 has no word for it but the end of the connection");
    let (_, connack) = Raw::try_connect(node.mqtt(), &Connect::v5("new").persistent()).await;
    assert_eq!(connack.code, 0x88);
    let (_, connack) = Raw::try_connect(node.mqtt(), &Connect::v311("new").persistent()).await;
    assert_eq!(connack.code, 3);
    let mut passing = Raw::connect(node.mqtt(), &Connect::v5("passing")).await;
    passing.publish("nobody/has/this", b"at QoS 0", 0).await;

    // What is on the file system when the process is killed is all that there is.
    node.stop();
    let saved = tempfile::tempdir().expect("a directory");
    let copy = |from: &Path, to: &Path| Command::new("cp").arg("-rT").args([from, to]).status().expect("cp runs");
    assert!(copy(&node.mounted_data_dir(), saved.path()).success());
    node.kill9();
    node.mount("");
    assert!(copy(saved.path(), &node.data_dir()).success());
    node.restart().await;
    let mut away = Raw::connect(node.mqtt(), &Connect::v5("away").persistent()).await;
    assert_eq!(away.receive().await.text(), "before");
    for number in 0..acknowledged {
        assert_eq!(away.receive().await.payload.len(), payload.len(), "{number} of {acknowledged}");
    }
}

#[tokio::test]
async fn a_directory_that_is_read_only_ends_the_start_and_is_named() {
    if !mounts_are_allowed() {
        return;
    }
    let mut node = Node::start(durable()).await;
    node.terminate().await;
    let script = "mount --bind \"$DATA/store\" \"$DATA/store\"; mount -o remount,ro,bind \"$DATA/store\"";
    node.mount(script);
    node.start_again();
    let status = node.wait_for_exit().await;
    let (log, store) = (node.log(), node.data_dir().join("store").display().to_string());
    assert!(!status.success(), "it started");
    assert!(log.contains("persistence.backend") && log.contains(&format!("`{store}` cannot be written")), "{log}");
}
