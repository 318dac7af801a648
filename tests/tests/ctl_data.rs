//! `brokerctl data export` and `import`: what clients find on a node that was given another's archive, and what is left
//! of an archive that is not taken.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::ctl::Answer;
use tests::node::{Node, NodeOptions};
use tests::packet::{self, Connect, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;
use tests::wait::{SOON, eventually};

fn options(name: &str) -> NodeOptions {
    NodeOptions::alone(name).set("persistence.backend", "disk")
}

async fn on_disk(name: &str) -> Node {
    Node::start(options(name)).await
}

struct Archive(tempfile::TempDir);

impl Archive {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("backup.brokerd")
    }
    async fn of(node: &Node) -> Self {
        let archive = Self::new();
        export(node, &archive.path()).await.ok();
        archive
    }
}

async fn export(node: &Node, to: &Path) -> Answer {
    node.ctl().run(&["data", "export", to.to_str().unwrap()]).await
}

async fn import(node: &Node, from: &Path) -> Answer {
    node.ctl().run(&["data", "import", from.to_str().unwrap()]).await
}

fn durable(id: &str) -> Connect {
    Connect::v5(id).persistent()
}

async fn wait_until_away(node: &Node, id: &str) {
    eventually(SOON, &format!("{id} is away"), async || {
        let session = node.ctl().run(&["sessions", "show", id]).await;
        if session.json["connected"] == false { Ok(()) } else { Err(session.stdout) }
    })
    .await;
}

/// A session that is away, with so many messages of QoS 1 in its queue.
async fn with_queue(node: &Node, id: &str, messages: usize) {
    let mut client = Raw::connect(node.mqtt(), &durable(id)).await;
    client.subscribe(id, 2).await;
    client.disconnect().await;
    wait_until_away(node, id).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5(&format!("to {id}"))).await;
    for number in 0..messages {
        publisher.publish(id, number.to_string().as_bytes(), 1).await;
    }
}

async fn assert_is_empty(node: &Node, when: &str) {
    assert_eq!(node.ctl().run(&["sessions", "list"]).await.ok(), json!([]), "{when}");
    assert_eq!(node.ctl().run(&["retainer", "topics"]).await.ok(), json!([]), "{when}");
}

/// A client stopped in the middle of everything: two messages in flight, one of them released, one more queued; and its
/// own QoS 2 publication received and not released.
async fn stop_in_the_middle(node: &Node) {
    let mut client = Raw::connect(node.mqtt(), &durable("middle")).await;
    client.subscribe("m/+", 2).await;
    client.subscribe("late", 1).await;
    let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("publisher")).await;
    for topic in ["m/sent", "m/released"] {
        publisher.publish(topic, topic.as_bytes(), 2).await;
        let publish = client.expect_publish().await;
        if topic == "m/released" {
            client.send(&packet::acknowledge(0x50, publish.id)).await;
            assert!(matches!(client.expect().await, Packet::Pubrel(id, _) if id == publish.id));
        }
    }
    client.send(&PublishOut::new("once", b"once", 2, 77).encode(Version::V5)).await;
    assert!(matches!(client.expect().await, Packet::Pubrec(77, _)));
    client.abandon();
    wait_until_away(node, "middle").await;
    publisher.publish("m/queued", b"m/queued", 1).await;
    publisher.publish_retained("kept/value", b"retained", 1).await;
    publisher.publish("$delayed/1/late", b"late", 1).await;
}

