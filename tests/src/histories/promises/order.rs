//! What one connection publishes to one topic at one QoS comes in that order. Excused: what a session may get by a shared
//! subscription, which may be given to it after another member had it, and copies of what is retained.

use std::collections::{HashMap, HashSet};

use super::super::facts::{Facts, matches, shared};
use super::super::record::Event;

pub(super) fn overtaken(facts: &Facts) -> Vec<String> {
    let published: HashMap<usize, _> = facts.publications.iter().map(|one| (one.number, one)).collect();
    let mut last: HashMap<(usize, usize, &str, u8), usize> = HashMap::new();
    let (mut known, mut found) = (HashSet::new(), vec![]);
    for (_, event) in &facts.record.events {
        let Event::Came { conn, number, qos, is_retained: false, .. } = event else { continue };
        let (Some(session), Some(publication)) = (facts.session_of.get(conn), published.get(number)) else { continue };
        let topic = publication.topic.as_str();
        let subs = &facts.sessions[*session].subs;
        let is_shared = subs.iter().any(|sub| shared(&sub.filter).is_some() && matches(&sub.filter, topic));
        if is_shared || !known.insert((*session, *number)) {
            continue;
        }
        let before = last.entry((*session, publication.conn, topic, *qos)).or_insert(*number);
        if *before > *number {
            let client = facts.sessions[*session].client;
            found.push(format!("message {number} to {topic} came to c{client} after {before} of the same publisher"));
        }
        *before = (*before).max(*number);
    }
    found
}
