//! The workers' threads: their start, their main loop, their end, and the handle by which the rest of the node speaks
//! to them. Never touches a session.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use mqtt::message::SharedMessage;
use parking_lot::Mutex;
use store::Store;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::auto_subscribe::Automatic;
use super::delayed::Budget;
use super::exclusive::Exclusives;
use super::greet::Accepted;
use super::joints::Joints;
use super::mailbox::{Boxes, Mail};
use super::restore::Restored;
use super::rewrite::Rewrite;
use super::settings::settings;
use super::shard::{Handle, Shard, Shared};
use super::{attach, flush, following, giving, greet, handing, relay, sweep, timers};
use crate::access::Access;
use crate::config::{self, Config};
use crate::listener::{Clients, Connected};
use crate::metrics::{Counters, Metrics};
use crate::registry::{
    Boxed, Clock, Elsewhere, Epoch, Fetch, Fetched, Holder, LastWill, Loss, Owned, OwnedPage, Owners, Reception,
    Relayed, WillPage, exclusive_filter,
};
use crate::retain::Retained;
use crate::router::{Forward, Index, Mailboxes};
use crate::transport::StdSocket;

/// What the workers are built from.
pub struct Parts {
    /// Who is subscribed.
    pub index: Arc<Index>,
    /// What is retained.
    pub retained: Arc<Retained>,
    /// The node's hybrid logical clock.
    pub clock: Arc<Clock>,
    /// The last values under `$SYS`.
    pub system: Arc<Retained>,
    /// The way to other nodes.
    pub forward: Arc<dyn Forward>,
    /// The owners of client ids.
    pub elsewhere: Arc<dyn Elsewhere>,
    /// The node's rules.
    pub access: Access,
    /// Where sessions are kept beyond the process, if anywhere.
    pub store: Option<Arc<Store>>,
    /// The node's counters.
    pub metrics: Metrics,
    /// This node's name.
    pub node: Arc<str>,
    /// This node and generation, as message identities name it.
    pub origin: u64,
    /// The zero of the clock that messages expire by.
    pub started: Instant,
}

/// The workers, seen from outside. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    pub(super) boxes: Arc<Boxes>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    next: Arc<std::sync::atomic::AtomicUsize>,
    delayed: Arc<Budget>,
    pub(super) exclusives: Arc<Exclusives>,
    /// Whether all nodes share the store.
    pub(super) hands_over: Arc<AtomicBool>,
}

impl Workers {
    /// Makes the letter boxes, so that others can be wired to them before the threads run.
    #[must_use]
    pub fn new(node: &config::Node) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if node.workers == 0 { cores } else { node.workers };
        Self {
            boxes: Arc::new(Boxes::new(count, node.worker_queue)),
            threads: Arc::default(),
            next: Arc::default(),
            delayed: Arc::default(),
            exclusives: Arc::default(),
            hands_over: Arc::default(),
        }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.boxes.iter().len()
    }

    /// The worker of a client id.
    #[must_use]
    pub fn worker_of(&self, client_id: &str) -> u16 {
        self.boxes.worker_of(client_id)
    }

    /// How many messages are delayed.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.delayed.messages()
    }

    /// The letter boxes, for router and cluster.
    #[must_use]
    pub fn mailboxes(&self) -> Arc<dyn Mailboxes> {
        self.boxes.clone()
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub async fn start(&self, config: &Config, parts: Parts, restored: Vec<Restored>) -> std::io::Result<()> {
        let settings = settings(config);
        let is_shared = parts.store.as_ref().is_some_and(|store| store.caps().is_shared);
        self.hands_over.store(is_shared, Ordering::Relaxed);
        let are_many = self.boxes.workers() > 1;
        let joints = parts.store.clone().filter(|_| are_many).map(|store| Joints::new(store, self.boxes.clone()));
        let shared = Arc::new(Shared {
            boxes: self.boxes.clone(),
            index: parts.index,
            retained: parts.retained,
            system: parts.system,
            forward: parts.forward,
            elsewhere: parts.elsewhere,
            exclusives: self.exclusives.clone(),
            access: parts.access,
            store: parts.store,
            joints,
            delayed: self.delayed.clone(),
            rewrite: Rewrite::new(&config.rewrite, settings.decode),
            automatic: config.auto_subscribe.iter().map(Automatic::new).collect(),
            settings,
            started: parts.started,
            origin: parts.origin,
            node: parts.node,
            hybrid: parts.clock,
        });
        if let Some(store) = &shared.store {
            let boxes = self.boxes.clone();
            store.when_late(move || boxes.iter().for_each(|mailbox| mailbox.post(Mail::Late)));
        }
        let (mut restored, mut waits) = (restored.into_iter(), Vec::new());
        for worker in 0..self.boxes.iter().len() {
            let worker = u16::try_from(worker).map_err(std::io::Error::other)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, counters) = (shared.clone(), parts.metrics.block());
            let restored = restored.next().unwrap_or_default();
            let (ready, is_ready) = oneshot::channel();
            waits.push(is_ready);
            let thread = std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
                runtime.block_on(LocalSet::new().run_until(run(worker, shared, counters, restored, ready)))
            })?;
            self.threads.lock().push(thread);
        }
        for is_ready in waits {
            let _ = is_ready.await; // a worker that is gone has said why
        }
        self.boxes.open();
        Ok(())
    }

    /// Says good-bye to every client (5.0: 0x8B), sends the wills, and ends the threads.
    pub async fn stop(&self) {
        let mut waits = Vec::new();
        for mailbox in self.boxes.iter() {
            let (done, wait) = oneshot::channel();
            mailbox.post(Mail::Shutdown(done));
            waits.push(wait);
        }
        for wait in waits {
            let _ = wait.await; // a worker that is gone already has nobody to say good-bye to
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Clients for Workers {
    /// The workers take sockets in turn.
    fn accept(&self, socket: StdSocket, connected: Connected) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let worker = u16::try_from(turn % self.boxes.iter().len()).unwrap_or(0);
        self.boxes.of(worker).post(Mail::Accepted(Accepted { socket, connected }));
    }

    fn send_cut_off_away(&self) -> Boxed<'_, ()> {
        Box::pin(async {
            for worker in 0..self.boxes.iter().len() {
                let worker = u16::try_from(worker).unwrap_or(0);
                let _ = self.ask(worker, Shard::send_cut_off_away).await; // a worker that is gone has no clients
            }
        })
    }
}

