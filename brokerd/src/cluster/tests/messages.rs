//! Messages between nodes: acknowledged after delivery, once, in order, over cuts; and what happens to them when the
//! peer is full or gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mqtt::Qos;

use super::super::MemberState;
use super::node::{Node, Plan, connect};
use crate::router::{Forward, Outbound, Outcome, Ticket};

#[tokio::test]
async fn a_forwarded_message_is_acknowledged_only_when_the_workers_have_carried_it_out() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    b.subscribe("#", 2);
    b.post.holds.store(true, Ordering::SeqCst);
    a.forward(&b, "x", 1..4);
    b.until("both workers have them", || b.post.delivered.lock().len() == 6).await;
    // The lease goes round on the control link, which is where acknowledgements would come.
    let version = a.subscribe("y", 1);
    if !a.core.when_live(version, Ticket { worker: 0, token: 99 }) {
        a.until("a round trip", || a.settled().contains(&(99, Outcome::Done))).await;
    }
    a.post.settled.lock().clear();
    assert_eq!(a.settled(), []);
    b.post.let_go();
    a.until("they are acknowledged", || a.settled() == [1, 2, 3].map(|token| (token, Outcome::Done))).await;
    assert_eq!(a.count("messages.forward.acked"), 3);
}

#[tokio::test]
async fn a_message_that_nobody_there_wants_is_acknowledged_and_delivered_to_nobody() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    a.forward(&b, "x", 1..2);
    a.until("it is acknowledged", || a.settled() == [(1, Outcome::Done)]).await;
    assert!(b.post.delivered.lock().is_empty());
}

#[tokio::test]
async fn a_peer_that_came_back_is_flooded_and_what_it_takes_is_not_settled_until_its_old_sessions_are_somewhere() {
    let a = Node::start_as("a", Plan { sessions_move: true, ..Plan::default() }).await;
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    a.until("it has the row", || a.peer(&b).remote.lock().len() == 1).await;
    drop(b);
    let b = Node::start_as("b", Plan { generation: 2, ..Plan::default() }).await;
    a.sees(&[a.sight(), b.sight()]);
    b.sees(&[a.sight(), b.sight()]);
    let is_up = || a.peer(&b).standing.lock().state("b") == MemberState::Up;
    a.until("it is up, and has no rows", || is_up() && a.peer(&b).remote.lock().len() == 0).await;
    a.forward(&b, "x", 1..3);
    a.until("they are held for others", || a.core.orphaned().len() == 1 && a.count("messages.forward.acked") == 2)
        .await;
    assert_eq!((a.settled(), a.floods(&b)), (vec![], true), "a session that nobody is known to have would miss them");
    a.core.trust(&a.peer(&b));
    a.until("it is in sync", || a.is_synced(&b)).await;
    a.forward(&b, "x", 3..4);
    a.until("it is settled", || a.settled() == [(3, Outcome::Done)]).await;
    a.core.give_up("b");
    assert_eq!(a.settled()[1..], [(1, Outcome::Full), (2, Outcome::Full)], "nobody has brought them on");
}

#[tokio::test]
async fn links_that_are_cut_again_and_again_lose_nothing_and_double_nothing() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    let slot = a.slot(&b);
    for round in 0..20 {
        let first = 1 + round * 50;
        // What is sent while b takes nothing dies with the link and must go again.
        b.post.is_full.store(round % 3 == 0, Ordering::SeqCst);
        a.forward(&b, "x", first..first + 25);
        a.until("it is sent", || a.core.hot.with_queue(slot, |queue| queue.is_all_sent()).0).await;
        a.forward(&b, "x", first + 25..first + 40);
        a.cut(&b);
        if round % 4 == 0 {
            b.cut(&a);
        }
        a.forward(&b, "x", first + 40..first + 50);
        b.post.drain();
    }
    a.until("all are acknowledged", || a.settled().len() == 1_000).await;
    let expected: Vec<u64> = (1..=1_000).collect();
    assert_eq!(b.post.sequences(), expected, "once each, in order");
    let mut tokens: Vec<u64> = a.settled().iter().map(|(token, _)| *token).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, expected);
    assert!(a.settled().iter().all(|(_, outcome)| *outcome == Outcome::Done));
    assert_eq!(a.count("messages.dropped.peer_down"), 0);
}

