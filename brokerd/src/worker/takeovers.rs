//! What is under way between nodes for the client ids of a worker: claims, sessions that come, sessions that leave. Holds no
//! more ids than that, and never moves anything itself.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mqtt::Time;

use crate::registry::Epoch;

/// Sessions on their way from and to other nodes.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    /// Claims whose grants are not here yet: their epochs may be lower than any.
    claiming: HashMap<Arc<str>, Vec<u64>, foldhash::fast::RandomState>,
    pub(super) last_claim: u64,
    /// By which epochs an id is being taken.
    coming: HashMap<Arc<str>, Vec<Epoch>, foldhash::fast::RandomState>,
    leaving: HashMap<Arc<str>, Leaving, foldhash::fast::RandomState>,
}

/// A session that another node owns.
#[derive(Debug)]
struct Leaving {
    since: Time,
    /// When it was asked for last, if it was.
    asked: Option<Time>,
    /// Whether its new owner has it live.
    is_told: bool,
}

impl Takeovers {
    /// Whether an earlier owner is still about to get the session here.
    pub(super) fn has_earlier(&self, client_id: &str, epoch: Epoch) -> bool {
        self.coming.get(client_id).is_some_and(|epochs| epochs.iter().any(|one| *one < epoch))
    }

    /// A CONNECT claims an id. Names the claim.
    pub(super) fn claims(&mut self, client_id: &Arc<str>) -> u64 {
        self.last_claim += 1;
        self.claiming.entry(client_id.clone()).or_default().push(self.last_claim);
        self.last_claim
    }

    /// It has its answer. What it is granted is to be taken before anything else is awaited.
    pub(super) fn claimed(&mut self, client_id: &str, claim: u64) {
        let Some(claims) = self.claiming.get_mut(client_id) else { return };
        claims.retain(|one| *one != claim);
        if claims.is_empty() {
            self.claiming.remove(client_id);
        }
    }

    /// Whether a claim of an id that began before `last` has no answer yet.
    pub(super) fn is_claiming(&self, client_id: &str, last: u64) -> bool {
        self.claiming.get(client_id).is_some_and(|claims| claims.iter().any(|one| *one <= last))
    }

    /// Whether an earlier owner is about to get the session here, or may be.
    pub(super) fn is_busy(&self, client_id: &str, epoch: Epoch) -> bool {
        self.has_earlier(client_id, epoch) || self.claiming.contains_key(client_id)
    }

    pub(super) fn begin(&mut self, client_id: &Arc<str>, epoch: Epoch) {
        self.coming.entry(client_id.clone()).or_default().push(epoch);
    }

    pub(super) fn end(&mut self, client_id: &str, epoch: Epoch) {
        let Some(epochs) = self.coming.get_mut(client_id) else { return };
        epochs.retain(|one| *one != epoch);
        if epochs.is_empty() {
            self.coming.remove(client_id);
        }
    }

    pub(super) fn leaves(&mut self, client_id: &Arc<str>, now: Time) {
        self.leaving.insert(client_id.clone(), Leaving { since: now, asked: None, is_told: false });
    }

    /// Answers for how many milliseconds it has been leaving. Who asks for what `is_drained` has it live.
    pub(super) fn asked(&mut self, client_id: &str, is_drained: bool, now: Time) -> u64 {
        let Some(leaving) = self.leaving.get_mut(client_id) else { return 0 };
        leaving.asked = Some(now);
        leaving.is_told |= is_drained;
        now.since(leaving.since)
    }

    /// For how long nobody has asked for it; `None` where nobody ever did.
    pub(super) fn silence(&self, client_id: &str, now: Time) -> Option<Duration> {
        self.leaving.get(client_id)?.asked.map(|asked| Duration::from_millis(now.since(asked)))
    }

    pub(super) fn has_left(&mut self, client_id: &str) {
        self.leaving.remove(client_id);
    }

    /// Whether the new owner of a session that leaves has it live.
    pub(super) fn is_told(&self, client_id: &str) -> bool {
        self.leaving.get(client_id).is_some_and(|leaving| leaving.is_told)
    }
}
