//! The retained messages of this node: the last one of each topic. Never decides who may read or write them, never
//! reads a clock, and never gives out one that has expired.

mod order;
mod seek;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mqtt::Time;
use mqtt::message::SharedMessage;
use parking_lot::RwLock;

use order::{Kept, Probe, Topic};
use seek::{Seeker, Verdict};

/// How many topics a page looks at before it ends: a lookup that finds little holds the lock no longer than one that
/// finds much.
const STEPS: usize = 4096;
/// How many expired messages go under one hold of the lock.
const CHUNK: usize = 256;

/// How much is retained at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages.
    pub max_messages: usize,
    /// Bytes, as [`mqtt::Message::heap_size`] counts them.
    pub max_bytes: usize,
}

/// A new topic has no room; it was not retained, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of retained messages is reached")]
pub struct Full;

/// How much is retained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages, those that have expired and were not removed yet included.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Messages refused as [`Full`], since the start.
    pub refused: u64,
}

/// A part of what a filter matches.
#[derive(Debug, Default)]
pub struct Page {
    /// In the order of topics: level by level, bytes within a level.
    pub messages: Vec<SharedMessage>,
    /// Where the next page begins (the `after` to ask for it with); `None` after the last. A page may be empty and
    /// not the last.
    pub next: Option<String>,
}

/// The store, shared by all workers.
#[derive(Debug)]
pub struct Retained {
    limits: Limits,
    inner: RwLock<Inner>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    topics: BTreeSet<Kept>,
    /// Those that expire, by when; the serial tells those of the same moment apart.
    deadlines: BTreeMap<(Time, u64), SharedMessage>,
    bytes: usize,
    serial: u64,
}

impl Retained {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, inner: RwLock::default(), refused: AtomicU64::new(0) }
    }

    /// Retains a message in place of the one its topic has; one without payload deletes that [MQTT-3.3.1-6]. What a
    /// known topic has can always be replaced, also by something larger: only a new topic is refused.
    /// What has expired takes room until [`Retained::expire`] has removed it. Answers a number that rises with every
    /// change.
    pub fn set(&self, message: SharedMessage) -> Result<u64, Full> {
        let mut inner = self.inner.write();
        let known = inner.topics.contains(&Probe(message.topic_bytes()) as &dyn Topic);
        let replaced = if message.payload().is_empty() {
            inner.serial += 1;
            inner.remove(message.topic_bytes())
        } else if !known && !self.has_room(&inner, &message) {
            drop(inner);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Full);
        } else {
            inner.put(message)
        };
        let serial = inner.serial;
        // Freed without the lock.
        drop(inner);
        drop(replaced);
        Ok(serial)
    }

    fn has_room(&self, inner: &Inner, message: &SharedMessage) -> bool {
        inner.topics.len() < self.limits.max_messages
            && inner.bytes.saturating_add(message.heap_size()) <= self.limits.max_bytes
    }

    /// The message of a topic.
    #[must_use]
    pub fn get(&self, topic: &str, now: Time) -> Option<SharedMessage> {
        let inner = self.inner.read();
        let kept = inner.topics.get(&Probe(topic.as_bytes()) as &dyn Topic)?;
        kept.is_live(now).then(|| Arc::clone(&kept.message))
    }

    /// At most `limit` (but one at least) of the messages whose topic matches `filter`, from behind the topic `after`
    /// on. A topic that is retained from the first page to the last is on exactly one of them.
    #[must_use]
    pub fn matching(&self, filter: &str, after: Option<&str>, limit: usize, now: Time) -> Page {
        let mut seeker = Seeker::new(filter);
        let mut messages = Vec::new();
        let inner = self.inner.read();
        let mut range = inner.topics.range::<dyn Topic, _>(match &after.map(|topic| Probe(topic.as_bytes())) {
            Some(probe) => (Bound::Excluded(probe as &dyn Topic), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        });
        let mut steps = 0;
        while let Some(kept) = range.next() {
            steps += 1;
            match seeker.judge(kept.topic()) {
                Verdict::Matches if kept.is_live(now) => messages.push(Arc::clone(&kept.message)),
                Verdict::Matches => {}
                Verdict::Seek(target) => {
                    let from = Bound::Included(&Probe(target) as &dyn Topic);
                    range = inner.topics.range::<dyn Topic, _>((from, Bound::Unbounded));
                }
                Verdict::NoMore => break,
            }
            if messages.len() >= limit.max(1) || steps >= STEPS {
                return Page { messages, next: Some(kept.message.topic().to_owned()) };
            }
        }
        Page { messages, next: None }
    }

    /// At most `limit` (but one at least) of all messages, whatever their topics begin with, from behind `after` on.
    #[must_use]
    pub fn all(&self, after: Option<&str>, limit: usize, now: Time) -> Page {
        let inner = self.inner.read();
        let range = inner.topics.range::<dyn Topic, _>(match &after.map(|topic| Probe(topic.as_bytes())) {
            Some(probe) => (Bound::Excluded(probe as &dyn Topic), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        });
        let looked_at: Vec<&Kept> = range.take(limit.max(1)).collect();
        let live = looked_at.iter().filter(|kept| kept.is_live(now));
        let messages = live.map(|kept| Arc::clone(&kept.message)).collect();
        let last = if looked_at.len() < limit.max(1) { None } else { looked_at.last() };
        Page { messages, next: last.map(|kept| kept.message.topic().to_owned()) }
    }

    /// How much may be.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Removes what has expired, in chunks. Answers how many those were.
    pub fn expire(&self, now: Time) -> usize {
        let mut removed = 0;
        loop {
            let gone = self.inner.write().expire(now);
            removed += gone.len();
            if gone.len() < CHUNK {
                return removed;
            }
        }
    }

    /// How much is retained.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let inner = self.inner.read();
        Counts { messages: inner.topics.len(), bytes: inner.bytes, refused: self.refused.load(Ordering::Relaxed) }
    }
}

impl Inner {
    fn put(&mut self, message: SharedMessage) -> Option<Kept> {
        let replaced = self.remove(message.topic_bytes());
        self.serial += 1;
        self.bytes += message.heap_size();
        if let Some(at) = message.expires_at {
            self.deadlines.insert((at, self.serial), Arc::clone(&message));
        }
        self.topics.insert(Kept { message, serial: self.serial });
        replaced
    }

    fn remove(&mut self, topic: &[u8]) -> Option<Kept> {
        let kept = self.topics.take(&Probe(topic) as &dyn Topic)?;
        self.bytes -= kept.message.heap_size();
        if let Some(at) = kept.message.expires_at {
            self.deadlines.remove(&(at, kept.serial));
        }
        Some(kept)
    }

    fn expire(&mut self, now: Time) -> Vec<Kept> {
        let mut gone = Vec::new();
        while gone.len() < CHUNK
            && let Some((&(at, serial), message)) = self.deadlines.first_key_value()
            && at <= now
        {
            let message = Arc::clone(message);
            self.deadlines.remove(&(at, serial));
            gone.extend(self.remove(message.topic_bytes()));
        }
        gone
    }
}
