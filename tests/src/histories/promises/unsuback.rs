//! Nothing comes without a subscription, nor after its UNSUBACK. Excused: what is sent again with DUP, for it was in flight.

use super::super::facts::{Facts, matches};
use super::super::record::{At, Event};

pub(super) fn unasked(facts: &Facts) -> Vec<String> {
    let mut found = vec![];
    for (at, (_, event)) in facts.record.events.iter().enumerate() {
        let Event::Came { conn, number, is_dup: false, .. } = event else { continue };
        let Some(session) = facts.session_of.get(conn).map(|session| &facts.sessions[*session]) else { continue };
        let Some(publication) = facts.publications.iter().find(|one| one.number == *number) else { continue };
        let is_asked = session
            .subs
            .iter()
            .any(|sub| sub.asked < at && sub.ended.unwrap_or(At::MAX) > at && matches(&sub.filter, &publication.topic));
        if !is_asked && !session.is_murky {
            found.push(format!("message {number} to {} came to c{} unasked", publication.topic, session.client));
        }
    }
    found
}
