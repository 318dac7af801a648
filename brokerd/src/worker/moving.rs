//! Sessions that move between nodes which share a store, on this worker: how one leaves, and what is remembered until
//! none of its messages can come by two ways any more. Never asks another node: `relay` and `following` do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use mqtt::session::CopyId;
use mqtt::{MessageId, ReasonCode};
use store::{Op, Sid};
use tokio::sync::oneshot;

use super::joint::Joint;
use super::mailbox::Mail;
use super::marks::Marks;
use super::shard::Shard;
use super::start::Workers;
use crate::metrics::Metric;
use crate::registry::{Boxed, Epoch, Loss, exclusive_filter};
use crate::router::{self, OnDelivered};

/// How long a session that was handed over stays, if its new owner does not say that it may go.
const LONGEST_DEPARTURE: Duration = Duration::from_secs(10);
/// How long copies of a message are told apart that may come by two ways.
const ARRIVAL: Duration = Duration::from_secs(30);
/// And how many messages are remembered for it.
const MOST_SEEN: usize = 16_384;
/// Between two looks at whether a session has come or gone.
const LOOK: Duration = Duration::from_millis(2);

/// What is remembered of a session that came from another node, for a while.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Queued names above this one came after it did.
    pub(super) after: u64,
    /// And so many subscriptions with it: only of those may others bring messages, for nobody else knew the later ones then.
    serials: u32,
    seen: HashSet<CopyId, foldhash::fast::RandomState>,
    /// What it had where it was before.
    pub(super) marks: Marks,
    /// Whether its previous owner still brings what came there.
    pub(super) is_collecting: bool,
    /// Whether `seen` has what was queued when it came.
    pub(super) is_read: bool,
}

impl Arrival {
    /// This was queued when it came.
    pub(super) fn has_read(&mut self, queued: Vec<CopyId>) {
        self.is_read = true;
        self.seen.extend(queued);
    }
}

/// A batch that the store has answered.
pub(super) struct Answer {
    pub(super) number: u64,
    pub(super) failure: Option<ReasonCode>,
    /// Who waits for it beside connections.
    pub(super) receipts: Vec<Arc<OnDelivered>>,
    /// How many sessions' messages are on their way to where those are now.
    pub(super) relays: usize,
    /// Joints of which something was refused, and what of the batch itself was not noted for that reason: to be done with
    /// once nothing is on its way any more.
    pub(super) joints: Vec<Arc<Joint>>,
    pub(super) unreceived: Vec<Op>,
    /// The batch that notes it now.
    pub(super) after: Option<u64>,
}

/// A message as it was given to the store, until that has answered.
pub(super) struct Copy {
    pub(super) sid: Sid,
    pub(super) client_id: Arc<str>,
    pub(super) entry: store::Entry,
}

/// What a journal remembers for sessions that may move under it.
#[derive(Default)]
pub(super) struct Moves {
    /// Whether all nodes share the store. Nothing is copied where not.
    pub(super) is_shared: bool,
    turn: Vec<Copy>,
    copies: VecDeque<(u64, Vec<Copy>)>,
    answers: VecDeque<Answer>,
    /// Sessions that came while batches of before were not answered, and the last of those: what is refused of them says
    /// nothing of a session that has come since.
    came: HashMap<Sid, u64>,
    flushes: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Moves {
    pub(super) fn new(is_shared: bool) -> Self {
        Self { is_shared, ..Self::default() }
    }

    pub(super) fn copy(&mut self, sid: Sid, client_id: &Arc<str>, entry: &store::Entry) {
        self.turn.push(Copy { sid, client_id: client_id.clone(), entry: entry.clone() });
    }

    pub(super) fn submitted(&mut self, batch: u64) {
        if !self.turn.is_empty() {
            self.copies.push_back((batch, std::mem::take(&mut self.turn)));
        }
    }

    /// What a batch had for sessions.
    pub(super) fn copies_of(&mut self, batch: u64) -> Vec<Copy> {
        let mut copies = Vec::new();
        while let Some((_, of_batch)) = self.copies.pop_front_if(|(number, _)| *number <= batch) {
            copies = of_batch;
        }
        copies
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        self.answers.push_back(answer);
    }

    /// Messages of one session are where it is, or cannot be brought there.
    pub(super) fn relayed(&mut self, batch: u64, is_done: bool) {
        if let Some(answer) = self.answers.iter_mut().find(|answer| answer.number == batch) {
            answer.relays = answer.relays.saturating_sub(1);
            if !is_done {
                answer.failure = Some(ReasonCode::ImplementationSpecificError);
            }
        }
    }

    /// What the next batch has still to note, now that what was refused of it is where it belongs.
    pub(super) fn unreceived(&mut self) -> Option<Vec<Op>> {
        let answer = self.answers.front_mut().filter(|answer| answer.relays == 0)?;
        let mut ops = std::mem::take(&mut answer.unreceived);
        answer.joints.drain(..).for_each(|joint| ops.extend(joint.is_done()));
        Some(ops).filter(|ops| !ops.is_empty() && answer.failure.is_none())
    }

    /// What it has still to note is in this batch.
    pub(super) fn finish_after(&mut self, batch: u64) {
        if let Some(answer) = self.answers.front_mut() {
            answer.after = Some(batch);
        }
    }

    /// The next batch that needs no more care. In their order.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        let last = self.answers.back()?.number;
        self.answers.pop_front_if(|answer| answer.relays == 0 && answer.after.is_none_or(|batch| batch <= last))
    }

