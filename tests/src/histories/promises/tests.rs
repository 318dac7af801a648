//! Records made up by hand, of which each breaks one promise, or comes near to it and keeps it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Abilities;
use super::super::facts::Facts;
use super::super::record::{Conn, Event, Inner};
use super::super::views::View;
use super::{Expected, Promise, Shelf, disagreement, due, of_retained, wrong};

/// A record in which a millisecond passes before each event.
#[derive(Default)]
struct Tale(Inner, Duration);

impl Tale {
    /// Connections of clients 0, 1, ... to these nodes, each greeted.
    fn of(nodes: &[usize]) -> Self {
        let tale = nodes.iter().enumerate().fold(Self::default(), |tale, (client, node)| tale.connects(client, *node));
        assert!(broken(&tale).is_empty());
        tale
    }

    fn connects(mut self, client: usize, node: usize) -> Self {
        let conn = self.0.conns.len();
        self.0.conns.push(Conn { client, node, life: 0, is_kept: false });
        self.then(Event::Connecting(conn)).then(Event::Connected { conn, is_present: false })
    }

    fn then(mut self, event: Event) -> Self {
        self.1 += Duration::from_millis(1);
        self.0.events.push((self.1, event));
        self
    }

    fn later(mut self, millis: u64) -> Self {
        self.1 += Duration::from_millis(millis);
        self
    }

    fn subscribes(self, conn: usize, filter: &str) -> Self {
        let filter = filter.to_owned();
        let asked = Event::Subscribing { conn, filter: filter.clone(), qos: 2 };
        self.then(asked).then(Event::Subscribed { conn, filter, code: 2 })
    }

    fn publishes(self, conn: usize, number: usize, qos: u8) -> Self {
        self.then(Event::Publishing { conn, number, topic: "a".into(), qos, is_retained: false })
    }

    fn acknowledged(self, number: usize) -> Self {
        self.then(Event::Acknowledged { number, code: 0 })
    }

    fn comes(self, conn: usize, number: usize, qos: u8, is_dup: bool) -> Self {
        self.then(Event::Came { conn, number, qos, is_dup, is_retained: false })
    }
}

fn facts(tale: &Tale) -> Facts {
    Facts::of(&tale.0, Abilities::NOW)
}

fn broken(tale: &Tale) -> Vec<Promise> {
    let facts = facts(tale);
    due(&facts).into_iter().chain(wrong(&facts)).map(|broken| broken.promise).collect()
}

#[test]
fn an_acknowledged_message_that_never_came_is_refused_and_one_that_came_is_not() {
    let tale = || Tale::of(&[0, 1]).subscribes(0, "#").publishes(1, 1, 1).acknowledged(1);
    assert_eq!(broken(&tale()), [Promise::Acknowledged]);
    assert_eq!(broken(&tale().comes(0, 1, 1, false)), []);
}

#[test]
fn who_subscribes_again_at_qos_0_is_due_nothing_and_at_qos_1_is_due_what_it_was() {
    let again = |qos| {
        let asked = Event::Subscribing { conn: 0, filter: "#".into(), qos };
        Tale::of(&[0, 1]).subscribes(0, "#").then(asked).publishes(1, 1, 1).acknowledged(1)
    };
    assert_eq!(broken(&again(0)), []);
    assert_eq!(broken(&again(1)), [Promise::Acknowledged]);
}

#[test]
fn a_publication_that_is_never_answered_is_refused() {
    assert_eq!(broken(&Tale::of(&[0]).publishes(0, 1, 1)), [Promise::Answered]);
}

#[test]
fn who_unsubscribes_after_the_acknowledgement_is_due_the_message_and_who_did_so_before_is_not() {
    let leaves = |tale: Tale| {
        let filter = "a".to_owned();
        let asked = Event::Unsubscribing { conn: 0, filter: filter.clone() };
        tale.then(asked).then(Event::Unsubscribed { conn: 0, filter })
    };
    let tale = || Tale::of(&[0, 1]).subscribes(0, "a").publishes(1, 1, 1);
    assert_eq!(broken(&leaves(tale().acknowledged(1))), [Promise::Acknowledged]);
    assert_eq!(broken(&leaves(tale()).acknowledged(1)), []);
}

#[test]
fn a_fault_excuses_what_is_missing_only_if_it_was_long_and_only_until_everybody_sees_everybody() {
    let lost = |tale: Tale| tale.publishes(1, 1, 1).acknowledged(1);
    let cut = |millis| Tale::of(&[0, 1]).subscribes(0, "#").then(Event::Struck(0, 1)).later(millis);
    assert_eq!(broken(&lost(cut(2_000))), []);
    assert_eq!(broken(&lost(cut(2_000)).then(Event::Healed).then(Event::Settled)), []);
    assert_eq!(broken(&lost(cut(2_000).then(Event::Healed).then(Event::Settled))), [Promise::Acknowledged]);
    assert_eq!(broken(&lost(cut(100)).then(Event::Healed)), [Promise::Acknowledged]);
    let elsewhere = Tale::of(&[0, 1]).subscribes(0, "#").then(Event::Struck(1, 2)).later(2_000);
    assert_eq!(broken(&lost(elsewhere)), [Promise::Acknowledged]);
}

