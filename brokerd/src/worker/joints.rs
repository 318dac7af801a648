//! What workers keep together, in the order in which it was begun: so what a publisher sent at QoS 2 is in the store in its
//! order, whichever workers have the receivers. Never waits for a worker's own batches, and no worker waits for more here
//! than that all others read their mail: nobody waits in a circle.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use store::{Op, Outcome, Store};

use super::joint::{Joint, Whole};
use super::mailbox::{Boxes, Mail};

/// Those that the store has not been given, of all workers.
pub(super) struct Joints {
    waiting: Mutex<Waiting>,
    store: Arc<Store>,
    boxes: Arc<Boxes>,
}

#[derive(Default)]
struct Waiting {
    joints: VecDeque<Arc<Joint>>,
    /// The first of them, which the store had no room for. It is tried again once the store has taken something from its
    /// queue.
    refused: Option<Whole>,
}

impl Joints {
    pub(super) fn new(store: Arc<Store>, boxes: Arc<Boxes>) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), store, boxes })
    }

    /// Begins one, with its first worker.
    pub(super) fn open(&self) -> Arc<Joint> {
        let joint = Joint::open();
        self.waiting.lock().joints.push_back(joint.clone());
        joint
    }

    /// A worker adds all that it will to one of them. Where it was the last one to, the store is given what may go; the
    /// worker itself is not told of that.
    pub(super) fn join(self: &Arc<Self>, joint: &Arc<Joint>, worker: u16, ops: Vec<Op>) {
        if !joint.join(worker, ops, self.store.caps().is_shared) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.refused.is_none() {
            let is_refused = !self.hand_over(&mut waiting, Some(worker));
            drop(waiting); // who asks for room may be told at once
            self.await_room(is_refused);
        }
    }

    fn await_room(self: &Arc<Self>, is_refused: bool) {
        if is_refused {
            let joints = self.clone();
            self.store.when_taken(move || joints.room());
        }
    }

    /// The store has taken something from its queue.
    fn room(self: &Arc<Self>) {
        let is_refused = !self.hand_over(&mut self.waiting.lock(), None);
        self.await_room(is_refused);
    }

    /// In their order, up to the first that somebody has still to join. Answers whether the store has taken them all.
    fn hand_over(&self, waiting: &mut Waiting, by: Option<u16>) -> bool {
        while let Some((batch, workers)) = waiting.next() {
            if batch.ops.is_empty() {
                (batch.done)(Ok(Outcome::default())); // nobody of them is kept
            } else if let Err(batch) = self.store.submit(batch) {
                waiting.refused = Some((batch, workers));
                return false;
            }
            if let Some(joint) = waiting.joints.pop_front() {
                joint.submitted();
            }
            let others = workers.into_iter().filter(|worker| Some(*worker) != by);
            others.for_each(|worker| self.boxes.of(worker).post(Mail::Joined));
        }
        true
    }
}

impl Waiting {
    fn next(&mut self) -> Option<Whole> {
        self.refused.take().or_else(|| self.joints.front()?.whole())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mqtt::{Message, PacketId, Qos};
    use store::{Batch, Body, Claim, Entry, Settings, Sid};

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

    fn received(sid: Sid) -> Op {
        Op::Received { sid, epoch: 1, packet_id: PacketId::MIN }
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
        let joints = Joints::new(store.clone(), boxes.clone());
        let joint = joints.open();
        joint.add(vec![received(publisher)]);
        joint.invite();
        joints.join(&joint, 0, Vec::new());
        assert_eq!((joint.is_submitted(), kept(&store).await), (false, (0, 0)), "worker 1 has not joined");
        joints.join(&joint, 1, vec![enqueue(receiver)]);
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
        let joints = Joints::new(store.clone(), boxes.clone());
        let joint = joints.open();
        joints.join(&joint, 1, vec![received(receiver)]);
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

    #[tokio::test]
    async fn what_was_begun_later_is_kept_later_although_all_have_joined_it() {
        let store = Arc::new(Store::embedded(store::memory(), Settings::default()).unwrap());
        let boxes = Arc::new(Boxes::new(3, 0));
        let joints = Joints::new(store.clone(), boxes.clone());
        let receiver = claim(&store, "receiver").await;
        let (first, second) = (joints.open(), joints.open());
        first.invite();
        second.invite();
        joints.join(&first, 0, Vec::new());
        joints.join(&second, 0, Vec::new());
        joints.join(&second, 1, vec![enqueue(receiver)]);
        assert_eq!((second.is_submitted(), kept(&store).await), (false, (0, 0)), "the first waits for worker 2");
        joints.join(&first, 2, vec![received(receiver)]);
        assert!(first.is_submitted() && second.is_submitted());
        assert_eq!(kept(&store).await, (1, 1));
        for (worker, told) in [(0, 2), (1, 1), (2, 0)] {
            let mut mail = Vec::new();
            boxes.of(worker).take(&mut mail);
            assert_eq!(mail.len(), told, "worker {worker}");
        }
    }
}
