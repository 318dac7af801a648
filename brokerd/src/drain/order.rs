//! What a drain is told to do. Never asks whether a reference is right.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mqtt::ReasonCode;

use crate::worker::Redirect;

/// Nodes of a cluster are not more.
const MAX_REFERENCES: usize = 64;

/// An order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Clients a second; 0 is `node.drain_rate`.
    pub rate: u32,
    /// So many, while others are let in; 0 is all.
    pub clients: u64,
    pub(super) redirect: Arc<Redirect>,
    /// Who gets sessions without a connection; none is all other nodes.
    heirs: Vec<String>,
}

impl Order {
    /// Clients of 5.0 are told to go to these, the first of which is not the same for all.
    #[must_use]
    pub fn new(rate: u32, clients: u64, references: &[String], is_for_good: bool) -> Self {
        let references = &references[..references.len().min(MAX_REFERENCES)];
        let turned = |by: usize| {
            let (head, tail) = references.split_at(by);
            [tail, head].concat().join(" ") // [5.0 section 4.11]
        };
        let redirect = Redirect {
            reason: if is_for_good { ReasonCode::ServerMoved } else { ReasonCode::UseAnotherServer },
            references: (0..references.len()).map(turned).collect(),
        };
        Self { rate, clients, redirect: Arc::new(redirect), heirs: Vec::new() }
    }

    /// Sessions without a connection go to these members only.
    #[must_use]
    pub fn sessions_to(self, members: &[String]) -> Self {
        Self { heirs: members[..members.len().min(MAX_REFERENCES)].to_vec(), ..self }
    }

    /// The node that gets a session: of those that are up and meant the one with the highest rendezvous hash.
    pub(super) fn heir(&self, client_id: &str, others: &[String]) -> Option<String> {
        let is_meant = |node: &&String| self.heirs.is_empty() || self.heirs.contains(node);
        let weight = |node: &&String| {
            let mut hasher = DefaultHasher::new(); // this node alone decides: any hash does
            (node, client_id).hash(&mut hasher);
            hasher.finish()
        };
        others.iter().filter(is_meant).max_by_key(weight).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn clients_are_told_of_all_nodes_and_begin_with_different_ones() {
        let order = Order::new(0, 0, &["a:1".into(), "b:1".into(), "c:1".into()], false);
        assert_eq!(order.redirect.references, ["a:1 b:1 c:1", "b:1 c:1 a:1", "c:1 a:1 b:1"]);
        assert_eq!(order.redirect.reason, ReasonCode::UseAnotherServer);
        let none = Order::new(0, 0, &[], true);
        assert!(none.redirect.references.is_empty());
        assert_eq!(none.redirect.reason, ReasonCode::ServerMoved);
    }

    #[test]
    fn sessions_go_to_all_that_are_meant_and_up_and_to_no_other() {
        let others: Vec<String> = ["b", "c", "d"].map(Into::into).into();
        let shares = |order: &Order| {
            let mut shares = BTreeMap::new();
            for number in 0..900 {
                let heir = order.heir(&format!("client-{number}"), &others);
                *shares.entry(heir.unwrap_or_default()).or_insert(0) += 1;
            }
            shares
        };
        let to_all = shares(&Order::new(0, 0, &[], false));
        assert!(to_all.len() == 3 && to_all.values().all(|share| *share > 200), "{to_all:?}");
        let to_some = shares(&Order::new(0, 0, &[], false).sessions_to(&["c".into(), "d".into(), "gone".into()]));
        assert!(to_some.keys().eq(["c", "d"]) && to_some.values().all(|share| *share > 300), "{to_some:?}");
        let to_none = Order::new(0, 0, &[], false).sessions_to(&["gone".into()]);
        assert_eq!(to_none.heir("client", &others), None);
    }
}
