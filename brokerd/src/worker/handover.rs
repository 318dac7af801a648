//! From the turn's changes to the store's queue: one batch a turn, in the order of the turns. Never waits for the store:
//! what it has no room for stays here, all later ones behind it, until it has taken something from its queue.

use std::sync::Arc;

use hashbrown::HashMap;
use mqtt::MessageId;
use store::{Batch, Body, Done, Entry, Op, Outcome, Store, StoreError};

use super::joint::Joint;
use super::mailbox::Mail;
use super::records;
use super::route::receipt;
use super::shard::Shard;
use crate::router::OnDelivered;

/// A message smaller than this is kept with each session that waits for it: a place of its own costs more.
const WORTH_SHARING: usize = 64;

/// Turns that may wait at a worker before a CONNECT that needs the store is refused. Who is connected is not read on, so that
/// what adds to them beyond is only what has begun.
const MOST_BEHIND: usize = 64;

/// What the store has answered to a batch.
pub(super) struct Kept {
    pub(super) number: u64,
    pub(super) result: Result<Outcome, StoreError>,
    /// Who waits for it beside connections, where it is not told yet.
    pub(super) receipts: Vec<Arc<OnDelivered>>,
    /// Those of its joints of which something was refused.
    pub(super) joints: Vec<Arc<Joint>>,
    /// What of it was not noted, for an entry of it was refused.
    pub(super) unreceived: Vec<Op>,
}

/// A batch that may have to wait.
pub(super) struct Ready {
    pub(super) number: u64,
    batch: Batch,
    /// Joints it comes after, and is kept with.
    joints: Vec<Arc<Joint>>,
}

impl Shard {
    /// Makes the turn's changes a batch, and hands over what may go. The store's answer comes as mail.
    pub(super) fn submit(&mut self) {
        if self.shared.store.is_none() {
            return self.journal.receipts.clear();
        }
        for (slot, incarnation) in std::mem::take(&mut self.journal.unsaved) {
            let clock = self.shared.clock();
            let Some(entry) = self.entry(slot, incarnation) else { continue };
            let Some(sid) = entry.sid() else { continue };
            let op = Op::SaveSession { sid, epoch: entry.epoch.0, record: Box::new(records::record(entry, clock)) };
            self.journal.ops.push(op);
        }
        let tickets = std::mem::take(&mut self.turn.receipts[usize::from(self.worker)]);
        if !tickets.is_empty() {
            self.journal.receipts.push(receipt(&self.shared.boxes, tickets));
        }
        self.journal.split_joint((self.shared.origin, self.worker));
        let journal = &mut self.journal;
        let receipts = std::mem::take(&mut journal.receipts);
        if journal.ops.is_empty() && journal.joined.is_empty() {
            return; // what came from elsewhere changed nothing that is kept
        }
        journal.last += 1;
        journal.has_submitted = true;
        let (mut ops, joints) = (std::mem::take(&mut journal.ops), std::mem::take(&mut journal.joined));
        let number = journal.last;
        journal.moves.submitted(number);
        if !receipts.is_empty() {
            journal.outside.push_back((number, receipts.iter().map(Arc::downgrade).collect()));
        }
        share_bodies(&mut ops);
        let received = if journal.moves.is_shared { records::received(&ops) } else { Vec::new() };
        let done = self.answer_to(number, receipts, joints.clone(), received);
        self.journal.ready.push_back(Ready { number, batch: Batch { ops, done }, joints });
        self.submit_ready();
    }

    /// What the store calls with its answer.
    fn answer_to(
        &self,
        number: u64,
        receipts: Vec<Arc<OnDelivered>>,
        mut joints: Vec<Arc<Joint>>,
        received: Vec<Op>,
    ) -> Done {
        let (worker, boxes) = (self.worker, self.shared.boxes.clone());
        Box::new(move |mut result: Result<Outcome, StoreError>| {
            let mut unreceived = Vec::new();
            if let Ok(outcome) = &mut result {
                outcome.is_full |= !joints.iter().all(|joint| joint.is_kept());
                outcome.fenced.extend(joints.iter().filter_map(|joint| joint.refused()).flat_map(|one| &one.fenced));
                unreceived = if outcome.is_unreceived { received } else { unreceived };
            }
            joints.retain(|joint| joint.refused().is_some());
            if !matches!(&result, Ok(outcome) if !outcome.is_full) {
                receipts.iter().for_each(|receipt| receipt.fail());
            }
            // What the store refused because a session has moved is brought on first.
            let has_moved = matches!(&result, Ok(outcome) if !outcome.fenced.is_empty());
            let receipts = if has_moved { receipts } else { Vec::new() };
            boxes.of(worker).post(Mail::Kept(Kept { number, result, receipts, joints, unreceived }));
        })
    }

