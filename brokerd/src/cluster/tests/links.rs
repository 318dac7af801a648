//! Rows, leases, refusals and readiness over real streams.

use std::time::{Duration, Instant};

use proto::peer::Link;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::MemberState;
use super::super::core::Visitor;
use super::super::dial;
use super::super::gossip::PublishedState;
use super::super::handshake::{self, HandshakeError};
use super::super::lease::{LEASE, PROBE};
use super::super::standing::Sight;
use super::node::{Node, Plan, connect};
use crate::router::{Forward, Outcome, Ticket};

/// An answer to a lease question.
fn answer(id: u64, generation: u64, version: u64, hash: u128) -> proto::peer::Head {
    let hash = hash.to_be_bytes().to_vec().into();
    proto::peer::Head { id, generation, version, hash }
}

/// The row `x`, as the change after a version.
fn rows(after: u64) -> proto::peer::Rows {
    let row = proto::peer::Row { filter: "x".to_owned(), present: true, ..Default::default() };
    proto::peer::Rows { after, version: after + 1, rows: vec![row], ..Default::default() }
}

fn ticket(token: u64) -> Ticket {
    Ticket { worker: 0, token }
}

#[tokio::test]
async fn rows_reach_every_peer_and_the_subscriber_is_told_before_any_timeout() {
    let (a, b, c) = (Node::start("a").await, Node::start("b").await, Node::start("c").await);
    connect(&[&a, &b, &c]).await;
    let began = Instant::now();
    let version = a.subscribe("x/+", 1);
    if !a.core.when_live(version, ticket(7)) {
        a.until("its ticket is settled", || a.settled() == [(7, Outcome::Done)]).await;
    }
    for peer in [&b, &c] {
        assert!(peer.core.parts.index.holders("x/+").1.contains(peer.slot(&a)), "`{}` has the row", peer.name);
    }
    assert!(began.elapsed() < a.core.parts.settings.subscribe_timeout);
    assert_eq!(a.count("cluster.suback.timed_out"), 0);
    a.unsubscribe("x/+", 1);
    b.until("the row is gone", || b.core.parts.index.holders("x/+").1.is_empty()).await;
}

#[tokio::test]
async fn trap_2_a_second_subscriber_waits_for_the_row_that_the_first_one_wrote() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    let first = a.subscribe("x", 1);
    let second = a.subscribe("x", 3);
    assert_eq!(first, second, "the row did not change");
    // No task of this runtime ran since: nobody can have acknowledged.
    assert!(!a.core.when_live(second, ticket(2)));
    a.until("it is live", || a.settled() == [(2, Outcome::Done)]).await;
    assert!(b.core.parts.index.holders("x").1.contains(b.slot(&a)));
}

#[tokio::test]
async fn a_peer_is_flooded_from_its_hello_until_its_rows_are_here() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    for session in 0..5_000 {
        b.subscribe(&format!("t/{session}"), session);
    }
    a.sees(&[a.sight(), b.sight()]);
    // Before anything ran, there is nobody to flood; at every later moment either the rows are here or it is flooded.
    let looks = || !a.is_up(&b) || a.floods(&b) || a.peer(&b).remote.lock().len() == 5_000;
    a.until("it is in sync", || {
        assert!(looks());
        a.is_synced(&b)
    })
    .await;
    assert!(!a.floods(&b));
    assert_eq!(a.peer(&b).remote.lock().head(), b.core.routes.head());
}

