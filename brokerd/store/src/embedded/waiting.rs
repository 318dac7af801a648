//! What waits for sessions, read from the rows of queues and of what is in flight, without any message. Never changes
//! anything.

use std::ops::{Bound, ControlFlow};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mqtt::{PacketId, Qos};

use super::Embedded;
use super::engine::Engine;
use super::keys::{self, Table};
use crate::backend::Waiting;
use crate::error::StoreError;
use crate::format;
use crate::record::Sid;

/// Of one session: deliveries in the order of their numbers, and packet ids that are not released.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    pub(super) queue: Vec<Waiting>,
    pub(super) received: Vec<PacketId>,
}

/// What a row of [`Table::Flight`] says.
enum Flight {
    Sent { seq: u64, packet_id: PacketId, is_released: bool },
    Received(PacketId),
}

impl<E: Engine> Embedded<E> {
    /// Of all sessions from `first` to `last` that have any.
    pub(super) fn unfinished(
        &self,
        first: Sid,
        last: Sid,
    ) -> Result<HashMap<Sid, Unfinished, RandomState>, StoreError> {
        let mut found: HashMap<Sid, Unfinished, RandomState> = HashMap::default();
        let mut sent: HashMap<(Sid, u64), (PacketId, bool), RandomState> = HashMap::default();
        let (from, to) = (keys::sent(first, 0), keys::received(last, u16::MAX));
        self.engine.scan(Table::Flight, (Bound::Included(&from), Bound::Included(&to)), &mut |key, value| {
            let (sid, _) = keys::of_row(key);
            match flight(key, value) {
                Some(Flight::Sent { seq, packet_id, is_released }) => {
                    sent.insert((sid, seq), (packet_id, is_released));
                }
                Some(Flight::Received(id)) => found.entry(sid).or_default().received.push(id),
                None => self.suspect(Table::Flight, key),
            }
            ControlFlow::Continue(())
        })?;
        let (from, to) = (keys::row(first, 0), keys::row(last, u64::MAX));
        self.engine.scan(Table::Queue, (Bound::Included(&from), Bound::Included(&to)), &mut |key, value| {
            let (sid, seq) = keys::of_row(key);
            let flight = sent.remove(&(sid, seq));
            match format::head(value) {
                Ok((qos, size, expires_at)) => found.entry(sid).or_default().queue.push(Waiting {
                    seq,
                    qos,
                    size,
                    expires_at,
                    packet_id: flight.map(|(id, _)| id),
                    is_released: false,
                }),
                Err(_) => self.suspect(Table::Queue, key),
            }
            ControlFlow::Continue(())
        })?;
        // What is in flight and has no message any more was released, or its message was set aside as unreadable: that
        // cannot be sent again.
        for ((sid, seq), (packet_id, _)) in sent.into_iter().filter(|(_, (_, is_released))| *is_released) {
            let queue = &mut found.entry(sid).or_default().queue;
            let at = queue.partition_point(|waiting| waiting.seq < seq);
            let (qos, packet_id) = (Qos::ExactlyOnce, Some(packet_id));
            queue.insert(at, Waiting { seq, qos, size: 0, expires_at: None, packet_id, is_released: true });
        }
        Ok(found)
    }
}

fn flight(key: &[u8], value: &[u8]) -> Option<Flight> {
    match (key.get(8..)?, value) {
        ([0, seq @ ..], [high, low, released]) => {
            let seq = u64::from_be_bytes(seq.try_into().ok()?);
            let packet_id = PacketId::new(u16::from_be_bytes([*high, *low]))?;
            Some(Flight::Sent { seq, packet_id, is_released: *released != 0 })
        }
        ([1, high, low], []) => PacketId::new(u16::from_be_bytes([*high, *low])).map(Flight::Received),
        _ => None,
    }
}
