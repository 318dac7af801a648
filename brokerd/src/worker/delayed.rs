//! Publications to `$delayed/<seconds>/<topic>`: held by the worker that took them, published when they are due. Never
//! takes one that is beyond the node's bound. In a shared store the identity says which node holds it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hashbrown::HashSet;
use mqtt::{Message, MessageId, ReasonCode, Time, topic};
use store::Op;

use super::attach::wall_millis;
use super::mailbox::Mail;
use super::records;
use super::shard::Shard;
use super::start::Workers;
use crate::access::Identity;
use crate::metrics::Metric;
use crate::registry::{delayed_id, is_sent_once};

/// The longest delay, as EMQX has it: 497 days. A larger number is a time: seconds since 1970.
const LONGEST: u64 = 42_949_670;
/// Published in one go, so that many of the same moment do not keep everybody else waiting.
const AT_ONCE: usize = 256;

/// How much the workers of a node hold together.
#[derive(Debug, Default)]
pub(super) struct Budget {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// The most that it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DelayLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Budget {
    pub(super) fn messages(&self) -> usize {
        self.messages.load(Relaxed)
    }

    /// Takes room for a message of this size, if there is.
    fn take(&self, size: usize, limits: DelayLimits) -> bool {
        let has_room = self.messages.fetch_add(1, Relaxed) < limits.messages && self.has_bytes(size, limits.bytes);
        if !has_room {
            self.messages.fetch_sub(1, Relaxed);
        }
        has_room
    }

    fn has_bytes(&self, size: usize, most: usize) -> bool {
        let fits = self.bytes.fetch_add(size, Relaxed).saturating_add(size) <= most;
        if !fits {
            self.bytes.fetch_sub(size, Relaxed);
        }
        fits
    }

    /// Room for one that was taken in before, whatever the bound is now.
    fn take_over(&self, size: usize) {
        self.messages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(size, Relaxed);
    }

    fn give_back(&self, size: usize) {
        self.messages.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(size, Relaxed);
    }
}

/// A message, and whose it is: it is asked again whether they may when it is due, for that may be long after.
struct Held {
    at: Time,
    /// Those of one moment keep their order.
    number: u64,
    message: Message,
    client_id: Arc<str>,
    identity: Identity,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    /// The earliest is the greatest: the heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What one worker holds.
#[derive(Default)]
pub(super) struct Delayed {
    heap: BinaryHeap<Held>,
    last_number: u64,
    /// Those that were taken up from the store: none is taken up twice.
    taken_up: HashSet<MessageId>,
}

impl Delayed {
    /// When the first of them is due.
    pub(super) fn first(&self) -> Option<Time> {
        self.heap.peek().map(|held| held.at)
    }

    fn pop_due(&mut self, now: Time) -> Option<Held> {
        if self.first()? > now {
            return None;
        }
        let held = self.heap.pop();
        if self.heap.is_empty() {
            self.heap = BinaryHeap::new(); // who delays nothing holds no buffer
        }
        held
    }
}

/// From now to when it is published, and where: in seconds, or at a time after 1970 (`now`, in seconds too).
pub(super) fn parse(name: &str, now: u64) -> Option<(u64, &str)> {
    let (number, inner) = topic::parse_delayed(name)?;
    let delay = if number <= LONGEST { number } else { number.saturating_sub(now) };
    (delay <= LONGEST).then_some((delay, inner))
}

impl Shard {
    /// Holds an authorised publication to `$delayed/...` until it is due. The reason is for its acknowledgement.
    pub(super) fn delay(&mut self, client_id: Arc<str>, identity: Identity, message: &Message) -> ReasonCode {
        let Some((delay, inner)) = parse(message.topic(), wall_millis() / 1000) else {
            self.counters.inc(Metric::MessagesDropped);
            return ReasonCode::TopicNameInvalid;
        };
        let mut later = Message::new(inner, message.properties(), message.payload());
        (later.qos, later.retain, later.expires_at) = (message.qos, message.retain, message.expires_at);
        if !self.shared.delayed.take(later.heap_size(), self.shared.settings.delayed) {
            self.counters.inc(Metric::MessagesDropped);
            self.counters.inc(Metric::DroppedDelayedFull);
            return ReasonCode::QuotaExceeded;
        }
        self.counters.inc(Metric::MessagesDelayed);
        let at = self.turn.now.after_secs(delay);
        let is_first = self.delayed.first().is_none_or(|first| at < first);
        self.delayed.last_number += 1;
        let number = self.delayed.last_number;
        later.id = delayed_id(&self.shared.node, self.shared.hybrid.now());
        self.note_delayed(&later, at, &client_id, &identity);
        self.delayed.heap.push(Held { at, number, message: later, client_id, identity });
        if is_first {
            self.timers.earlier.notify_one();
        }
        ReasonCode::Success
    }