#[tokio::test]
async fn trap_1_a_node_is_in_sync_only_with_rows_that_its_question_covers() {
    let a = Node::start("a").await;
    let address = a.address;
    let visitor = |generation| Visitor { name: "b".to_owned(), generation, address, version: String::new() };
    let peer = a.core.meet(&visitor(5), Instant::now()).unwrap();
    peer.gone.cancel(); // nobody dials: the frames below are all there is
    let floods = || a.core.flood().contains(peer.slot);
    assert!(floods(), "from its hello on");
    let id = peer.lease.lock().ask(Instant::now());
    dial::lease_answered(&a.core, &peer, &answer(id, 5, 2, 1));
    assert!(floods(), "two rows are missing");
    dial::apply(&a.core, &peer, rows(0)).unwrap();
    assert!(floods(), "one row is missing");
    dial::apply(&a.core, &peer, rows(1)).unwrap();
    assert!(!floods(), "all that it was asked for is here");
    assert!(a.core.parts.index.holders("x").1.contains(peer.slot));
    let ask = || peer.lease.lock().ask(Instant::now());
    dial::lease_answered(&a.core, &peer, &answer(ask(), 5, 2, 1));
    assert!(floods(), "the digest differs");
    assert!(dial::apply(&a.core, &peer, rows(7)).is_ok(), "passed over: a snapshot was asked for");
    assert!(floods());
    let snapshot = proto::peer::Rows { snapshot: true, first: true, last: true, version: 8, ..rows(0) };
    dial::apply(&a.core, &peer, snapshot).unwrap();
    dial::lease_answered(&a.core, &peer, &answer(ask(), 4, 8, 0));
    assert!(floods(), "the answer of another generation");
    let hash = peer.remote.lock().head().hash;
    dial::lease_answered(&a.core, &peer, &answer(ask(), 5, 8, hash));
    assert!(!floods());
    a.core.renew(&peer, 6, address, Instant::now());
    assert!(a.core.parts.index.holders("x").1.is_empty());
    assert!(!a.core.up().contains(peer.slot), "until the hello of the new generation");
}

#[tokio::test]
async fn the_sixty_fifth_peer_is_refused_and_a_forgotten_one_makes_room() {
    let a = Node::start("a").await;
    let address = a.address;
    let meet = |number: u32| {
        let visitor = Visitor { name: format!("n{number}"), generation: 1, address, version: String::new() };
        a.core.meet(&visitor, Instant::now())
    };
    let mut slots: Vec<u8> = (0..64).map(|number| meet(number).unwrap().slot.0).collect();
    slots.sort_unstable();
    assert_eq!(slots, (0..64).collect::<Vec<u8>>(), "each has its own");
    let refusal = meet(64).unwrap_err();
    assert!(refusal.1.contains("at most 64 peers"), "{refusal:?}");
    let gone = meet(7).unwrap();
    a.core.forget(&gone);
    assert_eq!(meet(64).unwrap().slot, gone.slot);
}

#[tokio::test]
async fn trap_1_a_node_that_lost_its_link_floods_at_once_and_a_suback_waits_out_its_lease() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    b.peer(&a).gone.cancel(); // b stops asking, as a stopped process would
    let cut = Instant::now();
    b.cut(&a);
    b.until("it knows that it may have missed rows", || b.floods(&a)).await;
    let version = a.subscribe("x", 1);
    let began = Instant::now();
    if a.core.when_live(version, ticket(1)) {
        let since = cut.elapsed();
        assert!(since > LEASE - 2 * PROBE, "{since:?} after its last answer, and b may still believe its lease");
    } else {
        a.until("the lease is over", || a.settled() == [(1, Outcome::Done)]).await;
    }
    assert!(began.elapsed() < Duration::from_secs(2), "not by `cluster.subscribe_timeout`");
}

#[tokio::test]
async fn a_differing_set_at_the_same_version_is_found_and_mended() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    for session in 0..3 {
        b.subscribe(&format!("t/{session}"), session);
    }
    a.until("it has the rows", || a.peer(&b).remote.lock().len() == 3 && a.is_synced(&b)).await;
    // A row too many and a row too few, at the right version.
    let version = b.core.routes.head().version;
    let row = |filter: &str, present| proto::peer::Row { filter: filter.to_owned(), present, ..Default::default() };
    let rows = vec![row("t/1", false), row("leaked", true)];
    let forged = proto::peer::Rows { snapshot: true, first: true, last: true, version, rows, ..Default::default() };
    let slot = a.slot(&b);
    a.peer(&b)
        .remote
        .lock()
        .apply(forged, |filter, row| {
            if row.is_some() {
                a.core.parts.index.add_remote(filter, slot);
            } else {
                a.core.parts.index.remove_remote(filter, slot);
            }
        })
        .unwrap();
    a.until("it is mended", || a.peer(&b).remote.lock().head() == b.core.routes.head()).await;
    assert!(a.core.parts.index.holders("leaked").1.is_empty());
    assert!(a.core.parts.index.holders("t/1").1.contains(slot));
}

