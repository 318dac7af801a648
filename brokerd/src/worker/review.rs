//! What lives, held against the rules: who may have a client id, and which subscriptions still stand. Never reads a rule
//! itself: `access` does.

use std::sync::Arc;

use mqtt::ReasonCode;
use mqtt::session::Granted;

use super::shard::Shard;
use super::start::Workers;
use crate::access::{Action, Identity};
use crate::metrics::Metric;
use crate::registry::Epoch;

/// Sessions that are looked at in one turn.
const PAGE: usize = 1000;

/// What new rules ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// Subscriptions that are no longer allowed.
    pub subscriptions: u64,
    /// Sessions of users that no longer exist.
    pub sessions: u64,
}

impl Workers {
    /// Lets every worker take the rules in force and hold its sessions against them, page by page.
    pub async fn review(&self) -> Reviewed {
        let mut sum = Reviewed::default();
        for worker in 0..self.boxes.iter().len() {
            let worker = u16::try_from(worker).unwrap_or(0);
            let mut place = Some(0);
            while let Some(from) = place {
                let answer = self.ask(worker, move |shard| shard.review(from)).await;
                let (next, reviewed) = answer.unwrap_or_default();
                sum.subscriptions += reviewed.subscriptions;
                sum.sessions += reviewed.sessions;
                place = next;
            }
        }
        sum
    }
}

impl Shard {
    /// Whether this client may have this id: its user exists, and the session that has the id, if one does, is its own.
    /// Asked before anything is done to that session.
    pub(super) fn may_have(&self, client_id: &str, identity: &Identity) -> bool {
        let existing = self.slot_of(client_id).and_then(|slot| self.sessions.get(slot as usize));
        let is_own = existing.is_none_or(|entry| entry.identity.principal == identity.principal);
        is_own && self.rules.knows(&identity.principal)
    }

    /// A claim was granted for a client that may not have the id after all: the registrar and this node agree again.
    pub(super) fn return_claim(&mut self, client_id: &Arc<str>, epoch: Epoch) {
        let slot = self.slot_of(client_id);
        match slot.and_then(|slot| self.sessions.get_mut(slot as usize)) {
            Some(entry) => entry.epoch = entry.epoch.max(epoch),
            None => self.shared.elsewhere.release(client_id, epoch),
        }
    }

    /// Ends the subscriptions of a session that are not allowed. Answers how many.
    pub(super) fn revoke_subscriptions(&mut self, slot: u32) -> u64 {
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|_| self.rules.restricts_subscribers()) else {
            return 0;
        };
        let (client_id, identity) = (entry.session.client_id(), &entry.identity);
        let is_forbidden =
            |granted: &&Granted| !self.rules.authorize(client_id, identity, Action::Subscribe(granted.plain()));
        let forbidden: Vec<Granted> = entry.session.subscriptions().filter(is_forbidden).cloned().collect();
        for granted in &forbidden {
            entry.session.forget_subscription(&granted.filter);
        }
        self.unsubscribe(slot, &forbidden);
        self.counters.add(Metric::AuthorizationRevoked, forbidden.len() as u64);
        forbidden.len() as u64
    }

    fn review(&mut self, place: u32) -> (Option<u32>, Reviewed) {
        self.begin_turn();
        self.rules = self.shared.access.rules();
        let mut slots = Vec::new();
        let next = self.walk(place, PAGE, |slot, _| slots.push(slot));
        let mut reviewed = Reviewed::default();
        for slot in slots {
            let principal = self.sessions.get(slot as usize).map(|entry| &entry.identity.principal);
            if principal.is_some_and(|principal| !self.rules.knows(principal)) {
                self.say_and_drop(slot, ReasonCode::NotAuthorized);
                self.end(slot, Metric::SessionTerminated);
                reviewed.sessions += 1;
            } else {
                reviewed.subscriptions += self.revoke_subscriptions(slot);
            }
        }
        (next, reviewed)
    }
}
