//! A message of QoS 1 or 2 whose PUBACK or PUBREC came reaches every session that was subscribed before it was sent,
//! also where that unsubscribed once it had come. Excused: sessions that ended or unsubscribed before, sessions without a connection at the end, nodes that could not reach
//! each other for long at the time.

use std::collections::HashSet;

use super::super::facts::{Facts, Publication, Session, matches, shared};
use super::super::record::{At, Event};

pub(super) fn missing(facts: &Facts) -> Vec<String> {
    let mut found = vec![];
    for session in facts.sessions.iter().filter(|session| session.ended.is_none() && is_connected(facts, session)) {
        let had = had(facts, session);
        for publication in facts.publications.iter().filter(|one| !one.is_empty && !had.contains(&one.number)) {
            if is_due(facts, session, publication) {
                found.push(format!(
                    "message {} to {} at QoS {}, acknowledged on n{}, never came to c{} on n{}",
                    publication.number,
                    publication.topic,
                    publication.qos,
                    publication.node,
                    session.client,
                    session.node
                ));
            }
        }
    }
    found
}

/// A publication whose connection stands and that was never answered.
pub(super) fn unanswered(facts: &Facts) -> Vec<String> {
    let gone: HashSet<usize> = facts.record.events.iter().filter_map(|(_, event)| ended(event)).collect();
    let unanswered = facts.publications.iter().filter(|one| {
        let conn = &facts.record.conns[one.conn];
        let is_dead = facts.deaths.iter().any(|(at, node)| *node == conn.node && *at > one.sent);
        one.qos > 0 && one.acknowledged.is_none() && !gone.contains(&one.conn) && !is_dead
    });
    unanswered
        .map(|one| format!("message {} to {} on n{} was never answered", one.number, one.topic, one.node))
        .collect()
}

pub(super) const fn ended(event: &Event) -> Option<usize> {
    match event {
        Event::Leaving(conn) | Event::Closed { conn, .. } => Some(*conn),
        _ => None,
    }
}

pub(super) fn is_connected(facts: &Facts, session: &Session) -> bool {
    let Some(last) = session.conns.last() else { return false };
    !facts.record.events.iter().any(|(_, event)| ended(event) == Some(*last))
}

/// Numbers of what came to it.
pub(super) fn had(facts: &Facts, session: &Session) -> HashSet<usize> {
    let came = facts.record.events.iter().filter_map(|(_, event)| match event {
        Event::Came { conn, number, .. } if session.conns.contains(conn) => Some(*number),
        _ => None,
    });
    came.collect()
}

fn is_due(facts: &Facts, session: &Session, publication: &Publication) -> bool {
    let Some((at, code)) = publication.acknowledged else { return false };
    let subscribed = session.subs.iter().any(|sub| {
        // Who unsubscribes after the acknowledgement had the message in its session by then.
        let stands = sub.begun.is_some_and(|begun| begun < publication.sent) && sub.left.is_none_or(|left| left > at);
        stands && sub.qos > 0 && shared(&sub.filter).is_none() && matches(&sub.filter, &publication.topic)
    });
    code < 0x80 && publication.qos > 0 && subscribed && is_near(facts, session, publication, at)
}

fn is_near(facts: &Facts, session: &Session, publication: &Publication, until: At) -> bool {
    session.begun < publication.sent && facts.were_together(session.node, publication.node, publication.sent, until)
}
