//! One member of a shared group gets each message: a living one, and one only. Judged where the group did not change, all
//! its members are connected, and the nodes could reach each other while the message was under way; the second half also
//! elsewhere, for the same member.

use std::collections::{BTreeMap, HashSet};

use super::super::facts::{Facts, Publication, Session, Sub, matches, shared};
use super::acknowledged::{had, is_connected};

/// Acknowledged, and no member has it.
pub(super) fn unserved(facts: &Facts) -> Vec<String> {
    over_groups(facts, |publication, filter, count| {
        let is_acknowledged = publication.qos > 0 && publication.acknowledged.is_some_and(|(_, code)| code < 0x80);
        let is_lost = is_acknowledged && count == 0;
        is_lost
            .then(|| format!("message {} to {}: no member of {filter} got it", publication.number, publication.topic))
    })
}

/// More than one has it.
pub(super) fn doubled(facts: &Facts) -> Vec<String> {
    over_groups(facts, |publication, filter, count| {
        let what =
            || format!("message {} to {}: {count} members of {filter} got it", publication.number, publication.topic);
        (count > 1).then(what)
    })
}

fn over_groups(facts: &Facts, judge: impl Fn(&Publication, &str, usize) -> Option<String>) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<(&Session, &Sub)>> = BTreeMap::new();
    for session in &facts.sessions {
        for sub in session.subs.iter().filter(|sub| shared(&sub.filter).is_some()) {
            groups.entry(&sub.filter).or_default().push((session, sub));
        }
    }
    let mut found = vec![];
    for (filter, members) in groups {
        for publication in facts.publications.iter().filter(|one| !one.is_empty && matches(filter, &one.topic)) {
            if let Some(living) = stable(facts, &members, publication) {
                // A member that also has a plain subscription, or is of another group, has a copy by that.
                let living: Vec<_> =
                    living.into_iter().filter(|session| is_only_way(session, filter, publication)).collect();
                if living.is_empty() {
                    continue;
                }
                let count = living.iter().filter(|session| had(facts, session).contains(&publication.number)).count();
                found.extend(judge(publication, filter, count));
            }
        }
    }
    found
}

/// The members, where it is sure who they were, each has a connection, and each could be reached.
fn stable<'a>(facts: &Facts, members: &[(&'a Session, &Sub)], publication: &Publication) -> Option<Vec<&'a Session>> {
    let (at, _) = publication.acknowledged?;
    let mut living = vec![];
    let mut seen = HashSet::new();
    for (session, sub) in members {
        let has_ended_before =
            session.ended.is_some_and(|ended| ended < publication.sent && facts.was_whole(ended, at));
        if has_ended_before || sub.ended.is_some_and(|ended| ended < publication.sent) {
            continue;
        }
        let stands =
            session.ended.is_none() && sub.left.is_none() && sub.begun.is_some_and(|begun| begun < publication.sent);
        let is_there = stands && sub.qos > 0 && is_connected(facts, session) && session.conns.len() == 1;
        if !is_there || !facts.were_together(session.node, publication.node, publication.sent, at) {
            return None;
        }
        if !is_only_way(session, &sub.filter, publication) {
            return None;
        }
        if seen.insert(session.begun) {
            living.push(*session);
        }
    }
    facts.was_whole(publication.sent, at).then_some(living)
}

fn is_only_way(session: &Session, filter: &str, publication: &Publication) -> bool {
    !session.subs.iter().any(|sub| sub.filter != filter && matches(&sub.filter, &publication.topic))
}
