//! What nodes retain: pushed and acknowledged, and after cuts, joins and long absences the same again, by what differs
//! alone.

use std::sync::Arc;
use std::time::Duration;

use mqtt::{Message, Qos};

use super::node::{Node, Plan, connect};
use crate::registry::Clock;
use crate::retain::{Change, Stamp, What};
use crate::router::{Forward, Outbound, Outcome, Ticket};

/// Writes a topic as a worker of this node does, and pushes it to the peers that are up; an empty payload deletes.
fn write(node: &Node, topic: &str, payload: &str, token: u64) -> Stamp {
    let mut message = Message::new(topic, &[], payload.as_bytes());
    (message.retain, message.qos) = (true, Qos::AtLeastOnce);
    message.id = mqtt::MessageId { origin: u64::from(node.name.as_bytes()[0]), worker: 0, sequence: token };
    let (message, clock): (_, &Clock) = (Arc::new(message), &node.core.parts.clock);
    let (stamp, _) = node.core.replica.store.set_at(message.clone(), |floor| clock.above(floor)).unwrap();
    for peer in node.core.up().iter() {
        let ticket = Some(Ticket { worker: 0, token });
        let outbound = Outbound { message: message.clone(), ticket, share: None, retained_at: stamp.hlc };
        node.core.forward(peer, &mut vec![outbound]);
    }
    stamp
}

/// Writes at a node that nobody hears.
fn write_apart(node: &Node, topic: &str, payload: &str) -> Stamp {
    assert!(node.core.up().is_empty(), "somebody hears it");
    write(node, topic, payload, 0)
}

/// What a node retains, as `topic=payload`.
fn held(node: &Node) -> Vec<String> {
    let (mut held, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = node.core.replica.store.matching("#", after.as_deref(), usize::MAX, node.core.time());
        let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        held.extend(page.messages.iter().map(|one| format!("{}={}", one.topic(), text(one.payload()))));
        after = page.next;
        if after.is_none() {
            return held;
        }
    }
}

fn same(nodes: &[&Node]) -> bool {
    let digests = |node: &Node| node.core.replica.store.digests().0;
    nodes.windows(2).all(|pair| digests(pair[0]) == digests(pair[1]))
}

/// Compares in both directions, without waiting for the time to do so.
async fn compare(one: &Node, other: &Node) {
    for (from, to) in [(one, other), (other, one), (one, other)] {
        let peer = from.peer(to);
        super::super::retained::round(&from.core, &peer).await.unwrap();
    }
}

/// Two nodes are cut, and each holds the other to be down.
fn part(one: &Node, other: &Node) {
    for (node, away) in [(one, other), (other, one)] {
        let peer = node.peer(away);
        node.core.drop_peer(&peer);
    }
}

/// And are there again, and have compared.
async fn meet(one: &Node, other: &Node) {
    for (node, back) in [(one, other), (other, one)] {
        let slot = node.slot(back);
        node.core.hot.set_up(slot, true);
    }
    compare(one, other).await;
}

#[tokio::test]
async fn trap_15_a_retained_publication_is_acknowledged_once_every_peer_that_is_up_holds_it() {
    let (a, b, c) = (Node::start("a").await, Node::start("b").await, Node::start("c").await);
    connect(&[&a, &b, &c]).await;
    write(&a, "x", "kept", 7);
    a.until("both have answered", || a.settled() == [(7, Outcome::Done); 2]).await;
    assert_eq!((held(&b), held(&c)), (held(&a), held(&a)));
    assert_eq!(held(&b), ["x=kept"]);
    assert!(b.post.delivered.lock().is_empty(), "nobody there is subscribed");
    write(&b, "x", "", 8);
    b.until("both have answered", || b.settled() == [(8, Outcome::Done); 2]).await;
    assert!(held(&a).is_empty() && held(&b).is_empty() && held(&c).is_empty());
}

#[tokio::test]
async fn of_writes_less_than_a_second_apart_on_two_nodes_the_later_one_stands_everywhere() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    for round in 0..50 {
        let (first, second) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        write(first, "x", &format!("first {round}"), round);
        first.until("it is acknowledged", || first.settled().iter().any(|(token, _)| *token == round)).await;
        // Its clock may be behind: it has heard of the write before, so that its own is later.
        write(second, "x", &format!("second {round}"), 1_000 + round);
        second.until("it is acknowledged", || second.settled().iter().any(|(token, _)| *token == 1_000 + round)).await;
        assert_eq!(held(&a), [format!("x=second {round}")]);
        assert!(same(&[&a, &b]));
    }
}