#[tokio::test]
async fn a_new_generation_starts_anew_and_the_old_rows_are_gone() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    let old = b.subscribe("old", 1);
    if !b.core.when_live(old, ticket(1)) {
        b.until("the row is at a", || b.settled().len() == 1).await;
    }
    drop(b);
    let again = Node::start_as("b", Plan { generation: 2, ..Plan::default() }).await;
    again.subscribe("new", 1);
    connect(&[&a, &again]).await;
    assert!(a.core.parts.index.holders("old").1.is_empty());
    assert!(a.core.parts.index.holders("new").1.contains(a.slot(&again)));
    assert_eq!(a.peer(&again).standing.lock().generation, 2);
}

#[tokio::test]
async fn a_node_with_another_secret_or_another_cluster_or_our_name_is_refused_with_the_reason() {
    let a = Node::start("a").await;
    let refused = async |name: &str, plan: Plan| {
        let stranger = Node::start_as(name, plan).await;
        match handshake::dial(&stranger.core, a.address, Link::Control, 1).await {
            Err(HandshakeError::Refused(refused)) => (refused.reason().as_str_name(), refused.cluster),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was let in"),
        }
    };
    let plan = Plan { secret: "another secret, long", ..Plan::default() };
    assert_eq!(refused("b", plan).await, ("REASON_SECRET", "c".to_owned()));
    let plan = Plan { cluster: "other", ..Plan::default() };
    assert_eq!(refused("b", plan).await, ("REASON_CLUSTER", "c".to_owned()));
    assert_eq!(refused("a", Plan::default()).await, ("REASON_SAME_NAME", "c".to_owned()));
    a.until("they are counted", || a.count("cluster.peer.refused") == 3).await;
    assert!(a.core.all_peers().is_empty());
}

#[tokio::test]
async fn trap_7_a_joiner_whose_clock_is_far_ahead_is_refused_and_not_believed() {
    let a = Node::start("a").await;
    let b = Node::start_as(
        "b",
        Plan { settings: |settings| settings.max_clock_skew = Duration::MAX / 4, ..Plan::default() },
    )
    .await;
    let ahead = b.core.parts.clock.now() + 3_600_000_000;
    b.core.parts.clock.merge(ahead).unwrap();
    match handshake::dial(&b.core, a.address, Link::Control, 1).await {
        Err(HandshakeError::Refused(refused)) => {
            assert!(refused.text.contains("cluster.max_clock_skew"), "{refused:?}")
        }
        other => panic!("{:?}", other.err()),
    }
    assert!(a.core.parts.clock.high_water() < ahead);
}

#[tokio::test]
async fn a_strangers_bytes_on_the_peer_port_change_nothing() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 2_000], &[0x16, 3, 1, 0xff, 0xff], &[0; 9_000]] {
        let mut stream = TcpStream::connect(a.address).await.unwrap();
        stream.write_all(junk).await.ok();
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "the connection stayed open after {junk:?}");
    }
    a.until("they are counted", || a.count("cluster.peer.refused") == 4).await;
    assert!(a.is_synced(&b));
    assert_eq!(a.core.all_peers().len(), 1);
}

#[tokio::test]
async fn trap_16_a_joiner_that_knows_only_its_seed_waits_for_whom_the_seed_lists() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    let c = Node::start_as("c", Plan { has_seeds: true, ..Plan::default() }).await;
    c.sees(&[c.sight(), a.sight()]);
    c.until("it is in sync with its seed, which lists it", || {
        let lists_both = |node: &Node| node.peer(&a).standing.lock().list.len() == 3;
        c.is_synced(&a) && lists_both(&c)
    })
    .await;
    assert!(!*c.ready_rx.borrow(), "b is listed by a, and c has not met it");
    c.sees(&[c.sight(), a.sight(), b.sight()]);
    c.until("it is ready", || *c.ready_rx.borrow()).await;
    assert!(c.is_synced(&b));
    b.until("c is up there too", || b.peer(&c).standing.lock().state("c") == MemberState::Up).await;
}

