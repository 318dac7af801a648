//! A session that leaves for the node its client came to, where nodes keep their sessions apart: the pages that it is told
//! in. It stays here until that node has it, and takes what still comes for it. Never decides who owns it.

use std::time::Duration;

use hashbrown::HashMap;
use mqtt::ReasonCode;
use mqtt::session::{Delivery, Moving, Stage};
use store::{Sid, Store, StoreError};
use tokio::sync::oneshot;

use super::mailbox::Mail;
use super::shard::{Handle, Shard};
use super::start::Workers;
use super::{records, relay};
use crate::metrics::Metric;
use crate::registry::{Fetch, Fetched, MovingMessage, MovingPage};

/// Messages in a page.
const PAGE: usize = 1_024;
/// And bytes; a larger message comes in pieces of it.
const PAGE_BYTES: usize = 256 << 10;
/// How long a session stays that its new owner has asked for, and asks for no more.
const PATIENCE: Duration = Duration::from_secs(10);
/// And one that nobody has asked for: a node that was away had it, and its client began anew elsewhere.
const UNASKED: Duration = Duration::from_secs(3);
/// How long the fate of what the client published here is waited for, in milliseconds.
const ROUTING: u64 = 1_000;

/// A page whose bodies may be in the store.
struct Draft {
    page: MovingPage,
    sid: Option<Sid>,
    messages: Vec<Moving>,
    has_more: bool,
    clock: records::WallClock,
}

/// Answers a page of a session to its new owner.
pub(super) async fn hand_over(shard: Handle, fetch: Fetch, answer: oneshot::Sender<Fetched>) {
    let draft = shard.borrow_mut().draft(&fetch);
    let fetched = match draft {
        Ok(draft) => fill(&shard, draft, fetch.offset).await,
        Err(fetched) => fetched,
    };
    let _ = answer.send(fetched); // who asked may have given up
}

async fn fill(shard: &Handle, mut draft: Draft, offset: usize) -> Fetched {
    if let Err(error) = read_bodies(shard, &mut draft).await {
        tracing::warn!(%error, "a session that is to move cannot be read");
        return Fetched::Busy; // whoever asks does so again until its deadline
    }
    let Draft { mut page, messages, has_more, clock, .. } = draft;
    let (mut room, mut is_cut) = (PAGE_BYTES, false);
    for (message, body) in messages {
        let (packet_id, is_released) = match message.stage {
            Stage::Queued => (0, false),
            Stage::Sent(id) => (id.get(), false),
            Stage::Released(id) => (id.get(), true),
        };
        let entry = body.map(|delivery| relay::encode(&records::entry(delivery, clock))).unwrap_or_default();
        if entry.is_empty() && !is_released {
            shard.borrow().counters.inc(Metric::StoreLost);
            page.up_to = message.seq;
            continue;
        }
        let (is_first, seq) = (page.messages.is_empty(), message.seq);
        if entry.len() > room && !is_first {
            is_cut = true;
            break;
        }
        let piece = if is_first { entry.slice(offset.min(entry.len())..) } else { entry };
        let missing = piece.len().saturating_sub(PAGE_BYTES);
        let entry = piece.slice(..piece.len() - missing);
        room = room.saturating_sub(entry.len());
        if missing == 0 {
            page.up_to = seq;
        }
        page.messages.push(MovingMessage { seq, packet_id, is_released, entry, missing });
        if missing > 0 {
            is_cut = true;
            break;
        }
    }
    page.is_last = !has_more && !is_cut;
    Fetched::Page(Box::new(page))
}

/// Reads what is only in the store. What it does not have was damaged.
async fn read_bodies(shard: &Handle, draft: &mut Draft) -> Result<(), StoreError> {
    let lacks = |(message, body): &&Moving| body.is_none() && !matches!(message.stage, Stage::Released(_));
    let Some(first) = draft.messages.iter().find(lacks).map(|(message, _)| message.seq) else { return Ok(()) };
    let store = shard.borrow().shared.store.clone();
    let (Some(store), Some(sid)) = (store, draft.sid) else { return Ok(()) };
    settled(shard, &store).await?;
    let read = store.fetch(sid, first - 1, PAGE, PAGE_BYTES).await?;
    let last = read.last().map(|stored| stored.seq);
    let clock = draft.clock;
    let mut bodies: HashMap<u64, Delivery, foldhash::fast::RandomState> =
        read.into_iter().map(|stored| (stored.seq, records::delivery(stored, clock))).collect();
    for (message, body) in &mut draft.messages {
        if body.is_none() {
            *body = bodies.remove(&message.seq);
        }
    }
    // What was not read this time is behind this page.
    let unread = last.and_then(|last| draft.messages.iter().position(|one| lacks(&one) && one.0.seq > last));
    if let Some(unread) = unread {
        draft.messages.truncate(unread);
        draft.has_more = true;
    }
    Ok(())
}

