//! What a turn changed in kept sessions, gathered for one batch, and where the batches of earlier turns are. Never hands
//! anything to the store, and never lets anything go: `handover` and `kept` do.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use hashbrown::HashSet;
use mqtt::message::SharedMessage;
use mqtt::session::Change;
use store::{Op, Stamp};
use tokio::sync::oneshot;

use super::handover::Ready;
use super::joint::{self, Joint};
use super::joints::Joints;
use super::moving::Moves;
use super::records;
use super::shard::Shard;
use crate::retain::{self, What};
use crate::router::OnDelivered;

/// The changes of this turn, and who waits for those of earlier ones.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) ops: Vec<Op>,
    /// Sessions to be saved as they are at the end of the turn.
    pub(super) unsaved: HashSet<(u32, u32), foldhash::fast::RandomState>,
    /// Batches of deliveries from elsewhere that this turn carried out.
    pub(super) receipts: Vec<Arc<OnDelivered>>,
    /// The number of the last batch that the store was given, and of the last that it has answered.
    pub(super) last: u64,
    pub(super) answered: u64,
    /// Whether what this turn adds is kept with what it adds at other workers.
    is_joint: bool,
    /// Those of all workers; `None` where nothing is kept, or one worker has everybody.
    joints: Option<Arc<Joints>>,
    /// The joint of this turn.
    opened: Option<Arc<Joint>>,
    /// Joints that the next batch has to come after.
    pub(super) joined: Vec<Arc<Joint>>,
    /// Batches that wait: for what they joined, which is as long as another worker takes to read its mail, or behind one
    /// that the store had no room for.
    pub(super) ready: VecDeque<Ready>,
    /// Who waits until a batch was handed to the store.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    /// Whether this turn has made a batch.
    pub(super) has_submitted: bool,
    /// Whether the store has refused the first of those. It is tried again once it has taken something from its queue.
    pub(super) is_stuck: bool,
    /// Whether the store will tell that it has.
    pub(super) awaits_room: bool,
    /// Whether the store is behind: publishers are not read.
    pub(super) is_congested: bool,
    /// Whether the store did not keep the last batch, or does not say whether it has.
    pub(super) has_failed: bool,
    /// Who outside of this node waits for batches, beside connections.
    pub(super) outside: VecDeque<(u64, Vec<Weak<OnDelivered>>)>,
    /// Connections that hold bytes back, by the batch they wait for.
    pub(super) held: VecDeque<(u64, Vec<(u32, u32)>)>,
    /// Where all nodes share the store: who has to be told of what happens to it here.
    pub(super) moves: Moves,
}

impl Journal {
    /// Empty; `is_shared` is whether all nodes share the store.
    pub(super) fn new(is_shared: bool, joints: Option<Arc<Joints>>) -> Self {
        Self { moves: Moves::new(is_shared), joints, ..Self::default() }
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
        if let Some(joints) = &self.joints {
            joints.join(&joint, worker, joint::split_added(&mut self.ops, mark, |_| true));
            self.joined.push(joint);
        }
    }

    /// A PUBLISH at QoS 2 is routed: what the turn adds at this level is kept with what it adds at other workers. Also
    /// where all receivers are here: the next one of its publisher may have some elsewhere, and is to come after it.
    pub(super) const fn begin_joint(&mut self) {
        self.is_joint = self.joints.is_some();
    }

    /// What the PUBLISHes of this turn, which have this origin and worker, have added is kept with what they add at other
    /// workers.
    pub(super) fn split_joint(&mut self, by: (u64, u16)) {
        if self.is_joint
            && let Some(joints) = &self.joints
        {
            let joint = self.opened.get_or_insert_with(|| joints.open());
            joint.add(joint::split_added(&mut self.ops, 0, |id| (id.origin, id.worker) == by));
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
        if let (Some(joints), Some(joint)) = (&self.joints, &joint) {
            joints.join(joint, worker, Vec::new());
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

    pub(super) fn submitted(&mut self, number: u64) {
        for (_, tell) in self.waiting.extract_if(.., |(up_to, _)| *up_to <= number) {
            let _ = tell.send(()); // who asked may be gone
        }
    }

    pub(super) fn hold(&mut self, batch: u64, connection: (u32, u32)) {
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
        let Some(sid) = entry.sid() else { return self.out.changes.clear() };
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
        self.changes_behind(slot);
    }

    /// Has a kept session saved at the end of the turn.
    pub(super) fn save(&mut self, slot: u32) {
        if let Some(entry) = self.sessions.get(slot as usize).filter(|entry| entry.sid().is_some()) {
            self.journal.unsaved.insert((slot, entry.incarnation));
            self.dirty_notify.notify_one();
            self.changes_behind(slot);
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
        let Some(sid) = entry.sid() else { return };
        entry.set_sid(None);
        entry.session.keep(false);
        self.by_sid.remove(&sid);
        let Some(entry) = self.sessions.get(slot as usize) else { return };
        let (epoch, incarnation) = (entry.epoch.0, entry.incarnation);
        self.journal.unsaved.remove(&(slot, incarnation));
        self.note(Op::DropSession { sid, epoch });
    }

    /// A batch of deliveries from elsewhere was carried out; it is answered once it is kept.
    pub(super) fn receipt(&mut self, done: Option<Arc<OnDelivered>>) {
        if self.shared.store.is_some() && done.is_some() {
            self.journal.receipts.extend(done);
            self.dirty_notify.notify_one();
        }
    }
}
