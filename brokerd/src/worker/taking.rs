//! A session that follows its client from a node which keeps its sessions for itself: asked for page by page, put together
//! here, and live when nothing can be at its old place any more. Never takes what a later CONNECT has a right to.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mqtt::session::Negotiated;
use store::{Sid, Store, StoreError};
use tokio::time::{Instant, sleep};

use super::building::Building;
use super::following::known_everywhere;
use super::handing::settled;
use super::shard::{Handle, Shard};
use super::{keeping, records, relay};
use crate::metrics::Metric;
use crate::registry::{Epoch, Fetch, Fetched, Grant, MovingPage};

/// The longest that all pages together may take.
const LONGEST: Duration = Duration::from_secs(10);
/// Between two questions to a node that is about to get the session itself.
const GAP: Duration = Duration::from_millis(5);

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
pub(super) struct Taking {
    pub(super) shard: Handle,
    pub(super) store: Option<Arc<Store>>,
    pub(super) client_id: Arc<str>,
    pub(super) epoch: Epoch,
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
    /// Brings it, if anybody has it.
    pub(super) async fn run(self, previous: Option<&str>) {
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
                Some(Fetched::Page(page)) => return Ok(*page),
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
        let is_told = self.takeovers.is_told(client_id);
        let Some(slot) = self.slot_of(client_id).filter(|_| !is_told || came == Came::Late) else {
            return false;
        };
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| entry.is_departing) else { return false };
        entry.is_departing = false;
        if entry.sid().is_none() {
            entry.session.unnumber();
        }
        self.takeovers.has_left(client_id);
        self.arm(slot);
        true
    }

    /// A copy of a session that went on elsewhere, and is over.
    pub(super) fn drop_copy(&mut self, client_id: &str) {
        let Some(slot) = self.slot_of(client_id) else { return };
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
                && !self.is_second_copy(slot, delivery.copy_id())
            {
                self.step(slot, |session, limits, now, out| session.deliver(delivery, limits, now, out));
            }
        }
        (after.max(page.up_to), 0)
    }

    /// A session that came has everything: it is as if it had been here all the time. Unless another node owns it by now:
    /// that one is to ask for the names of what came.
    pub(super) fn is_here(&mut self, slot: u32, incarnation: u32) {
        self.counters.inc(Metric::SessionFollowed);
        let Some(entry) = self.entry(slot, incarnation).filter(|entry| !entry.is_departing) else { return };
        if entry.sid().is_none() {
            entry.session.unnumber();
        }
        self.claim_exclusives(slot);
    }
}
