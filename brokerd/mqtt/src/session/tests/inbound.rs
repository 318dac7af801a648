//! Publications from the client.

use super::packets::*;
use super::*;

#[test]
fn qos_0_is_routed_and_not_answered() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q0, 0, "x"));
    assert_eq!(pair.asked(), ["publish t=x q0"]);
    assert_eq!(pair.sent(), Vec::<String>::new());
}

#[test]
fn nothing_is_acknowledged_before_the_router_has_answered() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q1, 7, "x")).feed(publish(Version::V5, Q2, 8, "y"));
    assert_eq!(pair.asked(), ["publish t=x q1 token 1", "publish t=y q2 token 2"]);
    assert_eq!(pair.sent(), Vec::<String>::new());
    pair.routed(1, ReasonCode::Success).routed(2, ReasonCode::Success);
    assert_eq!(pair.sent(), ["PUBACK #7", "PUBREC #8"]);
}

#[test]
fn acknowledgements_leave_in_the_order_of_the_publishes_whatever_order_the_router_has() {
    let mut pair = Pair::v5();
    for id in 1..=4 {
        pair.feed(publish(Version::V5, if id % 2 == 0 { Q2 } else { Q1 }, id, "x"));
    }
    pair.routed(4, ReasonCode::Success).routed(2, ReasonCode::Success).routed(3, ReasonCode::Success);
    assert_eq!(pair.sent(), Vec::<String>::new(), "the first is not routed yet [MQTT-4.6.0-2]");
    pair.routed(1, ReasonCode::Success);
    assert_eq!(pair.sent(), ["PUBACK #1", "PUBREC #2", "PUBACK #3", "PUBREC #4"]);
}

#[test]
fn that_a_publish_came_is_said_once_where_its_receivers_are_known_or_when_it_is_answered() {
    let mut pair = Pair::v5();
    pair.session.keep(true);
    for id in 1..=3 {
        pair.feed(publish(Version::V5, Q2, id, "x"));
    }
    pair.session.received(1, &mut pair.out);
    pair.session.received(1, &mut pair.out);
    pair.session.received(3, &mut pair.out);
    let said = |pair: &mut Pair| format!("{:?}", std::mem::take(&mut pair.out.changes));
    assert_eq!(said(&mut pair), "[Received(1), Received(3)]");
    pair.routed(1, ReasonCode::Success).routed(2, ReasonCode::Success);
    assert_eq!(said(&mut pair), "[Received(2)]");
    pair.routed(3, ReasonCode::QuotaExceeded);
    assert_eq!(said(&mut pair), "[Finished(3)]", "it was refused after all");
}

#[test]
fn pubcomp_answers_each_pubrel_in_their_order() {
    let mut pair = Pair::v311();
    pair.feed(publish(Version::V311, Q2, 1, "x")).feed(publish(Version::V311, Q2, 2, "y")).route_all();
    pair.feed(pubrel(2)).feed(pubrel(1));
    assert_eq!(pair.sent(), ["PUBREC #1", "PUBREC #2", "PUBCOMP #2", "PUBCOMP #1"]);
}

#[test]
fn a_repeated_qos_2_publish_is_acknowledged_again_and_not_routed_again() {
    let mut pair = Pair::v311();
    pair.feed(publish(Version::V311, Q2, 1, "x")).route_all().sent();
    pair.feed(publish_dup(Version::V311, Q2, 1, "x")).feed(publish(Version::V311, Q2, 1, "x"));
    assert_eq!(pair.asked(), Vec::<String>::new(), "[MQTT-4.3.3-10]");
    assert_eq!(pair.sent(), ["PUBREC #1", "PUBREC #1"]);
}

#[test]
fn a_qos_2_publish_repeated_while_the_first_copy_is_routed_has_one_answer() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q2, 1, "x")).feed(publish_dup(Version::V5, Q2, 1, "x"));
    assert_eq!(pair.asked(), ["publish t=x q2 token 1"]);
    pair.routed(1, ReasonCode::Success);
    assert_eq!(pair.sent(), ["PUBREC #1"]);
}

#[test]
fn a_qos_2_publish_is_known_again_on_the_next_connection() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q2, 1, "x")).route_all();
    pair.again();
    pair.feed(publish_dup(Version::V5, Q2, 1, "x"));
    assert_eq!(pair.asked(), Vec::<String>::new());
    pair.feed(pubrel(1));
    assert_eq!(pair.sent(), ["PUBREC #1", "PUBCOMP #1"]);
    pair.feed(publish(Version::V5, Q2, 1, "y"));
    assert_eq!(pair.asked(), ["publish t=y q2 token 2"], "released, the id stands for a new message");
}

