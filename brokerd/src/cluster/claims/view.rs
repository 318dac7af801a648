//! The live nodes, and which of them is the registrar of a client id. Never asks anybody: it is arithmetic, and the same
//! on every node and in every version, because nodes of different versions share a cluster.

/// The live nodes at one time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Sorted, with the hash of each name.
    nodes: Vec<(String, u64)>,
    /// Names the view between nodes.
    pub(super) hash: u64,
}

impl View {
    pub(super) fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        let hash = mix(names.iter().fold(FNV_OFFSET, |hash, name| fnv(fnv(hash, name.as_bytes()), &[0xff])));
        let nodes = names.into_iter().map(|name| (fnv(FNV_OFFSET, name.as_bytes()), name));
        let nodes = nodes.map(|(hash, name)| (name, mix(hash))).collect();
        Self { nodes, hash }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.nodes.binary_search_by(|(node, _)| node.as_str().cmp(name)).is_ok()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|(name, _)| name.as_str())
    }

    /// The node with the highest rendezvous hash; of equal ones the last by name.
    pub(super) fn registrar(&self, client_id: &str) -> &str {
        self.highest(client_id, |_| true).unwrap_or_default()
    }

    /// The node that sends the will of a client when the client's own is gone: the registrar by then.
    pub(super) fn executor(&self, owner: &str, client_id: &str) -> Option<&str> {
        self.highest(client_id, |name| name != owner)
    }

    fn highest(&self, client_id: &str, may_be: impl Fn(&str) -> bool) -> Option<&str> {
        let id = fnv(FNV_OFFSET, client_id.as_bytes());
        let nodes = self.nodes.iter().filter(|(name, _)| may_be(name));
        nodes.max_by_key(|(_, node)| mix(node ^ id)).map(|(name, _)| name.as_str())
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of splitmix64: FNV alone leaves the high bits of short names alike.
const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(names: &[&str]) -> View {
        View::new(names.iter().map(ToString::to_string).collect())
    }

    fn ids() -> Vec<String> {
        (0..9_000).map(|n| format!("device-{n}")).collect()
    }

    #[test]
    fn a_node_that_comes_or_goes_moves_only_its_own_ids() {
        let (three, four) = (view(&["a", "b", "c"]), view(&["a", "b", "c", "d"]));
        for id in ids() {
            let (before, after) = (three.registrar(&id), four.registrar(&id));
            assert!(before == after || after == "d", "`{id}` moved from {before} to {after}");
        }
    }

    #[test]
    fn ids_are_spread_evenly() {
        let view = view(&["node-1", "node-2", "node-3"]);
        for name in ["node-1", "node-2", "node-3"] {
            let count = ids().iter().filter(|id| view.registrar(id) == name).count();
            assert!((2_800..3_200).contains(&count), "{name} has {count} of 9,000");
        }
    }

    #[test]
    fn who_holds_a_will_is_the_registrar_once_its_owner_is_gone() {
        let (all, rest) = (view(&["a", "b", "c"]), view(&["b", "c"]));
        for id in ids() {
            assert_eq!(all.executor("a", &id), Some(rest.registrar(&id)));
        }
        assert_eq!(view(&["a"]).executor("a", "pump"), None);
    }

    #[test]
    fn the_choice_is_the_same_in_every_version() {
        // Literals, not computed: a change of them is a change of the protocol.
        let view = view(&["c", "a", "b", "a"]);
        let chosen: Vec<_> = ["pump", "fan", "valve", "", "é"].iter().map(|id| view.registrar(id)).collect();
        assert_eq!((chosen.join(" "), view.hash), ("b a b b c".to_owned(), 1_220_888_558_286_029_193));
    }
}
