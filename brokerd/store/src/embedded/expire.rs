//! What has had its time leaves, a bounded piece a call, round and round. Never ends a session that has a connection,
//! and never takes a message from a client that may have seen it.

use std::ops::{Bound, ControlFlow};

use super::Embedded;
use super::apply::drop_session;
use super::engine::Engine;
use super::keys::{self, SESSION, Table};
use crate::backend::Expired;
use crate::error::StoreError;
use crate::format;
use crate::op::Op;
use crate::record::{Sid, UnixMillis};

impl<E: Engine> Embedded<E> {
    pub(super) fn expire_some(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        let mut expired = Expired::default();
        let sessions_done = self.expire_sessions(now, limit, &mut expired)?;
        let entries_done = self.expire_entries(now, limit, &mut expired)?;
        expired.is_round = sessions_done && entries_done;
        Ok(expired)
    }

    fn expire_sessions(&self, now: UnixMillis, limit: usize, expired: &mut Expired) -> Result<bool, StoreError> {
        let mut live = self.live.lock();
        let from = keys::tagged(SESSION, live.expire_session.unwrap_or_default());
        let to = keys::tagged(SESSION, Sid(u64::MAX));
        let (mut looked_at, mut last) = (0, None);
        self.engine.scan(Table::Sessions, (Bound::Excluded(&from), Bound::Included(&to)), &mut |key, value| {
            let sid = keys::of_tagged(key);
            (looked_at, last) = (looked_at + 1, Some(sid));
            match format::decode_session(value) {
                Ok(record) if record.ends_at().is_some_and(|at| at <= now) => {
                    expired.sessions.push((sid, record.client_id));
                }
                Ok(_) => {}
                Err(_) => self.suspect(Table::Sessions, key),
            }
            if looked_at >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let is_round = looked_at < limit;
        live.expire_session = last.filter(|_| !is_round);
        if !expired.sessions.is_empty() {
            let mut batch = self.engine.batch();
            for (sid, _) in &expired.sessions {
                drop_session(&self.engine, &mut batch, &mut live, *sid)?;
            }
            self.engine.commit(batch, true)?;
        }
        Ok(is_round)
    }

    fn expire_entries(&self, now: UnixMillis, limit: usize, expired: &mut Expired) -> Result<bool, StoreError> {
        let from = self.live.lock().expire_row;
        let (mut looked_at, mut last, mut due) = (0, from, Vec::new());
        self.engine.scan(Table::Queue, (Bound::Excluded(&from), Bound::Unbounded), &mut |key, value| {
            let (sid, seq) = keys::of_row(key);
            (looked_at, last) = (looked_at + 1, keys::row(sid, seq));
            match format::expiry(value) {
                Ok(Some(at)) if at <= now => due.push((sid, seq)),
                Ok(_) => {}
                Err(_) => self.suspect(Table::Queue, key),
            }
            if looked_at >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let is_round = looked_at < limit;
        self.live.lock().expire_row = if is_round { [0; 16] } else { last };
        let mut ops = Vec::new();
        for (sid, seq) in due {
            let is_in_flight = self.engine.get(Table::Flight, &keys::sent(sid, seq))?.is_some();
            let epoch = self.live.lock().owners.get(&sid).map(|owner| owner.epoch);
            if let Some(epoch) = epoch.filter(|_| !is_in_flight) {
                ops.push(Op::Ack { sid, epoch, seq });
                expired.messages.push((sid, seq));
            }
        }
        self.apply_all(&[&ops], false)?;
        Ok(is_round)
    }
}
