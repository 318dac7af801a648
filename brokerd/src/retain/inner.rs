//! What is behind the lock of a set: the messages, the deletions, and what is counted of them. Never waits, and looks at
//! no limit of messages: who writes has asked.

use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::ops::Bound;
use std::sync::Arc;

use mqtt::Time;
use mqtt::message::SharedMessage;

use super::digest::{self, Digests};
use super::graves::Graves;
use super::order::{Kept, Probe, Topic};
use super::{CHUNK, Change, Stamp, What};

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) topics: BTreeSet<Kept>,
    pub(super) graves: Graves,
    /// Those that expire, by when; the serial tells those of the same moment apart.
    pub(super) deadlines: BTreeMap<(Time, u64), SharedMessage>,
    /// Where nodes compare their sets.
    pub(super) digests: Option<Digests>,
    pub(super) bytes: usize,
    /// Rises with every change.
    pub(super) serial: u64,
}

impl Inner {
    pub(super) fn kept(&self, topic: &str) -> Option<&Kept> {
        self.topics.get(&Probe(topic.as_bytes()) as &dyn Topic)
    }

    pub(super) fn has(&self, topic: &str) -> bool {
        self.kept(topic).is_some()
    }

    /// The last write of a topic, if anything is known of it.
    pub(super) fn stamp(&self, topic: &str) -> Option<Stamp> {
        self.kept(topic).map(|kept| kept.stamp).or_else(|| self.graves.stamp(topic))
    }

    pub(super) fn behind(&self, after: Option<&str>) -> btree_set::Range<'_, Kept> {
        match &after.map(|topic| Probe(topic.as_bytes())) {
            Some(probe) => self.topics.range::<dyn Topic, _>((Bound::Excluded(probe as &dyn Topic), Bound::Unbounded)),
            None => self.topics.range::<dyn Topic, _>((Bound::Unbounded, Bound::Unbounded)),
        }
    }

    /// Gives a topic what it has now, or as much as there is room to remember; and what it had.
    pub(super) fn write(&mut self, topic: &str, stamp: Stamp, what: What, learned: u64) -> (What, Option<Kept>) {
        let replaced = self.remove(topic);
        self.serial += 1;
        let what = match what {
            What::Message(message) => {
                self.graves.fill(topic);
                self.put(message.clone(), stamp);
                What::Message(message)
            }
            What::Deleted if self.graves.dig(topic.into(), stamp, self.serial, learned) => What::Deleted,
            What::Deleted | What::Forgotten => {
                self.graves.fill(topic);
                What::Forgotten
            }
        };
        (what, replaced)
    }

    pub(super) fn put(&mut self, message: SharedMessage, stamp: Stamp) {
        self.bytes += message.heap_size();
        if let Some(at) = message.expires_at {
            self.deadlines.insert((at, self.serial), Arc::clone(&message));
        }
        let mut digest = 0;
        if let Some(digests) = &mut self.digests {
            digest = digest::digest(message.topic_bytes(), stamp);
            digests.add(message.topic_bytes(), digest);
        }
        self.topics.insert(Kept { message, serial: self.serial, stamp, digest });
    }

    pub(super) fn remove(&mut self, topic: &str) -> Option<Kept> {
        let kept = self.topics.take(&Probe(topic.as_bytes()) as &dyn Topic)?;
        self.bytes -= kept.message.heap_size();
        if let Some(at) = kept.message.expires_at {
            self.deadlines.remove(&(at, kept.serial));
        }
        if let Some(digests) = &mut self.digests {
            digests.subtract(kept.topic(), kept.digest);
        }
        Some(kept)
    }

    /// A message that has expired is as good as deleted: an older one of another node must not take its place.
    pub(super) fn expire(&mut self, now: Time, clock: u64, deletion: &What) -> Vec<Change> {
        let mut gone = Vec::new();
        while gone.len() < CHUNK
            && let Some((&(at, _), message)) = self.deadlines.first_key_value()
            && at <= now
        {
            let topic: Arc<str> = message.topic().into();
            let Some(stamp) = self.stamp(&topic) else { return gone };
            let (what, _) = self.write(&topic, stamp, deletion.clone(), clock);
            gone.push(Change { topic, stamp, what });
        }
        gone
    }
}
