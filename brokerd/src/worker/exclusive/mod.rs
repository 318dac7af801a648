//! `$exclusive/filter`: a subscription that one client of the whole cluster has at a time. Owns the way from a SUBSCRIBE
//! to its claim and back; never decides who has a filter: this node's table and the registrar of its key do.

mod table;

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use mqtt::session::{Granted, Requested};
use mqtt::{PacketId, ReasonCode};
use tokio::time::Instant;

pub(super) use self::table::Exclusives;
use self::table::Reserved;
use super::mailbox::Mail;
use super::shard::Shard;
use crate::access::Action;
use crate::metrics::Metric;
use crate::registry::{Claim, Epoch, Holder, exclusive_key};

/// For all the claims of one SUBSCRIBE: what was not asked for by then is refused.
const PATIENCE: Duration = Duration::from_secs(2);

/// A SUBSCRIBE whose claims are under way.
pub(super) struct Claiming {
    slot: u32,
    incarnation: u32,
    /// Of the connection that asked.
    epoch: Epoch,
    packet_id: Option<PacketId>,
    requested: Vec<Requested>,
    keys: HashSet<Arc<str>>,
}

impl Shard {
    /// Makes a SUBSCRIBE's subscriptions live, those that are exclusive once they are claimed.
    pub(super) fn subscribe(&mut self, slot: u32, packet_id: Option<PacketId>, mut requested: Vec<Requested>) {
        self.counters.add(Metric::SubscribeReceived, u64::from(packet_id.is_some()));
        let Some(entry) = self.sessions.get(slot as usize) else {
            return;
        };
        let (epoch, incarnation) = (entry.epoch, entry.incarnation);
        let keys = self.reserve(slot, &mut requested);
        if keys.is_empty() {
            return self.make_live(slot, epoch, packet_id, requested);
        }
        let client_id = self.client_id(slot);
        let claiming = Claiming { slot, incarnation, epoch, packet_id, requested, keys };
        let (shared, worker) = (self.shared.clone(), self.worker);
        tokio::task::spawn_local(async move {
            let (until, mut outcomes) = (Instant::now() + PATIENCE, Vec::new());
            for key in &claiming.keys {
                let claim = Claim {
                    client_id: key.clone(),
                    holder: Holder::of(&client_id),
                    needs_registrar: true,
                    is_orphan: false,
                    clean_start: false,
                    session_expiry: 0,
                    known: Epoch(0),
                };
                let is_late = Instant::now() >= until;
                let granted = if is_late { None } else { shared.elsewhere.claim(claim).await.ok() };
                outcomes.push(granted.map(|grant| grant.epoch));
            }
            let settle = move |shard: &mut Self| shard.claimed(claiming, &outcomes);
            shared.boxes.of(worker).post(Mail::Ask(Box::new(settle)));
        });
    }

    /// A session has come from another node: what it had exclusively it claims here. What another client got meanwhile
    /// it has lost.
    pub(super) fn claim_exclusives(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get(slot as usize) else { return };
        let client_id = entry.session.client_id().clone();
        let filters: Vec<String> =
            entry.session.subscriptions().filter_map(|granted| granted.exclusive().map(str::to_owned)).collect();
        for filter in filters {
            let key = exclusive_key(&filter);
            match self.shared.exclusives.reserve(&key, &client_id) {
                Reserved::Held => continue,
                Reserved::Taken => {
                    self.exclusive_lost(&client_id, &filter);
                    continue;
                }
                Reserved::Claim => {}
            }
            let claim = Claim {
                client_id: key.clone(),
                holder: Holder::of(&client_id),
                needs_registrar: true,
                is_orphan: false,
                clean_start: false,
                session_expiry: 0,
                known: Epoch(0),
            };
            let (shared, worker, client_id) = (self.shared.clone(), self.worker, client_id.clone());
            tokio::task::spawn_local(async move {
                let granted = shared.elsewhere.claim(claim).await.ok().map(|grant| grant.epoch);
                let settle = move |shard: &mut Self| {
                    if shard.shared.exclusives.settle(&key, granted) {
                        return;
                    }
                    if let Some(epoch) = granted {
                        shard.shared.elsewhere.release(&key, epoch);
                    }
                    shard.exclusive_lost(&client_id, &filter);
                };
                shared.boxes.of(worker).post(Mail::Ask(Box::new(settle)));
            });
        }
    }