#[tokio::test]
async fn a_write_that_comes_late_does_not_replace_a_later_one() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    // b writes before what a wrote earlier has come.
    write(&a, "x", "earlier", 1);
    let clock = &b.core.parts.clock;
    let later = clock.above(a.core.parts.clock.high_water());
    let mut message = Message::new("x", &[], b"later");
    (message.retain, message.id.origin) = (true, u64::from(b'b'));
    b.core.replica.store.set_at(Arc::new(message.clone()), |_| later).unwrap();
    let outbound = Outbound { message: Arc::new(message), ticket: None, share: None, retained_at: later };
    b.core.forward(b.slot(&a), &mut vec![outbound]);
    a.until("it is acknowledged", || a.settled() == [(1, Outcome::Done)]).await;
    a.until("b's write is here", || held(&a) == ["x=later"]).await;
    assert_eq!(held(&b), ["x=later"]);
}

#[tokio::test]
async fn a_node_that_was_cut_off_catches_up_by_what_differs_alone() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    for number in 0..5_000 {
        a.core.replica.take([fixture(&a, &format!("old/{number}"))], None);
    }
    compare(&a, &b).await;
    assert!(same(&[&a, &b]) && held(&b).len() == 5_000);
    let before = (a.count("cluster.retained.sent"), b.count("cluster.retained.sent"));
    assert_eq!(before, (5_000, 0));
    part(&a, &b);
    for number in 0..20 {
        write_apart(&a, &format!("new/{number}"), "a");
        write_apart(&b, &format!("own/{number}"), "b");
    }
    write_apart(&a, "old/7", "");
    write_apart(&b, "old/8", "changed");
    meet(&a, &b).await;
    assert!(same(&[&a, &b]), "{:?} {:?}", held(&a).len(), held(&b).len());
    assert_eq!(held(&a).len(), 5_000 + 40 - 1);
    assert!(held(&a).contains(&"old/8=changed".to_owned()));
    let sent = (a.count("cluster.retained.sent") - before.0, b.count("cluster.retained.sent") - before.1);
    assert_eq!(sent, (20, 21), "and no other message");
    compare(&a, &b).await;
    assert_eq!((a.count("cluster.retained.sent"), b.count("cluster.retained.sent")), (5_020, 21), "all is said");
}

/// A write that came from elsewhere.
fn fixture(node: &Node, topic: &str) -> Change {
    let mut message = Message::new(topic, &[], b"x");
    (message.retain, message.id.origin) = (true, 99);
    let stamp = Stamp { hlc: node.core.parts.clock.now(), node: 99 };
    Change { topic: topic.into(), stamp, what: What::Message(Arc::new(message)) }
}

#[tokio::test]
async fn a_joiner_has_everything_before_it_is_ready() {
    let a = Node::start("a").await;
    for number in 0..3_000 {
        write_apart(&a, &format!("t/{number}"), "kept");
    }
    write_apart(&a, "t/0", "");
    let b = Node::start_as("b", Plan { has_seeds: true, ..Plan::default() }).await;
    let sights = [a.sight(), b.sight()];
    a.sees(&sights);
    b.sees(&sights);
    b.until("it is ready", || *b.ready_rx.borrow()).await;
    assert_eq!(held(&b).len(), 2_999);
    assert!(same(&[&a, &b]));
    assert_eq!(b.core.replica.store.remembered().0, 1, "deletions too, against who comes with an older message");
}

