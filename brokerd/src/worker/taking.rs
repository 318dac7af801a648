//! A session that follows its client from a node which keeps its sessions for itself: asked for page by page, put together
//! here, and live when nothing can be at its old place any more. Never takes what a later CONNECT has a right to.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mqtt::Time;
use mqtt::session::Negotiated;
use store::{Sid, Store, StoreError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::building::Building;
use super::following::known_everywhere;
use super::handing::settled;
use super::mailbox::Mail;
use super::shard::{Handle, Shard};
use super::start::Workers;
use super::{keeping, records, relay};
use crate::metrics::Metric;
use crate::registry::{Claim, Epoch, Fetch, Fetched, Grant, Loss, MovingPage, Owned};

/// The longest that all pages together may take.
const LONGEST: Duration = Duration::from_secs(10);
/// Between two questions to a node that is about to get the session itself.
const GAP: Duration = Duration::from_millis(5);

/// Sessions on their way from and to other nodes.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    /// Claims whose grants are not here yet: their epochs may be lower than any.
    claiming: HashMap<Arc<str>, Vec<u64>, foldhash::fast::RandomState>,
    last_claim: u64,
    /// By which epochs an id is being taken.
    coming: HashMap<Arc<str>, Vec<Epoch>, foldhash::fast::RandomState>,
    leaving: HashMap<Arc<str>, Leaving, foldhash::fast::RandomState>,
}

/// A session that another node owns.
#[derive(Debug)]
struct Leaving {
    since: Time,
    /// When it was asked for last, if it was.
    asked: Option<Time>,
    /// Whether its new owner has it live.
    is_told: bool,
}

impl Takeovers {
    /// Whether an earlier owner is still about to get the session here.
    fn has_earlier(&self, client_id: &str, epoch: Epoch) -> bool {
        self.coming.get(client_id).is_some_and(|epochs| epochs.iter().any(|one| *one < epoch))
    }

    /// A CONNECT claims an id. Names the claim.
    pub(super) fn claims(&mut self, client_id: &Arc<str>) -> u64 {
        self.last_claim += 1;
        self.claiming.entry(client_id.clone()).or_default().push(self.last_claim);
        self.last_claim
    }

    /// It has its answer. What it is granted is to be taken before anything else is awaited.
    pub(super) fn claimed(&mut self, client_id: &str, claim: u64) {
        let Some(claims) = self.claiming.get_mut(client_id) else { return };
        claims.retain(|one| *one != claim);
        if claims.is_empty() {
            self.claiming.remove(client_id);
        }
    }

    /// Whether a claim of an id that began before `last` has no answer yet.
    fn is_claiming(&self, client_id: &str, last: u64) -> bool {
        self.claiming.get(client_id).is_some_and(|claims| claims.iter().any(|one| *one <= last))
    }

    /// Whether an earlier owner is about to get the session here, or may be.
    pub(super) fn is_busy(&self, client_id: &str, epoch: Epoch) -> bool {
        self.has_earlier(client_id, epoch) || self.claiming.contains_key(client_id)
    }

    fn begin(&mut self, client_id: &Arc<str>, epoch: Epoch) {
        self.coming.entry(client_id.clone()).or_default().push(epoch);
    }

    fn end(&mut self, client_id: &str, epoch: Epoch) {
        let Some(epochs) = self.coming.get_mut(client_id) else { return };
        epochs.retain(|one| *one != epoch);
        if epochs.is_empty() {
            self.coming.remove(client_id);
        }
    }

    pub(super) fn leaves(&mut self, client_id: &Arc<str>, now: Time) {
        self.leaving.insert(client_id.clone(), Leaving { since: now, asked: None, is_told: false });
    }

    /// Answers for how many milliseconds it has been leaving. Who asks for what `is_drained` has it live.
    pub(super) fn asked(&mut self, client_id: &str, is_drained: bool, now: Time) -> u64 {
        let Some(leaving) = self.leaving.get_mut(client_id) else { return 0 };
        leaving.asked = Some(now);
        leaving.is_told |= is_drained;
        now.since(leaving.since)
    }