#[tokio::test]
async fn a_node_whose_seeds_are_silent_serves_alone_after_the_join_timeout_and_says_so() {
    let settings = |settings: &mut crate::config::Cluster| settings.join_timeout = Duration::from_millis(150);
    let a = Node::start_as("a", Plan { has_seeds: true, settings, ..Plan::default() }).await;
    a.until("it serves", || *a.ready_rx.borrow()).await;
    assert!(a.core.parts.started.elapsed() >= Duration::from_millis(150));
    assert!(a.core.own.lock().trouble.contains("no seed answers"));
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    a.until("the alarm is over", || a.core.own.lock().trouble.is_empty()).await;
}

#[tokio::test]
async fn trap_12_a_killed_peer_is_down_once_gossip_says_so_and_its_stream_is_gone() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    a.until("it has the row", || a.peer(&b).remote.lock().len() == 1).await;
    let mut sight = b.sight();
    sight.alive = false;
    a.sees(&[a.sight(), sight.clone()]);
    let peer = a.peer(&b);
    a.until("it has heard gossip", || peer.standing.lock().sight == Sight::Dead).await;
    assert!(a.is_up(&b), "gossip alone does not make it down: its stream is there");
    drop(b);
    a.until("it is down", || !a.core.up().contains(peer.slot)).await;
    assert_eq!(peer.standing.lock().state("b"), MemberState::Down);
    assert!(a.core.parts.index.holders("x").1.contains(peer.slot), "its rows are kept for a while, masked");
}

#[tokio::test]
async fn a_leaving_member_is_dropped_at_once_and_may_come_back_only_anew() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    a.until("it has the row", || a.core.parts.index.holders("x").1.contains(a.slot(&b))).await;
    b.core.own.lock().state = PublishedState::Leaving;
    b.core.changed.notify_one();
    a.until("its rows are gone", || a.core.parts.index.holders("x").1.is_empty()).await;
    assert!(!a.is_up(&b));
    match handshake::dial(&b.core, a.address, Link::Control, 99).await {
        Err(HandshakeError::Refused(refused)) => assert_eq!(refused.reason().as_str_name(), "REASON_LEFT"),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_peer_that_is_down_is_masked_and_used_again_when_it_answers_with_the_rows_it_had() {
    let settings = |settings: &mut crate::config::Cluster| settings.down_after = Duration::from_millis(200);
    let a = Node::start_as("a", Plan { settings, ..Plan::default() }).await;
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    a.until("it has the row", || a.peer(&b).remote.lock().len() == 1 && a.is_synced(&b)).await;
    // Gossip tells an address where nobody is, and the links to the old one are cut.
    let (right, mut wrong) = (b.sight(), b.sight());
    wrong.address.set_port(1);
    let peer = a.peer(&b);
    a.sees(&[a.sight(), wrong.clone()]);
    a.until("it has heard it", || peer.standing.lock().address == wrong.address).await;
    a.cut(&b);
    a.until("b is down", || !a.is_up(&b)).await;
    assert!(a.core.parts.index.holders("x").1.contains(peer.slot), "masked, not forgotten");
    a.sees(&[a.sight(), right]);
    a.until("b is used again", || a.is_synced(&b)).await;
    assert!(a.core.parts.index.holders("x").1.contains(peer.slot));
    assert_eq!(a.count("cluster.rows.received"), 1, "its rows did not have to come again");
}

#[tokio::test]
async fn rows_of_a_peer_that_stays_down_are_forgotten_after_the_grace() {
    let settings = |settings: &mut crate::config::Cluster| {
        settings.down_after = Duration::from_millis(100);
        settings.route_grace = Duration::from_millis(300);
    };
    let a = Node::start_as("a", Plan { settings, ..Plan::default() }).await;
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    b.subscribe("x", 1);
    a.until("it has the row", || a.core.parts.index.holders("x").1.contains(a.slot(&b))).await;
    let killed = Instant::now();
    drop(b);
    a.until("the row is forgotten", || a.core.parts.index.holders("x").1.is_empty()).await;
    assert!(killed.elapsed() >= Duration::from_millis(400));
    let is_listed = a.core.peer("b").is_some_and(|peer| peer.standing.lock().state("b") == MemberState::Down);
    assert!(is_listed, "as long as gossip knows of it");
}
