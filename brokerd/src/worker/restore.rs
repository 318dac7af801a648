//! What a worker has from the process before: its sessions, without bodies, and their subscriptions, before anybody
//! connects. Never reads the store itself.

use std::sync::Arc;

use mqtt::session::{KeptMessage, Session, Stage};
use store::{SessionHead, Sid, UnixMillis, Waiting};

use super::records::{self, WallClock};
use super::shard::Shard;
use super::view::History;
use crate::access::Identity;
use crate::metrics::Metric;
use crate::registry::Epoch;

/// What one worker has from the process before.
#[derive(Debug, Default)]
pub struct Restored {
    /// Its sessions.
    pub sessions: Vec<SessionHead>,
    /// Messages that it holds until they are due.
    pub delayed: Vec<store::Delayed>,
}

impl Shard {
    /// Takes everything up: at the start before anybody connects, and after an import.
    pub(super) fn restore(&mut self, restored: Restored) {
        self.begin_turn();
        for head in restored.sessions {
            let Some((slot, _)) = self.restore_session(head) else { continue };
            if self.journal.moves.is_shared {
                self.came_back(slot);
            }
        }
        restored.delayed.into_iter().for_each(|kept| self.restore_delayed(kept));
        self.timers.earlier.notify_one();
        self.flush();
    }

    /// Takes a session up. Its subscriptions are in the index when this returns; its will and its end have their timers.
    /// Answers its place, and the version of the routes that has its subscriptions.
    pub(super) fn restore_session(&mut self, head: SessionHead) -> Option<(u32, u64)> {
        let record = head.record?; // else it was never saved: nobody was told of it
        let clock = self.shared.clock();
        let client_id: Arc<str> = (*head.client_id).into();
        if self.slot_of(&client_id).is_some() {
            return None; // after an import: whoever came meanwhile has a session
        }
        let detached_at = record.detached_at.unwrap_or(clock.wall);
        let (identity, kept) = records::kept(record, clock);
        let messages = head.queue.into_iter().map(|waiting| message(waiting, clock));
        let session = Session::restore(client_id, kept, head.received, messages, clock.now);
        self.counters.inc(Metric::SessionRestored);
        Some(self.settle_in(session, identity, Some(head.sid), Epoch(head.epoch), detached_at))
    }

    /// Gives a session without a connection its place, its subscriptions their places in the index, and its will and
    /// its end their timers. Answers its place, and the version of the routes that has its subscriptions.
    pub(super) fn settle_in(
        &mut self,
        session: Session,
        identity: Identity,
        sid: Option<Sid>,
        epoch: Epoch,
        detached_at: UnixMillis,
    ) -> (u32, u64) {
        let slot = self.insert(session, identity, History::new(0, detached_at));
        if let Some(entry) = self.sessions.get_mut(slot as usize) {
            entry.set_sid(sid);
            (entry.epoch, entry.will_epoch) = (epoch, epoch);
        }
        self.by_sid.extend(sid.map(|sid| (sid, slot)));
        self.offline += 1;
        let version = self.index_all(slot);
        self.save(slot); // it has no connection now, if it had one
        self.arm(slot);
        (slot, version)
    }

    fn index_all(&mut self, slot: u32) -> u64 {
        let entry = self.sessions.get(slot as usize);
        let granted: Vec<_> = entry.map(|entry| entry.session.subscriptions().cloned().collect()).unwrap_or_default();
        let version = granted.iter().map(|granted| self.index(slot, granted)).max();
        self.members_away(slot);
        version.unwrap_or(0)
    }
}

fn message(waiting: Waiting, clock: WallClock) -> KeptMessage {
    let stage = match waiting.packet_id {
        None => Stage::Queued,
        Some(id) if waiting.is_released => Stage::Released(id),
        Some(id) => Stage::Sent(id),
    };
    let expires_at = waiting.expires_at.map(|at| clock.to_time(at));
    KeptMessage { seq: waiting.seq, qos: waiting.qos, size: waiting.size as usize, expires_at, stage }
}
