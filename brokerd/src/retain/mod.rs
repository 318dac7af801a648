//! The retained messages of this node: the last one of each topic, and, where nodes compare theirs, the deletions. The
//! later write by stamp stands, whatever the order in which writes come. Never decides who may read or write them, never
//! reads a clock, and never gives out one that has expired.

mod digest;
mod graves;
mod inner;
mod order;
mod replica;
mod seek;
#[cfg(test)]
mod tests;

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mqtt::Time;
use mqtt::message::SharedMessage;
use parking_lot::RwLock;

pub use digest::{BUCKETS, Buckets, Digests};
pub use replica::{Head, List};

use graves::Graves;
use inner::Inner;
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

/// When and where a topic was written: the later one stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Hybrid logical clock.
    pub hlc: u64,
    /// The node and its generation, where two clocks are equal: the origin of the message's identity.
    pub node: u64,
}

/// A topic was written.
#[derive(Clone, Debug)]
pub struct Change {
    /// The topic.
    pub topic: Arc<str>,
    /// When and where.
    pub stamp: Stamp,
    /// What it has now.
    pub what: What,
}

/// What a topic has.
#[derive(Clone, Debug)]
pub enum What {
    /// A message.
    Message(SharedMessage),
    /// None, and that is remembered. Stands against a message of the same stamp, which has expired.
    Deleted,
    /// None, and nothing of it is remembered.
    Forgotten,
}

/// Writes changes down that do not come from a session of this node.
pub trait Keeper: Send + Sync {
    /// Tells whether they are kept. Never blocks.
    fn keep(&self, changes: Vec<Change>, done: Box<dyn FnOnce(bool) + Send>);
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
    /// How long deletions are remembered, where nodes compare their sets.
    life: Option<Duration>,
    inner: RwLock<Inner>,
    refused: AtomicU64,
}

impl Retained {
    /// An empty store of a node that is alone: a deletion leaves nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, life: None, inner: RwLock::default(), refused: AtomicU64::new(0) }
    }

    /// An empty store of one node among others, which remembers deletions so long.
    #[must_use]
    pub fn replicated(limits: Limits, life: Duration) -> Self {
        let graves = Graves::new(limits.max_messages, limits.max_bytes);
        let inner = Inner { graves, digests: Some(Digests::default()), ..Inner::default() };
        Self { life: Some(life), inner: RwLock::new(inner), ..Self::new(limits) }
    }

    /// Retains a message, where no other node does the same: see [`Retained::set_at`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&self, message: SharedMessage) -> Result<(), Full> {
        self.set_at(message, |floor| floor.saturating_add(1)).map(drop)
    }

    /// Retains a message in place of the one its topic has; one without payload deletes that [MQTT-3.3.1-6]. What a
    /// known topic has can always be replaced, also by something larger: only a new topic is refused.
    /// What has expired takes room until [`Retained::expire`] has removed it. `clock` gives a stamp above the one that
    /// it is told: given under the lock, so that stamps rise in the order of the writes. Answers the stamp, and what the
    /// topic has now.
    ///
    /// # Errors
    /// There is no room for a new topic.
    pub fn set_at(&self, message: SharedMessage, clock: impl FnOnce(u64) -> u64) -> Result<(Stamp, What), Full> {
        let mut inner = self.inner.write();
        let is_deletion = message.payload().is_empty();
        let known = inner.stamp(message.topic());
        if !is_deletion && !inner.has(message.topic()) && !self.has_room(&inner, &message) {
            drop(inner);
            return Err(self.refuse());
        }
        let hlc = clock(known.unwrap_or_default().hlc);
        let stamp = Stamp { hlc, node: message.id.origin };
        let what = if is_deletion { self.deletion() } else { What::Message(message.clone()) };
        let (what, replaced) = inner.write(message.topic(), stamp, what, hlc);
        // Freed without the lock.
        drop(inner);
        drop(replaced);
        Ok((stamp, what))
    }

    const fn deletion(&self) -> What {
        if self.life.is_some() { What::Deleted } else { What::Forgotten }
    }

    fn refuse(&self) -> Full {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Full
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
        let mut range = inner.behind(after);
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

    /// Removes what has expired, in chunks, each of which is told. `clock` is the hybrid clock's time. Answers how many
    /// those were.
    pub fn expire(&self, now: Time, clock: u64, mut tell: impl FnMut(Vec<Change>)) -> usize {
        let mut removed = 0;
        loop {
            let gone = self.inner.write().expire(now, clock, &self.deletion());
            let count = gone.len();
            removed += count;
            if count > 0 {
                tell(gone);
            }
            if count < CHUNK {
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
