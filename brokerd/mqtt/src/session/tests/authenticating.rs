//! Enhanced authentication: whose turn it is, and how long it may go on.

use super::packets::auth;
use super::*;
use crate::packet;

/// Connected with the method `m`.
fn pair() -> Pair {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::kept(Version::V5).property(21, &[0, 1, b'm']));
    pair
}

fn more(data: &str) -> Verdict {
    Verdict::Continue(data.as_bytes().into())
}

impl Pair {
    fn verdict(&mut self, verdict: Verdict) -> &mut Self {
        self.session.authenticated(verdict, &mut self.out);
        self
    }
}

#[test]
fn a_client_authenticates_again_in_as_many_steps_as_the_mechanism_wants() {
    let mut pair = pair();
    pair.feed(auth(0x19, "m", "one"));
    assert_eq!(pair.asked(), ["authenticate anew Some(\"one\")"]);
    pair.verdict(more("two"));
    assert_eq!(pair.sent(), ["AUTH 0x18 m=two"]);
    pair.feed(auth(0x18, "m", "three"));
    assert_eq!(pair.asked(), ["authenticate Some(\"three\")"]);
    pair.verdict(Verdict::Success(Some(Box::from(*b"four"))));
    assert_eq!(pair.sent(), ["AUTH 0x00 m=four"]);
    pair.feed(auth(0x19, "m", "again"));
    assert_eq!(pair.asked(), ["authenticate anew Some(\"again\")"], "and again, later");
    pair.verdict(Verdict::Failure);
    assert_eq!(pair.asked(), ["close Server(NotAuthorized)"]);
}

#[test]
fn other_packets_are_handled_while_a_client_authenticates_again() {
    let mut pair = pair();
    pair.feed(auth(0x19, "m", "one")).verdict(more("two")).asked();
    pair.sent();
    pair.feed(packets::pingreq()).deliver(Q0, "x");
    assert_eq!(pair.sent(), ["PINGRESP", "PUBLISH t=x q0"]);
}

#[test]
fn an_auth_out_of_turn_ends_the_connection() {
    let unexpected = ["close Violation(UnexpectedAuth)"];
    let mut no_method = Pair::v5();
    no_method.feed(auth(0x19, "m", ""));
    assert_eq!(no_method.asked(), unexpected, "CONNECT named no method");
    let mut not_begun = pair();
    not_begun.feed(auth(0x18, "m", ""));
    assert_eq!(not_begun.asked(), unexpected, "nothing to continue");
    let mut at_work = pair();
    at_work.feed(auth(0x19, "m", "")).asked();
    at_work.feed(auth(0x18, "m", ""));
    assert_eq!(at_work.asked(), unexpected, "it is the mechanism's turn");
    let mut twice = pair();
    twice.feed(auth(0x19, "m", "")).verdict(more("")).asked();
    twice.feed(auth(0x19, "m", ""));
    assert_eq!(twice.asked(), unexpected, "begun already");
    let mut other = pair();
    other.feed(auth(0x19, "n", ""));
    assert_eq!(other.asked(), ["close Violation(AuthMethodChanged)"]);
    assert_eq!(Violation::UnexpectedAuth.reason(), ReasonCode::ProtocolError);
    assert_eq!(Violation::AuthMethodChanged.reason(), ReasonCode::ProtocolError);
}

#[test]
fn an_exchange_that_goes_on_and_on_is_ended() {
    let mut pair = pair();
    pair.feed(auth(0x19, "m", ""));
    let mut rounds = 1;
    loop {
        pair.asked();
        pair.verdict(more("more")).feed(auth(0x18, "m", ""));
        if pair.out.events.iter().any(|event| matches!(event, Event::Close(_))) {
            break;
        }
        rounds += 1;
    }
    assert_eq!((rounds, pair.asked()), (16, vec!["close Violation(AuthTooLong)".to_owned()]));
    assert_eq!(Violation::AuthTooLong.reason(), ReasonCode::NotAuthorized);
}

#[test]
fn an_exchange_of_too_many_bytes_is_ended() {
    let data = vec![b'x'; 60_000];
    let client = |data| packet::Auth {
        reason: ReasonCode::ContinueAuthentication,
        method: Some("m"),
        data: Some(data),
        properties: packet::Properties::default(),
    };
    let mut exchange = Authentication::begin("m".into(), Some(&data), Time(0));
    assert_eq!(exchange.go_on(&data, None, &mut Vec::new()), Ok(()));
    assert_eq!(exchange.received(&client(&data), Time(0)), Err(Violation::AuthTooLong));
}

#[test]
fn what_a_client_does_not_take_is_not_sent() {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::new(Version::V5).property(21, &[0, 1, b'm']).maximum_packet_size(30));
    pair.feed(auth(0x19, "m", "")).asked();
    pair.verdict(more(&"x".repeat(30)));
    assert_eq!((pair.sent(), pair.asked()), (vec![], vec!["close Violation(AnswerTooLarge)".to_owned()]));
}

#[test]
fn an_exchange_that_takes_too_long_is_due_and_one_that_ended_is_not() {
    let mut pair = pair();
    assert_eq!(pair.session.next_timeout(), None);
    pair.feed(auth(0x19, "m", ""));
    assert_eq!(pair.session.next_timeout(), Some(pair.now.after_millis(5000)));
    assert_eq!(pair.pass(4999).due(), "nothing");
    assert_eq!(pair.pass(1).due(), "unauthenticated");
    pair.verdict(Verdict::Success(None));
    assert_eq!((pair.due(), pair.session.next_timeout()), ("nothing".into(), None));
}

#[test]
fn an_answer_that_comes_when_nobody_waits_for_it_is_ignored() {
    let mut pair = pair();
    pair.verdict(more("x"));
    pair.feed(auth(0x19, "m", "")).asked();
    pair.verdict(more("a")).verdict(more("b"));
    assert_eq!(pair.sent(), ["AUTH 0x18 m=a"]);
    let _ = pair.lost();
    pair.verdict(Verdict::Failure);
    assert_eq!(pair.asked(), Vec::<String>::new());
}