    /// Answers the keys to be claimed. What another client of this node has is refused at once; what the client may not
    /// subscribe to is left to be refused, and takes nothing from anybody.
    fn reserve(&mut self, slot: u32, requested: &mut [Requested]) -> HashSet<Arc<str>> {
        let mut keys = HashSet::new();
        if !self.shared.settings.session.capabilities.exclusive {
            return keys;
        }
        let Some(entry) = self.sessions.get_mut(slot as usize) else { return keys };
        let client_id = entry.session.client_id().clone();
        for one in requested {
            let Some(filter) = one.outcome.as_ref().ok().and_then(Granted::exclusive) else { continue };
            if !self.rules.authorize(&client_id, &entry.identity, Action::Subscribe(filter)) {
                continue;
            }
            let key = exclusive_key(filter);
            match self.shared.exclusives.reserve(&key, &client_id) {
                Reserved::Held => {}
                Reserved::Claim => drop(keys.insert(key)),
                Reserved::Taken if keys.contains(&key) => {} // twice in one SUBSCRIBE
                Reserved::Taken => {
                    self.counters.inc(Metric::ExclusiveRefused);
                    refuse(one, |filter| entry.session.forget_subscription(filter));
                }
            }
        }
        keys
    }

    /// The claims of a SUBSCRIBE have ended.
    fn claimed(&mut self, claiming: Claiming, outcomes: &[Option<Epoch>]) {
        self.begin_turn();
        let Claiming { slot, incarnation, epoch, packet_id, mut requested, keys } = claiming;
        let mut refused = HashSet::new();
        for (key, granted) in keys.into_iter().zip(outcomes) {
            if !self.shared.exclusives.settle(&key, *granted) {
                if let Some(epoch) = granted {
                    self.shared.elsewhere.release(&key, *epoch);
                }
                refused.insert(key);
            }
        }
        self.counters.add(Metric::ExclusiveRefused, refused.len() as u64);
        let Some(entry) = self.entry(slot, incarnation) else {
            return; // its end let go of what was claimed
        };
        let mut seen = HashSet::new();
        for one in requested.iter_mut().rev() {
            let Ok(granted) = &mut one.outcome else { continue };
            if granted.exclusive().is_some_and(|filter| refused.contains(&exclusive_key(filter))) {
                refuse(one, |filter| entry.session.forget_subscription(filter));
                continue;
            }
            // An UNSUBSCRIBE, or another SUBSCRIBE, may have come meanwhile; of one that is in this twice the last counts.
            match entry.session.subscription(granted.serial) {
                Some(present) if seen.insert(present.serial) => *granted = present.clone(),
                Some(_) => {}
                None => one.outcome = Err(ReasonCode::UnspecifiedError),
            }
        }
        self.make_live(slot, epoch, packet_id, requested);
    }

    /// A client subscribes to an exclusive filter no more: another may.
    pub(super) fn let_go(&self, slot: u32, filter: &str) {
        let key = exclusive_key(filter);
        if let Some(epoch) = self.shared.exclusives.let_go(&key, &self.client_id(slot)) {
            self.shared.elsewhere.release(&key, epoch);
        }
    }

    /// Another node got a filter by a higher epoch: the subscription ends here. MQTT has no word for it.
    pub(super) fn exclusive_lost(&mut self, client_id: &str, filter: &str) {
        self.begin_turn();
        let Some(slot) = self.slot_of(client_id) else { return };
        if self.shared.exclusives.is_held_by(&exclusive_key(filter), client_id) {
            return; // won again since
        }
        let Some(entry) = self.sessions.get_mut(slot as usize) else { return };
        let lost = entry.session.subscriptions().find(|granted| granted.exclusive() == Some(filter)).cloned();
        let Some(lost) = lost else { return };
        tracing::warn!(client_id, filter, "an exclusive subscription is another client's, on another node");
        entry.session.forget_subscription(&lost.filter);
        self.unsubscribe(slot, &[lost]);
        self.counters.inc(Metric::ExclusiveLost);
    }
}

/// Refuses a subscription; one that the session had before stays with it.
fn refuse(one: &mut Requested, forget: impl FnOnce(&str)) {
    let outcome = std::mem::replace(&mut one.outcome, Err(ReasonCode::QuotaExceeded));
    if let Some(granted) = outcome.ok().filter(|_| one.is_new) {
        forget(&granted.filter);
    }
}
