//! The wills of other nodes' clients that this node holds, and when they are due: once their node is down, and the
//! delay over. Never sends one, and never asks whether the client is back elsewhere: the executor does.
//!
//! The node that holds a client's will is the one that is its registrar when its owner is gone, so that who comes back
//! elsewhere asks for the id where the will is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use mqtt::MessageId;
use tokio::time::Instant;

use crate::registry::{Epoch, LastWill, will_id};

/// How long a will that was sent or deleted is known, at least, unless there are more than [`MOST_RECENT`].
const MEMORY: Duration = Duration::from_secs(600);
const MOST_RECENT: usize = 65_536;

/// Identities that were seen, for a while.
pub(super) struct Recent {
    young: HashSet<MessageId>,
    old: HashSet<MessageId>,
    since: Instant,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), since: Instant::now() }
    }

    /// Whether it is the first of its kind.
    pub(super) fn insert(&mut self, id: MessageId) -> bool {
        if self.young.len() >= MOST_RECENT || self.since.elapsed() >= MEMORY {
            self.old = std::mem::take(&mut self.young);
            self.since = Instant::now();
        }
        !self.old.contains(&id) && self.young.insert(id)
    }

    fn contains(&self, id: MessageId) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }
}

/// A will while its node lives.
struct Held {
    will: LastWill,
    /// Which start of its node has entrusted it.
    instance: u64,
    /// Since its client is gone, when it is due.
    due: Option<Instant>,
    /// Its session was ended by a claim of another node: the delay does not count.
    has_ended: bool,
}

/// A will whose node is gone.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) will: LastWill,
    pub(super) owner: Arc<str>,
    /// Whether a client that is back elsewhere makes it void.
    pub(super) can_be_cancelled: bool,
}

/// The order in which wills are due; the number tells those of one moment apart.
type Turn = (Instant, u64);

/// All of them.
pub(super) struct Wills {
    held: HashMap<Arc<str>, HashMap<Arc<str>, Held>>,
    due: BTreeMap<Turn, Orphan>,
    /// Those that a client can still cancel.
    by_client: HashMap<Arc<str>, Turn>,
    number: u64,
    bytes: usize,
    limit: usize,
    /// What was withdrawn: an announcement that was under way must not bring it back.
    over: Recent,
}

impl Wills {
    pub(super) fn new(limit: usize) -> Self {
        let (held, due, by_client) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Self { held, due, by_client, number: 0, bytes: 0, limit, over: Recent::new() }
    }

