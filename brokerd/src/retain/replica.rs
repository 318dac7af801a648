//! The set as one of several that are to be the same: writes of others taken in, lists of what is in some buckets, and
//! deletions forgotten when their time has come. Never talks to another node: `cluster` does.

use std::collections::HashMap;
use std::sync::Arc;

use mqtt::Time;
use mqtt::message::SharedMessage;

use super::digest::{Buckets, Digests};
use super::order::{Kept, Topic, by_level};
use super::{CHUNK, Change, Full, Retained, STEPS, Stamp, What};

/// What is known of a topic, without its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The topic.
    pub topic: Arc<str>,
    /// Its last write.
    pub stamp: Stamp,
    /// Rises with every change of this set: whether it was there when something else was.
    pub serial: u64,
}

/// A part of a list of heads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// In the order of the list.
    pub heads: Vec<Head>,
    /// Where the next part begins; `None` after the last. A part may be empty and not the last.
    pub next: Option<String>,
}

impl Retained {
    /// Takes a write of another node, or one that was kept, if it is later than what is known of the topic: then what the
    /// topic has now. A deletion that is older than the life of deletions is taken only where it deletes something. `clock` is the
    /// hybrid clock's time.
    ///
    /// # Errors
    /// It is later, but there is no room for a new topic here.
    pub fn merge(&self, change: &Change, clock: u64) -> Result<Option<What>, Full> {
        let Change { topic, stamp, what } = change;
        let mut inner = self.inner.write();
        let is_deletion = !matches!(what, What::Message(_));
        let kept = inner.kept(topic).map(|kept| (kept.stamp, false));
        let known = kept.or_else(|| inner.graves.stamp(topic).map(|stamp| (stamp, true)));
        if known.is_some_and(|known| known >= (*stamp, is_deletion)) {
            return Ok(None);
        }
        match what {
            What::Message(message) if kept.is_none() && !self.has_room(&inner, message) => {
                drop(inner);
                return Err(self.refuse());
            }
            What::Deleted | What::Forgotten if known.is_none() && !self.is_young(*stamp, clock) => return Ok(None),
            _ => {}
        }
        let what = if is_deletion { self.deletion() } else { what.clone() };
        let (what, replaced) = inner.write(topic, *stamp, what, clock);
        drop(inner);
        drop(replaced);
        Ok(Some(what))
    }

    fn is_young(&self, stamp: Stamp, clock: u64) -> bool {
        let life = self.life.map_or(0, |life| u64::try_from(life.as_micros()).unwrap_or(u64::MAX));
        stamp.hlc.saturating_add(life) > clock
    }

    /// Takes a message out that others deleted long ago, if it is still the one meant; what is to be kept of that.
    #[must_use]
    pub fn bury(&self, head: &Head, clock: u64) -> Option<Change> {
        let mut inner = self.inner.write();
        inner.kept(&head.topic).filter(|kept| kept.serial == head.serial)?;
        let (what, buried) = inner.write(&head.topic, head.stamp, self.deletion(), clock);
        drop(inner);
        drop(buried);
        Some(Change { topic: head.topic.clone(), stamp: head.stamp, what })
    }

    /// The sums, and the number of the last change that is in them.
    #[must_use]
    pub fn digests(&self) -> (Digests, u64) {
        let inner = self.inner.read();
        (inner.digests.clone().unwrap_or_default(), inner.serial)
    }

