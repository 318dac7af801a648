//! Who is let in, and whose a session is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::cluster::{Cluster, MEMBERSHIP};
use tests::node::Node;
use tests::packet::{Connect, PINGREQ, Version, Will};
use tests::raw::Raw;
use tests::read::Packet;
use tests::users::Files;
use tests::wait::{SOON, eventually};

const ALL: &str = "allow all all #\n";

/// The code of the CONNACK.
async fn code(node: &Node, connect: &Connect) -> u8 {
    Raw::try_connect(node.mqtt(), connect).await.1.code
}

#[tokio::test]
async fn a_user_gets_in_by_password_and_nobody_else_does() {
    let files = Files::new(&["ann"], ALL);
    let node = Node::start(files.node()).await;
    for (version, bad, unauthorised) in [(Version::V31, 4, 5), (Version::V311, 4, 5), (Version::V5, 0x86, 0x87)] {
        let connect = || Connect::new(version, "c1");
        for _ in 0..2 {
            assert_eq!(code(&node, &connect().login("ann", "ann")).await, 0, "{version:?}");
            assert_eq!(code(&node, &connect().login("ann", "wrong")).await, bad, "{version:?}");
            assert_eq!(code(&node, &connect().login("bob", "ann")).await, bad, "{version:?}");
        }
        assert_eq!(code(&node, &connect()).await, unauthorised, "{version:?}: no user name");
    }
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    assert_eq!(metrics["authentication.success"], 6);
    assert_eq!(metrics["authentication.failure"], 15);
    assert_eq!(metrics["packets.connack.auth_error"], 15);
}

#[tokio::test]
async fn a_listener_that_says_so_lets_in_who_gives_no_name_but_no_wrong_password() {
    let files = Files::new(&["ann"], ALL);
    let node = Node::start(files.node().set("listeners.tcp.default.allow_anonymous", "true")).await;
    assert_eq!(code(&node, &Connect::v5("c1")).await, 0);
    assert_eq!(code(&node, &Connect::v5("c1").login("ann", "wrong")).await, 0x86);
}

#[tokio::test]
async fn who_is_refused_disturbs_nobody_who_is_connected() {
    let files = Files::new(&["ann", "bob"], ALL);
    let node = Node::start(files.node()).await;
    let mut ann = Raw::connect(node.mqtt(), &Connect::v5("c1").login("ann", "ann")).await;
    assert_eq!(code(&node, &Connect::v5("c1").login("ann", "wrong")).await, 0x86);
    assert_eq!(code(&node, &Connect::v5("c1")).await, 0x87);
    for clean in [true, false] {
        let mut thief = Connect::v5("c1").login("bob", "bob");
        thief.clean = clean;
        assert_eq!(code(&node, &thief).await, 0x87, "another user took the client id, clean {clean}");
        thief.version = Version::V311;
        assert_eq!(code(&node, &thief).await, 5, "another user took the client id, clean {clean}");
    }
    ann.expect_silence().await;
    let (_, connack) = Raw::connect_with_answer(node.mqtt(), &Connect::v5("c1").login("ann", "ann")).await;
    assert!(!connack.session_present);
    assert_eq!(ann.expect_close().await, Some(0x8E), "its own user takes it over");
}

#[tokio::test]
async fn a_session_that_waits_for_its_user_is_resumed_by_no_other() {
    let files = Files::new(&["ann", "bob"], ALL);
    let node = Node::start(files.node()).await;
    let connect = || Connect::v5("c1").persistent();
    let mut ann = Raw::connect(node.mqtt(), &connect().login("ann", "ann")).await;
    ann.subscribe("secret", 1).await;
    ann.disconnect().await;
    let mut bob = Raw::connect(node.mqtt(), &Connect::v5("c2").login("bob", "bob")).await;
    bob.publish("secret", b"for ann", 1).await;
    assert_eq!(code(&node, &connect().login("bob", "bob")).await, 0x87);
    let (mut ann, connack) = Raw::connect_with_answer(node.mqtt(), &connect().login("ann", "ann")).await;
    assert!(connack.session_present);
    assert_eq!(ann.receive().await.text(), "for ann");
}

#[tokio::test]
async fn a_will_that_is_not_allowed_is_refused_with_its_connect() {
    let files = Files::new(&["ann"], "allow user ann publish mine/#\n");
    let node = Node::start(files.node()).await;
    let connect = |topic| Connect::v5("c1").login("ann", "ann").will(Will::new(topic, "gone"));
    assert_eq!(code(&node, &connect("yours/x")).await, 0x87);
    assert_eq!(code(&node, &connect("$SYS/x")).await, 0x87);
    assert_eq!(code(&node, &connect("mine/x")).await, 0);
}