    /// For how long nobody has asked for it; `None` where nobody ever did.
    pub(super) fn silence(&self, client_id: &str, now: Time) -> Option<Duration> {
        self.leaving.get(client_id)?.asked.map(|asked| Duration::from_millis(now.since(asked)))
    }

    pub(super) fn has_left(&mut self, client_id: &str) {
        self.leaving.remove(client_id);
    }
}

/// How a takeover ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// The session is here, or a later one.
    Here,
    /// There is none any more.
    Gone,
    /// Who has it does not answer, or not in time.
    Late,
}

/// One takeover.
struct Taking {
    shard: Handle,
    store: Option<Arc<Store>>,
    client_id: Arc<str>,
    epoch: Epoch,
}

/// Readies this node for a CONNECT: brings the session from where it was, and answers as `keeping::ready` does.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn ready(
    shard: &Handle,
    store: Option<&Arc<Store>>,
    negotiated: &Negotiated,
    grant: &Grant,
) -> Result<Option<Sid>, StoreError> {
    if !negotiated.clean_start {
        let taking = Taking {
            shard: shard.clone(),
            store: store.cloned(),
            client_id: negotiated.client_id.clone(),
            epoch: grant.epoch,
        };
        taking.run(grant.previous.as_deref()).await;
    }
    match store {
        Some(store) => keeping::ready(shard, store, negotiated, grant.epoch).await,
        None => Ok(None),
    }
}

/// Marks a takeover, however it ends.
struct Coming(Handle, Arc<str>, Epoch);

impl Drop for Coming {
    fn drop(&mut self) {
        // A worker that ends may drop its tasks while it is borrowed; then nobody asks any more.
        if let Ok(mut shard) = self.0.try_borrow_mut() {
            shard.takeovers.end(&self.1, self.2);
        }
    }
}

impl Taking {
    async fn run(self, previous: Option<&str>) {
        let until = Instant::now() + LONGEST;
        self.shard.borrow_mut().takeovers.begin(&self.client_id, self.epoch);
        let _coming = Coming(Rc::clone(&self.shard), self.client_id.clone(), self.epoch);
        let last = self.shard.borrow().takeovers.last_claim;
        while Instant::now() < until && self.has_earlier(last) {
            sleep(GAP).await; // what an earlier CONNECT brings here is here then
        }
        let mut came = match previous {
            Some(previous) => self.bring(previous, until).await,
            None => Came::Late,
        };
        if came != Came::Here {
            // It may be here still, on its way to somebody who has not fetched it.
            let is_back = self.shard.borrow_mut().come_back(&self.client_id, came);
            if is_back || previous.is_none() {
                return;
            }
            // An owner that has not got the session itself: who had it before it still does.
            came = self.look_elsewhere(previous, came, until).await;
        }
        match came {
            Came::Here => {}
            Came::Gone => self.shard.borrow_mut().drop_copy(&self.client_id),
            Came::Late => {
                self.shard.borrow().counters.inc(Metric::TakeoverFailed);
                tracing::warn!(client = &*self.client_id, node = previous, "a session was not handed over in time");
            }
        }
    }

    fn has_earlier(&self, last: u64) -> bool {
        let takeovers = &self.shard.borrow().takeovers;
        takeovers.is_claiming(&self.client_id, last) || takeovers.has_earlier(&self.client_id, self.epoch)
    }

    /// Answers `came` where nobody has it.
    async fn look_elsewhere(&self, previous: Option<&str>, came: Came, until: Instant) -> Came {
        let elsewhere = self.shard.borrow().shared.elsewhere.clone();
        for node in elsewhere.others().into_iter().filter(|node| Some(&**node) != previous) {
            if self.bring(&node, until).await == Came::Here {
                return Came::Here;
            }
        }
        came
    }

