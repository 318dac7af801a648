//! Wills: when they are sent, and what is sent. Delay, session expiry and the way the connection ended, in all pairs.

use super::packets::*;
use super::*;

const WILL: &str = "will=w q1";

fn with(delay: u32, expiry: u32) -> Pair {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::new(Version::V5).expiry(expiry).will(delay));
    pair
}

#[test]
fn without_a_delay_it_is_sent_at_every_end_but_a_normal_one() {
    let ends = [
        Closing::Lost,
        Closing::WithWill,
        Closing::Violation(Violation::TopicAliasZero),
        Closing::Server(ReasonCode::KeepAliveTimeout),
        Closing::Server(ReasonCode::SessionTakenOver),
        Closing::Server(ReasonCode::ServerShuttingDown),
    ];
    for (closing, expiry) in ends.into_iter().flat_map(|closing| [(closing, 0), (closing, 100)]) {
        assert_eq!(with(0, expiry).detach(closing).as_deref(), Some(WILL), "{closing:?} {expiry}");
    }
    assert_eq!(with(0, 100).detach(Closing::Normal), None, "[MQTT-3.14.4-3]");
}

#[test]
fn it_is_sent_once() {
    let mut pair = with(0, 100);
    assert_eq!(pair.lost().as_deref(), Some(WILL));
    assert_eq!(pair.pass(100_000).due(), "expired");
    assert_eq!(pair.session.take_will(pair.now), None);
}

#[test]
fn a_delay_holds_it_until_the_delay_is_over() {
    let mut pair = with(10, 100);
    assert_eq!(pair.lost(), None);
    assert_eq!(pair.session.next_timeout(), Some(pair.now.after_secs(10)));
    assert_eq!(pair.pass(9_999).due(), "nothing");
    assert_eq!(pair.pass(1).due(), WILL);
    assert_eq!(pair.due(), "nothing");
    assert_eq!(pair.session.next_timeout(), Some(pair.now.after_secs(90)), "then the session's own end");
}

#[test]
fn the_end_of_the_session_comes_before_a_longer_delay() {
    let mut pair = with(100, 10);
    assert_eq!(pair.lost(), None);
    assert_eq!(pair.pass(10_000).due(), "expired");
    assert!(pair.session.take_will(pair.now).is_some(), "it is sent with the end");
}

#[test]
fn a_session_of_expiry_0_ends_with_its_connection_whatever_the_delay() {
    assert_eq!(with(100, 0).lost().as_deref(), Some(WILL));
}

#[test]
fn a_session_that_never_ends_still_sends_its_will() {
    let mut pair = with(10, u32::MAX);
    pair.server.max_session_expiry = u32::MAX;
    pair.attach(Connect::new(Version::V5).expiry(u32::MAX).will(10));
    assert_eq!(pair.lost(), None);
    assert_eq!(pair.pass(10_000).due(), WILL);
    assert_eq!(pair.session.next_timeout(), None);
}

#[test]
fn a_client_that_is_back_in_time_cancels_it() {
    let mut pair = with(10, 100);
    assert_eq!(pair.lost(), None);
    pair.session.cancel_will();
    pair.attach(Connect::kept(Version::V5));
    assert_eq!(pair.pass(20_000).due(), "nothing");
    assert_eq!(pair.lost(), None, "the new connection has none");
}

#[test]
fn a_normal_disconnect_deletes_a_delayed_one_too() {
    let mut pair = with(10, 100);
    assert_eq!(pair.feed(disconnect(0, None)).asked(), ["close Normal"]);
    assert_eq!(pair.detach(Closing::Normal), None);
    assert_eq!(pair.pass(10_000).due(), "nothing");
}

#[test]
fn disconnect_with_will_and_every_failure_keep_it() {
    for reason in [0x04, 0x80, 0x81, 0x98] {
        assert_eq!(with(0, 100).feed(disconnect(reason, None)).asked(), ["close WithWill"], "{reason:#04x}");
    }
}

#[test]
fn its_expiry_counts_from_its_publication() {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::kept(Version::V5).will(10).will_expiry(60));
    assert_eq!(pair.pass(500_000).lost(), None);
    assert_eq!(pair.pass(10_000).due(), "will=w q1 expiry=60", "5.0 section 3.1.3.2.4");
    pair.attach(Connect::kept(Version::V5).will(0).will_expiry(60));
    assert_eq!(pair.lost().as_deref(), Some("will=w q1 expiry=60"));
}

#[test]
fn its_retain_flag_and_properties_are_kept() {
    let mut connect = Connect::kept(Version::V5).will(5);
    let (properties, _, retain) = connect.will.as_mut().unwrap();
    properties.extend([1, 1]);
    *retain = true;
    let mut pair = Pair::new(Version::V5);
    pair.attach(connect);
    let will = pair.session.take_will(pair.now).unwrap();
    assert_eq!((will.properties(), will.retain, will.qos), (&[1, 1][..], true, Q1));
}

#[test]
fn version_3_has_wills_without_delay() {
    let mut connect = Connect::new(Version::V311);
    connect.will = Some((Vec::new(), "w", false));
    for (closing, will) in [(Closing::Lost, Some(WILL)), (Closing::Normal, None)] {
        let mut pair = Pair::new(Version::V311);
        pair.attach(connect.clone());
        assert_eq!(pair.detach(closing).as_deref(), will);
    }
}