impl Owners for Workers {
    fn superseded(&self, client_id: &Arc<str>, loss: Loss) -> Boxed<'_, ()> {
        self.supersede(client_id, loss)
    }

    fn relayed(&self, relayed: Relayed) -> Boxed<'_, Reception> {
        Box::pin(self.take_relayed(relayed))
    }

    fn rematched(&self, messages: Vec<SharedMessage>) -> Boxed<'_, bool> {
        Box::pin(self.rematch_all(messages))
    }

    fn end_turns(&self) -> Boxed<'_, ()> {
        Box::pin(self.end_all_turns())
    }

    fn let_go(&self, client_id: &Arc<str>, epoch: Epoch) -> Boxed<'_, ()> {
        Box::pin(self.let_go_of(client_id.clone(), epoch))
    }

    fn wills(&self, cursor: u64, limit: usize) -> Boxed<'_, WillPage> {
        Box::pin(self.wills_page(cursor, limit))
    }

    fn send_will(&self, last: LastWill) {
        self.send_will_of(last);
    }

    fn fetched(&self, fetch: Fetch) -> Boxed<'_, Fetched> {
        Box::pin(self.page_of(fetch))
    }

    fn taken(&self, owned: Owned, session_expiry: u32, from: String) -> Boxed<'_, bool> {
        Box::pin(self.take_given(owned, session_expiry, from))
    }

    fn owned(&self, cursor: u64, limit: usize) -> Boxed<'_, OwnedPage> {
        Box::pin(self.owned_page(cursor, limit))
    }

    fn owned_one(&self, client_id: &Arc<str>) -> Boxed<'_, Option<(Epoch, Holder)>> {
        let client_id = client_id.clone();
        Box::pin(async move {
            match exclusive_filter(&client_id) {
                Some(_) => self.exclusives.owned_one(&client_id),
                None => self.session_owned(&client_id).await,
            }
        })
    }
    fn is_awaited(&self, client_id: &Arc<str>) -> Boxed<'_, bool> {
        let (worker, client_id) = (self.boxes.worker_of(client_id), client_id.clone());
        let ask = self.ask(worker, move |shard| shard.pending_claims.has(&client_id));
        Box::pin(async { ask.await.unwrap_or(false) }) // a worker that is gone has nobody
    }
}

