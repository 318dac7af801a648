//! Taking a session: who may, and what there is to take. Never chooses an epoch: the registrar does.

use std::ops::{Bound, ControlFlow};

use mqtt::PacketId;

use super::apply::drop_session;
use super::engine::Engine;
use super::keys::{self, OWNER, SESSION, Table};
use super::live::Owner;
use super::{Embedded, read};
use crate::backend::{Claim, Claimed, InFlight, QueueHead};
use crate::error::StoreError;
use crate::format;
use crate::record::{SessionRecord, Sid};

impl<E: Engine> Embedded<E> {
    pub(super) fn claim_session(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let mut live = self.live.lock();
        let mut batch = self.engine.batch();
        let client = keys::client(&claim.client_id);
        let known = self.engine.get(Table::Sessions, &client)?;
        let known = known.and_then(|value| value.try_into().ok()).map(|value| Sid(u64::from_be_bytes(value)));
        let known = known.filter(|sid| live.owners.contains_key(sid)); // not one that is being removed
        if let Some(sid) = known {
            self.check(sid, claim, live.owners.get(&sid))?;
        }
        let sid = match known.filter(|_| !claim.is_clean) {
            Some(sid) => sid,
            None => {
                if let Some(old) = known {
                    drop_session(&self.engine, &mut batch, &mut live, old)?;
                }
                let sid = Sid(live.next_sid);
                live.next_sid += 1;
                self.engine.put(&mut batch, Table::Sessions, &client, &sid.0.to_be_bytes());
                sid
            }
        };
        let mut owner = Vec::new();
        read::encode_owner(claim.epoch, &claim.node, &claim.client_id, &mut owner);
        self.engine.put(&mut batch, Table::Sessions, &keys::tagged(OWNER, sid), &owner);
        let last_seq = live.owners.get(&sid).map_or(0, |owner| owner.last_seq);
        live.owners.insert(sid, Owner { epoch: claim.epoch, last_seq });
        // Nothing follows from a claim before something is written under it, and that is later in the same journal.
        self.engine.commit(batch, false)?;
        drop(live);
        self.claimed(sid)
    }

    /// A higher epoch wins; the same one of the same node is the same claim again.
    fn check(&self, sid: Sid, claim: &Claim, owner: Option<&Owner>) -> Result<(), StoreError> {
        let stored = owner.map_or(0, |owner| owner.epoch);
        if claim.epoch > stored {
            return Ok(());
        }
        let row = self.engine.get(Table::Sessions, &keys::tagged(OWNER, sid))?;
        let is_again = claim.epoch == stored
            && row.and_then(|row| read::decode_owner(&row).ok()).is_some_and(|(_, node, _)| node == claim.node);
        if is_again { Ok(()) } else { Err(StoreError::Fenced { stored }) }
    }

    fn claimed(&self, sid: Sid) -> Result<Claimed, StoreError> {
        let (mut in_flight, received) = self.flight(sid)?;
        let mut queue = QueueHead::default();
        let mut unreleased = in_flight.iter().filter(|one: &&InFlight| !one.is_released).map(|one| one.seq).peekable();
        let mut found = Vec::new();
        let (from, to) = (keys::row(sid, 0), keys::row(sid, u64::MAX));
        self.engine.scan(Table::Queue, (Bound::Included(&from), Bound::Included(&to)), &mut |key, value| {
            let (_, seq) = keys::of_row(key);
            queue.add(seq, format::body_size(value));
            while unreleased.next_if(|one| *one < seq).is_some() {}
            found.extend(unreleased.next_if(|one| *one == seq));
            ControlFlow::Continue(())
        })?;
        drop(unreleased);
        // What is in flight and has no message any more was set aside as unreadable: nothing can be sent again.
        in_flight.retain(|one| one.is_released || found.binary_search(&one.seq).is_ok());
        Ok(Claimed { sid, record: self.record(sid)?, queue, in_flight, received })
    }

    fn record(&self, sid: Sid) -> Result<Option<SessionRecord>, StoreError> {
        let key = keys::tagged(SESSION, sid);
        let Some(value) = self.engine.get(Table::Sessions, &key)? else { return Ok(None) };
        let record = format::decode_session(&value).ok();
        if record.is_none() {
            self.suspect(Table::Sessions, &key);
        }
        Ok(record)
    }

    fn flight(&self, sid: Sid) -> Result<(Vec<InFlight>, Vec<PacketId>), StoreError> {
        let (mut in_flight, mut received) = (Vec::new(), Vec::new());
        let (from, to) = (keys::sent(sid, 0), keys::received(sid, u16::MAX));
        self.engine.scan(Table::Flight, (Bound::Included(&from), Bound::Included(&to)), &mut |key, value| {
            let read = match (key, value) {
                ([.., 0, s0, s1, s2, s3, s4, s5, s6, s7], [high, low, released]) if key.len() == 17 => {
                    let seq = u64::from_be_bytes([*s0, *s1, *s2, *s3, *s4, *s5, *s6, *s7]);
                    let packet_id = PacketId::new(u16::from_be_bytes([*high, *low]));
                    packet_id.map(|id| in_flight.push(InFlight { seq, packet_id: id, is_released: *released != 0 }))
                }
                ([.., 1, high, low], []) if key.len() == 11 => {
                    PacketId::new(u16::from_be_bytes([*high, *low])).map(|id| received.push(id))
                }
                _ => None,
            };
            if read.is_none() {
                self.suspect(Table::Flight, key);
            }
            ControlFlow::Continue(())
        })?;
        Ok((in_flight, received))
    }
}
