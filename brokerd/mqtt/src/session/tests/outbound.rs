//! Messages to the client: window, packet identifiers, acknowledgements.

use super::packets::*;
use super::*;

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn the_window_is_never_exceeded_and_reopens_with_each_acknowledgement() {
    let mut pair = Pair::v5();
    for payload in ["a", "b", "c", "d", "e"] {
        pair.deliver(Q1, payload);
    }
    assert_eq!(pair.sent(), ["PUBLISH t=a q1 #1", "PUBLISH t=b q1 #2", "PUBLISH t=c q1 #3"]);
    assert_eq!(pair.pump().sent(), none());
    assert_eq!(pair.feed(puback(2)).sent(), ["PUBLISH t=d q1 #4"]);
    assert_eq!(pair.feed(puback(1)).feed(puback(3)).sent(), ["PUBLISH t=e q1 #5"]);
}

#[test]
fn the_clients_receive_maximum_narrows_the_window() {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::kept(Version::V5).receive_maximum(1));
    pair.deliver(Q2, "a").deliver(Q1, "b");
    assert_eq!(pair.sent(), ["PUBLISH t=a q2 #1"]);
    assert_eq!(pair.feed(pubrec(1)).sent(), ["PUBREL #1"], "PUBREC does not open it");
    assert_eq!(pair.feed(pubcomp(1)).sent(), ["PUBLISH t=b q1 #2"], "PUBCOMP does");
}

#[test]
fn qos_0_is_outside_the_window_but_not_before_what_waits() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").deliver(Q1, "b").deliver(Q1, "c").deliver(Q0, "d");
    assert_eq!(pair.sent().last().unwrap(), "PUBLISH t=d q0");
    pair.deliver(Q1, "e").deliver(Q0, "f");
    assert_eq!(pair.sent(), none(), "order [MQTT-4.6.0-6]");
    assert_eq!(pair.feed(puback(1)).sent(), ["PUBLISH t=e q1 #4", "PUBLISH t=f q0"]);
}

#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").sent();
    pair.pass(1_000_000).pump();
    assert_eq!(pair.sent(), none(), "[MQTT-4.4.0-1]");
}

#[test]
fn a_failed_pubrec_ends_the_exchange_without_pubrel_and_opens_the_window() {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::kept(Version::V5).receive_maximum(1));
    pair.deliver(Q2, "a").deliver(Q2, "b").sent();
    assert_eq!(pair.feed(refused(pubrec(1), 0x97)).sent(), ["PUBLISH t=b q2 #2"]);
    assert_eq!(pair.tally().acked, 1);
}

#[test]
fn a_failed_puback_is_the_end_of_it_too() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").sent();
    pair.feed(refused(puback(1), 0x80));
    pair.again();
    assert_eq!(pair.sent(), none());
}

#[test]
fn acknowledgements_of_the_wrong_kind_change_nothing() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").deliver(Q2, "b").sent();
    pair.feed(pubcomp(1)).feed(pubcomp(2)).feed(puback(2));
    assert_eq!(pair.sent(), none());
    assert_eq!(pair.feed(pubrec(1)).sent(), ["PUBREL #1 0x92"], "no QoS 2 message has this id");
    assert_eq!(pair.tally().acks_missed, [1, 1, 0, 2]);
    pair.again();
    assert_eq!(pair.sent(), ["PUBLISH t=a q1 #1 dup", "PUBLISH t=b q2 #2 dup"], "both are still owed");
}

#[test]
fn acknowledgements_of_nothing_are_counted_and_a_pubrec_is_answered() {
    let mut pair = Pair::v5();
    pair.feed(puback(1)).feed(pubcomp(2)).feed(pubrec(3));
    assert_eq!(pair.sent(), ["PUBREL #3 0x92"]);
    let mut pair = Pair::v311();
    assert_eq!(pair.feed(pubrec(3)).sent(), ["PUBREL #3"]);
    assert_eq!(pair.tally().acks_missed, [0, 1, 0, 0]);
}

#[test]
fn a_repeated_pubrec_is_answered_again() {
    let mut pair = Pair::v311();
    pair.deliver(Q2, "a").sent();
    assert_eq!(pair.feed(pubrec(1)).feed(pubrec(1)).sent(), ["PUBREL #1", "PUBREL #1"]);
    pair.feed(pubcomp(1)).feed(pubcomp(1));
    assert_eq!(pair.tally().acks_missed, [0, 0, 0, 1]);
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").deliver(Q2, "b").deliver(Q1, "c").sent();
    pair.feed(puback(3)).feed(pubrec(2)).feed(puback(1)).feed(pubcomp(2));
    assert_eq!(pair.sent(), ["PUBREL #2"]);
    assert_eq!(pair.session.depths(), (0, 0, 0, 0));
    assert_eq!(pair.tally().acked, 3);
}

/// Sends `count` messages, each acknowledged at once.
fn go_around(pair: &mut Pair, count: u32) {
    for _ in 0..count {
        pair.deliver(Q1, "x");
        let sent = pair.sent();
        pair.feed(puback(lines::id_of(&sent[0]).unwrap()));
    }
}

