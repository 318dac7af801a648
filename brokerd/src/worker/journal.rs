//! What a turn changed in kept sessions: gathered, handed to the store as one batch, and what waits for it let go when it
//! is kept. Never waits for the store: a connection's promises stay in its wire buffer, a peer's batch unanswered.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use mqtt::message::SharedMessage;
use mqtt::session::{Change, Closing};
use mqtt::{MessageId, ReasonCode};
use store::{Batch, Body, Entry, Op, Outcome, Stamp, State, StoreError};

use super::conn::Conn;
use super::mailbox::Mail;
use super::records;
use super::shard::Shard;
use crate::retain::{self, What};
use crate::router::OnDelivered;

/// A message smaller than this is kept with each session that waits for it: a place of its own costs more.
const WORTH_SHARING: usize = 64;

/// The changes of this turn, and who waits for those of earlier ones.
#[derive(Default)]
pub(super) struct Journal {
    ops: Vec<Op>,
    /// Sessions to be saved as they are at the end of the turn.
    unsaved: HashSet<(u32, u32), foldhash::fast::RandomState>,
    /// Batches of deliveries from elsewhere that this turn carried out.
    receipts: Vec<Arc<OnDelivered>>,
    /// The number of the last batch that the store was given, and of the last that it has answered.
    last: u64,
    answered: u64,
    /// Whether the store is behind: publishers are not read.
    pub(super) is_congested: bool,
    /// Whether the store did not keep the last batch.
    has_failed: bool,
    /// Connections that hold bytes back, by the batch they wait for.
    held: VecDeque<(u64, Vec<(u32, u32)>)>,
}

impl Journal {
    /// Answers the number of the batch that what is written now has to wait for.
    pub(super) fn pending(&self) -> Option<u64> {
        (self.last > self.answered).then_some(self.last)
    }

    /// Whether this turn has changed anything.
    pub(super) fn is_dirty(&self) -> bool {
        !self.ops.is_empty() || !self.unsaved.is_empty()
    }

    fn hold(&mut self, batch: u64, connection: (u32, u32)) {
        match self.held.back_mut() {
            Some((last, held)) if *last == batch => held.push(connection),
            _ => self.held.push_back((batch, vec![connection])),
        }
    }
}

impl Shard {
    /// Notes what the last step changed in a kept session.
    pub(super) fn note_changes(&mut self, slot: u32) {
        let clock = self.shared.clock();
        let Some(entry) = self.sessions.get(slot as usize) else {
            return self.out.changes.clear();
        };
        let Some(sid) = entry.sid else { return self.out.changes.clear() };
        let (epoch, ops) = (entry.epoch.0, &mut self.journal.ops);
        for change in self.out.changes.drain(..) {
            match change {
                Change::Queued { seq, delivery, id } => {
                    ops.push(Op::Enqueue { sid, epoch, seq, entry: records::entry(delivery, clock) });
                    ops.extend(id.map(|packet_id| Op::Sent { sid, epoch, seq, packet_id }));
                }
                Change::Sent { seq, id } => ops.push(Op::Sent { sid, epoch, seq, packet_id: id }),
                Change::Released { seq, id } => ops.push(Op::Released { sid, epoch, seq, packet_id: id }),
                Change::Gone { seq } => ops.push(Op::Ack { sid, epoch, seq }),
                Change::Received(id) => ops.push(Op::Received { sid, epoch, packet_id: id }),
                Change::Finished(id) => ops.push(Op::ReceivedReleased { sid, epoch, packet_id: id }),
            }
        }
        self.dirty_notify.notify_one();
    }

    /// Has a kept session saved at the end of the turn.
    pub(super) fn save(&mut self, slot: u32) {
        if let Some(entry) = self.sessions.get(slot as usize).filter(|entry| entry.sid.is_some()) {
            self.journal.unsaved.insert((slot, entry.incarnation));
            self.dirty_notify.notify_one();
        }
    }

    /// A change that is not a session's.
    pub(super) fn note(&mut self, op: Op) {
        self.journal.ops.push(op);
        self.dirty_notify.notify_one();
    }

    /// A retained message was set, or deleted.
    pub(super) fn note_retained(&mut self, message: &SharedMessage, stamp: retain::Stamp, what: &What) {
        let clock = self.shared.clock();
        let (topic, stamp) = (message.topic().into(), Stamp { hlc: stamp.hlc, node: stamp.node });
        let expires_at = records::expiry(message, clock);
        self.note(match what {
            What::Message(message) => Op::PutRetained { topic, stamp, message: Some(message.clone()), expires_at },
            What::Deleted => Op::PutRetained { topic, stamp, message: None, expires_at: None },
            What::Forgotten => Op::DropRetained { topic, stamp },
        });
    }

    /// A session is not kept any more.
    pub(super) fn forget(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else { return };
        let Some(sid) = entry.sid.take() else { return };
        entry.session.keep(false);
        let (epoch, incarnation) = (entry.epoch.0, entry.incarnation);
        self.journal.unsaved.remove(&(slot, incarnation));
        self.note(Op::DropSession { sid, epoch });
    }