#[test]
fn a_second_copy_is_refused_at_qos_2_and_at_qos_1_unless_it_is_marked_as_one() {
    let tale = |qos| Tale::of(&[0]).subscribes(0, "#").publishes(0, 1, qos).acknowledged(1).comes(0, 1, qos, false);
    assert_eq!(broken(&tale(2).comes(0, 1, 2, true)), [Promise::Once]);
    assert_eq!(broken(&tale(1).comes(0, 1, 1, false)), [Promise::Once]);
    assert_eq!(broken(&tale(1).comes(0, 1, 1, true)), []);
}

#[test]
fn a_message_that_overtakes_another_of_its_publisher_is_refused() {
    let tale = |first, second| {
        let tale = Tale::of(&[0, 1]).subscribes(0, "#").publishes(1, 1, 1).publishes(1, 2, 1);
        tale.acknowledged(1).acknowledged(2).comes(0, first, 1, false).comes(0, second, 1, false)
    };
    assert_eq!(broken(&tale(2, 1)), [Promise::Order]);
    assert_eq!(broken(&tale(1, 2)), []);
}

#[test]
fn a_client_with_two_connections_is_refused_and_so_is_one_that_lost_its_last() {
    let closed = |conn| Event::Closed { conn, code: Some(0x8e) };
    assert_eq!(broken(&Tale::of(&[0]).connects(0, 1)), [Promise::Owner]);
    assert_eq!(broken(&Tale::of(&[0]).connects(0, 1).then(closed(0))), []);
    assert_eq!(broken(&Tale::of(&[0]).connects(0, 1).then(closed(0)).then(closed(1))), [Promise::Owner]);
    let killed = |tale: Tale| tale.connects(0, 1).later(2_000).then(Event::Killed(1));
    assert_eq!(broken(&killed(Tale::of(&[0]))), [Promise::Owner]);
    assert_eq!(broken(&killed(Tale::of(&[0]).then(Event::Struck(0, 1)))), [], "nobody was left who knew of it");
}

#[test]
fn a_session_that_should_not_be_there_is_refused() {
    let mut tale = Tale::of(&[0]);
    tale.0.events[1].1 = Event::Connected { conn: 0, is_present: true };
    assert_eq!(broken(&tale), [Promise::Owner]);
}

#[test]
fn two_members_of_a_group_with_one_message_are_refused_and_so_is_none() {
    let tale = || Tale::of(&[0, 1]).subscribes(0, "$share/g/a").subscribes(1, "$share/g/a").publishes(1, 1, 1);
    assert_eq!(broken(&tale().acknowledged(1)), [Promise::Shared]);
    assert_eq!(broken(&tale().acknowledged(1).comes(0, 1, 1, false)), []);
    assert_eq!(broken(&tale().acknowledged(1).comes(0, 1, 1, false).comes(1, 1, 1, false)), [Promise::Shared]);
}

#[test]
fn what_comes_unasked_is_refused() {
    let tale = Tale::of(&[0, 1]).publishes(1, 1, 0).comes(0, 1, 0, false);
    assert_eq!(broken(&tale), [Promise::Unsuback]);
}

#[test]
fn nodes_that_retain_different_messages_or_an_older_one_are_refused() {
    let write = |tale: Tale, number| {
        let write = Event::Publishing { conn: 0, number, topic: "a".into(), qos: 1, is_retained: true };
        tale.then(write).acknowledged(number)
    };
    let facts = facts(&write(write(Tale::of(&[0]), 1), 2));
    let shelf = |number| -> Shelf { BTreeMap::from([("a".to_owned(), number)]) };
    assert_eq!(of_retained(&facts, &[shelf(2), shelf(2)]), []);
    assert_eq!(of_retained(&facts, &[shelf(2), shelf(1)]).len(), 1);
    assert_eq!(of_retained(&facts, &[shelf(1), shelf(1)]).len(), 1);
}

#[test]
fn a_node_that_matches_with_what_a_peer_does_not_have_is_refused() {
    let view = |peer: &str, held| View {
        members: BTreeMap::from([("s0".to_owned(), ("up".to_owned(), 0)), ("s1".to_owned(), ("up".to_owned(), 0))]),
        held: BTreeMap::from([(peer.to_owned(), (held, vec![]))]),
        ..View::default()
    };
    let expected = vec![Expected::default(); 2];
    assert_eq!(disagreement(&expected, &[view("s1", 0), view("s0", 0)], &[0, 0]), None);
    let told = disagreement(&expected, &[view("s1", 1), view("s0", 0)], &[0, 0]).unwrap();
    assert!(told.contains("n0 matches with"), "{told}");
}
