//! What a group of batches comes to: rows that go and rows that come, each at most once. Never more than its changes
//! say, in their order: what comes after in a batch wins.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mqtt::MessageId;

use super::statement::signed;
use crate::format;
use crate::op::{Body, Entry, Op, Outcome, is_unreceived};
use crate::record::{SessionRecord, Sid, Stamp};

/// Whose a session is, as locked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) epoch: u64,
    pub(super) is_ours: bool,
}

impl Owner {
    /// Only its owner changes a session. What nobody was told of may be dropped by others, at the epoch they saw.
    fn allows(self, op: &Op, epoch: u64) -> bool {
        let is_drop = matches!(op, Op::DropSession { .. });
        (self.is_ours && self.epoch <= epoch) || (is_drop && self.epoch == epoch)
    }
}

/// By number.
pub(super) type Owners = HashMap<Sid, Owner, RandomState>;

/// An entry as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub(super) qos: i64,
    pub(super) size: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) mid: Option<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

/// What becomes of a row: it goes, or it comes, or it goes and comes anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<T> {
    pub(super) goes: bool,
    pub(super) comes: Option<T>,
}

impl<T> Default for Change<T> {
    fn default() -> Self {
        Self { goes: false, comes: None }
    }
}

impl<T> Change<T> {
    fn go(&mut self) {
        *self = Self { goes: true, comes: None };
    }
}

/// A retained message as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RetainedRow {
    pub(super) topic: Box<str>,
    pub(super) stamp: Stamp,
    pub(super) body: Vec<u8>,
}

/// What becomes of a topic: nothing set up to `drop` stays, and then something may be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RetainedChange {
    pub(super) drop: Option<Stamp>,
    pub(super) put: Option<RetainedRow>,
}

/// A session as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) ends_at: Option<i64>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) dropped: BTreeSet<i64>,
    pub(super) queue: BTreeMap<(i64, i64), Change<EntryRow>>,
    pub(super) ranges: BTreeSet<(i64, i64, i64)>,
    pub(super) flight: BTreeMap<(i64, i64), Change<(i64, bool)>>,
    pub(super) received: BTreeMap<(i64, i64), Change<()>>,
    pub(super) messages: BTreeMap<[u8; 18], Vec<u8>>,
    pub(super) records: BTreeMap<i64, Record>,
    pub(super) retained: BTreeMap<[u8; 32], RetainedChange>,
    pub(super) delayed: BTreeMap<[u8; 18], Change<Vec<u8>>>,
}

impl Plan {
    /// Takes a batch in, as far as its sessions are its owners'.
    pub(super) fn add(&mut self, ops: &[Op], owners: &mut Owners) -> Outcome {
        let is_refused = |owners: &Owners, op: &Op, (sid, epoch): (Sid, u64)| {
            owners.get(&sid).is_none_or(|owner| !owner.allows(op, epoch))
        };
        let is_unreceived = is_unreceived(ops, |op| op.owner().is_some_and(|owner| is_refused(owners, op, owner)));
        let mut outcome = Outcome { is_unreceived, ..Outcome::default() };
        for op in ops {
            if let Some(owner) = op.owner().filter(|owner| is_refused(owners, op, *owner)) {
                outcome.fenced.push(owner.0);
                continue;
            }
            if is_unreceived && matches!(op, Op::Received { .. }) {
                continue;
            }
            if let Op::DropSession { sid, .. } = op {
                owners.remove(sid);
            }
            self.make(op);
        }
        outcome.fenced.sort_unstable();
        outcome.fenced.dedup();
        outcome
    }