    /// A session has come; the store was given batches up to `last` before.
    pub(super) fn came(&mut self, sid: Sid, last: u64) {
        self.came.insert(sid, last);
    }

    /// Whether a session is here since after a batch.
    pub(super) fn came_after(&self, sid: Sid, batch: u64) -> bool {
        self.came.get(&sid).is_some_and(|last| *last >= batch)
    }

    pub(super) fn tell_flushed(&mut self, batch: u64) {
        self.came.retain(|_, last| *last > batch);
        while let Some((_, done)) = self.flushes.pop_front_if(|(number, _)| *number <= batch) {
            let _ = done.send(()); // who asked may have given up
        }
    }
}

impl Shard {
    /// Another node owns the client id. Where it goes on with what was kept here, the session is handed over: `done` is
    /// told when the store has everything that came so far.
    pub(super) fn superseded(&mut self, client_id: &str, loss: Loss, done: oneshot::Sender<()>) {
        self.begin_turn();
        self.pending_claims.superseded(client_id, loss.epoch);
        self.adopting.superseded(client_id, loss.epoch);
        let Some(slot) = self.slot_of(client_id) else { return };
        let Some(entry) = self.sessions.get(slot as usize).filter(|entry| entry.epoch < loss.epoch) else { return };
        let incarnation = entry.incarnation;
        if entry.conn.is_some() {
            self.counters.inc(Metric::SessionTakenover);
            self.say_and_drop(slot, ReasonCode::SessionTakenOver);
        }
        let is_shared = self.journal.moves.is_shared;
        // One that is in no store ends with its connection, or is handed over as one on disk is.
        let is_kept = self.entry(slot, incarnation).is_some_and(|entry| entry.sid().is_some() || !is_shared);
        if is_kept && !loss.is_clean {
            self.depart(slot);
            let last = self.journal.last();
            if is_shared && !self.journal.has_answered(last) {
                self.journal.moves.flushes.push_back((last, done));
            }
        } else if self.entry(slot, incarnation).is_some() {
            self.end(slot, Metric::SessionDiscarded);
        }
    }

