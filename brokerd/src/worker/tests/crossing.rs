//! From a publisher on one worker to a subscriber on the other.

use super::packets::*;
use super::*;

/// A publisher on worker 0 and a subscriber on worker 1.
fn across(node: &Node) -> (Client, Client) {
    (node.id(node.id_on(0, "publisher")), node.id(node.id_on(1, "subscriber")))
}

#[test]
fn messages_keep_their_order_from_worker_to_worker() {
    let node = Node::new(&[]);
    let (mut publisher, mut subscriber) = across(&node);
    subscriber.subscribe("t", 0);
    for number in 0..2000 {
        publisher.send(publish(V5, Q0, 0, &number.to_string()));
    }
    for number in 0..2000 {
        assert_eq!(subscriber.line(), format!("PUBLISH t={number} q0"));
    }
}

#[test]
fn overlapping_filters_make_one_copy_at_the_highest_qos_with_every_identifier() {
    let node = Node::new(&[]);
    let (mut publisher, mut subscriber) = across(&node);
    for (id, filter, qos) in [(3, "a/#", 0), (4, "a/+", 1), (5, "a/b", 0)] {
        subscriber.send(subscribe(V5, 1, id, &[(filter, qos)])).line();
    }
    publisher.send(publish_with(V5, Q1, 1, false, "a/b", &[], "x"));
    let mut line = subscriber.line();
    for id in [" id=3", " id=4", " id=5"] {
        assert!(line.contains(id), "{line}");
        line = line.replace(id, "");
    }
    assert_eq!(line, "PUBLISH a/b=x q1 #1");
    assert_eq!(subscriber.until_pong(), Vec::<String>::new());
}

#[test]
fn no_local_keeps_a_message_from_its_own_publisher_and_from_no_other() {
    let node = Node::new(&[]);
    let (mut publisher, mut subscriber) = across(&node);
    publisher.subscribe("t", 0b100);
    subscriber.subscribe("t", 0b100);
    publisher.send(publish(V5, Q0, 0, "x"));
    assert_eq!(subscriber.line(), "PUBLISH t=x q0");
    assert_eq!(publisher.until_pong(), Vec::<String>::new());
}

#[test]
fn nothing_comes_after_unsuback() {
    let node = Node::new(&[]);
    let (mut publisher, mut subscriber) = across(&node);
    for _ in 0..50 {
        subscriber.subscribe("t", 0);
        for _ in 0..20 {
            publisher.send(publish(V5, Q0, 0, "x"));
        }
        subscriber.send(unsubscribe(V5, 2, &["t"]));
        while !subscriber.line().starts_with("UNSUBACK") {}
        publisher.until_pong();
        assert_eq!(subscriber.until_pong(), Vec::<String>::new());
    }
}

#[test]
fn a_subscription_is_replaced_without_a_gap() {
    let node = Node::new(&["persistence.queue_depth=100000"]);
    let (mut publisher, mut subscriber) = across(&node);
    subscriber.subscribe("t", 0);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let published = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut number = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.send(publish(V5, Q0, 0, &number.to_string()));
                number += 1;
            }
            publisher.until_pong();
            number
        }
    });
    let (next, answers) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let take = |line: String| {
        if line.starts_with("PUBLISH") {
            assert_eq!(line, format!("PUBLISH t={} q0", next.get()), "no gap [MQTT-3.8.4-3]");
            next.set(next.get() + 1);
            false
        } else {
            answers.set(answers.get() + 1);
            true
        }
    };
    for _ in 0..300 {
        subscriber.send(subscribe(V5, 9, 0, &[("t", 0)]));
        while !take(subscriber.line()) {}
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let count = published.join().unwrap();
    // Its worker's mail may come after what the other worker has answered: the last ones are waited for.
    while next.get() < count {
        take(subscriber.line());
    }
    assert_eq!((subscriber.until_pong(), answers.get()), (Vec::<String>::new(), 300));
}

#[test]
fn a_repeated_subscribe_sends_what_is_retained_again_and_retain_handling_may_say_no() {
    let node = Node::new(&[]);
    let (mut publisher, mut subscriber) = across(&node);
    let mut retained = publish(V5, Q0, 0, "x");
    retained[0] |= 1;
    publisher.send(&retained).until_pong();
    for (handling, is_sent) in [(0, true), (0, true), (1, false), (2, false)] {
        subscriber.subscribe("t", handling << 4);
        let expected = if is_sent { vec!["PUBLISH t=x q0 retain"] } else { vec![] };
        assert_eq!(subscriber.until_pong(), expected, "retain handling {handling}");
    }
    subscriber.subscribe("t", 0b10_1000);
    publisher.send(&retained);
    assert_eq!(subscriber.line(), "PUBLISH t=x q0 retain", "retain as published");
    subscriber.subscribe("t", 0b10_0000);
    publisher.send(&retained);
    assert_eq!(subscriber.line(), "PUBLISH t=x q0", "a live subscriber [MQTT-3.3.1-9]");
}

#[test]
fn the_will_of_a_client_does_not_come_back_to_it_with_no_local() {
    let node = Node::new(&["persistence.queue_qos0=true"]);
    let connect = Connect { client_id: "a", ..Connect::kept(V5) };
    let mut client = node.client(connect.clone().will(0));
    client.subscribe("will", 0b100);
    client.send(disconnect(4, None));
    assert_eq!(client.next(), None);
    let mut client = node.client(connect);
    assert_eq!(client.until_pong(), Vec::<String>::new(), "[MQTT-3.8.3-3]");
}