#[tokio::test]
async fn acknowledgements_that_were_lost_with_their_link_come_again_on_the_next() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    b.post.holds.store(true, Ordering::SeqCst);
    a.forward(&b, "x", 1..11);
    b.until("it has them", || b.post.delivered.lock().len() == 10).await;
    a.cut(&b);
    b.post.let_go(); // nothing is there to acknowledge on
    a.until("they are acknowledged", || a.settled().len() == 10).await;
    assert_eq!(b.post.delivered.lock().len(), 10, "and not delivered again");
}

#[tokio::test]
async fn trap_9_full_letter_boxes_hold_up_messages_but_never_rows_or_acknowledgements() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    a.subscribe("x", 1);
    b.subscribe("x", 1);
    for node in [&a, &b] {
        node.post.is_full.store(true, Ordering::SeqCst);
    }
    a.forward(&b, "x", 1..3_000);
    b.forward(&a, "x", 1..3_000);
    let version = a.subscribe("y", 1);
    if !a.core.when_live(version, Ticket { worker: 0, token: 9_999 }) {
        a.until("the row is live at b", || a.settled() == [(9_999, Outcome::Done)]).await;
    }
    assert!(b.core.parts.index.holders("y").1.contains(b.slot(&a)));
    assert!(a.is_synced(&b) && b.is_synced(&a));
    for node in [&a, &b] {
        node.post.drain();
    }
    a.until("b took them", || a.settled().len() == 3_000).await;
    b.until("a took them", || b.settled().len() == 2_999).await;
}

#[tokio::test]
async fn a_full_queue_congests_until_it_is_half_empty() {
    let settings = |settings: &mut crate::config::Cluster| settings.peer_queue = 10_000;
    let a = Node::start_as("a", Plan { settings, ..Plan::default() }).await;
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    b.post.holds.store(true, Ordering::SeqCst);
    a.forward(&b, "x", 1..500);
    assert!(a.core.is_congested());
    b.until("it has them", || b.post.delivered.lock().len() == 499).await;
    assert!(a.core.is_congested(), "sent is not acknowledged");
    b.post.let_go();
    a.until("they are acknowledged", || a.settled().len() == 499).await;
    assert!(!a.core.is_congested());
    assert!(a.post.relieved.load(Ordering::SeqCst), "the workers are told");
}

#[tokio::test]
async fn trap_18_a_peer_that_goes_down_releases_its_tickets_and_they_are_counted() {
    let settings = |settings: &mut crate::config::Cluster| settings.down_after = Duration::from_millis(300);
    let a = Node::start_as("a", Plan { settings, ..Plan::default() }).await;
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    b.post.holds.store(true, Ordering::SeqCst);
    a.forward(&b, "x", 1..6);
    b.until("it has them", || b.post.delivered.lock().len() == 5).await;
    let slot = a.slot(&b);
    drop(b);
    a.until("the tickets are released", || a.settled().len() == 5).await;
    assert!(!a.core.up().contains(slot));
    assert_eq!(a.count("messages.dropped.peer_down"), 5);
    let mut late = mqtt::Message::new("x", &[], b"");
    late.qos = Qos::AtLeastOnce;
    let outbound =
        Outbound { message: Arc::new(late), ticket: Some(Ticket { worker: 0, token: 6 }), share: None, retained_at: 0 };
    a.core.forward(slot, &mut vec![outbound]);
    assert_eq!(a.settled().last(), Some(&(6, Outcome::Done)), "what comes later waits for nobody");
}
