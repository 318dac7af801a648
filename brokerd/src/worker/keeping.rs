//! A kept session before it gets a connection: its place in the store, and the messages that are only there. Never holds
//! the worker up meanwhile: whoever connects waits alone.

use std::sync::Arc;

use mqtt::session::Negotiated;
use store::{Claim, Sid, Store, StoreError};

use super::records;
use super::shard::{Handle, Shard};
use crate::metrics::Metric;
use crate::registry::Epoch;

/// Messages read from the store at a time.
const PAGE: usize = 256;
/// And bytes, about.
const PAGE_BYTES: usize = 1 << 20;

/// What a session that is to be kept still needs.
enum Lacks {
    Nothing,
    /// A place in the store.
    Place,
    /// Bodies, from this name on.
    Bodies {
        slot: u32,
        incarnation: u32,
        sid: Sid,
        first: u64,
    },
}

/// Readies the store for a CONNECT: answers the place for the session that begins with it, if one does. To be acted on
/// before anything else is awaited.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn ready(
    shard: &Handle,
    store: &Arc<Store>,
    negotiated: &Negotiated,
    epoch: Epoch,
) -> Result<Option<Sid>, StoreError> {
    loop {
        let lacks = shard.borrow_mut().lacks(negotiated);
        match lacks {
            Lacks::Nothing => return Ok(None),
            Lacks::Place => return claim(shard, store, &negotiated.client_id, epoch).await.map(Some),
            Lacks::Bodies { slot, incarnation, sid, first } => {
                load_page(shard, store, (slot, incarnation), sid, first).await?;
            }
        }
    }
}

/// Reads what is committed: of what came just now a part may wait for other workers, and is not in the store's queue yet.
async fn load_page(
    shard: &Handle,
    store: &Store,
    (slot, incarnation): (u32, u32),
    sid: Sid,
    first: u64,
) -> Result<(), StoreError> {
    let submitted = shard.borrow_mut().journal.when_submitted();
    if let Some(submitted) = submitted {
        let _ = submitted.await; // the worker is there for as long as this is
    }
    store.flush().await?;
    let page = store.fetch(sid, first.saturating_sub(1), PAGE, PAGE_BYTES).await?;
    shard.borrow_mut().load(slot, incarnation, first, page);
    Ok(())
}

/// Reads the messages of a session that is about to get its connection.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn load_all(shard: &Handle, store: &Store, negotiated: &Negotiated) -> Result<(), StoreError> {
    loop {
        let lacks = shard.borrow_mut().lacks(negotiated);
        let Lacks::Bodies { slot, incarnation, sid, first } = lacks else { return Ok(()) };
        load_page(shard, store, (slot, incarnation), sid, first).await?;
    }
}

async fn claim(shard: &Handle, store: &Store, client_id: &Arc<str>, epoch: Epoch) -> Result<Sid, StoreError> {
    let node = shard.borrow().shared.node.clone();
    let claim =
        Claim { client_id: (&**client_id).into(), epoch: epoch.0, node: (&*node).into(), is_clean: true, held: None };
    Ok(store.claim(claim).await?.sid)
}

impl Shard {
    /// Has the session of this CONNECT kept from now on, at its place in the store, or not any more.
    pub(super) fn keep(&mut self, slot: u32, place: Option<Sid>, is_wanted: bool) {
        if !is_wanted {
            self.forget(slot);
        } else if let Some(entry) = self.sessions.get_mut(slot as usize)
            && let Some(sid) = place
        {
            entry.set_sid(place);
            entry.session.keep(true);
            self.by_sid.insert(sid, slot);
        }
    }

    /// A session without a connection holds no body that the store has.
    pub(super) fn unload(&mut self, slot: u32) {
        if let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| entry.sid().is_some()) {
            entry.session.unload();
        }
    }

    fn lacks(&mut self, negotiated: &Negotiated) -> Lacks {
        self.begin_turn();
        let existing = self.slot_of(&negotiated.client_id).filter(|_| !negotiated.clean_start);
        let found = existing.and_then(|slot| Some((slot, self.sessions.get_mut(slot as usize)?)));
        // One that ends with its connection, or is due to end, is not resumed: a new one takes its place.
        let now = self.turn.now;
        let lives = |entry: &super::shard::Entry| {
            let ends = entry.session.expiry() == 0 || (entry.conn.is_none() && entry.session.is_over(now));
            !ends
        };
        match found.filter(|(_, entry)| lives(entry)) {
            Some((slot, entry)) => {
                let (incarnation, sid) = (entry.incarnation, entry.sid());
                match sid.and_then(|sid| Some((sid, entry.session.missing()?))) {
                    Some((sid, first)) => {
                        self.submit();
                        Lacks::Bodies { slot, incarnation, sid, first }
                    }
                    None => Lacks::Nothing,
                }
            }
            None if negotiated.session_expiry == 0 => Lacks::Nothing,
            None => Lacks::Place,
        }
    }

    /// Gives a session the bodies that were read from `first` on. What the store does not have was damaged, or never
    /// acknowledged to its publisher.
    fn load(&mut self, slot: u32, incarnation: u32, first: u64, page: Vec<store::Stored>) {
        let clock = self.shared.clock();
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| entry.incarnation == incarnation) else {
            return;
        };
        let up_to = if page.len() < PAGE { page.last().map_or(first, |last| last.seq.max(first)) } else { first };
        for stored in page {
            entry.session.load(stored.seq, records::delivery(stored, clock));
        }
        let lost = entry.session.forget_missing(up_to, &mut self.out);
        if lost > 0 {
            self.note_changes(slot);
            self.counters.add(Metric::StoreLost, lost as u64);
            tracing::warn!(client = &*self.client_id(slot), lost, "queued messages were not found in the store");
        }
    }
}
