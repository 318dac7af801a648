//! What the rules allow, on every path, and what a reload changes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, SocketAddr};

use tests::mosquitto;
use tests::node::Node;
use tests::packet::{self, Connect, PublishOut};
use tests::raw::Raw;
use tests::read::Packet;
use tests::users::Files;

/// `admin` may everything.
const ADMIN: &str = "allow user admin all #\n";

async fn client(node: &Node, connect: Connect, user: &str) -> Raw {
    Raw::connect(node.mqtt(), &connect.login(user, user)).await
}

async fn reload(node: &Node) -> serde_json::Value {
    node.ctl().run(&["auth", "reload"]).await.ok()["n1"].clone()
}

#[tokio::test]
async fn a_publication_that_is_not_allowed_reaches_nobody_and_5_0_is_told() {
    let files = Files::new(&["admin", "ann"], &format!("{ADMIN}allow user ann publish devices/%c/#\n"));
    let node = Node::start(files.node()).await;
    let mut admin = client(&node, Connect::v5("admin"), "admin").await;
    admin.subscribe("#", 2).await;
    let mut ann = client(&node, Connect::v5("c1"), "ann").await;
    ann.send(&PublishOut::new("devices/c2/x", b"0", 0, 0).encode(packet::Version::V5)).await;
    ann.send(&PublishOut::new("devices/c2/x", b"1", 1, 1).retained().encode(packet::Version::V5)).await;
    assert_eq!(ann.expect().await, Packet::Puback(1, 0x87));
    ann.send(&PublishOut::new("devices/c2/x", b"2", 2, 2).encode(packet::Version::V5)).await;
    assert_eq!(ann.expect().await, Packet::Pubrec(2, 0x87));
    let mut old = client(&node, Connect::v311("c3"), "ann").await;
    for qos in 0..=2 {
        old.publish("devices/c1/x", b"3.1.1", qos).await;
    }
    old.expect_silence().await;
    ann.publish("devices/c1/x", b"allowed", 1).await;
    assert_eq!(admin.receive().await.text(), "allowed");
    let mut late = client(&node, Connect::v5("late"), "admin").await;
    late.subscribe("devices/c2/#", 1).await;
    late.expect_silence().await;
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    assert_eq!(metrics["packets.publish.auth_error"], 6);
    assert_eq!(metrics["authorization.deny"], 6);
}

#[tokio::test]
async fn a_3_1_1_client_that_publishes_what_it_may_not_is_closed_where_configured() {
    let files = Files::new(&["ann"], "");
    let node = Node::start(files.node().set("mqtt.deny_action", "disconnect")).await;
    let mut old = client(&node, Connect::v311("c1"), "ann").await;
    old.send(&PublishOut::new("x", b"", 1, 1).encode(packet::Version::V311)).await;
    assert_eq!(old.next_or_end().await, None);
    let mut new = client(&node, Connect::v5("c2"), "ann").await;
    new.send(&PublishOut::new("x", b"", 1, 1).encode(packet::Version::V5)).await;
    assert_eq!(new.expect().await, Packet::Puback(1, 0x87));
    new.expect_silence().await;
}

#[tokio::test]
async fn a_refused_filter_does_not_stop_the_others_of_its_subscribe() {
    let files = Files::new(&["admin", "ann"], &format!("{ADMIN}allow user ann subscribe u/%u/#\n"));
    let node = Node::start(files.node()).await;
    let mut admin = client(&node, Connect::v5("admin"), "admin").await;
    admin.publish_retained("u/bob/x", b"retained", 1).await;
    for (connect, refused) in [(Connect::v5("c1"), 0x87), (Connect::v311("c2"), 0x80)] {
        let version = connect.version;
        let mut ann = client(&node, connect, "ann").await;
        let filters = [("#", 1), ("u/ann/+", 1), ("u/+/x", 1), ("u/bob/x", 1), ("u/ann/#", 2)];
        ann.send(&packet::subscribe(version, 7, &filters)).await;
        assert_eq!(ann.expect().await, Packet::Suback(7, vec![refused, 1, refused, refused, 2]));
        admin.publish("u/bob/x", b"not for ann", 1).await;
        ann.expect_silence().await;
    }
}

#[tokio::test]
async fn client_ids_and_user_names_with_wildcards_get_nothing_by_them() {
    let files = Files::new(&["+", "a/b"], "allow all all c/%c/# u/%u\n");
    let node = Node::start(files.node()).await;
    for (id, user) in [("#", "+"), ("+", "+"), ("a/b", "a/b")] {
        let mut client = client(&node, Connect::v5(id), user).await;
        for filter in ["c/#", "c/+/#", "c/a/b/#", "u/+", "u/#", "u/a/b", "#"] {
            assert_eq!(client.subscribe(filter, 0).await, 0x87, "client id {id}, user {user}: {filter}");
        }
    }
}

