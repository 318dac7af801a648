//! What a turn changed in kept sessions: gathered, handed to the store as one batch, and what waits for it let go when it
//! is kept. Never waits for the store: a connection's promises stay in its wire buffer, a peer's batch unanswered.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use mqtt::message::SharedMessage;
use mqtt::session::{Change, Closing};
use mqtt::{MessageId, ReasonCode};
use store::{Batch, Body, Entry, Op, Outcome, Stamp, State, Store, StoreError};
use tokio::sync::oneshot;

use super::conn::Conn;
use super::joint::{self, Joint};
use super::mailbox::{Boxes, Mail};
use super::moving::{Answer, Moves};
use super::records;
use super::route::receipt;
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
    /// Whether what this turn adds is kept with what it adds at other workers.
    pub(super) is_joint: bool,
    /// The joint of this turn.
    opened: Option<Arc<Joint>>,
    /// Joints that the next batch has to come after.
    joined: Vec<Arc<Joint>>,
    /// Batches that wait for what they joined, which is as long as another worker takes to read its mail.
    ready: VecDeque<Ready>,
    /// Who waits until a batch was handed to the store.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    /// Whether this turn has made a batch.
    has_submitted: bool,
    /// Whether the store is behind: publishers are not read.
    pub(super) is_congested: bool,
    /// Whether the store did not keep the last batch.
    has_failed: bool,
    /// Connections that hold bytes back, by the batch they wait for.
    held: VecDeque<(u64, Vec<(u32, u32)>)>,
    /// Where all nodes share the store: who has to be told of what happens to it here.
    pub(super) moves: Moves,
}

/// A batch that may have to wait.
struct Ready {
    number: u64,
    ops: Vec<Op>,
    receipts: Vec<Arc<OnDelivered>>,
    /// Joints it comes after, and is kept with.
    joints: Vec<Arc<Joint>>,
}

impl Journal {
    /// Empty; `is_shared` is whether all nodes share the store.
    pub(super) fn new(is_shared: bool) -> Self {
        Self { moves: Moves::new(is_shared), ..Self::default() }
    }

    /// Answers the number of the batch that what is written now has to wait for.
    pub(super) fn pending(&self) -> Option<u64> {
        (self.last > self.answered).then_some(self.last)
    }

    /// The number of the last batch that the store was given, and whether it has answered it.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Whether the store has answered a batch.
    pub(super) const fn has_answered(&self, batch: u64) -> bool {
        self.answered >= batch
    }

    /// What is added from here on can be told from what was there.
    pub(super) const fn mark(&self) -> usize {
        self.ops.len()
    }

    /// What was added since the mark is kept with a joint of another worker.
    pub(super) fn join(&mut self, joint: Arc<Joint>, worker: u16, mark: usize) {
        joint.join(worker, joint::split_added(&mut self.ops, mark));
        self.joined.push(joint);
    }

    /// What this turn has added is kept with what it adds at other workers.
    fn split_joint(&mut self, store: &Arc<Store>, boxes: &Arc<Boxes>) {
        if self.is_joint {
            let joint = self.opened.get_or_insert_with(|| Joint::open(store.clone(), boxes.clone()));
            joint.add(joint::split_added(&mut self.ops, 0));
            self.joined.push(joint.clone());
        }
    }

    /// The joint of this turn.
    pub(super) const fn joint(&self) -> Option<&Arc<Joint>> {
        self.opened.as_ref()
    }

    /// The turn ends: everybody who is to join was invited. Answers whether there was a joint.
    pub(super) fn close_joint(&mut self, worker: u16) -> bool {
        self.is_joint = false;
        let joint = self.opened.take();
        if let Some(joint) = &joint {
            joint.join(worker, Vec::new());
        }
        joint.is_some()
    }

    /// Tells when all that was changed so far was handed to the store; `None` if it was.
    pub(super) fn when_submitted(&mut self) -> Option<oneshot::Receiver<()>> {
        let last = self.ready.back()?.number;
        let (tell, told) = oneshot::channel();
        self.waiting.push((last, tell));
        Some(told)
    }

