//! Changes of several workers that are kept together or not at all: a QoS 2 message in the queues of all its receivers and
//! among the retained ones, and that it came. Never waits: whoever joins last hands them to the store.
//!
//! Only what is added goes in here. What takes it away again (sent, acknowledged, dropped) stays in the journal of the
//! worker that did it, whose batches are not handed over before what they joined was: so nothing is removed before it is
//! there.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use store::{Batch, Op, Sid, Store};

use super::handover::share_bodies;
use super::mailbox::{Boxes, Mail};
use super::records;

const OPEN: u8 = 0;
const SUBMITTED: u8 = 1;
const KEPT: u8 = 2;
const FAILED: u8 = 3;

/// One batch in the making.
pub(super) struct Joint {
    parts: Mutex<Parts>,
    state: Arc<AtomicU8>,
    /// What the store refused of it, where it did.
    refused: Arc<OnceLock<Refused>>,
    /// How many of those who have joined are not done with it.
    at_work: AtomicUsize,
    store: Arc<Store>,
    boxes: Arc<Boxes>,
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
}

impl Joint {
    /// With its first worker, who is to join too.
    pub(super) fn open(store: Arc<Store>, boxes: Arc<Boxes>) -> Arc<Self> {
        let parts = Mutex::new(Parts { missing: 1, ..Parts::default() });
        let (state, at_work) = (Arc::new(AtomicU8::new(OPEN)), AtomicUsize::new(0));
        Arc::new(Self { parts, state, refused: Arc::default(), at_work, store, boxes })
    }

    /// Another worker will join: it is sent the messages.
    pub(super) fn invite(&self) {
        self.parts.lock().missing += 1;
    }

    /// What its first worker adds before it joins.
    pub(super) fn add(&self, ops: Vec<Op>) {
        self.parts.lock().ops.extend(ops);
    }

    /// A worker has added all that it will. The last one submits.
    pub(super) fn join(self: &Arc<Self>, worker: u16, ops: Vec<Op>) {
        let mut parts = self.parts.lock();
        parts.ops.extend(ops);
        parts.workers.push(worker);
        parts.missing = parts.missing.saturating_sub(1);
        if parts.missing > 0 {
            return;
        }
        let Parts { mut ops, workers, .. } = std::mem::take(&mut *parts);
        drop(parts);
        share_bodies(&mut ops);
        self.at_work.store(workers.len(), Ordering::Release);
        let received = if self.store.caps().is_shared { records::received(&ops) } else { Vec::new() };
        // Stored before the store can answer; told to others only once the batch is in the store's queue.
        let (state, refused) = (self.state.clone(), self.refused.clone());
        let done = Box::new(move |result: Result<store::Outcome, store::StoreError>| {
            let is_kept = matches!(&result, Ok(outcome) if !outcome.is_full);
            if let Ok(outcome) = result
                && !outcome.fenced.is_empty()
            {
                let received = if outcome.is_unreceived { received } else { Vec::new() };
                let _ = refused.set(Refused { fenced: outcome.fenced, received }); // it is answered once
            }
            state.store(if is_kept { KEPT } else { FAILED }, Ordering::Release);
        });
        let others = workers.iter().copied().filter(|other| *other != worker).collect();
        self.hand_over(Batch { ops, done }, others, Some(worker));
    }