    async fn bring(&self, node: &str, until: Instant) -> Came {
        let mut building = Building::new(&self.shard, self.store.clone(), self.client_id.clone(), self.epoch);
        loop {
            let page = match self.page(node, building.next(), until).await {
                Ok(page) => page,
                Err(came) => {
                    building.give_up();
                    return came;
                }
            };
            let is_last = page.is_last;
            if let Err(why) = building.add(page).await {
                tracing::warn!(client = &*self.client_id, node, why, "a session that was handed over cannot be taken");
                building.give_up();
                return Came::Late;
            }
            if is_last {
                break;
            }
        }
        let after = building.last_seq();
        let taken = building.take_up();
        if let Some((slot, incarnation, version)) = taken {
            known_everywhere(&self.shard, version).await;
            self.collect(node, slot, incarnation, after, until).await;
        }
        Came::Here
    }

    /// What came to its old place before every node routed here.
    async fn collect(&self, node: &str, slot: u32, incarnation: u32, after: u64, until: Instant) {
        let mut next = self.first(after);
        next.is_drained = true;
        let mut piece = Vec::new();
        loop {
            let Ok(page) = self.page(node, next.clone(), until).await else {
                self.shard.borrow().counters.inc(Metric::TakeoverFailed);
                tracing::warn!(client = &*self.client_id, node, "what came last for a session was not handed over");
                break;
            };
            next.is_drained = false;
            let is_last = page.is_last;
            (next.after, next.offset) =
                self.shard.borrow_mut().came_late(slot, incarnation, page, &mut piece, next.after);
            if is_last {
                break;
            }
        }
        self.shard.borrow_mut().has_collected(slot, incarnation);
        self.shard.borrow_mut().is_here(slot, incarnation);
        if let Some(store) = &self.store
            && let Err(error) = settled(&self.shard, store).await
        {
            return tracing::warn!(%error, client = &*self.client_id, "a session that was handed over is not kept yet");
        }
        let (elsewhere, node) = (self.shard.borrow().shared.elsewhere.clone(), node.to_owned());
        let (client_id, epoch) = (self.client_id.clone(), self.epoch);
        drop(tokio::task::spawn_local(async move { elsewhere.collect(node, client_id, epoch).await }));
    }

    fn first(&self, after: u64) -> Fetch {
        let (client_id, epoch) = (self.client_id.clone(), self.epoch);
        Fetch { client_id, epoch, after, is_head: false, is_drained: false, offset: 0 }
    }

    /// Asks until there is an answer.
    async fn page(&self, node: &str, fetch: Fetch, until: Instant) -> Result<MovingPage, Came> {
        let elsewhere = self.shard.borrow().shared.elsewhere.clone();
        while Instant::now() < until {
            match elsewhere.fetch(node.to_owned(), fetch.clone()).await {
                Some(Fetched::Page(page)) => return Ok(page),
                Some(Fetched::Busy) => sleep(GAP).await,
                Some(Fetched::NotHere) => return Err(Came::Gone),
                None => return Err(Came::Late),
            }
        }
        Err(Came::Late)
    }
}

