//! A message comes once to a session, and once more for each of its shared subscriptions: at QoS 2 always, at QoS 1 but for
//! what is sent again with DUP, which a receiver can know. Excused: copies of what is retained.

use std::collections::BTreeMap;

use super::super::facts::{Facts, matches, shared};
use super::super::record::Event;

pub(super) fn twice(facts: &Facts) -> Vec<String> {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (_, event) in &facts.record.events {
        if let Event::Came { conn, number, qos, is_dup, is_retained: false } = event
            && (*qos == 2 || !is_dup)
            && let Some(session) = facts.session_of.get(conn)
        {
            *counts.entry((*session, *number)).or_default() += 1;
        }
    }
    let mut found = vec![];
    for ((session, number), count) in counts {
        let session = &facts.sessions[session];
        let Some(publication) = facts.publications.iter().find(|one| one.number == number) else { continue };
        let groups: std::collections::BTreeSet<&str> = session
            .subs
            .iter()
            .filter(|sub| shared(&sub.filter).is_some() && matches(&sub.filter, &publication.topic))
            .map(|sub| sub.filter.as_str())
            .collect();
        let is_plain =
            session.subs.iter().any(|sub| shared(&sub.filter).is_none() && matches(&sub.filter, &publication.topic));
        let allowed = groups.len() + usize::from(is_plain);
        if count > allowed.max(1) {
            found.push(format!("message {number} to {} came {count} times to c{}", publication.topic, session.client));
        }
    }
    found
}