    /// What the store has no room for is tried again once it has taken something from its queue; all who have joined wait,
    /// also the last one, who else goes on by itself.
    fn hand_over(self: &Arc<Self>, batch: Batch, others: Vec<u16>, last: Option<u16>) {
        if let Err(refused) = self.store.submit(batch) {
            let (joint, workers) = (self.clone(), others.into_iter().chain(last).collect());
            return self.store.when_taken(move || joint.hand_over(refused, workers, None));
        }
        let _ = self.state.compare_exchange(OPEN, SUBMITTED, Ordering::AcqRel, Ordering::Acquire); // or it was answered
        others.into_iter().for_each(|other| self.boxes.of(other).post(Mail::Joined));
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

/// Takes out what belongs to a joint: what is added, not what is taken away again.
pub(super) fn split_added(ops: &mut Vec<Op>, from: usize) -> Vec<Op> {
    let is_added = |op: &mut Op| matches!(op, Op::Enqueue { .. } | Op::Received { .. } | Op::PutRetained { .. });
    ops.extract_if(from.., is_added).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mqtt::{Message, PacketId, Qos};
    use store::{Body, Claim, Entry, Settings};

    use super::*;

    async fn claim(store: &Store, client_id: &str) -> Sid {
        let claim = Claim { client_id: client_id.into(), epoch: 1, node: "n".into(), is_clean: true, held: None };
        store.claim(claim).await.unwrap().sid
    }

    fn enqueue(sid: Sid) -> Op {
        let body = Body::Inline(Arc::new(Message::new("t", &[], b"x")));
        let (qos, subscription_ids) = (Qos::ExactlyOnce, Box::default());
        let entry = Entry { qos, retain: false, subscription_ids, shared: None, expires_at: None, body };
        Op::Enqueue { sid, epoch: 1, seq: 1, entry }
    }

    /// How many messages are queued, and how many PUBLISHes are known to have come.
    async fn kept(store: &Store) -> (usize, usize) {
        store.flush().await.unwrap();
        let sessions = store.scan_sessions(None, 10, true).await.unwrap().items;
        let queued = sessions.iter().map(|session| session.queue.len()).sum();
        (queued, sessions.iter().map(|session| session.received.len()).sum())
    }

    #[tokio::test]
    async fn nothing_is_kept_before_the_last_worker_has_joined_and_then_all_is() {
        let store = Arc::new(Store::embedded(store::memory(), Settings::default()).unwrap());
        let boxes = Arc::new(Boxes::new(2, 0));
        let (publisher, receiver) = (claim(&store, "publisher").await, claim(&store, "receiver").await);
        let joint = Joint::open(store.clone(), boxes.clone());
        joint.add(vec![Op::Received { sid: publisher, epoch: 1, packet_id: PacketId::MIN }]);
        joint.invite();
        joint.join(0, Vec::new());
        assert_eq!((joint.is_submitted(), kept(&store).await), (false, (0, 0)), "worker 1 has not joined");
        joint.join(1, vec![enqueue(receiver)]);
        assert_eq!((joint.is_submitted(), kept(&store).await, joint.is_kept()), (true, (1, 1), true));
        let mut mail = Vec::new();
        boxes.of(0).take(&mut mail);
        assert!(matches!(mail[..], [Mail::Joined]), "worker 0 hears that it may go on");
    }

    #[tokio::test]
    async fn what_the_store_has_no_room_for_is_kept_later_and_who_has_joined_waits_for_it() {
        let settings = Settings { max_ops: 1, ..Settings::default() };
        let store = Arc::new(Store::embedded(store::memory(), settings).unwrap());
        let boxes = Arc::new(Boxes::new(2, 0));
        let receiver = claim(&store, "receiver").await;
        // Its answer holds the store up until it is let go.
        let (let_go, held) = std::sync::mpsc::sync_channel::<()>(1);
        let (begun, begins) = std::sync::mpsc::sync_channel(1);
        let done = Box::new(move |_| {
            begun.send(()).unwrap();
            let _ = held.recv();
        });
        store.submit(Batch { ops: vec![enqueue(receiver)], done }).unwrap();
        begins.recv().unwrap();
        store.submit(Batch { ops: vec![enqueue(receiver)], done: Box::new(|_| ()) }).unwrap();
        let joint = Joint::open(store.clone(), boxes.clone());
        joint.join(1, vec![Op::Received { sid: receiver, epoch: 1, packet_id: PacketId::MIN }]);
        let mut mail = Vec::new();
        boxes.of(1).take(&mut mail);
        assert!(!joint.is_submitted() && mail.is_empty(), "nothing may follow it yet");
        drop(let_go);
        boxes.of(1).arrival().await;
        boxes.of(1).take(&mut mail);
        assert!(joint.is_submitted() && matches!(mail[..], [Mail::Joined]), "also the last one hears of it");
        while store.flush().await.is_err() {
            store.taken().await;
        }
        assert!(joint.is_kept());
    }

    #[test]
    fn what_is_taken_away_stays_behind_and_so_does_what_was_there_before() {
        let sid = Sid(1);
        let ack = || Op::Ack { sid, epoch: 1, seq: 1 };
        let stamp = store::Stamp { hlc: 1, node: 1 };
        let retain = Op::PutRetained { topic: "t".into(), stamp, message: None, expires_at: None };
        let mut ops = vec![enqueue(sid), ack(), enqueue(sid), ack(), retain];
        // Who sends the PUBLISH again is told that it is known: all that it does is done by then.
        assert!(matches!(split_added(&mut ops, 1)[..], [Op::Enqueue { .. }, Op::PutRetained { .. }]));
        assert!(matches!(ops[..], [Op::Enqueue { .. }, Op::Ack { .. }, Op::Ack { .. }]));
    }
}