#[tokio::test]
async fn two_sides_of_a_cut_write_the_same_topics_and_one_wins_everywhere() {
    let (a, b, c) = (Node::start("a").await, Node::start("b").await, Node::start("c").await);
    connect(&[&a, &b, &c]).await;
    part(&a, &b);
    for (node, away) in [(&a, &c), (&b, &c), (&c, &a), (&c, &b)] {
        node.core.drop_peer(&node.peer(away));
    }
    let mut last = Vec::new();
    for round in 0..30 {
        let topic = format!("t/{}", round % 10);
        let node = [&a, &b, &c][round % 3];
        let payload = if round % 7 == 0 { String::new() } else { format!("{round}") };
        let stamp = write_apart(node, &topic, &payload);
        last.push((topic, stamp, payload));
    }
    for (one, other) in [(&a, &b), (&b, &c), (&a, &c), (&a, &b)] {
        meet(one, other).await;
    }
    assert!(same(&[&a, &b, &c]));
    assert_eq!((held(&a), held(&b)), (held(&b), held(&c)));
    for topic in (0..10).map(|number| format!("t/{number}")) {
        let (_, _, payload) = last.iter().filter(|(of, ..)| *of == topic).max_by_key(|(_, stamp, _)| *stamp).unwrap();
        let expected = (!payload.is_empty()).then(|| format!("{topic}={payload}"));
        let found = held(&c).into_iter().find(|one| one.starts_with(&format!("{topic}=")));
        assert_eq!(found, expected, "the latest write of `{topic}`");
    }
}

#[tokio::test]
async fn a_deletion_on_one_side_of_a_cut_holds_on_the_other_after_it() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    write(&a, "x", "kept", 1);
    a.until("it is acknowledged", || a.settled() == [(1, Outcome::Done)]).await;
    part(&a, &b);
    write_apart(&b, "x", "");
    assert_eq!(held(&a), ["x=kept"]);
    meet(&a, &b).await;
    assert!(held(&a).is_empty() && held(&b).is_empty());
}

#[tokio::test]
async fn trap_15_a_node_away_for_longer_than_deletions_live_resurrects_none_and_loses_nothing_of_its_own() {
    let plan = || Plan { tombstone_ttl: Duration::ZERO, ..Plan::default() };
    let (a, b) = (Node::start_as("a", plan()).await, Node::start_as("b", plan()).await);
    connect(&[&a, &b]).await;
    for (topic, token) in [("deleted", 1), ("stays", 2), ("changed", 3)] {
        write(&a, topic, "before", token);
        a.until("it is acknowledged", || a.settled().contains(&(token, Outcome::Done))).await;
    }
    compare(&a, &b).await;
    part(&a, &b);
    write_apart(&b, "deleted", "");
    write_apart(&b, "new/b", "in the cut");
    write_apart(&a, "new/a", "in the cut");
    write_apart(&a, "changed", "in the cut");
    b.core.replica.store.forget_deletions(b.core.parts.clock.now(), |_| ());
    assert_eq!(b.core.replica.store.remembered().0, 0, "b knows nothing of it any more");
    meet(&a, &b).await;
    assert_eq!(held(&a), ["changed=in the cut", "new/a=in the cut", "new/b=in the cut", "stays=before"]);
    assert!(same(&[&a, &b]), "{:?} {:?}", held(&a), held(&b));
    assert_eq!((a.count("cluster.retained.buried"), b.count("cluster.retained.buried")), (1, 0));
}

#[tokio::test]
async fn trap_15_a_node_back_from_its_disk_after_longer_than_deletions_live_takes_the_others_set() {
    let a = Node::start_as("a", Plan { tombstone_ttl: Duration::ZERO, ..Plan::default() }).await;
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    for (topic, token) in [("deleted", 1), ("stays", 2)] {
        write(&a, topic, "before", token);
        a.until("it is acknowledged", || a.settled().contains(&(token, Outcome::Done))).await;
    }
    let ended = b.core.parts.clock.now();
    let kept = b.core.replica.store.clone();
    drop(b);
    a.core.drop_peer(&a.core.peer("b").unwrap());
    write_apart(&a, "deleted", "");
    write_apart(&a, "new", "meanwhile");
    a.core.replica.store.forget_deletions(a.core.parts.clock.now(), |_| ());
    let b = Node::start_as("b", Plan { generation: 2, earlier: Some((kept, ended)), ..Plan::default() }).await;
    write_apart(&b, "own", "since it is back");
    connect(&[&a, &b]).await;
    compare(&b, &a).await;
    assert_eq!(held(&b), ["new=meanwhile", "own=since it is back", "stays=before"]);
    assert!(same(&[&a, &b]), "{:?} {:?}", held(&a), held(&b));
    assert_eq!((a.count("cluster.retained.buried"), b.count("cluster.retained.buried")), (0, 1));
}

