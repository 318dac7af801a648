//! The queue behind the window: its bounds, its policy, its counters.

use super::packets::*;
use super::*;

/// Away, with a queue of five.
fn away() -> Pair {
    let mut pair = Pair::v5();
    let _ = pair.lost();
    pair
}

fn back(pair: &mut Pair) -> Vec<String> {
    pair.server.max_inflight = 100;
    pair.attach(Connect::kept(Version::V5));
    pair.sent().iter().map(|line| lines::payload_of(line).unwrap().to_owned()).collect()
}

#[test]
fn the_oldest_goes_when_the_queue_is_full() {
    let mut pair = away();
    for payload in ["a", "b", "c", "d", "e", "f", "g"] {
        pair.deliver(Q1, payload);
    }
    assert_eq!((pair.tally().queue_full, pair.session.depths().2), (2, 5));
    assert_eq!(back(&mut pair), ["c", "d", "e", "f", "g"]);
}

#[test]
fn the_newest_goes_where_the_policy_says_so() {
    let mut pair = away();
    pair.limits.queue.when_full = WhenFull::DropNewest;
    for payload in ["a", "b", "c", "d", "e", "f", "g"] {
        pair.deliver(Q1, payload);
    }
    assert_eq!(pair.tally().queue_full, 2);
    assert_eq!(back(&mut pair), ["a", "b", "c", "d", "e"]);
}

#[test]
fn the_bound_in_bytes_holds_as_well() {
    let mut pair = away();
    pair.limits.queue.bytes = 700;
    for payload in ["a", "b", "c"] {
        pair.deliver(Q1, &payload.repeat(200));
        assert!(pair.session.depths().3 <= 700, "{:?}", pair.session.depths());
    }
    assert_eq!((pair.tally().queue_full, pair.session.depths().2), (1, 2));
}

#[test]
fn what_is_larger_than_the_whole_queue_drops_itself_and_nothing_else() {
    let mut pair = away();
    pair.limits.queue.bytes = 700;
    pair.deliver(Q1, "a").deliver(Q1, &"b".repeat(1000));
    assert_eq!(pair.tally().queue_full, 1);
    assert_eq!(back(&mut pair), ["a"]);
}

#[test]
fn qos_0_is_dropped_for_a_client_that_is_away_unless_configured() {
    let mut pair = away();
    pair.deliver(Q0, "a");
    assert_eq!(pair.tally().qos0_away, 1);
    pair.limits.queue.qos0 = true;
    pair.deliver(Q0, "b");
    assert_eq!(back(&mut pair), ["b"]);
}

#[test]
fn what_expired_in_the_queue_is_not_sent() {
    let mut pair = away();
    for (payload, seconds) in [("a", 10), ("b", 20)] {
        let mut message = Message::new("t", &[], payload.as_bytes());
        message.expires_at = Some(pair.now.after_secs(seconds));
        pair.deliver_message(Q1, message);
    }
    pair.pass(10_000);
    assert_eq!(back(&mut pair), ["b"]);
    assert_eq!(pair.tally().expired, 1);
}

#[test]
fn what_expired_is_dropped_while_the_client_is_away_wherever_it_stands() {
    let mut pair = away();
    pair.session.keep(true);
    for (payload, seconds) in [("a", 20), ("b", 10), ("c", 30)] {
        let mut message = Message::new("t", &[], payload.as_bytes());
        message.expires_at = Some(pair.now.after_secs(seconds));
        pair.deliver_message(Q1, message);
    }
    pair.pass(10_000);
    pair.out.changes.clear();
    pair.session.drop_expired(pair.now, &mut pair.out);
    assert!(matches!(pair.out.changes[..], [Change::Gone { seq: 2 }]), "{:?}", pair.out.changes);
    assert_eq!((pair.session.depths().2, pair.tally().expired), (2, 1));
}

#[test]
fn what_has_expired_makes_room_before_anything_that_lives_is_dropped() {
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let mut pair = away();
        pair.limits.queue.when_full = when_full;
        for payload in ["a", "b", "c", "d", "e"] {
            let mut message = Message::new("t", &[], payload.as_bytes());
            message.expires_at = (payload < "d").then(|| pair.now.after_secs(1));
            pair.deliver_message(Q1, message);
        }
        pair.pass(1000).deliver(Q1, "f");
        assert_eq!(back(&mut pair), ["d", "e", "f"]);
        let tally = pair.tally();
        assert_eq!((tally.queue_full, tally.expired), (0, 3), "{when_full:?}");
    }
}

#[test]
fn a_full_wire_buffer_queues_and_a_flush_sends_on() {
    let mut pair = Pair::v5();
    pair.limits.write_buffer = 1;
    for payload in ["a", "b", "c", "d", "e", "f", "g"] {
        pair.deliver(Q0, payload);
    }
    assert_eq!(pair.sent(), ["PUBLISH t=a q0"]);
    assert_eq!(pair.tally().queue_full, 1, "a client that does not read is bounded like one that is away");
    assert_eq!(pair.pump().sent(), ["PUBLISH t=c q0"]);
}

#[test]
fn an_empty_queue_holds_no_bytes() {
    let mut pair = away();
    pair.deliver(Q1, "a").deliver(Q1, "b");
    assert!(pair.session.depths().3 > 0);
    back(&mut pair);
    assert_eq!(pair.session.depths(), (2, 0, 0, 0));
    pair.feed(puback(1)).feed(puback(2));
    assert_eq!(pair.session.depths(), (0, 0, 0, 0));
}
