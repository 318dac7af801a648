//! Claims of client ids: what is asked, and for whom; never what is granted. Another node may get an id after ours was
//! granted and before its session is here to be told: that news is kept until then. Holds no more ids than there are
//! CONNECTs and adoptions under way.

use std::sync::Arc;

use hashbrown::HashMap;
use mqtt::session::Negotiated;

use super::shard::Shard;
use crate::access::{Identity, Principal};
use crate::registry::{Claim, Epoch, Holder};

/// Ids that are claimed at this moment.
#[derive(Debug, Default)]
pub(super) struct PendingClaims(HashMap<Arc<str>, Pending, foldhash::fast::RandomState>);

#[derive(Debug, Default)]
struct Pending {
    claims: usize,
    /// The highest epoch by which another node got the id meanwhile.
    superseded: Epoch,
}

impl PendingClaims {
    pub(super) fn begin(&mut self, client_id: &Arc<str>) {
        self.0.entry(client_id.clone()).or_default().claims += 1;
    }

    /// Answers the epoch by which the id was lost while it was claimed; 0 if it was not.
    ///
    /// What was granted to it, if it was, is lost to earlier claims of this node that are still under way: their session
    /// would come after it, and may be gone again, so that the registrar knows of neither.
    pub(super) fn end(&mut self, client_id: &Arc<str>, granted: Option<Epoch>) -> Epoch {
        let Some(pending) = self.0.get_mut(client_id) else { return Epoch::default() };
        let superseded = pending.superseded;
        pending.superseded = pending.superseded.max(granted.unwrap_or_default());
        pending.claims -= 1;
        if pending.claims == 0 {
            self.0.remove(client_id);
        }
        superseded
    }

    /// Whether an id is being claimed.
    pub(super) fn has(&self, client_id: &str) -> bool {
        self.0.contains_key(client_id)
    }

    /// The ids that are being claimed.
    pub(super) fn under_way(&self) -> Vec<Arc<str>> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn superseded(&mut self, client_id: &str, epoch: Epoch) {
        if let Some(pending) = self.0.get_mut(client_id) {
            pending.superseded = pending.superseded.max(epoch);
        }
    }
}

impl Shard {
    /// What this node asks of the registrar.
    pub(super) fn claim(&self, negotiated: &Negotiated, identity: &Identity) -> Claim {
        let slot = self.slot_of(&negotiated.client_id);
        let known = slot.and_then(|slot| self.sessions.get(slot as usize)).map(|entry| entry.epoch);
        Claim {
            client_id: negotiated.client_id.clone(),
            holder: holder_of(&identity.principal),
            needs_registrar: false,
            is_orphan: false,
            clean_start: negotiated.clean_start,
            session_expiry: negotiated.session_expiry,
            known: known.unwrap_or_default(),
        }
    }
}

/// A principal as other nodes know it.
pub(super) fn holder_of(principal: &Principal) -> Holder {
    match principal {
        Principal::Anonymous => Holder::of("anonymous"),
        Principal::User(name) => Holder::of(&format!("user/{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_lost_while_it_is_claimed_is_known_to_every_claim_under_way_and_forgotten_after_them() {
        let (mut claims, id) = (PendingClaims::default(), Arc::from("pump"));
        claims.begin(&id);
        claims.begin(&id);
        claims.superseded("pump", Epoch(7));
        claims.superseded("pump", Epoch(5));
        claims.superseded("other", Epoch(9));
        assert_eq!((claims.end(&id, None), claims.end(&id, Some(Epoch(6)))), (Epoch(7), Epoch(7)));
        claims.begin(&id);
        assert_eq!(claims.end(&id, Some(Epoch(8))), Epoch(0));
        assert!(claims.0.is_empty());
    }

    #[test]
    fn a_claim_that_comes_after_a_later_one_of_the_same_node_has_lost() {
        let (mut claims, id) = (PendingClaims::default(), Arc::from("pump"));
        claims.begin(&id);
        claims.begin(&id);
        assert_eq!(claims.end(&id, Some(Epoch(5))), Epoch(0), "the later one");
        assert_eq!(claims.end(&id, Some(Epoch(4))), Epoch(5));
    }
}
