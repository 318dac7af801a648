//! Batches become one commit. Never answers before the engine has.

use std::ops::{Bound, ControlFlow};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use mqtt::message::SharedMessage;
use mqtt::{MessageId, PacketId};

use super::engine::Engine;
use super::keys::{self, CLIENT, GARBAGE, OWNER, SESSION, Table};
use super::live::Live;
use super::{Embedded, read};
use crate::error::StoreError;
use crate::format;
use crate::op::{Body, Entry, Op, Outcome, is_unreceived};
use crate::record::{SessionRecord, Sid, Stamp};

/// Up to so many entries of a range are removed without looking which are there.
const SHORT_RANGE: u64 = 64;

/// A commit in the making.
struct Commit<'a, E: Engine> {
    engine: &'a E,
    live: &'a mut Live,
    batch: E::Batch,
    /// Entries of this commit that name a message: the engine does not show them yet.
    naming: HashMap<(Sid, u64), MessageId, RandomState>,
    /// Entries of this commit.
    enqueued: Vec<(Sid, u64)>,
    /// Entries that named a message and are removed by this commit: the engine still shows them.
    released: HashSet<(Sid, u64), RandomState>,
    /// Messages that may be named by nothing when the commit is made.
    loose: Vec<MessageId>,
    /// Retained topics of this commit, and when they were set.
    retained: HashMap<Box<str>, Option<Stamp>, RandomState>,
    scratch: Vec<u8>,
}

impl<E: Engine> Embedded<E> {
    pub(super) fn apply_all(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, StoreError> {
        let mut live = self.live.lock();
        let has_room = self.engine.has_room();
        let mut commit = Commit {
            engine: &self.engine,
            live: &mut live,
            batch: self.engine.batch(),
            naming: HashMap::default(),
            enqueued: Vec::new(),
            released: HashSet::default(),
            loose: Vec::new(),
            retained: HashMap::default(),
            scratch: Vec::new(),
        };
        let outcomes = batches.iter().map(|ops| commit.add(ops, has_room)).collect::<Result<_, _>>()?;
        let batch = commit.finish();
        self.engine.commit(batch, is_durable)?;
        self.publish(&live);
        Ok(outcomes)
    }
}

impl<E: Engine> Commit<'_, E> {
    fn add(&mut self, ops: &[Op], has_room: bool) -> Result<Outcome, StoreError> {
        let is_refused = |live: &Live, (sid, epoch)| live.owners.get(&sid).is_none_or(|owner| owner.epoch > epoch);
        let is_unreceived = is_unreceived(ops, |op| op.owner().is_some_and(|owner| is_refused(self.live, owner)));
        let mut outcome = Outcome { is_unreceived, ..Outcome::default() };
        for op in ops {
            if let Some(owner) = op.owner().filter(|owner| is_refused(self.live, *owner)) {
                outcome.fenced.push(owner.0);
                continue;
            }
            if is_unreceived && matches!(op, Op::Received { .. }) {
                continue;
            }
            if !has_room && op.grows() {
                outcome.is_full = true;
                continue;
            }
            self.make(op)?;
        }
        outcome.fenced.sort_unstable();
        outcome.fenced.dedup();
        Ok(outcome)
    }

