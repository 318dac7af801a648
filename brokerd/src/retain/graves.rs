//! The memory of deletions: which topics were deleted, and by which stamp, so that an older message of a node that was
//! away does not come back. Each is kept for a life, and no more of them than messages; what is not kept is admitted, by
//! a time until which deletions may be forgotten.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::Stamp;

#[derive(Clone, Copy, Debug)]
struct Grave {
    stamp: Stamp,
    serial: u64,
}

/// The deletions of a set.
#[derive(Debug, Default)]
pub(super) struct Graves {
    by_topic: BTreeMap<Arc<str>, Grave>,
    /// When this node learned of each (its hybrid clock), by the order in which it did.
    by_age: BTreeMap<u64, (Arc<str>, u64)>,
    bytes: usize,
    /// Deletions, and bytes of them, at most.
    most: (usize, usize),
    /// How many were not remembered for want of room.
    pub(super) unremembered: u64,
    /// Deletions that this node learned of at this time or earlier may be forgotten.
    pub(super) horizon: u64,
}

/// What a grave costs beside its topic.
const GRAVE: usize = 160;

impl Graves {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { most: (max_messages, max_bytes), ..Self::default() }
    }

    pub(super) fn stamp(&self, topic: &str) -> Option<Stamp> {
        self.by_topic.get(topic).map(|grave| grave.stamp)
    }

    pub(super) fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Remembers a deletion, if there is room: whether there was.
    pub(super) fn dig(&mut self, topic: Arc<str>, stamp: Stamp, serial: u64, learned: u64) -> bool {
        self.fill(&topic);
        if self.by_topic.len() >= self.most.0 || self.bytes >= self.most.1 {
            self.horizon = self.horizon.max(learned);
            self.unremembered += 1;
            return false;
        }
        self.bytes += topic.len() + GRAVE;
        self.by_age.insert(serial, (topic.clone(), learned));
        self.by_topic.insert(topic, Grave { stamp, serial });
        true
    }

    /// The topic has a message again.
    pub(super) fn fill(&mut self, topic: &str) {
        if let Some(grave) = self.by_topic.remove(topic) {
            self.by_age.remove(&grave.serial);
            self.bytes -= topic.len() + GRAVE;
        }
    }

    /// Forgets the oldest one, if its life is over.
    pub(super) fn forget(&mut self, now: u64, life: Duration) -> Option<(Arc<str>, Stamp)> {
        let (topic, learned) = self.by_age.first_key_value()?.1.clone();
        let life = u64::try_from(life.as_micros()).unwrap_or(u64::MAX);
        let stamp = self.stamp(&topic).filter(|_| learned.saturating_add(life) <= now)?;
        self.horizon = self.horizon.max(learned);
        self.fill(&topic);
        Some((topic, stamp))
    }

    /// In the order of bytes, from behind a topic.
    pub(super) fn after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = (&'a Arc<str>, Stamp)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_topic.range::<str, _>((from, Bound::Unbounded)).map(|(topic, grave)| (topic, grave.stamp))
    }
}