    /// A session without a connection is another node's by now. It stays for as long as messages may come for it here.
    pub(super) fn depart(&mut self, slot: u32) {
        self.submit();
        let is_shared = self.journal.moves.is_shared;
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| !entry.is_departing) else { return };
        entry.is_departing = true;
        let (incarnation, worker) = (entry.incarnation, self.worker);
        if !is_shared {
            return self.await_fetches(slot, incarnation);
        }
        entry.session.unload();
        self.delete_will(slot); // its new owner has it
        self.members_away(slot);
        self.later(LONGEST_DEPARTURE, move |shard| {
            let is_there = shard.entry(slot, incarnation).is_some_and(|entry| entry.is_departing);
            if is_there {
                tracing::debug!(worker, slot, "nobody has said that a session which left may go");
                shard.drop_moved(slot);
            }
        });
    }

    /// Ends a session here that goes on elsewhere: a store that it is in there too is told nothing, and no will is sent.
    pub(super) fn drop_moved(&mut self, slot: u32) {
        self.begin_turn();
        if !self.journal.moves.is_shared {
            self.forget(slot);
            self.delete_will(slot); // its new owner has it
            self.takeovers.has_left(&self.client_id(slot));
        }
        let Some(entry) = self.sessions.get_mut(slot as usize) else { return };
        let (client_id, incarnation) = (entry.session.client_id().clone(), entry.incarnation);
        entry.session.keep(false);
        if let Some(sid) = entry.sid() {
            entry.set_sid(None);
            self.by_sid.remove(&sid);
        }
        let Some(entry) = self.sessions.get(slot as usize) else { return };
        let filters: Vec<Arc<str>> = entry.session.subscriptions().map(|granted| granted.filter.clone()).collect();
        self.turn.paused.remove(&(slot, incarnation));
        for filter in &filters {
            self.unindex(slot, filter);
        }
        self.sessions.remove(slot as usize);
        self.by_id.remove(&client_id, slot);
        self.offline = self.offline.saturating_sub(1);
        self.counters.inc(Metric::SessionMoved);
        self.sweep_timers();
    }

    /// A session has come from elsewhere: for a while a second copy of a message is known.
    pub(super) fn arrived(&mut self, slot: u32, after: u64, is_collecting: bool) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else { return };
        let serials = entry.session.serials();
        let arrival = Arrival {
            after,
            serials,
            seen: HashSet::default(),
            marks: Marks::default(),
            is_collecting,
            is_read: false,
        };
        let place = (slot, entry.incarnation);
        self.arrivals.insert(place, arrival);
        self.later(ARRIVAL, move |shard| drop(shard.arrivals.remove(&place)));
    }

    /// What is remembered of a session that came from elsewhere a while ago. Costs nothing where none did.
    pub(super) fn arrival(&self, slot: u32) -> Option<&Arrival> {
        let incarnation = || Some(self.sessions.get(slot as usize)?.incarnation);
        if self.arrivals.is_empty() { None } else { self.arrivals.get(&(slot, incarnation()?)) }
    }

    /// The same, to be changed.
    pub(super) fn arrival_mut(&mut self, slot: u32) -> Option<&mut Arrival> {
        let incarnation = || Some(self.sessions.get(slot as usize)?.incarnation);
        if self.arrivals.is_empty() { None } else { self.arrivals.get_mut(&(slot, incarnation()?)) }
    }

    /// A session is back with its node: others may hold messages for it.
    pub(super) fn came_back(&mut self, slot: u32) {
        let last = self.sessions.get(slot as usize).map(|entry| entry.session.kept().last_seq);
        self.arrived(slot, last.unwrap_or_default(), false);
    }

    /// Whether others may bring messages for a subscription of this session.
    pub(super) fn came_along(&self, slot: u32, serial: u32) -> bool {
        let is_of_first = |arrival: &Arrival| {
            let entry = self.sessions.get(slot as usize);
            entry.is_some_and(|entry| entry.session.is_of_first(arrival.serials, serial))
        };
        self.arrival(slot).is_none_or(is_of_first)
    }

    /// Whether a session had a message before it came here: it took longer to this node than to that one.
    pub(super) fn had_before(&self, slot: u32, id: MessageId) -> bool {
        self.arrival(slot).is_some_and(|arrival| arrival.marks.has(id))
    }

    /// Notes how far other workers are heard, where a session may be told of it: of one that is alone none moves.
    pub(super) fn hear(&mut self, batch: &[router::Delivery]) {
        if self.turn.up.is_empty() {
            return;
        }
        let worker = |delivery: &router::Delivery| (delivery.message.id.origin, delivery.message.id.worker);
        let runs = batch.chunk_by(|one, next| worker(one) == worker(next));
        let ids = runs.filter_map(|run| run.iter().map(|delivery| delivery.message.id).max_by_key(|id| id.sequence));
        ids.for_each(|id| self.heard.hear(id));
    }

    /// What a session that leaves had: all that this worker was given up to now, and what it had before it came here.
    pub(super) fn marks_of(&self, slot: u32) -> Vec<MessageId> {
        let own = MessageId { origin: self.shared.origin, worker: self.worker, sequence: self.last_sequence };
        let before = self.arrival(slot).into_iter().flat_map(|arrival| arrival.marks.all());
        self.heard.all().chain(before).chain([own]).collect()
    }

    /// Whether a session that came from elsewhere has this message already. To be asked once for each copy.
    pub(super) fn is_second_copy(&mut self, slot: u32, copy: CopyId) -> bool {
        let Some(arrival) = self.arrival_mut(slot).filter(|_| copy.0.sequence != 0) else { return false };
        if arrival.seen.len() >= MOST_SEEN {
            arrival.seen.clear(); // beyond it a copy may be taken for news: at least once
        }
        !arrival.seen.insert(copy)
    }

    /// Does something after a while.
    pub(super) fn later(&self, after: Duration, act: impl FnOnce(&mut Self) + Send + 'static) {
        let (boxes, worker) = (self.shared.boxes.clone(), self.worker);
        drop(tokio::task::spawn_local(async move {
            tokio::time::sleep(after).await;
            boxes.of(worker).post(Mail::Ask(Box::new(act)));
        }));
    }

    /// Whether a session that was handed over is gone: once nothing that came for it waits for the store any more.
    fn has_gone(&mut self, client_id: &str, epoch: Epoch, last: &mut Option<u64>) -> bool {
        let Some(slot) = self.slot_of(client_id) else { return true };
        let Some(entry) = self.sessions.get(slot as usize) else { return true };
        if self.arrival(slot).is_some_and(|arrival| arrival.is_collecting) {
            return false; // it came here just now, and its owner before still brings what came there
        }
        if !entry.is_departing || entry.epoch >= epoch {
            return true; // it is here, or here again
        }
        if last.is_none() {
            self.flush();
        }
        let last = *last.get_or_insert(self.journal.last());
        let is_over = self.journal.has_answered(last);
        if is_over {
            self.drop_moved(slot);
        }
        is_over
    }
}