#[tokio::test]
async fn the_empty_set_of_a_node_that_has_just_started_deletes_nothing() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    write(&a, "x", "kept", 1);
    a.until("it is acknowledged", || a.settled() == [(1, Outcome::Done)]).await;
    compare(&a, &b).await;
    a.core.replica.store.raise_horizon(a.core.parts.clock.now()); // it has forgotten deletions
    drop(b);
    let b = Node::start_as("b", Plan { generation: 2, ..Plan::default() }).await;
    b.core.replica.store.raise_horizon(b.core.parts.clock.now()); // and even that
    connect(&[&a, &b]).await;
    compare(&a, &b).await;
    assert_eq!((held(&a), held(&b)), (vec!["x=kept".to_owned()], vec!["x=kept".to_owned()]));
}

#[tokio::test]
async fn a_node_that_is_full_lacks_new_topics_counts_them_and_takes_them_when_there_is_room() {
    let a = Node::start("a").await;
    let b = Node::start_as("b", Plan { max_retained: 2, ..Plan::default() }).await;
    connect(&[&a, &b]).await;
    for token in 1..=4 {
        write(&a, &format!("t/{token}"), "x", token);
        a.until("it is acknowledged all the same", || a.settled().contains(&(token, Outcome::Done))).await;
    }
    assert_eq!((held(&a).len(), held(&b)), (4, vec!["t/1=x".to_owned(), "t/2=x".to_owned()]));
    assert_eq!(b.count("messages.retained.full"), 2);
    write(&a, "t/1", "", 5);
    a.until("it is acknowledged", || a.settled().contains(&(5, Outcome::Done))).await;
    compare(&b, &a).await;
    assert_eq!((held(&a).len(), held(&b).len()), (3, 2), "one of those that were refused");
    assert_eq!(a.count("cluster.retained.buried"), 0);
}

#[tokio::test]
async fn trap_7_a_stamp_too_far_ahead_is_not_believed_and_counted() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    let mut message = Message::new("x", &[], b"of next year");
    message.retain = true;
    let year = 31_536_000_000_000;
    let retained_at = a.core.parts.clock.now() + year;
    a.core.forward(
        a.slot(&b),
        &mut vec![Outbound { message: Arc::new(message), ticket: None, share: None, retained_at }],
    );
    write(&a, "y", "now", 2);
    a.until("what came behind it is acknowledged", || a.settled() == [(2, Outcome::Done)]).await;
    assert_eq!(held(&b), ["y=now"]);
    assert_eq!(b.count("messages.retained.unbelieved"), 1);
    assert!(b.core.parts.clock.high_water() < retained_at);
}

#[tokio::test]
async fn an_expiry_travels_as_the_time_that_is_left() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    let mut message = Message::new("x", &[], b"short");
    (message.retain, message.expires_at) = (true, Some(a.core.time().after_millis(60_000)));
    let clock = &a.core.parts.clock;
    a.core.replica.store.set_at(Arc::new(message), |floor| clock.above(floor)).unwrap();
    connect(&[&a, &b]).await;
    b.until("it is there", || b.core.replica.store.counts().messages == 1).await;
    let there = b.core.replica.store.get("x", b.core.time()).unwrap();
    let left = there.expires_at.unwrap().since(b.core.time());
    assert!((50_000..=60_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn a_message_too_large_for_a_control_link_is_repaired_over_the_messages_link() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    let large = "x".repeat(1 << 20);
    write_apart(&a, "large", &large);
    b.subscribe("large", 1);
    connect(&[&a, &b]).await;
    b.until("it is there", || held(&b).len() == 1).await;
    assert!(b.post.delivered.lock().is_empty(), "whoever is subscribed gets what is published, not what is repaired");
}

#[tokio::test]
async fn links_that_come_and_go_while_both_sides_write_end_in_one_set() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    for round in 0..300_u64 {
        let node = if round % 2 == 0 { &a } else { &b };
        let payload = if round % 5 == 0 { String::new() } else { round.to_string() };
        write(node, &format!("t/{}", round % 17), &payload, round);
        if round % 40 == 7 {
            node.cut(if round % 2 == 0 { &b } else { &a });
        }
        if round % 10 == 3 {
            tokio::task::yield_now().await;
        }
    }
    a.until("all is acknowledged", || a.settled().len() == 150).await;
    b.until("all is acknowledged", || b.settled().len() == 150).await;
    assert!(same(&[&a, &b]), "{:?} {:?}", held(&a), held(&b));
}