#[test]
fn a_qos_2_publish_that_is_still_routed_when_the_client_is_back_is_answered_once_it_asks_again() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q2, 1, "x")).asked();
    pair.again();
    pair.feed(publish_dup(Version::V5, Q2, 1, "x"));
    assert_eq!((pair.asked(), pair.sent()), (vec![], vec![]));
    pair.routed(1, ReasonCode::Success);
    assert_eq!(pair.sent(), ["PUBREC #1"]);
}

#[test]
fn an_answer_to_the_last_connection_is_not_given_on_this_one() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q1, 1, "x")).feed(publish(Version::V5, Q2, 2, "y")).asked();
    pair.again();
    pair.routed(1, ReasonCode::Success).routed(2, ReasonCode::Success);
    assert_eq!(pair.sent(), Vec::<String>::new());
    pair.feed(publish_dup(Version::V5, Q1, 1, "x"));
    assert_eq!(pair.asked(), ["publish t=x q1 token 3"], "QoS 1 is at least once");
}

#[test]
fn a_pubrel_of_an_unknown_id_is_answered() {
    let mut pair = Pair::v5();
    pair.feed(pubrel(9));
    assert_eq!(pair.sent(), ["PUBCOMP #9 0x92"]);
    let mut pair = Pair::v311();
    pair.feed(pubrel(9));
    assert_eq!(pair.sent(), ["PUBCOMP #9"]);
    assert_eq!(pair.tally().acks_missed, [0, 0, 1, 0]);
}

#[test]
fn a_refused_qos_2_message_frees_its_id() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q2, 1, "x")).routed(1, ReasonCode::QuotaExceeded).asked();
    assert_eq!(pair.sent(), ["PUBREC #1 0x97"]);
    pair.feed(publish(Version::V5, Q2, 1, "y"));
    assert_eq!(pair.asked(), ["publish t=y q2 token 2"], "5.0 section 4.3.3: the exchange is over");
}

#[test]
fn version_3_is_not_told_that_a_message_was_refused() {
    let mut pair = Pair::v311();
    pair.feed(publish(Version::V311, Q1, 1, "x")).routed(1, ReasonCode::NotAuthorized);
    assert_eq!(pair.sent(), ["PUBACK #1"]);
}

#[test]
fn a_qos_2_exchange_is_completed_although_its_message_has_expired() {
    let mut pair = Pair::v5();
    pair.feed(publish_with(Version::V5, Q2, 1, false, "t", &[2, 0, 0, 0, 1], "x")).pass(5000).route_all();
    assert_eq!(pair.sent(), ["PUBREC #1"]);
    pair.pass(5000).feed(publish_with(Version::V5, Q2, 1, true, "t", &[2, 0, 0, 0, 1], "x"));
    assert_eq!((pair.asked(), pair.sent()), (vec![], vec!["PUBREC #1".into()]));
    assert_eq!(pair.feed(pubrel(1)).sent(), ["PUBCOMP #1"], "[MQTT-4.3.3-13]");
}

const TOO_MANY: &str = "close Violation(ReceiveMaximumExceeded)";

#[test]
fn as_many_qos_1_messages_as_receive_maximum_are_taken_and_one_more_is_a_violation() {
    let mut pair = Pair::v5();
    for id in 1..=4 {
        pair.feed(publish(Version::V5, Q1, id, "x"));
    }
    assert_eq!(pair.asked().len(), 4);
    pair.feed(publish(Version::V5, Q1, 5, "x"));
    assert_eq!(pair.asked(), [TOO_MANY]);
}

#[test]
fn as_many_qos_2_messages_as_receive_maximum_are_taken_while_the_router_works_on_all() {
    let mut pair = Pair::v5();
    for id in 1..=4 {
        pair.feed(publish(Version::V5, Q2, id, "x"));
    }
    let asked = pair.asked();
    assert!(asked.iter().all(|line| line.starts_with("publish")), "{asked:?}: each counts once");
    pair.feed(publish(Version::V5, Q2, 5, "x"));
    assert_eq!(pair.asked(), [TOO_MANY]);
}

#[test]
fn a_qos_2_message_counts_until_pubcomp() {
    let mut pair = Pair::v5();
    for id in 1..=4 {
        pair.feed(publish(Version::V5, Q2, id, "x")).route_all();
    }
    pair.feed(pubrel(2)).feed(publish(Version::V5, Q1, 9, "y"));
    assert_eq!(pair.asked(), ["publish t=y q1 token 5"], "PUBCOMP made room");
    pair.feed(publish(Version::V5, Q1, 10, "y"));
    assert_eq!(pair.asked(), [TOO_MANY]);
}

