//! One client id, several connections.

use super::packets::*;
use super::*;
use crate::worker::query::Cursor;

fn kept(id: &'static str) -> Connect {
    Connect { client_id: id, ..Connect::kept(V5) }
}

#[test]
fn the_old_connection_is_told_and_closed_and_the_session_goes_on() {
    let node = Node::new(&[]);
    let mut old = node.client(kept("a"));
    old.subscribe("t", 1);
    let mut new = node.stranger(V5);
    new.send(kept("a").bytes());
    assert_eq!((old.line(), old.next()), ("DISCONNECT 0x8e".into(), None));
    // The Session Present flag is in the byte before the code, which the line does not show: the subscription does.
    assert_eq!(new.line(), "CONNACK 0x00");
    new.send(publish(V5, Q1, 1, "x"));
    let mut lines = [new.line(), new.line()];
    lines.sort();
    assert_eq!(lines, ["PUBACK #1", "PUBLISH t=x q1 #1"]);
}

#[test]
fn sessions_are_counted_exactly_over_takeovers_clean_starts_and_ends() {
    let node = Node::new(&[]);
    let mut clients = Vec::new();
    for round in 0..12 {
        let connect = Connect { clean: round % 3 == 1, ..kept("a") };
        let connect = if round % 4 == 3 { Connect { properties: Vec::new(), ..connect } } else { connect };
        clients.push(node.client(connect));
        assert_eq!(node.count(), (1, 1), "round {round}");
    }
    clients.clear();
    node.until("gone: the last had expiry 0", || node.count() == (0, 0));
    drop(node.client(kept("a")));
    node.until("away", || node.count() == (1, 0));
    let back = node.client(kept("a"));
    assert_eq!(node.count(), (1, 1));
    drop(back);
    node.until("away again", || node.count() == (1, 0));
    let _clean = node.client(Connect { clean: true, ..kept("a") });
    assert_eq!(node.count(), (1, 1));
    assert!(node.runtime.block_on(node.workers.kick("a")));
    assert_eq!(node.count(), (0, 0));
}

#[test]
fn a_takeover_keeps_the_session_also_where_no_more_may_be_kept() {
    let node = Node::new(&["persistence.max_offline_sessions=0"]);
    let mut old = node.client(kept("a"));
    old.subscribe("t", 0);
    let mut new = node.client(kept("a"));
    new.send(publish(V5, Q0, 0, "x"));
    assert_eq!(new.line(), "PUBLISH t=x q0");
    drop(new);
    node.until("ended", || node.count() == (0, 0));
}

#[test]
fn the_will_of_who_is_taken_over_is_sent_unless_a_delay_holds_it_and_the_session_goes_on() {
    let node = Node::new(&[]);
    let mut watcher = node.id("watcher");
    watcher.subscribe("will", 0);
    for (delay, clean, is_sent) in [(0, false, true), (100, false, false), (100, true, true)] {
        let _old = node.client(Connect { clean: true, ..kept("a") }.will(delay));
        let _new = node.client(Connect { clean, ..kept("a") });
        let expected = if is_sent { vec!["PUBLISH will=w q0"] } else { vec![] };
        assert_eq!(watcher.until_pong(), expected, "delay {delay}, clean {clean}");
    }
}

#[test]
fn what_was_in_flight_goes_out_on_the_new_connection_and_unsent_bytes_do_not() {
    let node = Node::new(&[]);
    let mut old = node.client(kept("a"));
    old.subscribe("t", 1);
    let mut publisher = node.id("publisher");
    for id in 1..=3 {
        publisher.send(publish(V5, Q1, id, &format!("{id}")));
        assert_eq!(publisher.line(), format!("PUBACK #{id}"));
    }
    let mut new = node.client(kept("a"));
    let again: Vec<String> = new.until_pong();
    assert_eq!(again, ["PUBLISH t=1 q1 #1 dup", "PUBLISH t=2 q1 #2 dup", "PUBLISH t=3 q1 #3 dup"]);
}

#[test]
fn a_disconnect_counts_although_a_write_to_the_same_client_has_failed_before_it_was_read() {
    let node = Node::new(&[]);
    let mut watcher = node.id("watcher");
    watcher.subscribe("will", 0);
    let worker = node.worker_of("a");
    let mut client = node.stranger(V5);
    client.send(kept("a").will(0).bytes());
    client.socket.peek(&mut [0]).unwrap(); // CONNACK is here, and stays unread: closing then resets the connection
    let (held, closed) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let waits = std::thread::spawn({
        let (workers, held, closed) = (node.workers.clone(), held.clone(), closed.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(workers.ask(worker, move |shard| {
                held.wait();
                closed.wait();
                let slot = shard.slot_of("a").unwrap();
                shard.step(slot, |_, _, _, out| out.wire.extend([0xD0, 0]));
                assert!(!shard.write(slot), "the client is gone: a write must fail for this test to mean something");
            }));
        }
    });
    held.wait();
    client.send(disconnect(0, None));
    drop(client);
    closed.wait();
    waits.join().unwrap();
    node.until("away", || node.look("a", |entry| entry.conn.is_none()) == Some(true));
    assert_eq!(watcher.until_pong(), Vec::<String>::new(), "[MQTT-3.14.4-3]");
}

#[test]
fn a_client_that_takes_no_packet_of_the_size_of_its_connack_takes_over_nobody() {
    let node = Node::new(&[]);
    let mut old = node.client(kept("a"));
    let mut new = node.stranger(V5);
    new.send(kept("a").maximum_packet_size(5).bytes());
    assert_eq!(new.next(), None);
    assert_eq!(old.until_pong(), Vec::<String>::new());
}

#[test]
fn a_kick_says_why_and_ends_the_session_also_of_a_client_that_is_away() {
    let node = Node::new(&[]);
    let mut client = node.client(kept("a"));
    assert!(node.runtime.block_on(node.workers.kick("a")));
    assert_eq!((client.line(), client.next()), ("DISCONNECT 0x98".into(), None));
    drop(node.client(kept("a")));
    node.until("away", || node.count() == (1, 0));
    assert!(node.runtime.block_on(node.workers.kick("a")));
    assert!(!node.runtime.block_on(node.workers.kick("a")));
    assert_eq!(node.count(), (0, 0));
}

#[test]
fn pages_of_clients_and_subscriptions_are_complete_and_list_each_once() {
    let node = Node::new(&[]);
    let clients: Vec<Client> = (0..60)
        .map(|number| {
            let mut client = node.id(Box::leak(format!("client-{number}").into_boxed_str()));
            client.subscribe("a", 0).subscribe(&format!("b/{number}"), 1);
            client
        })
        .collect();
    for limit in [0, 1, 7, 1000] {
        let (mut ids, mut filters, mut cursor) = (Vec::new(), Vec::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            let (rows, next) = node.runtime.block_on(node.workers.clients(Some(from), limit));
            ids.extend(rows.into_iter().map(|row| row.client_id));
            cursor = next;
        }
        cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            let (rows, next) = node.runtime.block_on(node.workers.subscriptions(Some(from), limit));
            filters.extend(rows.into_iter().map(|row| (row.client_id, row.filter)));
            cursor = next;
        }
        ids.sort();
        ids.dedup();
        filters.sort();
        filters.dedup();
        assert_eq!((ids.len(), filters.len()), (60, 120), "limit {limit}");
    }
    assert_eq!(node.runtime.block_on(node.workers.subscriptions_of("client-3")).map(|rows| rows.len()), Some(2));
    drop(clients);
}
