//! When a joiner may serve (cluster-traps 16): in sync with the union of its peers' member lists, each of which lists it
//! back. Pure: knows neither a clock nor a link.

use std::collections::BTreeSet;

use proto::peer::MemberRow;

/// One peer, as far as readiness is concerned.
#[derive(Clone, Debug)]
pub(super) struct PeerSight {
    pub(super) name: String,
    /// Its rows are all here, and its links are open.
    pub(super) in_sync: bool,
    /// The members it told of; empty if it has not yet.
    pub(super) list: Vec<MemberRow>,
}

/// The members that this node must still get in sync with, or that do not list it; `None` where it knows of no other
/// member at all.
pub(super) fn missing(me: (&str, u64), peers: &[PeerSight]) -> Option<BTreeSet<String>> {
    if peers.is_empty() {
        return None;
    }
    let listed = peers.iter().flat_map(|peer| peer.list.iter().map(|row| row.node.as_str()));
    let known = peers.iter().map(|peer| peer.name.as_str());
    let union: BTreeSet<&str> = known.chain(listed).filter(|name| *name != me.0).collect();
    let is_met = |name: &str| {
        peers.iter().any(|peer| {
            let lists_me = peer.list.iter().any(|row| (row.node.as_str(), row.generation) == me);
            peer.name == name && peer.in_sync && lists_me
        })
    };
    Some(union.into_iter().filter(|name| !is_met(name)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, in_sync: bool, list: &[(&str, u64)]) -> PeerSight {
        let row = |(node, generation): &(&str, u64)| MemberRow {
            node: (*node).to_owned(),
            generation: *generation,
            ..MemberRow::default()
        };
        PeerSight { name: name.to_owned(), in_sync, list: list.iter().map(row).collect() }
    }
    fn missing_of(peers: &[PeerSight]) -> Option<Vec<String>> {
        missing(("me", 2), peers).map(|names| names.into_iter().collect())
    }

    #[test]
    fn trap_16_a_joiner_that_knows_only_its_seed_misses_whom_the_seed_lists() {
        let seed = peer("seed", true, &[("seed", 1), ("third", 1), ("me", 2)]);
        assert_eq!(missing_of(std::slice::from_ref(&seed)), Some(vec!["third".to_owned()]));
        let third = peer("third", true, &[("seed", 1), ("third", 1), ("me", 2)]);
        assert_eq!(missing_of(&[seed, third]), Some(vec![]));
    }

    #[test]
    fn trap_16_a_peer_that_does_not_list_this_generation_back_is_missing() {
        assert_eq!(missing_of(&[peer("b", true, &[("b", 1)])]), Some(vec!["b".to_owned()]));
        assert_eq!(missing_of(&[peer("b", true, &[("b", 1), ("me", 1)])]), Some(vec!["b".to_owned()]));
        assert_eq!(missing_of(&[peer("b", false, &[("b", 1), ("me", 2)])]), Some(vec!["b".to_owned()]));
    }

    #[test]
    fn trap_16_a_node_that_knows_only_itself_is_not_ready() {
        assert_eq!(missing_of(&[]), None);
    }
}
