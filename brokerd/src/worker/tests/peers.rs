//! Beside a peer that answers when the test says so.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::packets::*;
use super::*;
use crate::router::{Mailboxes, Outbound, Outcome, PeerSet, PeerSlot, Ticket};

/// A peer that gets everything and answers nothing of itself.
#[derive(Default)]
struct Peer {
    is_up: AtomicBool,
    is_congested: AtomicBool,
    live: Mutex<Vec<Ticket>>,
    routed: Mutex<Vec<Ticket>>,
}

impl Forward for Peer {
    fn route_changed(&self, _: &Arc<str>, _: bool) -> u64 {
        1
    }
    fn when_live(&self, _: u64, ticket: Ticket) -> bool {
        self.live.lock().push(ticket);
        false
    }
    fn up(&self) -> PeerSet {
        if self.is_up.load(Ordering::Relaxed) { PeerSet(1) } else { PeerSet(0) }
    }
    fn flood(&self) -> PeerSet {
        self.up()
    }
    fn forward(&self, _: PeerSlot, batch: &mut Vec<Outbound>) {
        self.routed.lock().extend(batch.drain(..).filter_map(|outbound| outbound.ticket));
    }
    fn is_congested(&self) -> bool {
        self.is_congested.load(Ordering::Relaxed)
    }
}

fn beside() -> (Node, Arc<Peer>, Arc<dyn Mailboxes>) {
    let peer = Arc::new(Peer::default());
    let node = Node::beside(&["mqtt.receive_maximum=5"], |_| peer.clone());
    let boxes = node.workers.mailboxes();
    (node, peer, boxes)
}

fn settle(boxes: &Arc<dyn Mailboxes>, tickets: &Mutex<Vec<Ticket>>) {
    for ticket in tickets.lock().drain(..) {
        boxes.settled(ticket.worker, vec![(ticket.token, Outcome::Done)]);
    }
}

#[test]
fn a_suback_waits_for_the_peers() {
    let (node, peer, boxes) = beside();
    let mut client = node.id("a");
    client.send(subscribe(V5, 1, 0, &[("t", 1)]));
    assert_eq!(client.until_pong(), Vec::<String>::new());
    settle(&boxes, &peer.live);
    assert_eq!(client.line(), "SUBACK #1 [01]");
}

#[test]
fn a_suback_for_the_last_connection_does_not_come_on_this_one() {
    let (node, peer, boxes) = beside();
    let connect = Connect { client_id: "a", ..Connect::kept(V5) };
    let mut client = node.client(connect.clone());
    client.send(subscribe(V5, 7, 0, &[("t", 0)]));
    client.until_pong();
    let mut client = node.client(connect);
    settle(&boxes, &peer.live);
    assert_eq!(client.until_pong(), Vec::<String>::new());
}

#[test]
fn what_is_retained_comes_on_this_connection_although_the_suback_was_for_the_last_one() {
    const ONLY_IF_NEW: u8 = 0x10;
    let (node, peer, boxes) = beside();
    let connect = Connect { client_id: "a", ..Connect::kept(V5) };
    let mut client = node.client(connect.clone());
    let mut retained = publish(V5, Q0, 0, "x");
    retained[0] |= 1;
    client.send([retained, subscribe(V5, 7, 0, &[("t", ONLY_IF_NEW)])].concat());
    client.until_pong();
    let mut client = node.client(connect);
    client.send(subscribe(V5, 8, 0, &[("t", ONLY_IF_NEW)])); // it is not new, but nothing came for it yet
    client.until_pong();
    settle(&boxes, &peer.live);
    let mut came = client.until_pong();
    came.sort();
    assert_eq!(came, ["PUBLISH t=x q0 retain", "SUBACK #8 [00]"]);
}

#[test]
fn nothing_retained_comes_after_unsuback_although_the_suback_was_late() {
    let (node, peer, boxes) = beside();
    let mut client = node.id("a");
    let mut retained = publish(V5, Q0, 0, "x");
    retained[0] |= 1;
    client.send([retained, subscribe(V5, 1, 0, &[("t", 0)]), unsubscribe(V5, 2, &["t"])].concat());
    assert_eq!(client.line(), "UNSUBACK #2 [00]");
    settle(&boxes, &peer.live);
    assert_eq!(client.until_pong(), ["SUBACK #1 [00]"]);
}

#[test]
fn a_puback_waits_for_the_peer_and_the_order_of_the_publishes() {
    let (node, peer, boxes) = beside();
    peer.is_up.store(true, Ordering::Relaxed);
    let mut client = node.id("a");
    client.send([publish(V5, Q1, 1, "x"), publish(V5, Q1, 2, "y")].concat());
    assert_eq!(client.until_pong(), Vec::<String>::new());
    let second = peer.routed.lock().pop().unwrap();
    boxes.settled(second.worker, vec![(second.token, Outcome::Done)]);
    assert_eq!(client.until_pong(), Vec::<String>::new());
    settle(&boxes, &peer.routed);
    assert_eq!(client.until_pong(), ["PUBACK #1", "PUBACK #2"]);
}

#[test]
fn a_client_that_is_owed_as_much_as_receive_maximum_is_read_on_once_it_is_owed_less() {
    for version in [V5, Version::V311] {
        let (node, peer, boxes) = beside();
        peer.is_up.store(true, Ordering::Relaxed);
        let mut client = node.client(Connect { client_id: "a", clean: true, ..Connect::new(version) });
        for id in 1..=5 {
            client.send(publish(version, Q1, id, "x"));
        }
        node.until("paused", || node.look("a", |entry| entry.conn.as_ref().unwrap().is_paused()) == Some(true));
        client.send(pingreq());
        settle(&boxes, &peer.routed);
        let lines: Vec<String> = (1..=6).map(|_| client.line()).collect();
        assert_eq!(lines[0], "PUBACK #1", "{lines:?}");
        assert!(lines.contains(&"PINGRESP".to_owned()), "{lines:?}");
    }
}

#[test]
fn who_publishes_into_what_is_full_is_not_read_until_there_is_room() {
    let (node, peer, boxes) = beside();
    peer.is_up.store(true, Ordering::Relaxed);
    peer.is_congested.store(true, Ordering::Relaxed);
    let mut client = node.id("a");
    let is_paused = || node.look("a", |entry| entry.conn.as_ref().unwrap().is_paused()) == Some(true);
    client.send(publish(V5, Q1, 1, "x"));
    node.until("paused", is_paused);
    client.send(pingreq());
    settle(&boxes, &peer.routed);
    assert_eq!(client.line(), "PUBACK #1");
    assert!(is_paused(), "an acknowledgement makes no room");
    let paused =
        |node: &Node| node.ask(0, |shard| shard.turn.paused.len()) + node.ask(1, |shard| shard.turn.paused.len());
    assert_eq!(paused(&node), 1);
    peer.is_congested.store(false, Ordering::Relaxed);
    boxes.uncongested();
    assert_eq!(client.line(), "PINGRESP");
    assert_eq!(paused(&node), 0);
}