/// A worker's life.
async fn run(
    worker: u16,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    restored: Restored,
    ready: oneshot::Sender<()>,
) {
    let shard: Handle = Rc::new(RefCell::new(Shard::new(worker, shared.clone(), counters)));
    shard.borrow_mut().restore(restored);
    let _ = ready.send(()); // whoever started it may be gone
    tokio::task::spawn_local(flush::run(shard.clone()));
    tokio::task::spawn_local(timers::run(shard.clone()));
    tokio::task::spawn_local(sweep::run(shard.clone()));
    let mailbox = shared.boxes.of(worker);
    let mut mail = Vec::new();
    loop {
        mailbox.arrival().await;
        let was_full = mailbox.take(&mut mail);
        let mut farewell = None;
        for one in mail.drain(..) {
            match one {
                Mail::Accepted(accepted) => drop(tokio::task::spawn_local(greet::greet(shard.clone(), accepted))),
                Mail::Attach(handover) => drop(tokio::task::spawn_local(attach::attach(shard.clone(), *handover))),
                Mail::Rematch(messages, done) => {
                    drop(tokio::task::spawn_local(relay::rematch(shard.clone(), messages, done)));
                }
                Mail::Adopt(head, done) => {
                    drop(tokio::task::spawn_local(following::adopt(shard.clone(), *head, done)));
                }
                Mail::Fetch(fetch, page) => {
                    drop(tokio::task::spawn_local(handing::hand_over(shard.clone(), *fetch, page)));
                }
                Mail::Take(owned, expiry, from, done) => {
                    drop(tokio::task::spawn_local(giving::take(shard.clone(), *owned, expiry, from, done)));
                }
                // What came with it is carried out first: dropped, it would be acknowledged to who sent it.
                Mail::Shutdown(done) => farewell = Some(done),
                other => shard.borrow_mut().handle(other),
            }
        }
        if let Some(done) = farewell {
            shard.borrow_mut().shut_down();
            hand_over_all(&shard, &shared).await; // nobody waits for anybody any more
            let _ = done.send(());
            return;
        }
        if was_full {
            shared.boxes.has_drained();
        }
    }
}

/// What the last turns changed goes to the store, however long that takes: who stops the node has a deadline.
async fn hand_over_all(shard: &Handle, shared: &Shared) {
    loop {
        let is_taken = shard.borrow_mut().submit_all();
        match &shared.store {
            Some(store) if !is_taken => store.taken().await,
            _ => return,
        }
    }
}

impl Shard {
    fn handle(&mut self, mail: Mail) {
        self.refresh_now();
        match mail {
            Mail::Deliver(batch, done, joint) => self.delivered(batch, done, joint),
            Mail::Joined => self.submit_ready(),
            Mail::Settled(tickets) => self.settled(tickets),
            Mail::Kept(kept) => self.kept(kept),
            Mail::Room => self.room(),
            Mail::Late => self.late(),
            Mail::Uncongested => self.resume_paused(),
            Mail::Superseded(client_id, loss, done) => self.superseded(&client_id, loss, done),
            Mail::Ask(question) => question(self),
            // These need the runtime: see `run`.
            Mail::Accepted(_) | Mail::Attach(_) | Mail::Shutdown(_) | Mail::Rematch(..) | Mail::Adopt(..) => {}
            Mail::Fetch(..) | Mail::Take(..) => {}
        }
    }

    fn send_cut_off_away(&mut self) {
        self.begin_turn();
        let is_cut_off =
            |entry: &super::shard::Entry| entry.conn.as_ref().is_some_and(|conn| conn.connected.is_cut_off());
        let slots: Vec<usize> =
            self.sessions.iter().filter(|(_, entry)| is_cut_off(entry)).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.say_and_drop(u32::try_from(slot).unwrap_or(u32::MAX), mqtt::ReasonCode::ServerShuttingDown);
        }
    }

    /// Every client is told and dropped, and what that caused (wills) leaves with this last turn.
    fn shut_down(&mut self) {
        self.begin_turn();
        self.is_stopping = true;
        let slots: Vec<u32> = self.by_id.slots().collect();
        for slot in slots {
            self.say_and_drop(slot, mqtt::ReasonCode::ServerShuttingDown);
            self.send_last_will(slot);
        }
        self.flush();
    }

    /// A session in memory ends with the process, and so does the delay of its will [MQTT-3.1.2-8].
    fn send_last_will(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return; // it ended with its connection
        };
        if entry.sid().is_some() || entry.is_departing {
            return; // it is back when the node is, and so is its will; or it is with another node
        }
        let will = entry.session.take_will(self.turn.now);
        let (client_id, identity) = (entry.session.client_id().clone(), entry.identity.clone());
        let epoch = entry.will_epoch;
        if let Some(will) = will {
            self.send_will(&client_id, &identity, epoch, will);
        }
    }
}