impl Workers {
    /// See [`crate::registry::Owners::superseded`].
    pub(super) fn supersede(&self, client_id: &Arc<str>, loss: Loss) -> Boxed<'_, ()> {
        if let Some(filter) = exclusive_filter(client_id) {
            if let Some(loser) = self.exclusives.superseded(client_id, loss.epoch) {
                let (worker, filter) = (self.boxes.worker_of(&loser), filter.to_owned());
                let lose = move |shard: &mut Shard| shard.exclusive_lost(&loser, &filter);
                self.boxes.of(worker).post(Mail::Ask(Box::new(lose)));
            }
            return Box::pin(std::future::ready(()));
        }
        let (done, is_done) = oneshot::channel();
        let worker = self.boxes.worker_of(client_id);
        self.boxes.of(worker).post(Mail::Superseded(client_id.clone(), loss, done));
        // Only who hands over what is kept is worth waiting for.
        if self.hands_over.load(Ordering::Relaxed) {
            Box::pin(async { drop(is_done.await) }) // a worker that is gone has said why
        } else {
            Box::pin(std::future::ready(()))
        }
    }

    /// Every worker ends its turn: what it has matched is in the queues to workers and peers.
    pub(super) async fn end_all_turns(&self) {
        for worker in 0..self.boxes.iter().len() {
            let worker = u16::try_from(worker).unwrap_or(0);
            let _ = self.ask(worker, Shard::flush).await; // a worker that is gone has nothing
        }
    }

    /// See [`crate::registry::Owners::let_go`].
    pub(super) async fn let_go_of(&self, client_id: Arc<str>, epoch: Epoch) {
        self.end_all_turns().await;
        let worker = self.boxes.worker_of(&client_id);
        let mut last = None;
        loop {
            let client_id = client_id.clone();
            let look = move |shard: &mut Shard| {
                let is_gone = shard.has_gone(&client_id, epoch, &mut last);
                (is_gone, last)
            };
            match self.ask(worker, look).await {
                Some((false, known)) => last = known,
                Some((true, _)) | None => return,
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_of_a_session_before_it_came_says_nothing_of_it_now() {
        let mut moves = Moves::new(true);
        moves.came(Sid(1), 7);
        assert!(moves.came_after(Sid(1), 6) && moves.came_after(Sid(1), 7));
        assert!(!moves.came_after(Sid(1), 8), "a change of its own");
        assert!(!moves.came_after(Sid(2), 6));
        moves.tell_flushed(6);
        assert!(moves.came_after(Sid(1), 7), "that one is not answered yet");
        moves.tell_flushed(7);
        assert!(moves.came.is_empty(), "and then nothing of before can come");
    }
}