    /// The sum over all buckets.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.inner.read().digests.as_ref().map_or(0, |digests| digests.total)
    }

    /// The last write of a topic, if anything is known of it.
    #[must_use]
    pub fn stamp(&self, topic: &str) -> Option<Stamp> {
        self.inner.read().stamp(topic)
    }

    /// Whether a message of a topic that is new here would be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let inner = self.inner.read();
        inner.topics.len() >= self.limits.max_messages || inner.bytes >= self.limits.max_bytes
    }

    /// Messages of these buckets, in the order of topics, from behind `after` on.
    #[must_use]
    pub fn list(&self, buckets: &Buckets, after: Option<&str>, limit: usize, now: Time) -> List {
        let inner = self.inner.read();
        let (mut heads, mut steps) = (Vec::new(), 0);
        for kept in inner.behind(after) {
            steps += 1;
            if buckets.has(kept.topic()) && kept.is_live(now) {
                heads.push(head(kept));
            }
            if heads.len() >= limit.max(1) || steps >= STEPS {
                return List { heads, next: Some(kept.message.topic().to_owned()) };
            }
        }
        List { heads, next: None }
    }

    /// Messages of these buckets from behind `after` up to `until` (or the end) that are not among `theirs`, or later
    /// than there: at most those that one hold of the lock finds, and where the next begins.
    #[must_use]
    pub fn beyond(
        &self,
        buckets: &Buckets,
        (after, until): (Option<&str>, Option<&str>),
        theirs: &HashMap<Arc<str>, Stamp>,
        now: Time,
    ) -> List {
        let mut list = self.list(buckets, after, STEPS, now);
        if let Some(until) = until {
            let is_within = |topic: &str| by_level(topic.as_bytes(), until.as_bytes()).is_le();
            list.heads.retain(|head| is_within(&head.topic));
            list.next = list.next.filter(|next| by_level(next.as_bytes(), until.as_bytes()).is_lt());
        }
        list.heads.retain(|head| theirs.get(&head.topic).is_none_or(|stamp| *stamp < head.stamp));
        list
    }

    /// Deletions in these buckets, from behind `after` on.
    #[must_use]
    pub fn deletions(&self, buckets: &Buckets, after: Option<&str>, limit: usize) -> List {
        let inner = self.inner.read();
        let (mut heads, mut steps) = (Vec::new(), 0);
        for (topic, stamp) in inner.graves.after(after) {
            steps += 1;
            if buckets.has(topic.as_bytes()) {
                heads.push(Head { topic: topic.clone(), stamp, serial: 0 });
            }
            if heads.len() >= limit.max(1) || steps >= STEPS {
                return List { heads, next: Some(topic.to_string()) };
            }
        }
        List { heads, next: None }
    }

    /// A message and its stamp.
    #[must_use]
    pub fn message(&self, topic: &str, now: Time) -> Option<(SharedMessage, Stamp)> {
        let inner = self.inner.read();
        inner.kept(topic).filter(|kept| kept.is_live(now)).map(|kept| (kept.message.clone(), kept.stamp))
    }

    /// Forgets deletions whose life is over; each chunk is told.
    pub fn forget_deletions(&self, clock: u64, mut tell: impl FnMut(Vec<Change>)) {
        let Some(life) = self.life else { return };
        loop {
            let gone: Vec<Change> = {
                let graves = &mut self.inner.write().graves;
                let forgotten = std::iter::from_fn(|| graves.forget(clock, life));
                forgotten.take(CHUNK).map(|(topic, stamp)| Change { topic, stamp, what: What::Forgotten }).collect()
            };
            let is_last = gone.len() < CHUNK;
            if !gone.is_empty() {
                tell(gone);
            }
            if is_last {
                return;
            }
        }
    }

    /// How many deletions are remembered, and how many were not, for want of room.
    #[must_use]
    pub fn remembered(&self) -> (usize, u64) {
        let inner = self.inner.read();
        (inner.graves.len(), inner.graves.unremembered)
    }

    /// Deletions that this node learned of by this time (of the hybrid clock) may be forgotten.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        self.inner.read().graves.horizon
    }

    /// What another node or an earlier life says of what may be forgotten holds here too.
    pub fn raise_horizon(&self, horizon: u64) {
        let mut inner = self.inner.write();
        inner.graves.horizon = inner.graves.horizon.max(horizon);
    }
}

fn head(kept: &Kept) -> Head {
    Head { topic: kept.message.topic().into(), stamp: kept.stamp, serial: kept.serial }
}

#[cfg(test)]
mod tests;
