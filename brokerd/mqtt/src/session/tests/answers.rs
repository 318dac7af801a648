//! What an answer says beside its code, and answers that a client would not take.

use super::packets::{self, publish, subscribe};
use super::*;
use crate::PacketId;

/// Feeds a PUBLISH that the router refuses; answers the bytes of the PUBACK.
fn refused(connect: Connect) -> Vec<u8> {
    let mut pair = Pair::new(Version::V5);
    pair.attach(connect);
    pair.feed(publish(Version::V5, Q1, 1, "x")).routed(1, ReasonCode::NotAuthorized);
    std::mem::take(&mut pair.out.wire)
}

#[test]
fn a_refused_publish_is_explained_unless_the_client_asked_for_no_reasons_or_has_no_room() {
    let connect = || Connect::new(Version::V5);
    let explained = [&[0x40, 21, 0, 1, 0x87, 17, 31, 0, 14][..], b"not authorized"].concat();
    assert_eq!(refused(connect()), explained);
    assert_eq!(refused(connect().maximum_packet_size(23)), explained);
    assert_eq!(refused(connect().maximum_packet_size(22)), [0x40, 3, 0, 1, 0x87]);
    assert_eq!(refused(connect().property(23, &[0])), [0x40, 3, 0, 1, 0x87], "Request Problem Information 0");
}

#[test]
fn a_refused_filter_and_an_unknown_packet_id_are_explained() {
    let mut pair = Pair::v5();
    pair.feed(subscribe(Version::V5, 1, 0, &[("a", 0)]));
    pair.session.suback(PacketId::MIN, &[ReasonCode::QuotaExceeded], &mut pair.out);
    assert!(pair.out.wire.ends_with(b"quota exceeded\x97"), "{:02x?}", pair.out.wire);
    pair.out.wire.clear();
    pair.feed(packets::pubrel(9));
    assert!(pair.out.wire.ends_with(b"packet identifier not found"), "PUBCOMP: {:02x?}", pair.out.wire);
    pair.out.wire.clear();
    pair.feed(packets::pubrec(9));
    assert!(pair.out.wire.ends_with(b"packet identifier not found"), "PUBREL: {:02x?}", pair.out.wire);
}

#[test]
fn who_asks_for_an_answer_larger_than_it_takes_is_told_so_and_nothing_is_done() {
    let filters: Vec<String> = (0..10).map(|number| format!("f/{number}")).collect();
    let asked: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::new(Version::V5).maximum_packet_size(15)); // 5 bytes and a code for each filter
    pair.feed(subscribe(Version::V5, 1, 0, &asked));
    assert!(pair.asked()[0].starts_with("subscribe"), "15 bytes fit");
    pair.attach(Connect::new(Version::V5).maximum_packet_size(14));
    pair.feed(packets::unsubscribe(Version::V5, 2, &filters.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(pair.asked(), ["close Violation(AnswerTooLarge)"]);
    pair.feed(subscribe(Version::V5, 3, 0, &asked));
    assert_eq!(pair.asked(), ["close Violation(AnswerTooLarge)"]);
    assert_eq!(pair.session.subscriptions().len(), 10, "the first ten stand");
    assert_eq!(pair.sent(), Vec::<String>::new());
    assert_eq!(Violation::AnswerTooLarge.reason(), ReasonCode::PacketTooLarge);
}
