//! Batches as calls of a script: what is of one session in a batch stays together, all of it where a QoS 2 PUBLISH is
//! received, and what it names goes along. Never sends anything.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use mqtt::MessageId;
use mqtt::message::SharedMessage;
use redis::Cmd;

use super::rows;
use crate::format;
use crate::op::{Body, Entry, Op};
use crate::record::Sid;

/// Changes in one call: the server does nothing else meanwhile. What must not be divided is a call of its own if it has more.
const MOST_OPS: usize = 512;
/// A batch of more than this is divided in any case: the server takes about a million arguments, a change has three.
const MOST_WHOLE: usize = 250_000;
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

impl Part<'_> {
    fn has_received(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Received { .. }))
    }
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
        // That a PUBLISH came is kept with its places in all queues. Where that is too much it is known after them: who is cut
        // off between has it sent again, and loses nothing.
        let is_whole = ops.len() <= MOST_WHOLE && parts.iter().any(Part::has_received);
        parts.sort_by_key(Part::has_received);
        for (place, part) in parts.into_iter().enumerate() {
            let more = if is_whole { ops.len() } else { part.ops.len() };
            let is_divided = !is_whole || place == 0;
            if is_divided && calls.last().is_none_or(|call| call.is_full_with(more)) {
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
    fn is_full_with(&self, ops: usize) -> bool {
        self.ops + ops > MOST_OPS || self.bytes > MOST_BYTES
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use mqtt::{Message, PacketId, Qos};

    use super::*;

    fn enqueue(sid: u64) -> Op {
        let body = Body::Inline(Arc::new(Message::new("t", &[], b"x")));
        let (qos, subscription_ids) = (Qos::ExactlyOnce, Box::default());
        let entry = Entry { qos, retain: false, subscription_ids, shared: None, expires_at: None, body };
        Op::Enqueue { sid: Sid(sid), epoch: 1, seq: 1, entry }
    }

    fn sizes(batches: &[&[Op]]) -> Vec<usize> {
        of(batches).iter().map(|call| call.ops).collect()
    }

    #[test]
    fn a_batch_is_divided_between_sessions_but_not_where_a_publish_at_qos_2_is_received() {
        let many: Vec<Op> = (0..600).map(enqueue).collect();
        assert_eq!(sizes(&[&many]), [512, 88]);
        let mut received = many.clone();
        received.insert(0, Op::Received { sid: Sid(1000), epoch: 1, packet_id: PacketId::MIN });
        assert_eq!(sizes(&[&many[..100], &received, &many[..100]]), [100, 601, 100]);
        let few = [received[0].clone(), received[1].clone()];
        assert_eq!(sizes(&[&many[..511], &few]), [511, 2], "nor between two calls");
        let more: Vec<Op> = received.iter().cloned().chain((0..MOST_WHOLE as u64).map(enqueue)).collect();
        let divided = of(&[&more]);
        assert!(
            divided.len() > 1 && divided.last().unwrap().parts.last().unwrap().has_received(),
            "too much: it comes last"
        );
    }
}