/// Completes when the store has all that this worker changed so far.
pub(super) async fn settled(shard: &Handle, store: &Store) -> Result<(), StoreError> {
    let submitted = {
        let mut shard = shard.borrow_mut();
        shard.submit();
        shard.journal.when_submitted()
    };
    if let Some(submitted) = submitted {
        let _ = submitted.await; // the worker is there for as long as this is
    }
    store.flush().await
}

impl Shard {
    fn draft(&mut self, fetch: &Fetch) -> Result<Draft, Fetched> {
        self.begin_turn();
        if self.takeovers.is_busy(&fetch.client_id, fetch.epoch) {
            return Err(Fetched::Busy); // it is on its way here, and goes on from here
        }
        self.pending_claims.superseded(&fetch.client_id, fetch.epoch);
        let slot = self.slot_of(&fetch.client_id).ok_or(Fetched::NotHere)?;
        let entry = self.sessions.get(slot as usize).filter(|entry| entry.epoch < fetch.epoch);
        let (incarnation, is_connected) =
            entry.map(|entry| (entry.incarnation, entry.conn.is_some())).ok_or(Fetched::NotHere)?;
        if is_connected {
            self.counters.inc(Metric::SessionTakenover);
            self.say_and_drop(slot, ReasonCode::SessionTakenOver);
        } else {
            self.session_due(slot); // its end may be due, and its timer not have run
        }
        if self.entry(slot, incarnation).is_none() {
            return Err(Fetched::NotHere); // it ended
        }
        self.depart(slot);
        let now = self.turn.now;
        let marks = if fetch.is_head { self.marks_of(slot) } else { Vec::new() };
        let waited = self.takeovers.asked(&fetch.client_id, fetch.is_drained, now);
        let clock = self.shared.clock();
        let entry = self.entry(slot, incarnation).ok_or(Fetched::NotHere)?;
        // Whether a QoS 2 PUBLISH counts as received is not known before it is routed.
        if fetch.is_head && entry.session.owed() > 0 && waited < ROUTING {
            return Err(Fetched::Busy);
        }
        let (messages, has_more) = entry.session.page(fetch.after, PAGE, PAGE_BYTES);
        let mut page = MovingPage { wall: clock.wall, marks, ..MovingPage::default() };
        if fetch.is_head {
            let mut record = Vec::new();
            store::encode_session(&records::record(entry, clock), &mut record);
            page.record = record.into();
            page.received = entry.session.received_ids().map(mqtt::PacketId::get).collect();
        }
        Ok(Draft { page, sid: entry.sid(), messages, has_more, clock })
    }

    /// A session is another node's by now, which is to ask for it.
    pub(super) fn await_fetches(&mut self, slot: u32, incarnation: u32) {
        self.members_away(slot);
        let (client_id, now) = (self.client_id(slot), self.turn.now);
        if let Some(entry) = self.entry(slot, incarnation).filter(|entry| entry.sid().is_none()) {
            entry.session.number();
        }
        self.takeovers.leaves(&client_id, now);
        self.look_after(slot, incarnation, UNASKED);
    }

    fn look_after(&self, slot: u32, incarnation: u32, patience: Duration) {
        self.later(patience, move |shard| {
            shard.begin_turn();
            let now = shard.turn.now;
            let is_there = shard.entry(slot, incarnation).is_some_and(|entry| entry.is_departing);
            if !is_there {
                return;
            }
            match shard.takeovers.silence(&shard.client_id(slot), now) {
                Some(silence) if silence < PATIENCE => shard.look_after(slot, incarnation, PATIENCE - silence),
                _ => shard.abandon(slot),
            }
        });
    }

    /// The node that owns the session has not asked for it, or began anew without: it ends here.
    fn abandon(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get(slot as usize) else { return };
        let (in_flight, _, queued, _) = entry.session.depths();
        let lost = (in_flight + queued) as u64;
        let client_id = entry.session.client_id().clone();
        tracing::warn!(
            client = &*client_id,
            lost,
            "a session that another node owns by now was not asked for: it ends"
        );
        self.counters.add(Metric::DeliveryDropped, lost);
        self.counters.add(Metric::DroppedSuperseded, lost);
        self.takeovers.has_left(&client_id);
        self.end(slot, Metric::SessionTerminated);
    }
}

impl Workers {
    /// See [`crate::registry::Owners::fetched`].
    pub(super) async fn page_of(&self, fetch: Fetch) -> Fetched {
        let worker = self.boxes.worker_of(&fetch.client_id);
        let (answer, page) = oneshot::channel();
        self.boxes.of(worker).post(Mail::Fetch(Box::new(fetch), answer));
        page.await.unwrap_or(Fetched::NotHere) // a worker that is gone has nothing
    }
}
