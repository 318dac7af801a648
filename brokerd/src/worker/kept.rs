//! What waits for the store, and what becomes of it: promises leave when their batch is kept, in the order of the
//! batches, or their connections end without. Never makes a batch, and never takes one back: what became of it may not be
//! known.

use std::sync::Weak;

use mqtt::ReasonCode;
use mqtt::session::Closing;
use store::{State, StoreError};

use super::conn::Conn;
use super::handover::Kept;
use super::moving::Answer;
use super::shard::Shard;
use super::turn::Waiting;
use crate::metrics::Metric;

impl Shard {
    /// Keeps back what connections were promised in the turn that ends, until the store has answered.
    pub(super) fn hold_promises(&mut self) {
        let was_dirty = std::mem::take(&mut self.journal.has_submitted);
        let pending = self.journal.pending();
        let mut promised = std::mem::take(&mut self.turn.promised);
        for (slot, incarnation) in promised.drain(..) {
            let Some(entry) = self.entry(slot, incarnation) else { continue };
            let depends = was_dirty || entry.sid().is_some();
            let from = entry.conn.as_mut().and_then(Conn::take_promised);
            if let (Some(from), Some(batch)) = (from, pending.filter(|_| depends)) {
                if let Some(conn) = &mut entry.conn {
                    conn.hold(batch, from);
                }
                self.journal.hold(batch, (slot, incarnation));
            }
        }
        self.turn.promised = promised; // keeps its memory
    }

    /// The store has answered a batch. What it refused because the session is another node's is brought there first.
    pub(super) fn kept(&mut self, kept: Kept) {
        self.begin_turn();
        let Kept { number, result, receipts, joints, unreceived } = kept;
        let failure = match &result {
            Ok(outcome) if outcome.is_full => Some(ReasonCode::QuotaExceeded),
            Ok(_) => None,
            Err(StoreError::Full) => Some(ReasonCode::QuotaExceeded),
            Err(_) => Some(ReasonCode::ImplementationSpecificError),
        };
        let fenced = result.map(|outcome| outcome.fenced).unwrap_or_default();
        let relays = self.relay_fenced(number, &fenced);
        self.journal.moves.answered(Answer { number, failure, receipts, relays, joints, unreceived, after: None });
        self.finish_answers();
    }

    /// What waited for batches leaves, or, where they are not kept, its connections end without.
    pub(super) fn finish_answers(&mut self) {
        loop {
            if let Some(unreceived) = self.journal.moves.unreceived() {
                self.journal.ops.extend(unreceived);
                self.submit();
                let last = self.journal.last();
                self.journal.moves.finish_after(last);
            }
            let Some(Answer { number, failure, receipts, .. }) = self.journal.moves.next_answer() else { return };
            if failure.is_some() {
                receipts.iter().for_each(|receipt| receipt.fail());
            }
            drop(receipts);
            self.finish(number, failure);
        }
    }

    fn finish(&mut self, number: u64, failure: Option<ReasonCode>) {
        self.journal.answered = number;
        self.journal.moves.tell_flushed(number);
        self.journal.has_failed = failure.is_some();
        while self.journal.outside.pop_front_if(|(batch, _)| *batch <= number).is_some() {}
        while self.journal.held.front().is_some_and(|(batch, _)| *batch <= number) {
            let held = self.journal.held.pop_front().map(|(_, held)| held).unwrap_or_default();
            for (slot, incarnation) in held {
                self.release_or_close(slot, incarnation, number, failure);
            }
        }
    }

    fn release_or_close(&mut self, slot: u32, incarnation: u32, number: u64, failure: Option<ReasonCode>) {
        let Some(conn) = self.entry(slot, incarnation).and_then(|entry| entry.conn.as_mut()) else { return };
        match failure {
            // What it was to be told is not so; it asks again on its next connection.
            Some(reason) if conn.is_held_by(number) => self.close(slot, Closing::Server(reason)),
            Some(_) => {}
            None => {
                conn.release(number);
                self.note_dirty(slot);
            }
        }
    }

    /// The store does not answer. Everybody who waits for it is told that what they wait for was not done: it may be done
    /// yet, for the store tries it again, and this worker goes on from it. Who publishes to sessions here from another node
    /// is told; a publisher of this one keeps its place: what it sends again is known, and waits for the same batch.
    pub(super) fn late(&mut self) {
        self.begin_turn();
        self.journal.has_failed = true;
        let held = std::mem::take(&mut self.journal.held);
        let mut waiting: Vec<(u32, u32)> = held.into_iter().flat_map(|(_, held)| held).collect();
        waiting.extend(self.turn.waiting.values().filter_map(|one| match one {
            Waiting::Routed { slot, incarnation, .. } => Some((*slot, *incarnation)),
            _ => None,
        }));
        for (slot, incarnation) in waiting {
            if self.entry(slot, incarnation).is_some_and(|entry| entry.conn.is_some()) {
                self.counters.inc(Metric::StoreLate);
                self.close(slot, Closing::Server(ReasonCode::ImplementationSpecificError));
            }
        }
        for (_, outside) in std::mem::take(&mut self.journal.outside) {
            outside.iter().filter_map(Weak::upgrade).for_each(|receipt| receipt.give_up());
        }
    }

    /// Why nothing that is to be kept can be taken now, if so.
    pub(super) fn store_trouble(&mut self) -> Option<ReasonCode> {
        let store = self.shared.store.as_ref()?;
        if store.is_out_of_room() {
            return Some(ReasonCode::QuotaExceeded); // before a worker's whole turn is refused
        }
        if !self.journal.has_failed {
            return None;
        }
        match store.state() {
            State::Ok => {
                self.journal.has_failed = false;
                None
            }
            State::Full => Some(ReasonCode::QuotaExceeded),
            State::Down(_) => Some(ReasonCode::ImplementationSpecificError),
        }
    }
}
