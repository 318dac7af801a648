//! Where the peers of this node are, for its next start: one that was given no seed finds its cluster again. Never says
//! who is a member, and keeps nothing itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::MemberState;
use super::peer::Peer;
use super::start::Remember;

/// Those it has met. One that is down stays as long as it is known, and the last ones for good: only who leaves is not
/// looked for.
pub(super) struct Acquaintances {
    met: BTreeMap<Arc<str>, SocketAddr>,
    told: watch::Sender<Vec<String>>,
}

impl Acquaintances {
    /// And what is to be kept of them.
    pub(super) fn new() -> (Self, watch::Receiver<Vec<String>>) {
        let (told, kept) = watch::channel(Vec::new());
        (Self { met: BTreeMap::new(), told }, kept)
    }

    /// Looks at all peers that there are.
    pub(super) fn look(&mut self, peers: &[Arc<Peer>]) {
        let seen = peers.iter().map(|peer| {
            let standing = peer.standing.lock();
            (peer.name.clone(), standing.state(&peer.name), standing.address)
        });
        self.see(&seen.collect::<Vec<_>>());
    }

    fn see(&mut self, peers: &[(Arc<str>, MemberState, SocketAddr)]) {
        for (name, state, address) in peers {
            match state {
                MemberState::Up => drop(self.met.insert(name.clone(), *address)),
                MemberState::Leaving => drop(self.met.remove(name)),
                MemberState::Joining | MemberState::Down => {}
            }
        }
        if peers.iter().any(|(_, state, _)| *state == MemberState::Up) {
            self.met.retain(|name, _| peers.iter().any(|(known, ..)| known == name));
        }
        let addresses: Vec<String> = self.met.values().map(SocketAddr::to_string).collect();
        self.told.send_if_modified(|told| {
            let is_new = *told != addresses;
            *told = addresses;
            is_new
        });
    }
}

/// Keeps what changes, one after the other, until there is nobody who looks.
pub(super) async fn keep(mut acquainted: watch::Receiver<Vec<String>>, remember: Remember) {
    while acquainted.changed().await.is_ok() {
        let (addresses, remember) = (acquainted.borrow_and_update().clone(), remember.clone());
        let _ = tokio::task::spawn_blocking(move || remember(&addresses)).await; // ends early with the runtime only
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use MemberState::{Down, Joining, Leaving, Up};

    use super::*;

    #[test]
    fn who_was_up_is_looked_for_until_it_leaves_or_is_forgotten_beside_others() {
        let (mut acquaintances, mut kept) = Acquaintances::new();
        let mut see = |peers: &[(&str, MemberState)]| {
            let at = |name: &str| SocketAddr::from(([127, 0, 0, 1], u16::from(name.as_bytes()[0])));
            let peers: Vec<_> = peers.iter().map(|(name, state)| ((*name).into(), *state, at(name))).collect();
            acquaintances.see(&peers);
            let is_new = kept.has_changed().unwrap();
            let addresses = kept.borrow_and_update();
            let ports = addresses.iter().filter_map(|address| address.rsplit(':').next()?.parse().ok());
            is_new.then(|| String::from_utf8(ports.collect()).unwrap())
        };
        assert_eq!(see(&[]), None, "what was kept at the last start stays until somebody is met");
        assert_eq!(see(&[("a", Joining)]), None, "nobody has met it");
        assert_eq!(see(&[("a", Up), ("b", Up)]).as_deref(), Some("ab"));
        assert_eq!(see(&[("a", Down), ("b", Up)]), None);
        assert_eq!(see(&[("b", Up)]).as_deref(), Some("b"), "forgotten");
        assert_eq!(see(&[("b", Down)]), None);
        assert_eq!(see(&[]), None, "nobody is there who would know another");
        assert_eq!(see(&[("b", Up)]), None);
        assert_eq!(see(&[("b", Leaving)]).as_deref(), Some(""));
    }
}
