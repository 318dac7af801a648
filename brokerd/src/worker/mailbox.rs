//! The workers' letter boxes: the only way into a worker from another thread. Posting never blocks; a box that holds
//! more bytes than its bound says so, and whoever feeds it stops reading.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mqtt::message::SharedMessage;
use parking_lot::Mutex;
use store::SessionHead;
use tokio::sync::{Notify, oneshot};

use super::attach::Handover;
use super::greet::Accepted;
use super::handover::Kept;
use super::joint::Joint;
use super::shard::Shard;
use crate::registry::{Fetch, Fetched, Loss, Owned};
use crate::router::{Delivery, Mailboxes, OnDelivered, Outcome};

/// What a worker is told.
pub(super) enum Mail {
    /// A new socket, to be greeted.
    Accepted(Accepted),
    /// A socket whose CONNECT names a session of this worker.
    Attach(Box<Handover>),
    /// Messages for sessions of this worker.
    Deliver(Vec<Delivery>, Option<Arc<OnDelivered>>, Option<Arc<Joint>>),
    /// A joint that this worker has joined was handed to the store.
    Joined,
    /// Tickets of this worker that are settled.
    Settled(Vec<(u64, Outcome)>),
    /// Peers' queues and letter boxes have room again.
    Uncongested,
    /// The store has answered a batch.
    Kept(Kept),
    /// The store has taken something from its queue, which had no room.
    Room,
    /// The store does not answer, and batches wait for longer than anybody is to.
    Late,
    /// Another node owns the client id from this epoch on; who waits until what came before is kept.
    Superseded(Arc<str>, Loss, oneshot::Sender<()>),
    /// Run this on the worker: for the management API.
    Ask(Box<dyn FnOnce(&mut Shard) + Send>),
    /// Messages for sessions that came from elsewhere, of a node that is gone; whether they are kept.
    Rematch(Vec<SharedMessage>, oneshot::Sender<bool>),
    /// A session whose owner is gone falls to this node; whom to tell, and where its routes are known by then.
    Adopt(Box<SessionHead>, oneshot::Sender<bool>),
    /// Another node owns a session from now on, and asks for a page of it.
    Fetch(Box<Fetch>, oneshot::Sender<Fetched>),
    /// A node that leaves has a session for this one; its expiry, whose it was, and whether it is here.
    Take(Box<Owned>, u32, String, oneshot::Sender<bool>),
    /// Say good-bye to every client, then tell.
    Shutdown(oneshot::Sender<()>),
}

/// One worker's box.
pub(super) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    /// Bytes of messages in `mail`.
    bytes: AtomicUsize,
    bound: usize,
    wake: Notify,
}

impl Mailbox {
    fn new(bound: usize) -> Self {
        Self { mail: Mutex::default(), bytes: AtomicUsize::new(0), bound, wake: Notify::new() }
    }

    pub(super) fn post(&self, mail: Mail) {
        let was_empty = {
            let mut all = self.mail.lock();
            all.push(mail);
            all.len() == 1
        };
        if was_empty {
            self.wake.notify_one();
        }
    }

    /// Waits for mail.
    pub(super) async fn arrival(&self) {
        self.wake.notified().await;
    }

    /// All mail, in the order of posting. Answers whether the box was over its bound until now.
    pub(super) fn take(&self, into: &mut Vec<Mail>) -> bool {
        std::mem::swap(&mut *self.mail.lock(), into);
        self.bytes.swap(0, Ordering::AcqRel) > self.bound
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > self.bound
    }
}

/// All boxes of the node.
pub(super) struct Boxes {
    boxes: Vec<Mailbox>,
    drained: Notify,
    /// The workers have what the store kept. Before that nobody is subscribed, and a peer's message would find nobody.
    is_open: AtomicBool,
}

impl Boxes {
    pub(super) fn new(workers: usize, bound: usize) -> Self {
        let boxes = (0..workers).map(|_| Mailbox::new(bound)).collect();
        Self { boxes, drained: Notify::new(), is_open: AtomicBool::new(false) }
    }

    pub(super) fn of(&self, worker: u16) -> &Mailbox {
        &self.boxes[usize::from(worker)]
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Mailbox> {
        self.boxes.iter()
    }

    /// The worker of a client id. The hash is fixed, so that a client finds its session.
    pub(super) fn worker_of(&self, client_id: &str) -> u16 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
        for byte in client_id.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // Names that differ in their last letter only differ in the low bits.
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        u16::try_from(mixed % self.boxes.len() as u64).unwrap_or(0)
    }

    /// Hands deliveries to a worker. What they change is kept with `joint`, if there is one.
    pub(super) fn deliver_jointly(
        &self,
        worker: u16,
        batch: Vec<Delivery>,
        done: Option<Arc<OnDelivered>>,
        joint: Option<Arc<Joint>>,
    ) {
        let mailbox = self.of(worker);
        let bytes: usize = batch.iter().map(|delivery| delivery.message.heap_size()).sum();
        mailbox.bytes.fetch_add(bytes, Ordering::AcqRel);
        mailbox.post(Mail::Deliver(batch, done, joint));
    }

    /// From here on peers' messages are taken.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.drained.notify_waiters();
    }

    fn takes_all(&self) -> bool {
        Mailboxes::is_open(self) && !self.boxes.iter().any(Mailbox::is_full)
    }

    /// A worker has emptied a box that was full.
    pub(super) fn has_drained(&self) {
        self.drained.notify_waiters();
        self.uncongested();
    }
}

impl Mailboxes for Boxes {
    fn workers(&self) -> usize {
        self.boxes.len()
    }

    fn deliver(&self, worker: u16, batch: Vec<Delivery>, done: Option<Arc<OnDelivered>>) {
        self.deliver_jointly(worker, batch, done, None);
    }

    fn settled(&self, worker: u16, tickets: Vec<(u64, Outcome)>) {
        self.of(worker).post(Mail::Settled(tickets));
    }

    fn is_full(&self, worker: u16) -> bool {
        !self.is_open() || self.of(worker).is_full()
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let drained = self.drained.notified(); // registered before the look, so that none is missed
                tokio::pin!(drained);
                drained.as_mut().enable();
                if self.takes_all() {
                    return;
                }
                drained.await;
            }
        })
    }

    fn uncongested(&self) {
        for mailbox in &self.boxes {
            mailbox.post(Mail::Uncongested);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Boxes;

    #[test]
    fn clients_with_like_names_are_spread_over_the_workers() {
        for workers in 2..5 {
            let boxes = Boxes::new(workers, 0);
            let mut counts = vec![0; workers];
            (0..100).for_each(|number| counts[usize::from(boxes.worker_of(&format!("sensor-{number}")))] += 1);
            assert!(counts.iter().all(|count| *count > 100 / workers / 2), "{counts:?}");
            let first: std::collections::BTreeSet<u16> =
                (0..8).map(|n| boxes.worker_of(&format!("pump-{n}"))).collect();
            assert!(first.len() > 1, "eight pumps are all on one of {workers} workers");
        }
    }
}
