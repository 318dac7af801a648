//! What a client that does not read, or sends half of everything, can make the node hold.

use super::packets::*;
use super::*;
use crate::metrics::Metric;

const WRITE_BUFFER: usize = 64 << 10;

fn wire_of(node: &Node, id: &str) -> usize {
    node.look(id, |entry| entry.conn.as_ref().map_or(0, |conn| conn.wire.len())).unwrap_or(0)
}

#[test]
fn a_subscriber_that_does_not_read_is_bounded_and_gets_what_is_newest_once_it_does() {
    let node = Node::new(&["persistence.queue_bytes=256KiB"]);
    let (mut publisher, mut slow) = (node.id("publisher"), node.id("slow"));
    slow.subscribe("t", 0);
    let payload = "x".repeat(9000);
    for number in 0..2000 {
        publisher.send(publish(V5, Q0, 0, &format!("{number}-{payload}")));
    }
    publisher.until_pong();
    node.until("dropped", || node.metric(Metric::DeliveryDroppedQueueFull) > 0);
    assert!(wire_of(&node, "slow") <= WRITE_BUFFER + 10_000, "{}", wire_of(&node, "slow"));
    let (_, _, _, queued) = node.look("slow", |entry| entry.session.depths()).unwrap();
    assert!(queued <= 256 << 10, "{queued}");
    let mut last = String::new();
    while !last.starts_with("PUBLISH t=1999-") {
        last = slow.line();
    }
    publisher.send(publish(V5, Q0, 0, "after"));
    assert_eq!(slow.line(), "PUBLISH t=after q0");
}

#[test]
fn a_client_that_does_not_read_is_kicked_at_once() {
    let node = Node::new(&[]);
    let (mut publisher, mut slow) = (node.id("publisher"), node.id("slow"));
    slow.subscribe("t", 0);
    let payload = "x".repeat(9000);
    node.until("blocked", || {
        publisher.send(publish(V5, Q0, 0, &payload)).until_pong();
        node.look("slow", |entry| entry.conn.as_ref().is_some_and(|conn| conn.is_blocked)) == Some(true)
    });
    assert!(node.runtime.block_on(node.workers.kick("slow")));
    assert_eq!(node.count(), (1, 1));
}

#[test]
fn a_client_that_asks_and_never_reads_is_not_read_on_and_loses_nothing() {
    let node = Node::new(&[]);
    let mut client = node.id("asks");
    let pings = pingreq().repeat(32 << 10);
    client.socket.set_nonblocking(true).unwrap();
    let mut sent = 0;
    // Once its answers are in the way, the worker has many more turns in which it must not read on.
    let (mut turns, bound) = (0, 2 * WRITE_BUFFER);
    while turns < 200 {
        match client.socket.write(&pings[sent % 2..]) {
            Ok(written) => sent += written,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        let held = wire_of(&node, "asks");
        turns += usize::from(held > bound);
        assert!(held <= bound + (64 << 10), "the node reads on: it holds {held} bytes of answers");
    }
    client.socket.set_nonblocking(false).unwrap();
    let mut answered = 0;
    while answered < sent / 2 * 2 {
        let mut buffer = [0; 65_536];
        answered += client.socket.read(&mut buffer).unwrap();
    }
    assert_eq!(answered, sent / 2 * 2, "each PINGREQ that was whole is answered, with as many bytes");
}

#[test]
fn half_packets_of_a_hundred_clients_take_the_memory_of_what_came() {
    let node = Node::new(&[]);
    let payload = "x".repeat(60_000);
    let packet = publish(V5, Q1, 1, &payload);
    let mut clients: Vec<Client> = (0..100)
        .map(|number| {
            let mut client = node.id(Box::leak(format!("half-{number}").into_boxed_str()));
            client.send(&packet[..50_000]);
            client
        })
        .collect();
    let held = || -> (usize, usize) {
        let of = |shard: &mut Shard| {
            let partials = shard.sessions.iter().filter_map(|(_, entry)| entry.conn.as_ref());
            partials.fold((0, 0), |(length, capacity), conn| {
                let of =
                    conn.partial.as_ref().map_or((0, 0), |partial| (partial.bytes.len(), partial.bytes.capacity()));
                (length + of.0, capacity + of.1)
            })
        };
        let (one, other) = (node.ask(0, of), node.ask(1, of));
        (one.0 + other.0, one.1 + other.1)
    };
    node.until("all there", || held().0 == 5_000_000);
    assert!(held().1 <= 10_100_000, "{} bytes for 5,000,000", held().1);
    for client in &mut clients {
        client.send(&packet[50_000..]);
        assert_eq!(client.line(), "PUBACK #1");
    }
    assert_eq!(held(), (0, 0), "an idle connection holds no buffer");
}

#[test]
fn an_idle_connection_holds_no_write_buffer() {
    let node = Node::new(&[]);
    let mut client = node.id("idle");
    client.subscribe("t", 1).send(publish(V5, Q1, 1, "x"));
    assert_eq!((client.line(), client.line()).0.len(), 17);
    client.send(puback(1)); // a step with no answer
    node.until("done with", || node.look("idle", |entry| entry.session.depths().0) == Some(0));
    let capacity = node.look("idle", |entry| entry.conn.as_ref().map(|conn| conn.wire.capacity()));
    assert_eq!(capacity, Some(Some(0)));
}

#[test]
fn retained_messages_come_at_the_pace_of_the_client_however_short_its_queue() {
    let node = Node::new(&["persistence.queue_depth=1"]);
    let mut publisher = node.id("publisher");
    for number in 0..200 {
        let mut retained = publish_with(V5, Q1, 1, false, &format!("r/{number:03}"), &[], "x");
        retained[0] |= 1;
        publisher.send(retained).line();
    }
    for window in [1, 7, 100] {
        let mut reader = node.client(Connect { client_id: "reader", ..Connect::new(V5) }.receive_maximum(window));
        reader.subscribe("r/#", 1);
        for number in 0..200 {
            let line = reader.line();
            let id = lines::id_of(&line).unwrap();
            assert_eq!(line, format!("PUBLISH r/{number:03}=x q1 #{id} retain"));
            reader.send(puback(id));
        }
        assert_eq!(reader.until_pong(), Vec::<String>::new());
    }
    assert_eq!(node.metric(Metric::DeliveryDropped), 0);
}

#[test]
fn a_client_that_subscribes_without_end_and_does_not_read_has_one_replay_a_subscription() {
    let node = Node::new(&["mqtt.write_buffer=1KiB"]);
    let mut publisher = node.id("publisher");
    for number in 0..20 {
        let mut retained = publish_with(V5, Q1, 1, false, &format!("r/{number}"), &[], &"x".repeat(900));
        retained[0] |= 1;
        publisher.send(retained).line();
    }
    let mut client = node.client(Connect { client_id: "again", ..Connect::new(V5) }.receive_maximum(1));
    for _ in 0..500 {
        client.send(subscribe(V5, 1, 0, &[("r/#", 1)]));
    }
    let mut subacks = 0;
    while subacks < 500 {
        subacks += usize::from(client.line().starts_with("SUBACK"));
    }
    assert_eq!(node.look("again", |entry| entry.replays.len()), Some(1));
}
