//! The versions of the peer protocol: which this build speaks, and what two nodes agree on. Never speaks itself.
//!
//! A version adds: kinds of frames and requests, fields, gossip keys. What a node does not know it passes over (a frame, a
//! field, a key) or answers with `refused` (a request), so that a node of an earlier version takes part in all else.

/// The newest. 2 adds the requests `Fetch`, `Take` and `Entrust`: sessions and wills that move between nodes.
pub const NEWEST: u32 = 2;
/// The oldest: the version before, so that a cluster is upgraded node by node.
pub const OLDEST: u32 = 1;

/// The first version with the requests that version 1 does not know.
pub(super) const MOVING: u32 = 2;

/// The version that a node that speaks up to `ours` uses with one that speaks from `oldest` (0: it says no oldest) to `theirs`.
pub(super) fn agree(ours: u32, theirs: u32, oldest: u32) -> Result<u32, String> {
    let oldest = if oldest == 0 { theirs } else { oldest };
    let agreed = ours.min(theirs);
    if agreed < OLDEST || agreed < oldest || oldest > theirs {
        return Err(format!("this node speaks peer protocol {OLDEST} to {ours}, it {oldest} to {theirs}"));
    }
    Ok(agreed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn the_configuration_offers_what_is_spoken() {
        let load = |set: &[&str]| {
            let set = set.iter().map(|one| (*one).to_owned()).chain(["node.data_dir=/nowhere".to_owned()]).collect();
            load(&Sources { set, node_name: Some("n".to_owned()), ..Sources::default() })
        };
        let with = |version: u32| load(&[&format!("cluster.protocol={version}")]);
        assert_eq!(load(&[]).map(|config| config.cluster.protocol), Ok(NEWEST));
        assert!(with(OLDEST).is_ok() && with(NEWEST).is_ok());
        assert!(with(OLDEST - 1).is_err() && with(NEWEST + 1).is_err());
    }

    #[test]
    fn two_nodes_use_the_newest_version_that_both_speak() {
        assert_eq!(agree(2, 2, 1), Ok(2));
        assert_eq!(agree(2, 1, 1), Ok(1));
        assert_eq!(agree(1, 2, 1), Ok(1));
        assert_eq!(agree(2, 3, 2), Ok(2), "a node of the next version");
        assert_eq!(agree(2, 1, 0), Ok(1), "one that says no oldest");
    }

    #[test]
    fn nodes_more_than_one_version_apart_refuse_each_other_with_both_ranges() {
        for (ours, theirs, oldest) in [(2, 4, 3), (1, 3, 2), (2, 0, 0), (2, 7, 0), (2, 1, 9), (2, u32::MAX, u32::MAX)] {
            let why = agree(ours, theirs, oldest);
            assert!(why.as_ref().is_err_and(|why| why.contains("peer protocol 1 to")), "{why:?}");
        }
    }
}