    fn make(&mut self, op: &Op) {
        match op {
            Op::PutMessage(id, message) => {
                let encode = || encoded(|out| format::encode_message(message, out));
                self.messages.entry(format::encode_id(*id)).or_insert_with(encode);
            }
            Op::Enqueue { sid, seq, entry, .. } => {
                self.queue.entry(row(*sid, *seq)).or_default().comes.get_or_insert_with(|| EntryRow::of(entry));
            }
            Op::Sent { sid, seq, packet_id, .. } => self.fly(*sid, *seq, packet_id.get(), false),
            Op::Released { sid, seq, packet_id, .. } => {
                self.queue.entry(row(*sid, *seq)).or_default().go();
                self.fly(*sid, *seq, packet_id.get(), true);
            }
            Op::Ack { sid, seq, .. } => self.acknowledge(*sid, *seq),
            Op::AckRange { sid, first, last, .. } => self.acknowledge_range(*sid, *first, *last),
            Op::Received { sid, packet_id, .. } => self.receive(*sid, packet_id.get()).comes = Some(()),
            Op::ReceivedReleased { sid, packet_id, .. } => self.receive(*sid, packet_id.get()).go(),
            Op::SaveSession { sid, record, .. } => drop(self.records.insert(signed(sid.0), Record::of(record))),
            Op::DropSession { sid, .. } => {
                self.records.remove(&signed(sid.0)); // its other rows go with what is left of it
                self.dropped.insert(signed(sid.0));
            }
            Op::PutRetained { topic, stamp, message, expires_at } => {
                let put = &mut self.retained.entry(hash(topic)).or_default().put;
                if put.as_ref().is_none_or(|known| known.stamp <= *stamp) {
                    let body = encoded(|out| format::encode_retained(*stamp, message.as_deref(), *expires_at, out));
                    *put = Some(RetainedRow { topic: topic.clone(), stamp: *stamp, body });
                }
            }
            Op::DropRetained { topic, stamp } => {
                let change = self.retained.entry(hash(topic)).or_default();
                change.put = change.put.take().filter(|put| put.stamp > *stamp);
                change.drop = change.drop.max(Some(*stamp));
            }
            Op::PutDelayed(delayed) => {
                let body = encoded(|out| format::encode_delayed(delayed, out));
                self.delayed.entry(format::encode_id(delayed.id)).or_default().comes = Some(body);
            }
            Op::DropDelayed(id) => self.delayed.entry(format::encode_id(*id)).or_default().go(),
        }
    }

    fn fly(&mut self, sid: Sid, seq: u64, packet_id: u16, is_released: bool) {
        self.flight.entry(row(sid, seq)).or_default().comes = Some((i64::from(packet_id), is_released));
    }

    fn receive(&mut self, sid: Sid, packet_id: u16) -> &mut Change<()> {
        self.received.entry((signed(sid.0), i64::from(packet_id))).or_default()
    }

    fn acknowledge(&mut self, sid: Sid, seq: u64) {
        self.queue.entry(row(sid, seq)).or_default().go();
        self.flight.entry(row(sid, seq)).or_default().go();
    }

    fn acknowledge_range(&mut self, sid: Sid, first: u64, last: u64) {
        if first >= last {
            if first == last {
                self.acknowledge(sid, first);
            }
            return;
        }
        let (from, to) = (row(sid, first), row(sid, last));
        self.queue.range_mut(from..=to).for_each(|(_, change)| change.go());
        self.flight.range_mut(from..=to).for_each(|(_, change)| change.go());
        self.ranges.insert((from.0, from.1, to.1));
    }
}

impl EntryRow {
    fn of(entry: &Entry) -> Self {
        let body = encoded(|out| format::encode_entry(entry, out));
        let size = format::head(&body).map_or(0, |(_, size, _)| i64::from(size));
        let mid = match entry.body {
            Body::Shared(id, _) => Some(format::encode_id(id).to_vec()),
            Body::Inline(_) => None,
        };
        Self { qos: entry.qos as i64, size, expires_at: entry.expires_at.map(signed), mid, body }
    }
}

impl Record {
    fn of(record: &SessionRecord) -> Self {
        Self { ends_at: record.ends_at().map(signed), body: encoded(|out| format::encode_session(record, out)) }
    }
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn row(sid: Sid, seq: u64) -> (i64, i64) {
    (signed(sid.0), signed(seq))
}

/// A key for a text of any length. Clients choose these texts: it must not be theirs to make two of one key.
pub(super) fn hash(text: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
    key
}

/// Bytes that sort as stamps do.
pub(super) fn stamp_bytes(stamp: Stamp) -> Vec<u8> {
    [stamp.hlc.to_be_bytes(), stamp.node.to_be_bytes()].concat()
}

/// The identity of a message as a key.
pub(super) fn mid(id: MessageId) -> Vec<u8> {
    format::encode_id(id).to_vec()
}