    fn submitted(&mut self, number: u64) {
        for (_, tell) in self.waiting.extract_if(.., |(up_to, _)| *up_to <= number) {
            let _ = tell.send(()); // who asked may be gone
        }
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
        let (epoch, ops, moves) = (entry.epoch.0, &mut self.journal.ops, &mut self.journal.moves);
        for change in self.out.changes.drain(..) {
            match change {
                Change::Queued { seq, delivery, id } => {
                    let queued = records::entry(delivery, clock);
                    if moves.is_shared {
                        moves.copy(sid, entry.session.client_id(), &queued);
                    }
                    ops.push(Op::Enqueue { sid, epoch, seq, entry: queued });
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
        self.by_sid.remove(&sid);
        let Some(entry) = self.sessions.get(slot as usize) else { return };
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
        let tickets = std::mem::take(&mut self.turn.receipts[usize::from(self.worker)]);
        if !tickets.is_empty() {
            self.journal.receipts.push(receipt(&self.shared.boxes, tickets));
        }
        self.journal.split_joint(&store, &self.shared.boxes);
        let journal = &mut self.journal;
        let receipts = std::mem::take(&mut journal.receipts);
        if journal.ops.is_empty() && journal.joined.is_empty() {
            return; // what came from elsewhere changed nothing that is kept
        }
        journal.last += 1;
        journal.has_submitted = true;
        let (ops, joints) = (std::mem::take(&mut journal.ops), std::mem::take(&mut journal.joined));
        journal.ready.push_back(Ready { number: journal.last, ops, receipts, joints });
        self.submit_ready();
    }

    /// Hands over what may go: in order, and each after what it joined.
    pub(super) fn submit_ready(&mut self) {
        let may_go = |ready: &mut Ready| ready.joints.iter().all(|joint| joint.is_submitted());
        while let Some(ready) = self.journal.ready.pop_front_if(may_go) {
            self.submit_one(ready);
        }
    }

    /// Hands over everything: the worker ends. What it joined and others never will is not kept, nor acknowledged.
    pub(super) fn submit_all(&mut self) {
        while let Some(ready) = self.journal.ready.pop_front() {
            self.submit_one(ready);
        }
    }

    fn submit_one(&mut self, ready: Ready) {
        let Ready { number, mut ops, receipts, joints } = ready;
        let Some(store) = self.shared.store.clone() else { return };
        share_bodies(&mut ops);
        self.journal.moves.submitted(number);
        let (worker, boxes) = (self.worker, self.shared.boxes.clone());
        let done = Box::new(move |result: Result<Outcome, StoreError>| {
            let result = result.map(|outcome| Outcome {
                is_full: outcome.is_full || !joints.iter().all(|joint| joint.is_kept()),
                ..outcome
            });
            if !matches!(&result, Ok(outcome) if !outcome.is_full) {
                receipts.iter().for_each(|receipt| receipt.fail());
            }
            // What the store refused because a session has moved is brought on first.
            let has_moved = matches!(&result, Ok(outcome) if !outcome.fenced.is_empty());
            let receipts = if has_moved { receipts } else { Vec::new() };
            boxes.of(worker).post(Mail::Kept(number, result, receipts));
        });
        if let Err(refused) = store.submit(Batch { ops, done }) {
            (refused.done)(Err(StoreError::Full));
        }
        self.journal.submitted(number);
        self.journal.is_congested = store.is_full();
    }

    /// Keeps back what connections were promised in the turn that ends, until the store has answered.
    pub(super) fn hold_promises(&mut self) {
        let was_dirty = std::mem::take(&mut self.journal.has_submitted);
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

    /// The store has answered a batch. What it refused because the session is another node's is brought there first.
    pub(super) fn kept(&mut self, number: u64, result: Result<Outcome, StoreError>, receipts: Vec<Arc<OnDelivered>>) {
        self.begin_turn();
        let failure = match &result {
            Ok(outcome) if outcome.is_full => Some(ReasonCode::QuotaExceeded),
            Ok(_) => None,
            Err(StoreError::Full) => Some(ReasonCode::QuotaExceeded),
            Err(_) => Some(ReasonCode::ImplementationSpecificError),
        };
        let fenced = result.map(|outcome| outcome.fenced).unwrap_or_default();
        let relays = self.relay_fenced(number, &fenced);
        self.journal.moves.answered(Answer { number, failure, receipts, relays });
        self.finish_answers();
    }

    /// What waited for batches leaves, or, where they are not kept, its connections end without.
    pub(super) fn finish_answers(&mut self) {
        while let Some(Answer { number, failure, receipts, .. }) = self.journal.moves.next_answer() {
            if failure.is_some() {
                receipts.iter().for_each(|receipt| receipt.fail());
            }
            drop(receipts);
            self.finish(number, failure);
        }
    }

    fn finish(&mut self, number: u64, failure: Option<ReasonCode>) {
        self.journal.answered = number;
        self.journal.moves.tell_flushed(number);
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

    /// Why nothing that is to be kept can be taken now, if so.
    pub(super) fn store_trouble(&mut self) -> Option<ReasonCode> {
        let store = self.shared.store.as_ref()?;
        if store.is_out_of_room() {
            return Some(ReasonCode::QuotaExceeded); // before a worker's whole turn is refused
        }
        if !self.journal.has_failed {
            return None;
        }
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
