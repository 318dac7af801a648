//! A client id has one owner: who connects later has the id, the connection before is closed, and the later one is not;
//! a kept session is there when its client comes back to it, and a clean start finds none. Excused: Session Present where
//! nodes could not reach each other since the session began, and a connection whose successor's node died before it could
//! reach the node of the one before.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::facts::Facts;
use super::super::record::{Conn, Event};
use super::acknowledged::ended;

/// Connections that a later one of the same client should have closed, and are open.
pub(super) fn still_open(facts: &Facts) -> Vec<String> {
    let gone: HashSet<usize> = facts.record.events.iter().filter_map(|(_, event)| ended(event)).collect();
    let open = facts.session_of.keys().filter(|conn| !gone.contains(conn)).filter(|conn| {
        let conn = &facts.record.conns[**conn];
        !is_dead(facts, conn.node, conn.life)
    });
    let has_moved = |conn: &&usize| {
        let client = facts.record.conns[**conn].client;
        let later =
            facts.session_of.keys().filter(|later| *later > *conn && facts.record.conns[**later].client == client);
        later.into_iter().any(|later| !died_untold(facts, **conn, *later))
    };
    let stale = open.filter(has_moved);
    let stale = stale.map(|conn| {
        let conn = &facts.record.conns[*conn];
        format!("c{} has two connections, the older one to n{}", conn.client, conn.node)
    });
    stale.collect()
}

/// Connections that were closed though they were their client's last, and greetings that were wrong.
pub(super) fn ousted(facts: &Facts) -> Vec<String> {
    let (mut last, mut left, mut dead) = (HashMap::new(), HashSet::new(), HashSet::new());
    let mut found = vec![];
    for (_, event) in &facts.record.events {
        match event {
            Event::Connecting(conn) => drop(last.insert(facts.record.conns[*conn].client, *conn)),
            Event::Leaving(conn) => drop(left.insert(*conn)),
            Event::Killed(node) => {
                let conns = facts.record.conns.iter().enumerate();
                dead.extend(conns.filter(|(_, conn)| conn.node == *node).map(|(number, _)| number));
            }
            Event::Closed { conn, code } => {
                let (client, node) = (facts.record.conns[*conn].client, facts.record.conns[*conn].node);
                if last.get(&client) == Some(conn) && !left.contains(conn) && !dead.contains(conn) {
                    found
                        .push(format!("c{client} was closed on n{node} (reason {code:02x?}), and no other has its id"));
                }
            }
            _ => {}
        }
    }
    for (conn, is_present, expected) in &facts.greetings {
        let conn = &facts.record.conns[*conn];
        if expected.is_some_and(|expected| expected != *is_present) {
            found.push(format!("c{} on n{}: Session Present is {is_present}", conn.client, conn.node));
        }
    }
    found
}

/// Clients whose session may still be on a node, since nobody is left who could tell it that it has moved.
pub(in super::super) fn untold(facts: &Facts, node: usize) -> BTreeSet<usize> {
    let here = facts.record.conns.iter().enumerate().filter(|(_, conn)| conn.node == node);
    let is_untold = |(number, conn): &(usize, &Conn)| {
        facts.session_of.keys().any(|later| {
            *later > *number && facts.record.conns[*later].client == conn.client && died_untold(facts, *number, *later)
        })
    };
    here.filter(is_untold).map(|(_, conn)| conn.client).collect()
}

/// The node of the later connection died before it could reach that of the one before.
fn died_untold(facts: &Facts, before: usize, later: usize) -> bool {
    let (one, other) = (&facts.record.conns[before], &facts.record.conns[later]);
    let begun =
        facts.record.events.iter().position(|(_, event)| *event == Event::Connecting(later)).unwrap_or_default();
    let death = facts.deaths.iter().find(|(at, node)| *node == other.node && *at > begun);
    death.is_some_and(|(at, _)| one.node != other.node && !facts.were_together(one.node, other.node, begun, *at))
}

/// That life of the node has ended.
fn is_dead(facts: &Facts, node: usize, life: usize) -> bool {
    facts.deaths.iter().filter(|(_, dead)| *dead == node).count() > life
}