#[test]
fn an_id_in_flight_is_not_given_again_when_the_count_comes_round() {
    let mut pair = Pair::new(Version::V5);
    pair.server.max_inflight = 10;
    pair.attach(Connect::kept(Version::V5));
    pair.deliver(Q1, "stays").deliver(Q1, "stays").sent();
    go_around(&mut pair, 97);
    pair.deliver(Q1, "stays too");
    assert_eq!(pair.sent(), ["PUBLISH t=stays too q1 #100"]);
    go_around(&mut pair, 65_535 - 100);
    pair.deliver(Q1, "after");
    assert_eq!(pair.sent(), ["PUBLISH t=after q1 #3"], "1 and 2 are taken, 0 is none");
    go_around(&mut pair, 96);
    pair.deliver(Q1, "next");
    assert_eq!(pair.sent(), ["PUBLISH t=next q1 #101"], "100 is taken, although older ones than it stand before it");
}

#[test]
fn ids_between_pubrec_and_pubcomp_are_taken_too() {
    let mut pair = Pair::v311();
    pair.deliver(Q2, "a").sent();
    pair.feed(pubrec(1)).sent();
    go_around(&mut pair, 65_534);
    pair.deliver(Q1, "b");
    assert_eq!(pair.sent(), ["PUBLISH t=b q1 #2"]);
}

#[test]
fn what_does_not_fit_the_client_is_dropped_counted_and_done_with() {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::kept(Version::V5).maximum_packet_size(20));
    pair.deliver(Q1, &"x".repeat(30)).deliver(Q1, "y");
    assert_eq!(pair.sent(), ["PUBLISH t=y q1 #1"], "[MQTT-3.1.2-25], and no id is spent");
    assert_eq!((pair.tally().too_large, pair.session.depths().0), (1, 1));
}

#[test]
fn a_packet_of_exactly_the_maximum_size_is_sent() {
    // Two bytes of header, three of topic, two of id, one of property length.
    for (payload, is_sent) in [(12, true), (13, false)] {
        let mut pair = Pair::new(Version::V5);
        pair.attach(Connect::kept(Version::V5).maximum_packet_size(20));
        pair.deliver(Q1, &"x".repeat(payload));
        assert_eq!(pair.sent().len(), usize::from(is_sent), "{payload}");
    }
}

#[test]
fn subscription_identifiers_go_to_5_0_alone() {
    for (version, line) in [(Version::V5, "PUBLISH t=x q0 id=3 id=200"), (Version::V311, "PUBLISH t=x q0")] {
        let mut pair = Pair::connected(version);
        let message = Arc::new(Message::new("t", &[], b"x"));
        let delivery =
            Delivery { message, qos: Q0, retain: false, subscription_ids: Box::from([3, 200]), shared: None };
        pair.session.deliver(delivery, &pair.limits, pair.now, &mut pair.out);
        assert_eq!(pair.sent(), [line]);
    }
}

#[test]
fn a_message_is_sent_with_the_time_that_is_left_to_it() {
    let mut pair = Pair::v5();
    let mut message = Message::new("t", &[], b"x");
    message.expires_at = Some(pair.now.after_secs(60));
    pair.pass(20_001).deliver_message(Q1, message);
    assert_eq!(pair.sent(), ["PUBLISH t=x q1 #1 expiry=40"], "[MQTT-3.3.2-6]");
}

fn one(payload: &str) -> Message {
    Message::new("t", &[], payload.as_bytes())
}

fn texts(messages: &[crate::message::SharedMessage]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect()
}

#[test]
fn what_is_reclaimed_of_a_shared_subscription_is_unacknowledged_qos_1_and_what_is_queued() {
    let mut pair = Pair::v5();
    for (qos, payload, serial) in [(Q1, "a", 7), (Q2, "b", 7), (Q1, "c", 9)] {
        pair.deliver_shared(qos, one(payload), serial);
    }
    pair.sent();
    assert!(pair.session.detach(Closing::Lost, pair.now).is_none());
    for (qos, payload, serial) in [(Q2, "e", 7), (Q1, "f", 0), (Q1, "g", 7)] {
        pair.deliver_shared(qos, one(payload), serial);
    }
    let (_, _, queued, bytes) = pair.session.depths();
    assert_eq!(texts(&pair.reclaim(7, true)), ["a", "e", "g"], "in order; QoS 2 that was sent stays");
    assert_eq!(pair.reclaim(7, true), [], "once");
    let (in_flight, _, left, left_bytes) = pair.session.depths();
    assert_eq!((queued, in_flight, left, left_bytes), (3, 2, 1, bytes / 3));
}

#[test]
fn reclaiming_from_a_client_with_a_connection_leaves_what_it_was_sent_and_acknowledgements_go_on() {
    let mut pair = Pair::v5();
    pair.limits.write_buffer = 0; // everything is queued
    pair.deliver_shared(Q1, one("a"), 7).deliver_shared(Q1, one("b"), 7).deliver_shared(Q1, one("c"), 0);
    assert_eq!(texts(&pair.reclaim(7, false)), ["a", "b"]);
    pair.limits.write_buffer = 100_000;
    pair.pump().deliver_shared(Q1, one("d"), 7);
    assert_eq!(pair.sent(), ["PUBLISH t=c q1 #1", "PUBLISH t=d q1 #2"]);
    assert_eq!(pair.reclaim(7, false), []);
    pair.feed(puback(2)).feed(puback(1));
    assert_eq!(pair.session.depths().0, 0);
}