    fn make(&mut self, op: &Op) -> Result<(), StoreError> {
        match op {
            Op::PutMessage(id, message) => self.put_message(*id, message),
            Op::Enqueue { sid, seq, entry, .. } => self.enqueue(*sid, *seq, entry)?,
            Op::Sent { sid, seq, packet_id, .. } => self.sent(*sid, *seq, *packet_id, false),
            Op::Released { sid, seq, packet_id, .. } => {
                self.remove_entry(*sid, *seq)?;
                self.sent(*sid, *seq, *packet_id, true);
            }
            Op::Ack { sid, seq, .. } => self.acknowledge(*sid, *seq)?,
            Op::AckRange { sid, first, last, .. } => self.acknowledge_range(*sid, *first, *last)?,
            Op::Received { sid, packet_id, .. } => {
                self.engine.put(&mut self.batch, Table::Flight, &keys::received(*sid, packet_id.get()), &[]);
            }
            Op::ReceivedReleased { sid, packet_id, .. } => {
                self.engine.remove(&mut self.batch, Table::Flight, &keys::received(*sid, packet_id.get()));
            }
            Op::SaveSession { sid, record, .. } => self.save_session(*sid, record),
            Op::DropSession { sid, .. } => self.drop_session(*sid)?,
            Op::PutRetained { topic, stamp, message, expires_at } => {
                if self.is_later(topic, *stamp)? {
                    self.scratch.clear();
                    format::encode_retained(*stamp, message.as_deref(), *expires_at, &mut self.scratch);
                    self.engine.put(&mut self.batch, Table::Retained, topic.as_bytes(), &self.scratch);
                    self.retained.insert(topic.clone(), Some(*stamp));
                }
            }
            Op::DropRetained { topic, stamp } => {
                if self.is_later(topic, *stamp)? {
                    self.engine.remove(&mut self.batch, Table::Retained, topic.as_bytes());
                    self.retained.insert(topic.clone(), None);
                }
            }
            Op::PutDelayed(delayed) => {
                self.scratch.clear();
                format::encode_delayed(delayed, &mut self.scratch);
                self.engine.put(&mut self.batch, Table::Delayed, &format::encode_id(delayed.id), &self.scratch);
            }
            Op::DropDelayed(id) => self.engine.remove(&mut self.batch, Table::Delayed, &format::encode_id(*id)),
        }
        Ok(())
    }

    fn put_message(&mut self, id: MessageId, message: &SharedMessage) {
        if self.live.references.contains_key(&id) {
            return; // something names it, so it is there
        }
        self.scratch.clear();
        format::encode_message(message, &mut self.scratch);
        self.engine.put(&mut self.batch, Table::Bodies, &format::encode_id(id), &self.scratch);
        self.loose.push(id);
    }

    fn enqueue(&mut self, sid: Sid, seq: u64, entry: &Entry) -> Result<(), StoreError> {
        let key = keys::row(sid, seq);
        if self.is_repeated(sid, seq, &key)? {
            return Ok(());
        }
        self.scratch.clear();
        format::encode_entry(entry, &mut self.scratch);
        self.engine.put(&mut self.batch, Table::Queue, &key, &self.scratch);
        self.enqueued.push((sid, seq));
        if let Body::Shared(id, _) = entry.body {
            if self.live.is_counted(&key) {
                self.live.refer(sid, id);
            }
            self.naming.insert((sid, seq), id);
        }
        Ok(())
    }

    /// Whether the entry is there already.
    fn is_repeated(&mut self, sid: Sid, seq: u64, key: &[u8; 16]) -> Result<bool, StoreError> {
        let Some(owner) = self.live.owners.get_mut(&sid) else { return Ok(false) };
        if seq > owner.last_seq {
            owner.last_seq = seq;
            return Ok(false);
        }
        Ok(self.enqueued.contains(&(sid, seq)) || self.read(Table::Queue, key).is_some())
    }

    fn sent(&mut self, sid: Sid, seq: u64, packet_id: PacketId, is_released: bool) {
        let [high, low] = packet_id.get().to_be_bytes();
        self.engine.put(&mut self.batch, Table::Flight, &keys::sent(sid, seq), &[high, low, u8::from(is_released)]);
    }

    fn acknowledge(&mut self, sid: Sid, seq: u64) -> Result<(), StoreError> {
        self.remove_entry(sid, seq)?;
        self.engine.remove(&mut self.batch, Table::Flight, &keys::sent(sid, seq));
        Ok(())
    }

    fn acknowledge_range(&mut self, sid: Sid, first: u64, last: u64) -> Result<(), StoreError> {
        if last.saturating_sub(first) < SHORT_RANGE {
            return (first..=last).try_for_each(|seq| self.acknowledge(sid, seq));
        }
        let mut there: Vec<u64> = Vec::new();
        let (from, to) = (keys::row(sid, first), keys::row(sid, last));
        self.engine.scan(Table::Queue, (Bound::Included(&from), Bound::Included(&to)), &mut |key, _| {
            there.push(keys::of_row(key).1);
            ControlFlow::Continue(())
        })?;
        let fresh = self.enqueued.iter().filter(|(of, seq)| *of == sid && (first..=last).contains(seq));
        there.extend(fresh.map(|(_, seq)| *seq));
        there.into_iter().try_for_each(|seq| self.acknowledge(sid, seq))
    }