    /// Hands over what may go: in order, and each after what it joined.
    pub(super) fn submit_ready(&mut self) {
        let Some(store) = self.shared.store.clone() else { return };
        let may_go = |ready: &mut Ready| ready.joints.iter().all(|joint| joint.is_submitted());
        while !self.journal.is_stuck
            && let Some(ready) = self.journal.ready.pop_front_if(may_go)
        {
            self.submit_one(&store, ready);
        }
        if self.journal.is_stuck || store.is_full() {
            self.await_room(&store);
        }
    }

    /// Hands over everything: the worker ends. What it joined and others never will is not kept, nor acknowledged. Answers
    /// whether the store has taken it; if not, this is to be tried again.
    pub(super) fn submit_all(&mut self) -> bool {
        let Some(store) = self.shared.store.clone() else { return true };
        self.journal.is_stuck = false;
        while !self.journal.is_stuck
            && let Some(ready) = self.journal.ready.pop_front()
        {
            self.submit_one(&store, ready);
        }
        !self.journal.is_stuck
    }

    /// What the store refuses stays the first: the order of answers is that of the turns.
    fn submit_one(&mut self, store: &Store, Ready { number, batch, joints }: Ready) {
        match store.submit(batch) {
            Ok(()) => self.journal.submitted(number),
            Err(batch) => {
                self.journal.ready.push_front(Ready { number, batch, joints });
                self.journal.is_stuck = true;
            }
        }
    }

    /// The store is behind: publishers are not read until it has taken enough.
    fn await_room(&mut self, store: &Store) {
        self.journal.is_congested = true;
        if !std::mem::replace(&mut self.journal.awaits_room, true) {
            let (worker, boxes) = (self.worker, self.shared.boxes.clone());
            store.when_taken(move || boxes.of(worker).post(Mail::Room));
        }
    }

    /// The store has taken something from its queue.
    pub(super) fn room(&mut self) {
        (self.journal.awaits_room, self.journal.is_stuck) = (false, false);
        self.submit_ready();
        if self.journal.is_congested && !self.journal.awaits_room {
            self.journal.is_congested = false;
            self.resume_paused();
        }
    }

    /// A session has changed. While the store has no room for what was changed before, its client is not read on.
    pub(super) const fn changes_behind(&mut self, slot: u32) {
        if self.journal.is_stuck {
            self.turn.under_pressure = Some(slot);
        }
    }

    /// Whether so much waits for room in the store that nobody is let in who adds to it.
    pub(super) fn is_far_behind(&self) -> bool {
        self.journal.is_stuck && self.journal.ready.len() >= MOST_BEHIND
    }

    /// Whether who publishes is not to be read, also where what it publishes is kept by other workers.
    pub(super) fn is_store_behind(&mut self) -> bool {
        if !self.journal.is_congested
            && let Some(store) = self.shared.store.as_ref().filter(|store| store.is_full()).cloned()
        {
            self.await_room(&store);
        }
        self.journal.is_congested
    }
}

/// Has a message that several sessions wait for kept once.
pub(super) fn share_bodies(ops: &mut Vec<Op>) {
    let mut copies: HashMap<MessageId, usize, foldhash::fast::RandomState> = HashMap::default();
    for op in &*ops {
        if let Some(message) = shareable(op) {
            *copies.entry(message).or_default() += 1;
        }
    }
    copies.retain(|_, count| *count > 1);
    if copies.is_empty() {
        return;
    }
    let mut bodies = Vec::with_capacity(copies.len());
    for op in &mut *ops {
        let Some(id) = shareable(op).filter(|id| copies.contains_key(id)) else { continue };
        let Op::Enqueue { entry: Entry { body, .. }, .. } = op else { continue };
        let size = match &*body {
            Body::Inline(message) => u32::try_from(message.heap_size()).unwrap_or(u32::MAX),
            Body::Shared(_, size) => *size,
        };
        if let Body::Inline(message) = std::mem::replace(body, Body::Shared(id, size))
            && copies.insert(id, 0) != Some(0)
        {
            bodies.push(Op::PutMessage(id, message));
        }
    }
    ops.splice(0..0, bodies);
}

fn shareable(op: &Op) -> Option<MessageId> {
    let Op::Enqueue { entry: Entry { body: Body::Inline(message), .. }, .. } = op else { return None };
    let is_worth_it = message.payload().len() > WORTH_SHARING && message.id.sequence != 0;
    is_worth_it.then_some(message.id)
}