    /// Hands the turn's changes to the store. Its answer comes as mail.
    pub(super) fn submit(&mut self) {
        let Some(store) = self.shared.store.clone() else {
            return self.journal.receipts.clear();
        };
        for (slot, incarnation) in std::mem::take(&mut self.journal.unsaved) {
            let clock = self.shared.clock();
            let Some(entry) = self.entry(slot, incarnation) else { continue };
            let Some(sid) = entry.sid else { continue };
            let op = Op::SaveSession { sid, epoch: entry.epoch.0, record: Box::new(records::record(entry, clock)) };
            self.journal.ops.push(op);
        }
        let receipts = std::mem::take(&mut self.journal.receipts);
        if self.journal.ops.is_empty() {
            return; // what came from elsewhere changed nothing that is kept
        }
        let mut ops = std::mem::take(&mut self.journal.ops);
        share_bodies(&mut ops);
        self.journal.last += 1;
        let (number, worker, boxes) = (self.journal.last, self.worker, self.shared.boxes.clone());
        let done = Box::new(move |result: Result<Outcome, StoreError>| {
            let is_kept = matches!(&result, Ok(outcome) if !outcome.is_full);
            if !is_kept {
                receipts.iter().for_each(|receipt| receipt.fail());
            }
            drop(receipts);
            boxes.of(worker).post(Mail::Kept(number, result));
        });
        if let Err(refused) = store.submit(Batch { ops, done }) {
            (refused.done)(Err(StoreError::Full));
        }
        self.journal.is_congested = store.is_full();
    }

    /// Keeps back what connections were promised in the turn that ends, until the store has answered.
    pub(super) fn hold_promises(&mut self, was_dirty: bool) {
        let pending = self.journal.pending();
        let mut promised = std::mem::take(&mut self.turn.promised);
        for (slot, incarnation) in promised.drain(..) {
            let Some(entry) = self.entry(slot, incarnation) else { continue };
            let depends = was_dirty || entry.sid.is_some();
            let from = entry.conn.as_mut().and_then(Conn::take_promised);
            if let (Some(from), Some(batch)) = (from, pending.filter(|_| depends)) {
                if let Some(conn) = &mut entry.conn {
                    conn.hold(batch, from);
                }
                self.journal.hold(batch, (slot, incarnation));
            }
        }
        self.turn.promised = promised; // keeps its memory
    }

    /// The store has answered a batch: what waited for it leaves, or, where it is not kept, its connection ends without.
    pub(super) fn kept(&mut self, number: u64, result: Result<Outcome, StoreError>) {
        self.begin_turn();
        self.journal.answered = number;
        let failure = match &result {
            Ok(outcome) if outcome.is_full => Some(ReasonCode::QuotaExceeded),
            Ok(_) => None,
            Err(StoreError::Full) => Some(ReasonCode::QuotaExceeded),
            Err(_) => Some(ReasonCode::ImplementationSpecificError),
        };
        self.journal.has_failed = failure.is_some();
        while self.journal.held.front().is_some_and(|(batch, _)| *batch <= number) {
            let held = self.journal.held.pop_front().map(|(_, held)| held).unwrap_or_default();
            for (slot, incarnation) in held {
                self.release_or_close(slot, incarnation, number, failure);
            }
        }
        self.resume_if_room();
    }

    fn release_or_close(&mut self, slot: u32, incarnation: u32, number: u64, failure: Option<ReasonCode>) {
        let Some(conn) = self.entry(slot, incarnation).and_then(|entry| entry.conn.as_mut()) else { return };
        match failure {
            // What it was to be told is not so; it asks again on its next connection.
            Some(reason) if conn.is_held_by(number) => self.close(slot, Closing::Server(reason)),
            Some(_) => {}
            None => {
                conn.release(number);
                self.note_dirty(slot);
            }
        }
    }

    /// Publishers that were not read because the store was behind are read on.
    fn resume_if_room(&mut self) {
        if self.journal.is_congested && self.shared.store.as_ref().is_some_and(|store| !store.is_full()) {
            self.journal.is_congested = false;
            self.resume_paused();
        }
    }

    /// Why nothing that is to be kept can be taken now, if so. Asked of the store only after it has failed.
    pub(super) fn store_trouble(&mut self) -> Option<ReasonCode> {
        let store = self.shared.store.as_ref().filter(|_| self.journal.has_failed)?;
        match store.state() {
            State::Ok => {
                self.journal.has_failed = false;
                None
            }
            State::Full => Some(ReasonCode::QuotaExceeded),
            State::Down(_) => Some(ReasonCode::ImplementationSpecificError),
        }
    }

    /// A batch of deliveries from elsewhere was carried out; it is answered once it is kept.
    pub(super) fn receipt(&mut self, done: Option<Arc<OnDelivered>>) {
        if self.shared.store.is_some() && done.is_some() {
            self.journal.receipts.extend(done);
            self.dirty_notify.notify_one();
        }
    }
}

/// Has a message that several sessions wait for kept once.
fn share_bodies(ops: &mut Vec<Op>) {
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
