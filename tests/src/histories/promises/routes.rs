//! Each node's own filters are those of its live sessions, and each holds as many rows of each peer as the peer has; each
//! session is on one node, the one where its client is. What a node matches with for a peer is what is subscribed there. Asked when all links are whole: it may take a moment to be so.

use std::collections::BTreeSet;

use super::super::views::View;

/// What a node has to have.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Expected {
    /// Its filters, if they are known.
    pub(in super::super) filters: Option<BTreeSet<String>>,
    /// Client ids of its sessions.
    pub(in super::super) sessions: BTreeSet<String>,
    /// Of sessions that it may have besides.
    pub(in super::super) stray: BTreeSet<String>,
}

/// Why the views of all nodes are not what they have to be; `None` if they are. `rows` is how many each has of its own.
pub(in super::super) fn disagreement(expected: &[Expected], views: &[View], rows: &[usize]) -> Option<String> {
    let mut found = vec![];
    let names: Vec<String> = (0..views.len()).map(|node| format!("s{node}")).collect();
    for (node, (Expected { filters, sessions, stray }, view)) in expected.iter().zip(views).enumerate() {
        if let Some(filters) = filters.as_ref().filter(|filters| **filters != view.filters) {
            found.push(format!("n{node} has the filters {:?}, and its sessions {filters:?}", view.filters));
        }
        if !sessions.is_subset(&view.sessions) || !view.sessions.is_subset(&(sessions | stray)) {
            found.push(format!("n{node} has the sessions {:?}, and should have {sessions:?}", view.sessions));
        }
        if view.own[0] != view.own[1] {
            found.push(format!("n{node} has {:?} routes, and announces {:?}", view.own[0], view.own[1]));
        }
        for (peer, name) in names.iter().enumerate().filter(|(peer, _)| *peer != node) {
            if view.held.get(name) != Some(&views[peer].own[0]) {
                let (held, own) = (view.held.get(name), &views[peer].own[0]);
                found.push(format!("n{node} matches with {held:?} routes of n{peer}, which has {own:?}"));
            }
        }
        for (peer, rows) in rows.iter().enumerate() {
            match view.members.get(&format!("s{peer}")) {
                Some((state, held)) if state == "up" && *held == *rows as u64 => {}
                other => found.push(format!("n{node} sees n{peer} as {other:?}, and it has {rows} rows")),
            }
        }
    }
    (!found.is_empty()).then(|| found.join("\n"))
}
