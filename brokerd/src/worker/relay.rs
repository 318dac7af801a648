//! Messages for a session that is another node's by now: the store has refused them here, so they are brought to where
//! it is, and whoever published them waits. Takes those that others bring, too. Never decides who owns a session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use mqtt::ReasonCode;
use mqtt::message::SharedMessage;
use mqtt::session::{CopyId, Delivery};
use store::{Body, Sid, Store, StoreError};
use tokio::sync::oneshot;

use super::mailbox::Mail;
use super::records;
use super::shard::{Handle, Shard};
use super::start::Workers;
use crate::metrics::Metric;
use crate::registry::{Reception, Relayed};
use crate::router::{Matches, OnDelivered, Outcome, Subscriber};

/// Between two looks at whether the sessions that are on their way here have come.
const LOOK: Duration = Duration::from_millis(2);

impl Shard {
    /// The store says that these sessions are not this node's. Ends them here, and brings what the batch had for them to
    /// their owners. Answers how many of those are waited for.
    pub(super) fn relay_fenced(&mut self, batch: u64, fenced: &[Sid]) -> usize {
        if !self.journal.moves.is_shared {
            return 0;
        }
        let copies = self.journal.moves.copies_of(batch);
        let mut relays: HashMap<Sid, Relayed> = HashMap::new();
        for copy in copies.into_iter().filter(|copy| fenced.contains(&copy.sid)) {
            let relayed = relays.entry(copy.sid).or_insert_with(|| Relayed {
                client_id: copy.client_id.clone(),
                sid: copy.sid.0,
                entries: Vec::new(),
            });
            relayed.entries.push(encode(&copy.entry));
        }
        for sid in fenced {
            if !self.journal.moves.came_after(*sid, batch) {
                self.lost_to_another(*sid);
            }
        }
        let count = relays.len();
        for (_, relayed) in relays {
            self.counters.add(Metric::MessagesRelayed, relayed.entries.len() as u64);
            self.relay(batch, relayed);
        }
        count
    }

    fn relay(&self, batch: u64, relayed: Relayed) {
        let (shared, worker) = (self.shared.clone(), self.worker);
        drop(tokio::task::spawn_local(async move {
            let is_done = shared.elsewhere.relay(relayed).await;
            let tell = move |shard: &mut Self| {
                shard.begin_turn();
                shard.journal.moves.relayed(batch, is_done);
                shard.finish_answers();
            };
            shared.boxes.of(worker).post(Mail::Ask(Box::new(tell)));
        }));
    }

    /// A session turned out to be another node's: this one was not told, for it was cut off or stopped.
    pub(super) fn lost_to_another(&mut self, sid: Sid) {
        let Some(slot) = self.by_sid.get(&sid).copied() else { return };
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| !entry.is_departing) else { return };
        let incarnation = entry.incarnation;
        entry.session.cancel_will(); // who owns it sends it, or does not
        self.counters.inc(Metric::SessionFenced);
        tracing::info!(client = &*self.client_id(slot), "the session is another node's by now");
        let is_connected = self.sessions.get(slot as usize).is_some_and(|entry| entry.conn.is_some());
        if is_connected {
            self.say_and_drop(slot, ReasonCode::SessionTakenOver);
        }
        if self.entry(slot, incarnation).is_some() {
            self.depart(slot);
        }
    }

    /// Takes messages that another node had for a session of this one. `done` is dropped when they are kept.
    fn take_relayed(&mut self, relayed: &Relayed, done: Arc<OnDelivered>) -> Option<Reception> {
        self.begin_turn();
        let is_claimed = self.pending_claims.has(&relayed.client_id);
        let slot = self.slot_of(&relayed.client_id);
        let Some((slot, entry)) = slot.and_then(|slot| Some((slot, self.sessions.get(slot as usize)?))) else {
            return Some(Reception::NotHere);
        };
        if entry.is_departing || (is_claimed && entry.sid() != Some(Sid(relayed.sid))) {
            return Some(Reception::NotHere);
        }
        if entry.sid() != Some(Sid(relayed.sid)) {
            return Some(Reception::Gone);
        }
        let clock = self.shared.clock();
        for bytes in &relayed.entries {
            let Some(delivery) = read(bytes, clock) else {
                tracing::warn!(client = &*relayed.client_id, "an entry that another node brought cannot be read");
                continue;
            };
            let is_wanted = self.was_subscribed(slot, delivery.message.topic());
            if is_wanted && !self.is_second_copy(slot, delivery.copy_id()) {
                self.step(slot, |session, limits, now, out| session.deliver(delivery, limits, now, out));
            }
        }
        self.receipt(Some(done));
        None
    }
}

impl Shard {
    /// Since it was matched where the session was before, the client may have unsubscribed here, and subscribed anew.
    fn was_subscribed(&self, slot: u32, topic: &str) -> bool {
        let matches = |filter: &str| {
            let inner = mqtt::topic::parse_share(filter).map_or(filter, |(_, inner)| inner);
            mqtt::topic::matches(inner.strip_prefix("$exclusive/").unwrap_or(inner), topic)
        };
        let Some(entry) = self.sessions.get(slot as usize) else { return false };
        let mut granted = entry.session.subscriptions();
        granted.any(|one| matches(&one.filter) && self.came_along(slot, one.serial))
    }
}