    /// How many there are, and their bytes.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        (self.held.values().map(HashMap::len).sum::<usize>() + self.due.len(), self.bytes)
    }

    /// A node entrusts a will, or says more of it. False where there is no room.
    pub(super) fn entrust(&mut self, owner: &str, instance: u64, will: LastWill) -> bool {
        let (client_id, epoch) = (will.client_id.clone(), will.epoch);
        if self.over.contains(will_id(&client_id, epoch)) {
            return true;
        }
        self.back_with(owner, &client_id, epoch);
        let known = self.held.get(owner).and_then(|wills| wills.get(&client_id));
        if known.is_some_and(|held| held.will.epoch > epoch) {
            return true; // late news of an earlier connection
        }
        let freed = known.map_or(0, |held| held.will.size());
        if self.bytes - freed + will.size() > self.limit {
            self.remove(owner, &client_id, epoch); // what it replaces is void all the same
            return false;
        }
        self.bytes = self.bytes - freed + will.size();
        let due = will.due_in.map(|left| Instant::now() + left);
        let held = Held { will, instance, due, has_ended: false };
        match self.held.get_mut(owner) {
            Some(wills) => drop(wills.insert(client_id, held)),
            None => drop(self.held.insert(owner.into(), HashMap::from_iter([(client_id, held)]))),
        }
        true
    }

    /// A node that was held to be gone still has the client: its will is not due.
    fn back_with(&mut self, owner: &str, client_id: &str, epoch: Epoch) {
        let Some(turn) = self.by_client.get(client_id).copied() else { return };
        let is_it = self.due.get(&turn).is_some_and(|it| it.will.epoch <= epoch && &*it.owner == owner);
        if is_it {
            self.drop_due(turn);
        }
    }

    /// A node has sent or deleted a will.
    pub(super) fn withdraw(&mut self, owner: &str, client_id: &str, epoch: Epoch) {
        self.over.insert(will_id(client_id, epoch));
        self.back_with(owner, client_id, epoch);
        self.remove(owner, client_id, epoch);
    }

    fn remove(&mut self, owner: &str, client_id: &str, up_to: Epoch) {
        let Some(wills) = self.held.get_mut(owner) else { return };
        if wills.get(client_id).is_some_and(|held| held.will.epoch <= up_to) {
            let held = wills.remove(client_id);
            self.bytes -= held.map_or(0, |held| held.will.size());
        }
        if wills.is_empty() {
            self.held.remove(owner);
        }
    }

    /// A node leaves, and takes its wills along.
    pub(super) fn withdraw_all(&mut self, owner: &str) {
        let wills = self.held.remove(owner).unwrap_or_default();
        self.bytes -= wills.values().map(|held| held.will.size()).sum::<usize>();
    }

    /// This node has left: what it holds is others' to send.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// A node is down.
    pub(super) fn lost(&mut self, owner: &str) {
        let Some((owner, wills)) = self.held.remove_entry(owner) else { return };
        wills.into_values().for_each(|held| self.fall_due(&owner, held));
    }

    /// A node has told what its present start has: what an earlier one had is nobody's.
    pub(super) fn began_anew(&mut self, owner: &str, instance: u64) {
        let Some((name, mut wills)) = self.held.remove_entry(owner) else { return };
        let earlier: Vec<Held> = wills.extract_if(|_, held| held.instance != instance).map(|(_, held)| held).collect();
        earlier.into_iter().for_each(|held| self.fall_due(&name, held));
        if !wills.is_empty() {
            self.held.insert(name, wills);
        }
    }

    fn fall_due(&mut self, owner: &Arc<str>, held: Held) {
        let Held { will, due, has_ended, .. } = held;
        let delay = if has_ended { Duration::ZERO } else { will.delay() };
        let now = Instant::now();
        self.number += 1;
        let turn = (due.unwrap_or(now + delay).max(now), self.number);
        let can_be_cancelled = !delay.is_zero();
        if can_be_cancelled {
            self.by_client.insert(will.client_id.clone(), turn);
        }
        self.due.insert(turn, Orphan { will, owner: owner.clone(), can_be_cancelled });
    }

    fn drop_due(&mut self, turn: Turn) -> Option<Orphan> {
        let orphan = self.due.remove(&turn)?;
        self.bytes -= orphan.will.size();
        if self.by_client.get(&orphan.will.client_id) == Some(&turn) {
            self.by_client.remove(&orphan.will.client_id);
        }
        Some(orphan)
    }

    /// A client was granted its id from `epoch` on. Answers whether that made a will void: one with a delay, unless the
    /// client begins anew, which ends the session that the will is of (5.0 section 3.1.3.2.2).
    pub(super) fn claimed(&mut self, client_id: &str, epoch: Epoch, is_clean: bool) -> bool {
        if is_clean {
            let held = self.held.values_mut().filter_map(|wills| wills.get_mut(client_id));
            held.filter(|held| held.will.epoch < epoch).for_each(|held| {
                held.has_ended = true;
                held.due = None;
            });
        }
        let Some(turn) = self.by_client.get(client_id).copied() else { return false };
        if self.due.get(&turn).is_none_or(|orphan| orphan.will.epoch >= epoch) {
            return false;
        }
        let Some(mut orphan) = self.drop_due(turn) else { return false };
        if is_clean {
            orphan.can_be_cancelled = false;
            self.bytes += orphan.will.size();
            self.number += 1;
            self.due.insert((Instant::now(), self.number), orphan);
        }
        !is_clean
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next one that is due.
    pub(super) fn take_due(&mut self) -> Option<Orphan> {
        let turn = *self.due.first_key_value()?.0;
        if turn.0 <= Instant::now() { self.drop_due(turn) } else { None }
    }

    /// Drops those of live nodes that this one is to hold no more.
    pub(super) fn sweep(&mut self, is_ours: impl Fn(&str, &str) -> bool) {
        for (owner, wills) in &mut self.held {
            for (_, held) in wills.extract_if(|id, _| !is_ours(owner, id)) {
                self.bytes -= held.will.size();
            }
        }
        self.held.retain(|_, wills| !wills.is_empty());
    }
}
