//! What is done between commits, a bounded piece a call: rows of sessions that are gone, unreadable records, and after
//! a start the count of the entries that name a message. Never deletes a message before that count is complete.

use std::ops::{Bound, ControlFlow};

use mqtt::MessageId;

use super::Embedded;
use super::engine::Engine;
use super::keys::{self, GARBAGE, Table};
use super::live::{Counted, Live};
use crate::error::StoreError;
use crate::format::{self, Reader};

/// Rows a call looks at: a few milliseconds.
const PIECE: usize = 2000;

impl<E: Engine> Embedded<E> {
    /// Answers whether there is more to do.
    pub(super) fn maintain_some(&self) -> Result<bool, StoreError> {
        let mut live = self.live.lock();
        self.engine.tidy();
        self.set_aside(&mut live)?;
        match live.counted {
            Counted::Below(cursor) => self.count_entries(&mut live, cursor)?,
            Counted::Entries(after) => self.drop_unnamed(&mut live, after)?,
            Counted::All => self.collect(&mut live)?,
        }
        self.publish(&live);
        Ok(live.counted != Counted::All || !live.garbage.is_empty())
    }

    /// Moves what cannot be read to where it is in nobody's way.
    fn set_aside(&self, live: &mut Live) -> Result<(), StoreError> {
        let suspects = std::mem::take(&mut *self.suspects.lock());
        if suspects.is_empty() {
            return Ok(());
        }
        let mut batch = self.engine.batch();
        for (table, key) in suspects {
            let Some(value) = self.engine.get(table, &key)? else { continue };
            if table == Table::Queue
                && let Some(id) = format::shared_id(&value)
                && let (sid, seq) = keys::of_row(&key)
                && live.is_counted(&keys::row(sid, seq))
            {
                live.release(sid, id); // what it names stays: it may be what is wrong
            }
            let aside = [&[table as u8][..], &key].concat();
            self.engine.put(&mut batch, Table::Quarantine, &aside, &value);
            self.engine.remove(&mut batch, table, &key);
        }
        self.engine.commit(batch, false)
    }

    fn count_entries(&self, live: &mut Live, cursor: [u8; 16]) -> Result<(), StoreError> {
        let (mut looked_at, mut last) = (0, cursor);
        self.engine.scan(Table::Queue, (Bound::Included(&cursor), Bound::Unbounded), &mut |key, value| {
            let (sid, seq) = keys::of_row(key);
            if let Some(id) = format::shared_id(value) {
                live.refer(sid, id);
            }
            let is_orphan = !live.owners.contains_key(&sid) && live.garbage.back() != Some(&sid);
            if is_orphan && !live.garbage.contains(&sid) {
                live.garbage.push_back(sid);
            }
            (looked_at, last) = (looked_at + 1, keys::row(sid, seq.saturating_add(1)));
            if looked_at >= PIECE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        live.counted = if looked_at < PIECE { Counted::Entries(None) } else { Counted::Below(last) };
        Ok(())
    }

    /// Removes messages whose last entry went in an earlier life of the process.
    fn drop_unnamed(&self, live: &mut Live, after: Option<MessageId>) -> Result<(), StoreError> {
        let mut batch = self.engine.batch();
        let from = after.map(format::encode_id);
        let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        let (mut looked_at, mut last) = (0, after);
        self.engine.scan(Table::Bodies, (from, Bound::Unbounded), &mut |key, _| {
            if let Ok(id) = format::decode_id(&mut Reader::new(key)) {
                last = Some(id);
                if !live.references.contains_key(&id) {
                    self.engine.remove(&mut batch, Table::Bodies, key);
                }
            }
            looked_at += 1;
            if looked_at >= PIECE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        live.counted = if looked_at < PIECE { Counted::All } else { Counted::Entries(last) };
        self.engine.commit(batch, false)
    }

    /// Removes rows of one session that is gone.
    fn collect(&self, live: &mut Live) -> Result<(), StoreError> {
        let Some(sid) = live.garbage.front().copied() else { return Ok(()) };
        let mut batch = self.engine.batch();
        let end = sid.0.saturating_add(1).to_be_bytes();
        let (table, after) = live.collected;
        let first = sid.0.to_be_bytes();
        let from =
            if after[..8] == first { Bound::Excluded(&after[..key_len(table)]) } else { Bound::Included(&first[..]) };
        let (mut looked_at, mut last) = (0, [0; 17]);
        self.engine.scan(table, (from, Bound::Excluded(&end)), &mut |key, value| {
            self.engine.remove(&mut batch, table, key);
            if table == Table::Queue
                && let Some(id) = format::shared_id(value)
                && live.release(sid, id)
            {
                self.engine.remove(&mut batch, Table::Bodies, &format::encode_id(id));
            }
            let len = key.len().min(last.len());
            last[..len].copy_from_slice(&key[..len]);
            looked_at += 1;
            if looked_at >= PIECE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let is_done = looked_at < PIECE;
        live.collected = match (table, is_done) {
            (Table::Queue, true) => (Table::Flight, [0; 17]),
            (_, true) => {
                self.engine.remove(&mut batch, Table::Sessions, &keys::tagged(GARBAGE, sid));
                live.garbage.pop_front();
                (Table::Queue, [0; 17])
            }
            (table, false) => (table, last),
        };
        self.engine.commit(batch, false)
    }
}

/// Keys of the flight table have two lengths; the shorter one is a prefix that sorts before what follows it.
const fn key_len(table: Table) -> usize {
    if matches!(table, Table::Queue) { 16 } else { 17 }
}