pub(super) fn read(bytes: &[u8], clock: records::WallClock) -> Option<Delivery> {
    let entry = store::decode_entry(bytes).ok()?;
    let Body::Inline(message) = &entry.body else { return None };
    let message = message.clone();
    Some(records::delivery(store::Stored { seq: 0, entry, message }, clock))
}

impl Shard {
    /// Sessions here that came from elsewhere and get one of these messages, of which it is not known yet what they had
    /// in their queues when they came.
    fn unread(&mut self, messages: &[SharedMessage]) -> Vec<(u32, u32, Sid)> {
        let mut slots: Vec<u32> = Vec::new();
        for message in messages {
            let mut matches = Matches::default();
            self.shared.index.matches(message.topic(), &mut matches);
            slots.extend(matches.local.iter().filter(|one| one.worker == self.worker).map(|one| one.session));
        }
        slots.sort_unstable();
        slots.dedup();
        let unread = |slot: u32| {
            let entry = self.sessions.get(slot as usize)?;
            let is_unread = self.arrival(slot).is_some_and(|arrival| !arrival.is_read);
            Some((slot, entry.incarnation, entry.sid()?)).filter(|_| is_unread)
        };
        slots.into_iter().filter_map(unread).collect()
    }

    /// Delivers to sessions that came from elsewhere what they have not had.
    fn rematch(&mut self, messages: &[SharedMessage], done: Arc<OnDelivered>) {
        self.begin_turn();
        for message in messages {
            let mut matches = Matches::default();
            self.shared.index.matches(message.topic(), &mut matches);
            let came = |one: &Subscriber| {
                let is_here = one.worker == self.worker && self.arrival(one.session).is_some();
                is_here && self.came_along(one.session, one.serial)
            };
            matches.local.retain(came);
            matches.local.sort_unstable_by_key(|one| (one.session, one.serial));
            self.deliver_here(message, &matches.local, None, true);
        }
        self.receipt(Some(done));
    }
}

/// Messages that a node which is gone was to get. Some of them may have reached it, and be in the store. A session that is
/// on its way here at this moment is waited for: it is on no other node.
pub(super) async fn rematch(shard: Handle, messages: Vec<SharedMessage>, kept: oneshot::Sender<bool>) {
    let Some(store) = shard.borrow().shared.store.clone() else { return };
    let coming = shard.borrow().pending_claims.under_way();
    while coming.iter().any(|client_id| shard.borrow().pending_claims.has(client_id)) {
        tokio::time::sleep(LOOK).await; // who asked gives up at its own deadline
    }
    let unread = shard.borrow_mut().unread(&messages);
    for (slot, incarnation, sid) in unread {
        let Ok(known) = identities(&store, sid).await else { return };
        let mut shard = shard.borrow_mut();
        // It has left meanwhile, for a node that may have been asked before it came there: all are to be asked again.
        if shard.entry(slot, incarnation).is_none() {
            return;
        }
        if let Some(arrival) = shard.arrival_mut(slot) {
            arrival.has_read(known);
        }
    }
    let done = OnDelivered::new(move |outcome| {
        let _ = kept.send(outcome == Outcome::Done); // who asked may have given up
    });
    shard.borrow_mut().rematch(&messages, done);
}

/// What is queued of a session.
async fn identities(store: &Store, sid: Sid) -> Result<Vec<CopyId>, StoreError> {
    const PAGE: usize = 256;
    const PAGE_BYTES: usize = 1 << 20;
    let (mut known, mut after) = (Vec::new(), 0);
    loop {
        let page = store.fetch(sid, after, PAGE, PAGE_BYTES).await?;
        let Some(last) = page.last() else { return Ok(known) };
        after = last.seq;
        known.extend(page.iter().map(|stored| (stored.message.id, stored.entry.shared)));
    }
}

impl Workers {
    /// See [`crate::registry::Owners::rematched`].
    pub(super) async fn rematch_all(&self, messages: Vec<SharedMessage>) -> bool {
        let mut waits = Vec::new();
        for mailbox in self.boxes.iter() {
            let (kept, is_kept) = oneshot::channel();
            mailbox.post(Mail::Rematch(messages.clone(), kept));
            waits.push(is_kept);
        }
        let mut is_kept = true;
        for wait in waits {
            is_kept &= wait.await.unwrap_or(false);
        }
        is_kept
    }

    /// See [`crate::registry::Owners::relayed`].
    pub(super) async fn take_relayed(&self, relayed: Relayed) -> Reception {
        let worker = self.boxes.worker_of(&relayed.client_id);
        let (done_tx, done) = oneshot::channel();
        let handle = OnDelivered::new(move |outcome| {
            let _ = done_tx.send(outcome); // a worker that is gone has answered already
        });
        match self.ask(worker, move |shard| shard.take_relayed(&relayed, handle)).await {
            Some(Some(reception)) => reception,
            Some(None) => match done.await {
                Ok(Outcome::Done) => Reception::Kept,
                _ => Reception::NotHere, // it was not kept: it is brought again, or refused
            },
            None => Reception::NotHere,
        }
    }
}

pub(super) fn encode(entry: &store::Entry) -> Bytes {
    let mut bytes = Vec::new();
    store::encode_entry(entry, &mut bytes);
    bytes.into()
}
