//! A client id has one owner: who connects later has the id, the connection before is closed, and the later one is not;
//! a kept session is there when its client comes back to it, and a clean start finds none. Excused: Session Present where
//! nodes could not reach each other since the session began.

use std::collections::{HashMap, HashSet};

use super::super::facts::Facts;
use super::super::record::Event;
use super::acknowledged::ended;

/// Connections that a later one of the same client should have closed, and are open.
pub(super) fn still_open(facts: &Facts) -> Vec<String> {
    let gone: HashSet<usize> = facts.record.events.iter().filter_map(|(_, event)| ended(event)).collect();
    let last = last(facts);
    let open = facts.session_of.keys().filter(|conn| !gone.contains(conn)).filter(|conn| {
        let conn = &facts.record.conns[**conn];
        !is_dead(facts, conn.node, conn.life)
    });
    let stale = open.filter(|conn| last.get(&facts.record.conns[**conn].client).is_some_and(|last| last > conn));
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

fn last(facts: &Facts) -> HashMap<usize, usize> {
    let conns = facts.record.conns.iter().enumerate();
    conns
        .filter(|(number, _)| facts.session_of.contains_key(number))
        .map(|(number, conn)| (conn.client, number))
        .collect()
}

/// That life of the node has ended.
fn is_dead(facts: &Facts, node: usize, life: usize) -> bool {
    facts.deaths.iter().filter(|(_, dead)| *dead == node).count() > life
}
