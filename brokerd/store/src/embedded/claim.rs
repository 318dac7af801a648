//! Taking a session: who may, and what there is to take. Never chooses an epoch: the registrar does.

use super::apply::drop_session;
use super::engine::Engine;
use super::keys::{self, OWNER, SESSION, Table};
use super::live::Owner;
use super::waiting::Unfinished;
use super::{Embedded, read};
use crate::backend::{Claim, Claimed};
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

    fn check(&self, sid: Sid, claim: &Claim, owner: Option<&Owner>) -> Result<(), StoreError> {
        let stored = owner.map_or(0, |owner| owner.epoch);
        let row = self.engine.get(Table::Sessions, &keys::tagged(OWNER, sid))?;
        let node = row.and_then(|row| read::decode_owner(&row).ok()).map(|(_, node, _)| node).unwrap_or_default();
        if claim.is_granted(stored, &node) { Ok(()) } else { Err(StoreError::Fenced { stored }) }
    }

    fn claimed(&self, sid: Sid) -> Result<Claimed, StoreError> {
        let Unfinished { queue, received } = self.unfinished(sid, sid)?.remove(&sid).unwrap_or_default();
        Ok(Claimed { sid, record: self.record(sid)?, queue, received })
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
}