#[tokio::test]
async fn a_session_that_is_resumed_from_elsewhere_loses_what_is_not_allowed_there() {
    let files =
        Files::new(&["admin", "ann"], &format!("{ADMIN}allow all all free\nallow ip 127.0.0.1 subscribe s/#\n"));
    let node = Node::start(files.node()).await;
    let mut admin = client(&node, Connect::v5("admin"), "admin").await;
    let connect = || Connect::v5("c1").persistent().login("ann", "ann");
    let mut ann = Raw::connect(node.mqtt(), &connect()).await;
    assert_eq!((ann.subscribe("s/+", 1).await, ann.subscribe("free", 1).await), (1, 1));
    ann.disconnect().await;
    let elsewhere = SocketAddr::new(IpAddr::from([127, 0, 0, 2]), 0);
    let (mut ann, connack) = Raw::connect_from(elsewhere, node.mqtt(), &connect()).await;
    assert!(connack.session_present);
    admin.publish("s/x", b"", 1).await;
    admin.publish("free", b"", 1).await;
    assert_eq!(ann.receive().await.topic, "free");
    let subscriptions = node.ctl().run(&["subscriptions", "show", "c1"]).await.ok();
    assert_eq!(subscriptions.as_array().unwrap().len(), 1, "{subscriptions}");
}

#[tokio::test]
async fn new_rules_end_subscriptions_and_users_who_are_gone_are_closed() {
    let files = Files::new(&["admin", "ann", "bob"], &format!("{ADMIN}allow all all #\n"));
    let node = Node::start(files.node()).await;
    let mut admin = client(&node, Connect::v5("admin"), "admin").await;
    let mut ann = client(&node, Connect::v5("c1"), "ann").await;
    let mut bob = client(&node, Connect::v5("c2"), "bob").await;
    let away = client(&node, Connect::v311("c3").persistent(), "bob").await;
    away.disconnect().await;
    for filter in ["a", "b", "c/#"] {
        ann.subscribe(filter, 1).await;
    }
    files.write_users(&["admin", "ann"]);
    files.write_rules(&format!("{ADMIN}allow user ann subscribe b\n"));
    let done = reload(&node).await;
    assert_eq!(
        done,
        serde_json::json!({"error": null, "users": 2, "rules": 2, "sessions.ended": 2, "subscriptions.revoked": 2})
    );
    assert_eq!(bob.expect_close().await, Some(0x87));
    assert_eq!(Raw::try_connect(node.mqtt(), &Connect::v5("c2").login("bob", "bob")).await.1.code, 0x86);
    for topic in ["a", "c", "c/x", "b"] {
        admin.publish(topic, b"", 1).await;
    }
    assert_eq!(ann.receive().await.topic, "b");
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    assert_eq!(metrics["authorization.subscriptions_revoked"], 2);
}

#[tokio::test]
async fn a_reload_that_finds_a_mistake_changes_nothing_and_names_the_line() {
    let files = Files::new(&["ann"], "allow all all a\n");
    let node = Node::start(files.node()).await;
    let mut ann = client(&node, Connect::v5("c1"), "ann").await;
    ann.subscribe("a", 0).await;
    files.write_users(&["bob"]);
    files.write_rules("allow all all b\nallow all everything\n");
    let answer = node.ctl().run(&["auth", "reload"]).await;
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("`auth.acl_file`") && answer.stderr.contains("line 2"), "{}", answer.stderr);
    ann.publish("a", b"still", 1).await;
    assert_eq!(ann.receive().await.text(), "still");
    files.write_rules(""); // CVE-2017-7652: a reload that goes wrong must not leave the broker open, nor an empty file
    reload(&node).await;
    assert_eq!(ann.expect_close().await, Some(0x87));
    assert_eq!(Raw::try_connect(node.mqtt(), &Connect::v5("c1").login("ann", "ann")).await.1.code, 0x86);
    let mut bob = client(&node, Connect::v5("c2"), "bob").await;
    assert_eq!(bob.subscribe("a", 0).await, 0x87);
}

#[tokio::test]
async fn a_hangup_reads_users_and_rules_again() {
    let files = Files::new(&["ann"], "allow all all #\n");
    let node = Node::start(files.node()).await;
    let mut ann = client(&node, Connect::v5("c1"), "ann").await;
    files.write_rules("rubbish\n");
    node.hang_up();
    tests::wait::eventually(tests::wait::SOON, "the mistake is logged", async || {
        if node.log().contains("line 1") { Ok(()) } else { Err(node.log()) }
    })
    .await;
    ann.expect_silence().await;
    files.write_rules("allow all all #\n");
    files.write_users(&["bob"]);
    node.hang_up();
    assert_eq!(ann.expect_close().await, Some(0x87));
}

#[tokio::test]
async fn mosquitto_s_programs_log_in_and_are_refused() {
    let files = Files::new(&["ann", "bob"], "allow user ann all news/#\nallow user bob subscribe #\n");
    let node = Node::start(files.node()).await;
    let login = |user| ["-u", user, "-P", user];
    let mut subscriber =
        mosquitto::Subscriber::start(node.mqtt(), &[&login("bob")[..], &["-t", "#", "-q", "1"]].concat()).await;
    let publish = async |user, arguments: &[&str]| {
        let mut command = tokio::process::Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &node.mqtt().port().to_string()]).args(login(user)).args(arguments);
        command.output().await.expect("mosquitto_pub is installed")
    };
    let denied = publish("bob", &["-V", "5", "-q", "1", "-t", "news/x", "-m", "by bob"]).await;
    assert!(String::from_utf8_lossy(&denied.stderr).contains("Not authorized"), "{denied:?}");
    assert!(publish("ann", &["-q", "1", "-t", "news/x", "-m", "by ann"]).await.status.success());
    assert_eq!(subscriber.message().await, "by ann");
    let stranger = publish("eve", &["-t", "news/x", "-m", "by eve"]).await;
    assert_eq!(stranger.status.code(), Some(4), "{stranger:?}");
}
