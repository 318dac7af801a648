//! Keep alive, session expiry, DISCONNECT.

use super::packets::*;
use super::*;

fn keep_alive(seconds: u16) -> Pair {
    let mut pair = Pair::new(Version::V5);
    let mut connect = Connect::kept(Version::V5);
    connect.keep_alive = seconds;
    pair.attach(connect);
    pair
}

#[test]
fn silence_of_one_and_a_half_keep_alives_is_too_long() {
    let mut pair = keep_alive(10);
    assert_eq!(pair.pass(14_999).due(), "nothing");
    assert_eq!(pair.pass(1).due(), "keep alive", "[MQTT-3.1.2-22]");
}

#[test]
fn any_packet_counts_as_a_sign_of_life() {
    let all = [pingreq(), publish(Version::V5, Q0, 0, "x"), puback(1), subscribe(Version::V5, 1, 0, &[("a", 0)])];
    for packet in all {
        let mut pair = keep_alive(10);
        pair.pass(14_000).feed(&packet);
        assert_eq!(pair.pass(14_999).due(), "nothing", "{packet:02x?}");
        assert_eq!(pair.pass(1).due(), "keep alive");
    }
}

#[test]
fn what_we_send_is_no_sign_of_life() {
    let mut pair = keep_alive(10);
    pair.pass(14_999).deliver(Q0, "x").pass(1);
    assert_eq!(pair.due(), "keep alive");
}

#[test]
fn a_client_that_was_not_read_counts_as_heard() {
    let mut pair = keep_alive(10);
    let now = pair.pass(15_000).now;
    pair.session.heard(now);
    assert_eq!(pair.due(), "nothing");
}

#[test]
fn keep_alive_0_is_none() {
    let mut pair = keep_alive(0);
    assert_eq!(pair.session.next_timeout(), None);
    assert_eq!(pair.pass(u64::MAX / 2).due(), "nothing");
}

#[test]
fn the_longest_keep_alive_and_the_end_of_time_do_not_overflow() {
    let mut pair = keep_alive(u16::MAX);
    pair.now = Time(u64::MAX - 1);
    pair.feed(pingreq());
    assert_eq!(pair.session.next_timeout(), Some(Time(u64::MAX)));
}

#[test]
fn a_session_ends_its_expiry_after_the_connection() {
    let mut pair = Pair::v5();
    let _ = pair.pass(5000).lost();
    assert_eq!(pair.session.next_timeout(), Some(pair.now.after_secs(100)));
    assert_eq!(pair.pass(99_999).due(), "nothing");
    assert_eq!(pair.pass(1).due(), "expired");
}

#[test]
fn a_session_does_not_end_while_it_has_a_connection_however_short_its_expiry() {
    for expiry in [0, 1] {
        let mut pair = Pair::new(Version::V5);
        pair.attach(Connect::new(Version::V5).expiry(expiry));
        assert_eq!(pair.session.next_timeout(), None);
        assert_eq!(pair.pass(10_000_000).due(), "nothing", "[MQTT-4.1.0-1]");
    }
}

#[test]
fn the_largest_expiry_is_never() {
    let mut pair = Pair::new(Version::V5);
    pair.server.max_session_expiry = u32::MAX;
    pair.attach(Connect::new(Version::V5).expiry(u32::MAX));
    let _ = pair.lost();
    assert_eq!((pair.session.next_timeout(), pair.pass(u64::MAX / 2).due()), (None, "nothing".into()));
}

#[test]
fn disconnect_may_change_the_expiry() {
    let mut pair = Pair::v5();
    pair.feed(disconnect(0, Some(7)));
    assert_eq!((pair.asked(), pair.session.expiry()), (vec!["close Normal".into()], 7));
    let mut pair = Pair::v5();
    pair.feed(disconnect(0, Some(u32::MAX)));
    assert_eq!(pair.session.expiry(), 1000, "within what the server allows");
    let mut pair = Pair::v5();
    pair.feed(disconnect(0, Some(0)));
    assert_eq!(pair.session.expiry(), 0);
}

#[test]
fn disconnect_may_not_raise_an_expiry_of_0() {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::new(Version::V5));
    pair.feed(disconnect(0, Some(7)));
    assert_eq!(pair.asked(), ["close Violation(SessionExpiryRaised)"], "[MQTT-3.14.2-2]");
    assert_eq!(pair.session.expiry(), 0);
    pair.feed(disconnect(0, Some(0)));
    assert_eq!(pair.asked(), ["close Normal"], "0 is no raise");
}

#[test]
fn version_3_keeps_its_session_as_long_as_the_server_says_unless_it_is_clean() {
    for (clean, expiry) in [(false, 100), (true, 0)] {
        let mut pair = Pair::new(Version::V311);
        pair.attach(Connect { clean, ..Connect::new(Version::V311) });
        assert_eq!(pair.session.expiry(), expiry);
    }
}
