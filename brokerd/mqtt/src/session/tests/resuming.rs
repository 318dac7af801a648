//! A session that comes back: what was in flight, in its order.

use super::packets::*;
use super::*;

#[test]
fn publishes_and_pubrels_go_out_again_in_their_first_order_before_anything_newer() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").deliver(Q2, "b").deliver(Q1, "c").sent();
    pair.feed(pubrec(2)).sent();
    let _ = pair.lost();
    pair.deliver(Q1, "d");
    pair.attach(Connect::kept(Version::V5));
    assert_eq!(pair.sent(), ["PUBLISH t=a q1 #1 dup", "PUBREL #2", "PUBLISH t=c q1 #3 dup"]);
    assert_eq!(pair.feed(puback(1)).sent(), ["PUBLISH t=d q1 #4"]);
}

#[test]
fn a_smaller_receive_maximum_holds_back_what_goes_out_again() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").deliver(Q2, "b").deliver(Q1, "c").sent();
    let _ = pair.lost();
    pair.attach(Connect::kept(Version::V5).receive_maximum(1));
    assert_eq!(pair.sent(), ["PUBLISH t=a q1 #1 dup"]);
    assert_eq!(pair.feed(puback(1)).sent(), ["PUBLISH t=b q2 #2 dup"]);
    assert_eq!(pair.deliver(Q1, "d").pump().sent(), Vec::<String>::new());
    assert_eq!(pair.feed(pubrec(2)).sent(), ["PUBREL #2"]);
    assert_eq!(pair.feed(pubcomp(2)).sent(), ["PUBLISH t=c q1 #3 dup"]);
    assert_eq!(pair.feed(puback(3)).sent(), ["PUBLISH t=d q1 #4"]);
}

#[test]
fn an_acknowledgement_that_comes_before_its_message_went_out_again_is_one() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").deliver(Q1, "b").deliver(Q2, "c").sent();
    let _ = pair.lost();
    pair.attach(Connect::kept(Version::V5).receive_maximum(1));
    pair.sent();
    // The client has had all three on the last connection.
    assert_eq!(pair.feed(puback(2)).feed(pubrec(3)).sent(), ["PUBREL #3"]);
    assert_eq!(pair.feed(puback(1)).sent(), ["PUBREL #3"], "its turn");
    pair.feed(pubcomp(3));
    assert_eq!(pair.session.depths(), (0, 0, 0, 0));
}

#[test]
fn the_wire_buffer_holds_back_what_goes_out_again() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").deliver(Q1, "b").sent();
    let _ = pair.lost();
    pair.limits.write_buffer = 1;
    pair.attach(Connect::kept(Version::V5));
    assert_eq!(pair.sent(), ["PUBLISH t=a q1 #1 dup"]);
    pair.deliver(Q0, "c");
    assert_eq!(pair.sent(), Vec::<String>::new(), "not before what is older");
    assert_eq!(pair.pump().sent(), ["PUBLISH t=b q1 #2 dup"]);
    assert_eq!(pair.pump().sent(), ["PUBLISH t=c q0"]);
}

#[test]
fn ids_go_on_where_they_were() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, "a").sent();
    pair.feed(puback(1));
    pair.again();
    assert_eq!(pair.deliver(Q1, "b").sent(), ["PUBLISH t=b q1 #2"]);
}

#[test]
fn what_no_longer_fits_the_client_is_as_if_acknowledged() {
    let mut pair = Pair::v5();
    pair.deliver(Q1, &"x".repeat(50)).deliver(Q1, "b").sent();
    let _ = pair.lost();
    pair.attach(Connect::kept(Version::V5).maximum_packet_size(20));
    assert_eq!(pair.sent(), ["PUBLISH t=b q1 #2 dup"]);
    assert_eq!((pair.tally().too_large, pair.session.depths().0), (1, 1));
}

#[test]
fn a_session_of_5_0_resumes_over_3_1_1() {
    let mut pair = Pair::v5();
    pair.deliver(Q2, "a").sent();
    let _ = pair.lost();
    pair.attach(Connect::new(Version::V311));
    assert_eq!(pair.sent(), ["PUBLISH t=a q2 #1 dup"]);
    assert_eq!(pair.session.expiry(), 100, "the server's own expiry, for clean session 0");
}

#[test]
fn what_expired_in_flight_is_still_sent_again_but_with_nothing_left() {
    let mut pair = Pair::v5();
    let mut message = Message::new("t", &[], b"x");
    message.expires_at = Some(pair.now.after_secs(1));
    pair.deliver_message(Q2, message).sent();
    pair.pass(5000).again();
    assert_eq!(pair.sent(), ["PUBLISH t=x q2 #1 dup expiry=0"], "its delivery has begun [MQTT-3.3.2-5]");
}

#[test]
fn nothing_is_written_while_the_client_is_away() {
    let mut pair = Pair::v5();
    pair.feed(publish(Version::V5, Q1, 1, "x")).feed(subscribe(Version::V5, 2, 0, &[("a", 0)]));
    let _ = pair.lost();
    pair.route_all().deliver(Q1, "a").deliver(Q0, "b").pump();
    pair.session.suback(PacketId::MIN, &[ReasonCode::Success], &mut pair.out);
    assert_eq!(pair.sent(), Vec::<String>::new());
}
