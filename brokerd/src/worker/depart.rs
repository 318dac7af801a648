//! Clients that are sent to other nodes, so many at a time, each told where it can go. Never chooses them by who they
//! are, and leaves their sessions where they are.

use std::sync::Arc;

use mqtt::session::Closing;
use mqtt::{ReasonCode, Version, codec};

use super::shard::Shard;
use super::start::Workers;
use crate::metrics::Metric;

/// Sessions that are looked at in one turn of a worker: a millisecond or so.
const LOOK: usize = 64 * 1024;

/// What clients are told (5.0); those of 3.x are only closed.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 0x9C for a while, 0x9D for good.
    pub reason: ReasonCode,
    /// Server References; each client gets one of them. May be empty.
    pub references: Vec<String>,
}

/// How far the workers' sessions have been looked through.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<u32>);

impl Workers {
    /// Sends away at most so many clients, of all workers alike, from where it ended the last time. Answers how many.
    /// Fewer than asked for does not say that none is left: [`Workers::count`] does.
    pub async fn send_away(&self, places: &mut Places, at_most: usize, to: &Arc<Redirect>) -> usize {
        let workers = self.boxes.iter().len();
        places.0.resize(workers, 0);
        let mut sent = 0;
        for (number, place) in places.0.iter_mut().enumerate() {
            let share = (at_most - sent).div_ceil(workers - number);
            let (from, to) = (*place, to.clone());
            let worker = u16::try_from(number).unwrap_or(0);
            let answer = self.ask(worker, move |shard| shard.send_away(from, share, &to)).await;
            let (gone, next) = answer.unwrap_or_default(); // a worker that is gone has no clients
            sent += gone;
            *place = next;
        }
        sent
    }
}

impl Shard {
    /// Answers how many went, and where to go on.
    fn send_away(&mut self, from: u32, at_most: usize, to: &Redirect) -> (usize, u32) {
        if at_most == 0 {
            return (0, from);
        }
        self.begin_turn();
        let (mut slots, mut looked, mut next) = (Vec::new(), 0, 0);
        for at in from as usize..self.sessions.capacity() {
            if slots.len() == at_most || looked == LOOK {
                next = u32::try_from(at).unwrap_or(0);
                break;
            }
            looked += 1;
            if self.sessions.get(at).is_some_and(|entry| entry.conn.is_some()) {
                slots.extend(u32::try_from(at));
            }
        }
        for slot in &slots {
            self.send_one_away(*slot, to);
        }
        (slots.len(), next)
    }

    /// The will stays: DISCONNECT of a server deletes none (5.0 section 3.1.2.5). Without a delay it goes out now, with
    /// one it waits for the client to be back, wherever that is.
    fn send_one_away(&mut self, slot: u32, to: &Redirect) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else { return };
        let Some(conn) = &mut entry.conn else { return };
        conn.drop_held();
        if entry.session.version() == Version::V5 {
            let reference = to.references.get(slot as usize % to.references.len().max(1)).map(String::as_str);
            self.counters.inc(Metric::DisconnectSent);
            self.counters.inc(Metric::PacketsSent);
            self.step(slot, |session, _, _, out| {
                let limit = session.connection().map(|connection| connection.maximum_packet_size);
                codec::redirect(&mut out.wire, to.reason, reference, limit);
            });
        }
        self.counters.inc(Metric::ClientSentAway);
        self.close(slot, Closing::WithWill);
    }
}