#[test]
fn qos_0_and_repetitions_do_not_count_against_receive_maximum() {
    let mut pair = Pair::v5();
    for id in 1..=4 {
        pair.feed(publish(Version::V5, Q2, id, "x"));
    }
    pair.asked();
    pair.feed(publish(Version::V5, Q0, 0, "z")).feed(publish_dup(Version::V5, Q2, 3, "x"));
    assert_eq!(pair.asked(), ["publish t=z q0"]);
}

#[test]
fn what_an_earlier_connection_left_unreleased_does_not_count_on_this_one() {
    let mut pair = Pair::v5();
    for id in 1..=4 {
        pair.feed(publish(Version::V5, Q2, id, "x")).route_all();
    }
    pair.again();
    pair.feed(publish(Version::V5, Q1, 9, "y"));
    assert_eq!(pair.asked(), ["publish t=y q1 token 5"], "5.0 section 4.9: the quota begins anew");
}

#[test]
fn version_3_has_no_receive_maximum_but_is_not_read_on_while_it_is_owed_as_much() {
    let mut pair = Pair::v311();
    for id in 1..=3 {
        pair.feed(publish(Version::V311, Q1, id, "x"));
    }
    assert!(!pair.session.owes_too_many());
    pair.feed(publish(Version::V311, Q1, 4, "x")).feed(publish(Version::V311, Q1, 5, "x"));
    assert!(pair.session.owes_too_many());
    assert_eq!(pair.asked().len(), 5);
    pair.routed(1, ReasonCode::Success).routed(2, ReasonCode::Success);
    assert!(!pair.session.owes_too_many());
}

#[test]
fn subscribes_without_an_answer_stop_the_reading_too() {
    let mut pair = Pair::v5();
    for id in 1..=4 {
        pair.feed(subscribe(Version::V5, id, 0, &[("a", 0)]));
    }
    assert!(pair.session.owes_too_many(), "a peer that is slow must not make the server hold what a client asks");
    pair.session.suback(PacketId::MIN, &[], &mut pair.out);
    assert!(!pair.session.owes_too_many());
}

#[test]
fn an_alias_stands_for_its_topic_until_the_connection_ends() {
    let (mut pair, alias) = (Pair::v5(), [35, 0, 2]);
    pair.feed(publish_with(Version::V5, Q0, 0, false, "long/topic", &alias, "x"));
    pair.feed(publish_with(Version::V5, Q0, 0, false, "", &alias, "y"));
    assert_eq!(pair.asked(), ["publish long/topic=x q0", "publish long/topic=y q0"]);
    pair.feed(publish_with(Version::V5, Q0, 0, false, "other", &alias, "x"));
    pair.feed(publish_with(Version::V5, Q0, 0, false, "", &alias, "y"));
    assert_eq!(pair.asked(), ["publish other=x q0", "publish other=y q0"], "set again");
    pair.again();
    pair.feed(publish_with(Version::V5, Q0, 0, false, "", &alias, "z"));
    assert_eq!(pair.asked(), ["close Violation(TopicAliasUnknown)"]);
}

#[test]
fn an_alias_above_the_maximum_is_a_violation() {
    let mut pair = Pair::v5();
    pair.feed(publish_with(Version::V5, Q0, 0, false, "t", &[35, 0, 3], "x"));
    assert_eq!(pair.asked(), ["close Violation(TopicAliasTooLarge)"]);
}

#[test]
fn what_concerns_client_and_server_alone_is_not_passed_on() {
    let mut pair = Pair::v5();
    let properties = [&[35, 0, 1][..], &[1, 1], &[2, 0, 0, 0, 9], &[3, 0, 1, b'c'], &[38, 0, 1, b'k', 0, 1, b'v']];
    pair.feed(publish_with(Version::V5, Q0, 0, false, "t", &properties.concat(), "x"));
    let Some(Event::Publish(message, None)) = pair.out.events.pop() else { panic!("a PUBLISH is routed") };
    assert_eq!(message.properties(), [&[1, 1][..], &[3, 0, 1, b'c'], &[38, 0, 1, b'k', 0, 1, b'v']].concat());
    assert_eq!(message.seconds_left(pair.now), Some(9), "the expiry counts from its arrival");
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    assert_eq!(codec::frame(&[0x10, 0], Some(Version::V5), &DECODE), Err(Violation::SecondConnect));
}

#[test]
fn a_ping_is_answered_with_a_pong() {
    let mut pair = Pair::v311();
    pair.feed(pingreq());
    assert_eq!(pair.sent(), ["PINGRESP"]);
}

#[test]
fn without_a_connection_nothing_is_handled() {
    let mut pair = Pair::new(Version::V5);
    pair.feed(publish(Version::V5, Q1, 1, "x")).feed(pingreq());
    assert_eq!((pair.asked(), pair.sent()), (vec![], vec![]));
}
