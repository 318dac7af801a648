//! Changes of several workers that are kept together or not at all: a QoS 2 message in the queues of all its receivers and
//! among the retained ones, and that it came. Never waits, and never goes to the store by itself: `joints` hands it over
//! once all have joined.
//!
//! Only what is added goes in here. What takes it away again (sent, acknowledged, dropped) stays in the journal of the
//! worker that did it, whose batches are not handed over before what they joined was: so nothing is removed before it is
//! there.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mqtt::{MessageId, Qos};
use parking_lot::Mutex;
use store::{Batch, Body, Op, Outcome, Sid, StoreError};

use super::handover::share_bodies;
use super::records;

const OPEN: u8 = 0;
const SUBMITTED: u8 = 1;
const KEPT: u8 = 2;
const FAILED: u8 = 3;

/// One batch in the making.
pub(super) struct Joint {
    parts: Mutex<Parts>,
    state: AtomicU8,
    /// What the store refused of it, where it did.
    refused: OnceLock<Refused>,
    /// How many of those who have joined are not done with it.
    at_work: AtomicUsize,
}

/// What the store refused because sessions have another owner.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) fenced: Vec<Sid>,
    /// What was not noted for that reason, to be noted once the messages are where those sessions are.
    pub(super) received: Vec<Op>,
}

#[derive(Default)]
struct Parts {
    ops: Vec<Op>,
    /// Those who have joined, to be told.
    workers: Vec<u16>,
    /// How many are still to join.
    missing: usize,
    /// Once nobody is.
    whole: Option<Whole>,
}

/// What the store is to be given, and who has joined it.
pub(super) type Whole = (Batch, Vec<u16>);

impl Joint {
    /// With its first worker, who is to join too.
    pub(super) fn open() -> Arc<Self> {
        let parts = Mutex::new(Parts { missing: 1, ..Parts::default() });
        let (state, at_work) = (AtomicU8::new(OPEN), AtomicUsize::new(0));
        Arc::new(Self { parts, state, refused: OnceLock::new(), at_work })
    }

    /// Another worker will join: it is sent the messages.
    pub(super) fn invite(&self) {
        self.parts.lock().missing += 1;
    }

    /// What its first worker adds before it joins.
    pub(super) fn add(&self, ops: Vec<Op>) {
        self.parts.lock().ops.extend(ops);
    }

    /// A worker has added all that it will. Answers whether it was the last one.
    pub(super) fn join(self: &Arc<Self>, worker: u16, ops: Vec<Op>, is_shared: bool) -> bool {
        let mut parts = self.parts.lock();
        parts.ops.extend(ops);
        parts.workers.push(worker);
        parts.missing = parts.missing.saturating_sub(1);
        if parts.missing > 0 {
            return false;
        }
        let (mut ops, workers) = (std::mem::take(&mut parts.ops), std::mem::take(&mut parts.workers));
        share_bodies(&mut ops);
        self.at_work.store(workers.len(), Ordering::Release);
        let received = if is_shared { records::received(&ops) } else { Vec::new() };
        let joint = self.clone();
        let done = Box::new(move |result| joint.answered(result, received));
        parts.whole = Some((Batch { ops, done }, workers));
        true
    }

    /// `None` while somebody is still to join. To be taken once.
    pub(super) fn whole(&self) -> Option<Whole> {
        self.parts.lock().whole.take()
    }

    fn answered(&self, result: Result<Outcome, StoreError>, received: Vec<Op>) {
        let is_kept = matches!(&result, Ok(outcome) if !outcome.is_full);
        if let Ok(outcome) = result
            && !outcome.fenced.is_empty()
        {
            let received = if outcome.is_unreceived { received } else { Vec::new() };
            let _ = self.refused.set(Refused { fenced: outcome.fenced, received }); // it is answered once
        }
        self.state.store(if is_kept { KEPT } else { FAILED }, Ordering::Release);
    }

    /// It is in the store's queue, or was answered already.
    pub(super) fn submitted(&self) {
        let _ = self.state.compare_exchange(OPEN, SUBMITTED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether the store has it: what comes after it may follow.
    pub(super) fn is_submitted(&self) -> bool {
        self.state.load(Ordering::Acquire) != OPEN
    }

    /// What the store refused of it. To be asked when the store has answered what was submitted after it.
    pub(super) fn refused(&self) -> Option<&Refused> {
        self.refused.get()
    }

    /// One of those who have joined is done with it. Answers what the last one of them is to note.
    pub(super) fn is_done(&self) -> Vec<Op> {
        let is_last = self.at_work.fetch_sub(1, Ordering::AcqRel) == 1;
        self.refused().filter(|_| is_last).map(|refused| refused.received.clone()).unwrap_or_default()
    }

    /// Whether it is kept. To be asked when the store has answered what was submitted after it.
    pub(super) fn is_kept(&self) -> bool {
        self.state.load(Ordering::Acquire) == KEPT
    }
}

/// Takes out what belongs to a joint: what PUBLISHes at QoS 2 add and what is retained, not what is taken away again. A
/// publisher's messages at QoS 1 stay behind each other in the journals: they are in none, whatever else the turn has. And
/// so do those that are not `its`, for they came by another way.
pub(super) fn split_added(ops: &mut Vec<Op>, from: usize, is_its: impl Fn(MessageId) -> bool) -> Vec<Op> {
    let is_added = |op: &mut Op| match op {
        Op::Received { .. } | Op::PutRetained { .. } => true,
        Op::Enqueue { entry, .. } => {
            matches!(&entry.body, Body::Inline(message) if message.qos == Qos::ExactlyOnce && is_its(message.id))
        }
        _ => false,
    };
    ops.extract_if(from.., is_added).collect()
}

#[cfg(test)]
mod tests {
    use mqtt::Message;
    use store::Entry;

    use super::*;

    fn enqueue(published: Qos, qos: Qos, worker: u16) -> Op {
        let mut message = Message::new("t", &[], b"x");
        message.qos = published;
        message.id.worker = worker;
        let body = Body::Inline(Arc::new(message));
        let entry =
            Entry { qos, retain: false, subscription_ids: Box::default(), shared: None, expires_at: None, body };
        Op::Enqueue { sid: Sid(1), epoch: 1, seq: 1, entry }
    }

    #[test]
    fn what_is_taken_away_stays_behind_and_so_does_what_was_there_before_or_came_by_another_way() {
        let (one, two) = (Qos::AtLeastOnce, Qos::ExactlyOnce);
        let ack = || Op::Ack { sid: Sid(1), epoch: 1, seq: 1 };
        let stamp = store::Stamp { hlc: 1, node: 1 };
        let retain = Op::PutRetained { topic: "t".into(), stamp, message: None, expires_at: None };
        let mut ops =
            vec![enqueue(two, two, 1), ack(), enqueue(two, one, 1), enqueue(one, one, 1), enqueue(two, two, 2), retain];
        // Who sends the PUBLISH again is told that it is known: all that it does is done by then.
        assert!(matches!(
            split_added(&mut ops, 1, |id| id.worker == 1)[..],
            [Op::Enqueue { .. }, Op::PutRetained { .. }]
        ));
        assert!(matches!(ops[..], [Op::Enqueue { .. }, Op::Ack { .. }, Op::Enqueue { .. }, Op::Enqueue { .. }]));
    }
}