#[tokio::test]
async fn a_will_is_asked_about_again_when_it_is_sent() {
    let files = Files::new(&["ann", "bob"], "allow all publish w/#\nallow user bob all #\n");
    let node = Node::start(files.node()).await;
    let mut bob = Raw::connect(node.mqtt(), &Connect::v5("watcher").login("bob", "bob")).await;
    bob.subscribe("#", 0).await;
    let ann = Raw::connect(node.mqtt(), &Connect::v5("c1").login("ann", "ann").will(Will::new("w/x", "gone"))).await;
    files.write_rules("allow user bob all #\n");
    assert_eq!(node.ctl().run(&["auth", "reload"]).await.code, 0);
    ann.abandon();
    // Its will, if it were sent, is sent before it is no longer connected.
    tests::wait::eventually(tests::wait::SOON, "the client is gone", async || {
        let count = node.ctl().run(&["clients", "count"]).await.ok();
        if count["total"] == 1 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    bob.publish("after", b"", 1).await;
    let came = bob.fence().await;
    assert!(matches!(&came[..], [Packet::Publish(publish)] if publish.topic == "after"), "{came:?}");
}

#[tokio::test]
async fn a_password_that_takes_long_to_check_delays_no_other_client_and_beyond_the_queue_it_is_busy() {
    let files = Files::new(&["ann"], ALL);
    files.add_slow_user("slow");
    let options = files.node().set("node.workers", "1").set("auth.hash_threads", "1").set("auth.hash_queue", "0");
    let node = Node::start(options).await;
    let mut ann = Raw::connect(node.mqtt(), &Connect::v5("c1").login("ann", "ann")).await;
    let mut slow = Raw::open(node.mqtt(), Version::V5).await;
    slow.send(&Connect::v5("c2").login("slow", "slow").encode()).await;
    tests::wait::eventually(tests::wait::SOON, "the CONNECT has come", async || {
        let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
        if metrics["packets.connect.received"] == 2 { Ok(()) } else { Err(metrics.to_string()) }
    })
    .await;
    assert_eq!(code(&node, &Connect::v5("c3").login("bob", "bob")).await, 0x89);
    assert_eq!(code(&node, &Connect::v311("c3").login("bob", "bob")).await, 3);
    assert_eq!(code(&node, &Connect::v5("c4").login("ann", "ann")).await, 0, "ann was checked before");
    ann.send(PINGREQ).await;
    assert_eq!(ann.expect().await, Packet::Pingresp);
    let metrics = node.ctl().run(&["broker", "metrics"]).await.ok();
    assert_eq!(metrics["authentication.busy"], 2);
    assert_eq!(metrics["authentication.success"], 2, "all of this while the slow one is checked: {metrics}");
    assert!(matches!(slow.expect().await, Packet::Connack(connack) if connack.code == 0));
}

#[tokio::test]
async fn a_check_that_takes_longer_than_a_connect_may_ends_with_server_busy() {
    let files = Files::new(&[], ALL);
    files.add_slow_user("slow");
    let node = Node::start(files.node().set("mqtt.connect_timeout", "100ms")).await;
    assert_eq!(code(&node, &Connect::v5("c1").login("slow", "slow")).await, 0x89);
}

#[tokio::test]
async fn a_session_is_its_users_on_every_node_until_it_ends_or_its_node_dies() {
    let files = Files::new(&["ann", "bob"], ALL);
    let mut cluster = Cluster::start_with(3, |mut options| {
        options.sets.extend(files.node().sets);
        options
    })
    .await;
    // Enough ids that each node is the registrar of some.
    let ids: Vec<String> = (0..12).map(|number| format!("device-{number}")).collect();
    let ann = |id: &str| Connect::v5(id).persistent().login("ann", "ann");
    for id in &ids {
        let mut owner = Raw::connect(cluster.nodes[0].mqtt(), &ann(id)).await;
        for thief in [1, 2] {
            for clean in [true, false] {
                let mut connect = Connect::v5(id).login("bob", "bob");
                connect.clean = clean;
                assert_eq!(code(&cluster.nodes[thief], &connect).await, 0x87, "{id} at {thief}, connected");
            }
        }
        owner.expect_silence().await;
        owner.disconnect().await;
        assert_eq!(code(&cluster.nodes[1], &Connect::v311(id).login("bob", "bob")).await, 5, "{id}: its session waits");
        let (_ann, connack) = Raw::connect_with_answer(cluster.nodes[0].mqtt(), &ann(id)).await;
        assert!(connack.session_present, "{id}: nothing was taken");
    }
    let (ended, moved, kept) = (&ids[0], &ids[1], &ids[2]);
    // A session of ann's that ended leaves the id to anybody.
    let mut clean = ann(ended);
    (clean.clean, clean.properties) = (true, vec![]);
    Raw::connect(cluster.nodes[0].mqtt(), &clean).await.disconnect().await;
    eventually(SOON, "the id is free", async || {
        match code(&cluster.nodes[1], &Connect::v5(ended).login("bob", "bob")).await {
            0 => Ok(()),
            code => Err(format!("0x{code:02x}")),
        }
    })
    .await;
    // Its own user takes it along.
    assert_eq!(code(&cluster.nodes[2], &ann(moved)).await, 0);
    assert_eq!(code(&cluster.nodes[1], &Connect::v5(moved).login("bob", "bob")).await, 0x87);
    // The node dies, and the sessions with it.
    cluster.nodes[0].kill9();
    eventually(MEMBERSHIP, "the id of a session that died is free", async || {
        let (_client, connack) =
            Raw::try_connect(cluster.nodes[1].mqtt(), &Connect::v5(kept).login("bob", "bob")).await;
        if connack.code == 0 { Ok(()) } else { Err(format!("0x{:02x}", connack.code)) }
    })
    .await;
}