    fn note_delayed(&mut self, message: &Message, due: Time, client_id: &str, identity: &Identity) {
        if self.shared.store.is_some() {
            let clock = self.shared.clock();
            self.note(Op::PutDelayed(Box::new(store::Delayed {
                id: message.id,
                due: clock.to_wall(due),
                message: Arc::new(message.clone()),
                expires_at: records::expiry(message, clock),
                client_id: client_id.into(),
                principal: records::principal(identity),
            })));
        }
    }

    /// Takes up what was held when the process before ended, or a node that is gone.
    pub(super) fn restore_delayed(&mut self, kept: store::Delayed) {
        if !self.delayed.taken_up.insert(kept.id) {
            return;
        }
        let clock = self.shared.clock();
        let mut message = Arc::unwrap_or_clone(kept.message);
        message.expires_at = kept.expires_at.map(|at| clock.to_time(at));
        self.shared.delayed.take_over(message.heap_size());
        self.delayed.last_number += 1;
        let (at, number) = (clock.to_time(kept.due), self.delayed.last_number);
        let identity = records::identity(kept.principal);
        message.id = kept.id;
        self.delayed.heap.push(Held { at, number, message, client_id: (*kept.client_id).into(), identity });
        self.timers.earlier.notify_one();
    }

    /// Publishes what is due, or some of it: the rest is still due then.
    pub(super) fn release_delayed(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(held) = self.delayed.pop_due(self.turn.now) else {
                return;
            };
            self.shared.delayed.give_back(held.message.heap_size());
            if self.shared.store.is_some() {
                self.note(Op::DropDelayed(held.message.id));
            }
            self.delayed.taken_up.remove(&held.message.id);
            // Another node may have taken this one for dead, and published it.
            if !is_sent_once(held.message.id) || self.shared.elsewhere.is_first_copy(held.message.id) {
                self.publish_late(&held.client_id, &held.identity, held.message);
            }
        }
    }
}

impl Workers {
    /// Has this node hold a delayed message of one that is gone.
    pub fn adopt_delayed(&self, kept: store::Delayed) {
        let worker = self.boxes.worker_of(&kept.client_id);
        let take = move |shard: &mut Shard| {
            shard.counters.inc(Metric::DelayedAdopted);
            shard.restore_delayed(kept);
        };
        self.boxes.of(worker).post(Mail::Ask(Box::new(take)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_in_seconds_or_up_to_a_time() {
        let now = 1_700_000_000;
        for (name, expected) in [
            ("$delayed/0/a", Some((0, "a"))),
            ("$delayed/15/a/b", Some((15, "a/b"))),
            ("$delayed/42949670/a", Some((42_949_670, "a"))),
            ("$delayed/1700000060/a", Some((60, "a"))),
            ("$delayed/1600000000/a", Some((0, "a"))),
            ("$delayed/1800000000/a", None),
            ("$delayed/99999999999999999999/a", None),
        ] {
            assert_eq!(parse(name, now), expected, "{name}");
        }
    }

    #[test]
    fn the_budget_holds_in_messages_and_in_bytes() {
        let (budget, limits) = (Budget::default(), DelayLimits { messages: 2, bytes: 100 });
        assert!(budget.take(60, limits) && !budget.take(41, limits) && budget.take(40, limits));
        assert!(!budget.take(0, limits), "two are held");
        budget.give_back(60);
        assert_eq!(budget.messages(), 1);
        assert!(!budget.take(61, limits) && budget.take(60, limits));
    }
}
