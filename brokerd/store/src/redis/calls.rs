//! Batches as calls of a script: what is of one session in a batch stays together, and what it names goes along. Never
//! sends anything.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use mqtt::MessageId;
use mqtt::message::SharedMessage;
use redis::Cmd;

use super::rows;
use crate::format;
use crate::op::{Body, Entry, Op};
use crate::record::Sid;

/// Changes in one call: the server does nothing else meanwhile. A part that has more is a call of its own.
const MOST_OPS: usize = 512;
/// And bytes, about.
const MOST_BYTES: usize = 1 << 20;
/// Up to so many entries of a range are named one by one, and with them what is in flight without an entry.
const SHORT_RANGE: u64 = 64;

/// What is of one session in one batch, or of none.
struct Part<'a> {
    batch: usize,
    owner: Option<(Sid, u64)>,
    ops: Vec<&'a Op>,
}

/// Parts that are carried out together.
#[derive(Default)]
pub(super) struct Call<'a> {
    parts: Vec<Part<'a>>,
    bodies: Vec<(MessageId, &'a SharedMessage)>,
    named: HashSet<MessageId, RandomState>,
    ops: usize,
    bytes: usize,
}

/// All batches, in their order.
pub(super) fn of<'a>(batches: &[&'a [Op]]) -> Vec<Call<'a>> {
    let mut calls: Vec<Call<'a>> = Vec::new();
    for (batch, ops) in batches.iter().enumerate() {
        let mut bodies: HashMap<MessageId, &SharedMessage, RandomState> = HashMap::default();
        let mut places: HashMap<Option<(Sid, u64)>, usize, RandomState> = HashMap::default();
        let mut parts: Vec<Part<'a>> = Vec::new();
        for op in *ops {
            if let Op::PutMessage(id, message) = op {
                bodies.insert(*id, message);
                continue;
            }
            let owner = op.owner();
            let place = *places.entry(owner).or_insert_with(|| {
                parts.push(Part { batch, owner, ops: Vec::new() });
                parts.len() - 1
            });
            parts[place].ops.push(op);
        }
        // That a PUBLISH came is known after it is in every queue: who is cut off between has it sent again, and loses nothing.
        parts.sort_by_key(|part| part.ops.iter().any(|op| matches!(op, Op::Received { .. })));
        for part in parts {
            if calls.last().is_none_or(|call| call.is_full_with(&part)) {
                calls.push(Call::default());
            }
            if let Some(call) = calls.last_mut() {
                call.add(part, &bodies);
            }
        }
    }
    calls
}

impl<'a> Call<'a> {
    fn is_full_with(&self, part: &Part<'_>) -> bool {
        self.ops + part.ops.len() > MOST_OPS || self.bytes > MOST_BYTES
    }

    fn add(&mut self, part: Part<'a>, bodies: &HashMap<MessageId, &'a SharedMessage, RandomState>) {
        for op in &part.ops {
            self.bytes += op.size();
            let Some(id) = names(op) else { continue };
            if let Some(message) = bodies.get(&id).filter(|_| self.named.insert(id)) {
                self.bytes += message.heap_size();
                self.bodies.push((id, message));
            }
        }
        self.ops += part.ops.len();
        self.parts.push(part);
    }

    /// Whether it needs memory.
    pub(super) fn grows(&self) -> bool {
        self.parts.iter().flat_map(|part| &part.ops).any(|op| op.grows())
    }

    /// Leaves out what needs memory; answers whose that was.
    pub(super) fn lessen(&mut self) -> Vec<usize> {
        let mut short = Vec::new();
        self.bodies.clear();
        for part in &mut self.parts {
            let all = part.ops.len();
            part.ops.retain(|op| !op.grows());
            if part.ops.len() < all {
                short.push(part.batch);
            }
        }
        short
    }

    /// The batch of a part, and its session.
    pub(super) fn part(&self, place: usize) -> Option<(usize, Sid)> {
        let part = self.parts.get(place.checked_sub(1)?)?;
        Some((part.batch, part.owner?.0))
    }

    /// Appends the messages and the parts.
    pub(super) fn write(&self, command: &mut Cmd) {
        let mut scratch = Vec::new();
        command.arg(self.bodies.len());
        for (id, message) in &self.bodies {
            scratch.clear();
            format::encode_message(message, &mut scratch);
            command.arg(&format::encode_id(*id)[..]).arg(&scratch[..]);
        }
        for part in &self.parts {
            match part.owner {
                Some((sid, epoch)) => command.arg(rows::sid(sid)).arg(rows::epoch(epoch)),
                None => command.arg("").arg(""),
            };
            command.arg(part.ops.iter().map(|op| steps(op)).sum::<usize>());
            part.ops.iter().for_each(|op| write(op, command, &mut scratch));
        }
    }
}

/// The message that an entry names.
fn names(op: &Op) -> Option<MessageId> {
    match op {
        Op::Enqueue { entry: Entry { body: Body::Shared(id, _), .. }, .. } => Some(*id),
        _ => None,
    }
}

/// Into how many changes of the script it is written.
fn steps(op: &Op) -> usize {
    match op {
        Op::AckRange { first, last, .. } if is_short(*first, *last) => (*first..=*last).count(),
        _ => 1,
    }
}

const fn is_short(first: u64, last: u64) -> bool {
    last.saturating_sub(first) < SHORT_RANGE
}

/// Each change is its letter and two values: see `lua/apply.lua`.
fn write(op: &Op, command: &mut Cmd, scratch: &mut Vec<u8>) {
    scratch.clear();
    let mut put = |letter: &str, a: &[u8], b: &[u8]| {
        command.arg(letter).arg(a).arg(b);
    };
    match op {
        Op::PutMessage(..) => {}
        Op::Enqueue { seq, entry, .. } => {
            scratch.extend_from_slice(&seq.to_be_bytes());
            format::encode_entry(entry, scratch);
            put("E", scratch, rows::score(entry.expires_at).as_bytes());
        }
        Op::Sent { seq, packet_id, .. } => put("S", &seq.to_be_bytes(), &rows::sent(*packet_id, false)),
        Op::Released { seq, packet_id, .. } => put("R", &seq.to_be_bytes(), &rows::sent(*packet_id, true)),
        Op::Ack { seq, .. } => put("A", &seq.to_be_bytes(), b""),
        Op::AckRange { first, last, .. } if is_short(*first, *last) => {
            (*first..=*last).for_each(|seq| put("A", &seq.to_be_bytes(), b""));
        }
        Op::AckRange { first, last, .. } => put("G", &first.to_be_bytes(), &last.to_be_bytes()),
        Op::Received { packet_id, .. } => put("I", &packet_id.get().to_be_bytes(), b""),
        Op::ReceivedReleased { packet_id, .. } => put("J", &packet_id.get().to_be_bytes(), b""),
        Op::SaveSession { record, .. } => {
            format::encode_session(record, scratch);
            put("V", scratch, rows::score(record.ends_at()).as_bytes());
        }
        Op::DropSession { .. } => put("D", b"", b""),
        Op::PutRetained { topic, stamp, message, expires_at } => {
            format::encode_retained(*stamp, message.as_deref(), *expires_at, scratch);
            put("P", topic.as_bytes(), scratch);
        }
        Op::DropRetained { topic, stamp } => put("Q", topic.as_bytes(), &rows::stamp(*stamp)),
        Op::PutDelayed(delayed) => {
            format::encode_delayed(delayed, scratch);
            put("Y", &format::encode_id(delayed.id), scratch);
        }
        Op::DropDelayed(id) => put("Z", &format::encode_id(*id), b""),
    }
}