    fn remove_entry(&mut self, sid: Sid, seq: u64) -> Result<(), StoreError> {
        let key = keys::row(sid, seq);
        if let Some(id) = self.named_by(sid, seq, &key)?
            && self.live.release(sid, id)
        {
            self.loose.push(id);
        }
        self.engine.remove(&mut self.batch, Table::Queue, &key);
        Ok(())
    }

    /// The message that an entry names, once.
    fn named_by(&mut self, sid: Sid, seq: u64, key: &[u8; 16]) -> Result<Option<MessageId>, StoreError> {
        let is_plain = !self.live.naming.contains_key(&sid) || !self.live.is_counted(key);
        if is_plain {
            self.naming.remove(&(sid, seq));
            return Ok(None);
        }
        if let Some(id) = self.naming.remove(&(sid, seq)) {
            self.released.insert((sid, seq));
            return Ok(Some(id));
        }
        if self.released.contains(&(sid, seq)) {
            return Ok(None);
        }
        let named = self.read(Table::Queue, key).and_then(|value| format::shared_id(&value));
        if named.is_some() {
            self.released.insert((sid, seq));
        }
        Ok(named)
    }

    /// What cannot be read is as good as absent: a broken block of one session does not stop the commit of all others.
    /// At worst a message that nothing names any more stays until the next start.
    fn read(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.engine.get(table, key);
        found.inspect_err(|error| tracing::error!(?table, %error, "a row cannot be read")).ok().flatten()
    }

    fn save_session(&mut self, sid: Sid, record: &SessionRecord) {
        self.scratch.clear();
        format::encode_session(record, &mut self.scratch);
        self.engine.put(&mut self.batch, Table::Sessions, &keys::tagged(SESSION, sid), &self.scratch);
    }

    fn drop_session(&mut self, sid: Sid) -> Result<(), StoreError> {
        drop_session(self.engine, &mut self.batch, self.live, sid)
    }

    fn is_later(&self, topic: &str, stamp: Stamp) -> Result<bool, StoreError> {
        let known = match self.retained.get(topic) {
            Some(known) => *known,
            None => self.read(Table::Retained, topic.as_bytes()).and_then(|row| format::retained_stamp(&row)),
        };
        Ok(known.is_none_or(|known| known <= stamp))
    }

    /// Removes the messages that nothing names any more.
    fn finish(mut self) -> E::Batch {
        if self.live.knows_all_references() {
            for id in std::mem::take(&mut self.loose) {
                if !self.live.references.contains_key(&id) {
                    self.engine.remove(&mut self.batch, Table::Bodies, &format::encode_id(id));
                }
            }
        }
        self.batch
    }
}

/// The session is gone at once; its rows go piece by piece: [`Embedded::maintain_some`].
pub(super) fn drop_session<E: Engine>(
    engine: &E,
    batch: &mut E::Batch,
    live: &mut Live,
    sid: Sid,
) -> Result<(), StoreError> {
    let owner = keys::tagged(OWNER, sid);
    if let Some((_, _, client_id)) =
        engine.get(Table::Sessions, &owner)?.and_then(|value| read::decode_owner(&value).ok())
    {
        let mut client = vec![CLIENT];
        client.extend_from_slice(client_id.as_bytes());
        let is_its = engine.get(Table::Sessions, &client)?.is_some_and(|value| *value == sid.0.to_be_bytes());
        if is_its {
            engine.remove(batch, Table::Sessions, &client);
        }
    }
    engine.remove(batch, Table::Sessions, &owner);
    engine.remove(batch, Table::Sessions, &keys::tagged(SESSION, sid));
    engine.put(batch, Table::Sessions, &keys::tagged(GARBAGE, sid), &[]);
    live.owners.remove(&sid);
    live.garbage.push_back(sid);
    Ok(())
}