#[tokio::test]
async fn clients_go_on_at_a_node_that_was_given_the_archive_as_if_it_were_theirs() {
    let old = on_disk("old").await;
    stop_in_the_middle(&old).await;
    with_queue(&old, "plain", 20).await;
    let archive = Archive::of(&old).await;
    drop(old);
    let mut new = on_disk("new").await;
    let imported = import(&new, &archive.path()).await.ok();
    let expected = json!({"sessions": 2, "messages": 23, "retained": 1, "delayed": 1, "skipped": 0});
    assert_eq!(imported, expected);

    let mut watcher = Raw::connect(new.mqtt(), &Connect::v5("watcher")).await;
    watcher.subscribe("once", 2).await;
    watcher.subscribe("kept/#", 1).await;
    let retained = watcher.receive().await;
    assert_eq!((retained.text(), retained.retain), ("retained", true));

    let (mut client, connack) = Raw::connect_with_answer(new.mqtt(), &durable("middle")).await;
    assert!(connack.session_present);
    let sent = client.receive().await;
    assert_eq!((sent.text(), sent.dup), ("m/sent", true));
    let Packet::Pubrel(id, _) = client.expect().await else { panic!("PUBREL of what was released") };
    client.send(&packet::acknowledge(0x70, id)).await;
    let mut texts = vec![client.receive().await.text().to_owned(), client.receive().await.text().to_owned()];
    texts.sort();
    assert_eq!(texts, ["late", "m/queued"]);
    client.exchange(PublishOut::new("once", b"once", 2, 77).again()).await;
    watcher.expect_silence().await; // it was published before, on the old node
    watcher.publish("m/new", b"m/new", 2).await;
    assert_eq!(client.receive().await.text(), "m/new");
    client.disconnect().await;

    new.restart().await;
    let (mut client, connack) = Raw::connect_with_answer(new.mqtt(), &durable("plain")).await;
    assert!(connack.session_present, "what was imported is in the store of the new node");
    for number in 0..20 {
        assert_eq!(client.receive().await.text(), number.to_string());
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn an_archive_that_is_cut_changed_or_none_is_refused_and_changes_nothing() {
    let old = on_disk("old").await;
    with_queue(&old, "pump", 3).await;
    let archive = Archive::of(&old).await;
    let whole = std::fs::read(archive.path()).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let mut new = on_disk("new").await;
    for (bytes, why) in [
        (&whole[..whole.len() - 1], "is cut off at byte"),
        (&changed[..], "is damaged at byte"),
        (b"{\"not\": \"an archive\"}", "is not an archive of brokerd"),
        (b"", "is not an archive of brokerd"),
    ] {
        std::fs::write(archive.path(), bytes).unwrap();
        let answer = import(&new, &archive.path()).await;
        assert_eq!(answer.code, 1, "{why}: {}", answer.stdout);
        assert!(answer.stderr.contains(why), "{why}: {}", answer.stderr);
        assert_is_empty(&new, why).await;
    }
    new.restart().await;
    assert_is_empty(&new, "after a restart").await;
    std::fs::write(archive.path(), &whole).unwrap();
    assert_eq!(import(&new, &archive.path()).await.ok()["sessions"], 1, "a refusal is no obstacle to the next");
}

#[tokio::test]
async fn an_import_that_was_interrupted_is_finished_at_the_next_start() {
    let old = on_disk("old").await;
    with_queue(&old, "pump", 3).await;
    let archive = Archive::of(&old).await;
    let mut new = on_disk("new").await;
    // As a crash leaves it, before or after some of it was applied.
    std::fs::copy(archive.path(), new.data_dir().join("import.archive")).unwrap();
    std::fs::write(new.data_dir().join("import.partial"), b"half").unwrap();
    new.restart().await;
    let (mut client, connack) = Raw::connect_with_answer(new.mqtt(), &durable("pump")).await;
    assert!(connack.session_present);
    for number in 0..3 {
        assert_eq!(client.receive().await.text(), number.to_string());
    }
    for left in ["import.archive", "import.partial"] {
        assert!(!new.data_dir().join(left).exists(), "{left} is left");
    }
}

#[tokio::test]
async fn only_an_empty_node_with_a_store_and_alone_takes_an_archive() {
    let old = on_disk("old").await;
    with_queue(&old, "pump", 1).await;
    let archive = Archive::of(&old).await;
    let in_memory = Node::start(NodeOptions::alone("memory")).await;
    let cluster = Cluster::start_with(2, |options| options.set("persistence.backend", "disk")).await;
    let other = format!("`{}` is up", cluster.nodes[1].name());
    for (node, why) in [
        (&old, "this node is not empty: 1 sessions"),
        (&in_memory, "keeps nothing"),
        (&cluster.nodes[0], other.as_str()),
    ] {
        let answer = import(node, &archive.path()).await;
        assert_eq!(answer.code, 1, "{why}: {}", answer.stdout);
        assert!(answer.stderr.contains(why), "{why}: {}", answer.stderr);
    }
}

#[tokio::test]
async fn what_cannot_be_exported_leaves_no_file_and_one_that_is_there_stays() {
    let in_memory = Node::start(NodeOptions::alone("memory")).await;
    let archive = Archive::new();
    let answer = export(&in_memory, &archive.path()).await;
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stderr.contains("keeps nothing that could be exported"), "{}", answer.stderr);
    assert_eq!(std::fs::read_dir(archive.0.path()).unwrap().count(), 0);
    std::fs::write(archive.path(), b"precious").unwrap();
    let node = on_disk("n1").await;
    let answer = export(&node, &archive.path()).await;
    assert!(answer.code == 1 && answer.stderr.contains("exists"), "{}", answer.stderr);
    assert_eq!(std::fs::read(archive.path()).unwrap(), b"precious");
}

#[tokio::test]
async fn the_sessions_of_all_nodes_are_in_one_archive_also_with_messages_larger_than_an_answer() {
    let large = |options: NodeOptions| options.set("mqtt.max_packet_size", "8MiB").set("persistence.backend", "disk");
    let cluster = Cluster::start_with(2, large).await;
    for (number, node) in cluster.nodes.iter().enumerate() {
        let id = format!("client-{number}");
        with_queue(node, &id, 2).await;
        let mut publisher = Raw::connect(node.mqtt(), &Connect::v5("large")).await;
        publisher.publish(&id, &vec![b'x'; 5 << 20], 1).await;
    }
    let archive = Archive::new();
    let exported = export(&cluster.nodes[0], &archive.path()).await.ok();
    assert_eq!(exported["nodes"], json!(["n1", "n2"]));
    drop(cluster);
    let new = Node::start(large(NodeOptions::alone("new"))).await;
    assert_eq!(import(&new, &archive.path()).await.ok()["sessions"], 2);
    for number in 0..2 {
        let (mut client, connack) = Raw::connect_with_answer(new.mqtt(), &durable(&format!("client-{number}"))).await;
        assert!(connack.session_present);
        let sizes = [client.receive().await, client.receive().await, client.receive().await];
        assert_eq!(sizes.map(|publish| publish.payload.len()), [1, 1, 5 << 20]);
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_said() {
    let node = on_disk("n1").await;
    let answer = import(&node, Path::new("/nowhere/backup.brokerd")).await;
    assert_eq!((answer.code, &answer.json), (1, &Value::Null));
    assert!(answer.stderr.contains("cannot read `/nowhere/backup.brokerd`"), "{}", answer.stderr);
}