impl Shard {
    /// A session that was leaving stays, unless it was live elsewhere and is over. Answers whether there was one.
    fn come_back(&mut self, client_id: &str, came: Came) -> bool {
        let is_told = self.takeovers.leaving.get(client_id).is_some_and(|leaving| leaving.is_told);
        let Some(slot) = self.by_id.get(client_id).copied().filter(|_| !is_told || came == Came::Late) else {
            return false;
        };
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| entry.is_departing) else { return false };
        entry.is_departing = false;
        if entry.sid.is_none() {
            entry.session.unnumber();
        }
        self.takeovers.has_left(client_id);
        self.arm(slot);
        true
    }

    /// A copy of a session that went on elsewhere, and is over.
    pub(super) fn drop_copy(&mut self, client_id: &str) {
        let Some(slot) = self.by_id.get(client_id).copied() else { return };
        if self.sessions.get(slot as usize).is_some_and(|entry| entry.is_departing) {
            self.drop_moved(slot);
        }
    }

    /// Messages that had come to the old place of a session. Answers the name of the last that is whole, and how many
    /// bytes of the next there are.
    fn came_late(
        &mut self,
        slot: u32,
        incarnation: u32,
        page: MovingPage,
        piece: &mut Vec<u8>,
        mut after: u64,
    ) -> (u64, usize) {
        self.begin_turn();
        let clock = records::WallClock { now: self.turn.now, wall: page.wall };
        for message in page.messages {
            piece.extend_from_slice(&message.entry);
            if message.missing > 0 {
                return (after, piece.len());
            }
            let delivery = relay::read(piece, clock);
            piece.clear();
            after = message.seq;
            let is_there = self.entry(slot, incarnation).is_some();
            if let Some(delivery) = delivery.filter(|_| is_there)
                && !self.is_second_copy(slot, delivery.message.id)
            {
                self.step(slot, |session, limits, now, out| session.deliver(delivery, limits, now, out));
            }
        }
        (after, 0)
    }

    /// A session that came has everything: it is as if it had been here all the time.
    fn is_here(&mut self, slot: u32, incarnation: u32) {
        self.counters.inc(Metric::SessionFollowed);
        if let Some(entry) = self.entry(slot, incarnation).filter(|entry| entry.sid.is_none()) {
            entry.session.unnumber();
        }
    }
}

/// Takes a session of a node that leaves.
pub(super) async fn take(shard: Handle, owned: Owned, session_expiry: u32, from: String, done: oneshot::Sender<bool>) {
    let _ = done.send(take_one(&shard, owned, session_expiry, from).await); // who asked may have given up
}

async fn take_one(shard: &Handle, owned: Owned, session_expiry: u32, from: String) -> bool {
    let Owned { client_id, epoch, holder } = owned;
    if !shard.borrow().lacks_session(&client_id) {
        return false;
    }
    let (elsewhere, store) = {
        let shard = shard.borrow();
        (shard.shared.elsewhere.clone(), shard.shared.store.clone())
    };
    let (needs_registrar, clean_start) = (true, false);
    let claim =
        Claim { client_id: client_id.clone(), holder, needs_registrar, clean_start, session_expiry, known: epoch };
    shard.borrow_mut().pending_claims.begin(&client_id);
    let ticket = shard.borrow_mut().takeovers.claims(&client_id);
    let grant = elsewhere.claim(claim).await.ok();
    shard.borrow_mut().takeovers.claimed(&client_id, ticket);
    if let Some(grant) = &grant {
        let taking = Taking { shard: shard.clone(), store, client_id: client_id.clone(), epoch: grant.epoch };
        taking.run(Some(grant.previous.as_deref().unwrap_or(&from))).await;
    }
    let mut shard = shard.borrow_mut();
    let superseded = shard.pending_claims.end(&client_id, grant.as_ref().map(|grant| grant.epoch));
    let Some(grant) = grant else { return false };
    if superseded > grant.epoch {
        shard.superseded(&client_id, Loss { epoch: superseded, is_clean: false }, oneshot::channel().0);
        return false;
    }
    let slot = shard.by_id.get(&client_id).copied();
    match slot {
        Some(slot) => shard.unload(slot),
        None => elsewhere.release(&client_id, grant.epoch),
    }
    slot.is_some()
}

impl Workers {
    /// See [`crate::registry::Owners::taken`].
    pub(super) async fn take_given(&self, owned: Owned, session_expiry: u32, from: String) -> bool {
        let worker = self.boxes.worker_of(&owned.client_id);
        let (done, is_done) = oneshot::channel();
        self.boxes.of(worker).post(Mail::Take(Box::new(owned), session_expiry, from, done));
        is_done.await.unwrap_or(false) // a worker that is gone takes nothing
    }
}
