//! What a drain is told to do. Never asks whether a reference is right.

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
        Self { rate, clients, redirect: Arc::new(redirect) }
    }
}

#[cfg(test)]
mod tests {
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
}
