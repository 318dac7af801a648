//! The order of topics: level by level, so that all topics under one lie together behind it. (In the order of bytes
//! `a!b` stands between `a` and `a/b`.) Never allocates.

use std::borrow::Borrow;
use std::cmp::Ordering;

use mqtt::Time;
use mqtt::message::SharedMessage;

use super::Stamp;

/// A retained message, ordered by its topic, whose text it holds only once.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) message: SharedMessage,
    pub(super) serial: u64,
    pub(super) stamp: Stamp,
    /// What it adds to its bucket; 0 where nobody compares.
    pub(super) digest: u64,
}

impl Kept {
    pub(super) fn is_live(&self, now: Time) -> bool {
        self.message.expires_at.is_none_or(|at| at > now)
    }
}

/// A topic to look for.
pub(super) struct Probe<'a>(pub(super) &'a [u8]);

/// What has a topic. `Kept` can be looked up as this, so that a search makes no message.
pub(super) trait Topic {
    fn topic(&self) -> &[u8];
}

impl Topic for Kept {
    fn topic(&self) -> &[u8] {
        self.message.topic_bytes()
    }
}

impl Topic for Probe<'_> {
    fn topic(&self) -> &[u8] {
        self.0
    }
}

impl<'a> Borrow<dyn Topic + 'a> for Kept {
    fn borrow(&self) -> &(dyn Topic + 'a) {
        self
    }
}

impl Ord for dyn Topic + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.topic(), other.topic())
    }
}

impl PartialOrd for dyn Topic + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Topic + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.topic() == other.topic()
    }
}

impl Eq for dyn Topic + '_ {}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.topic(), other.topic())
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.topic() == other.topic()
    }
}

impl Eq for Kept {}

/// The order of bytes, with `/` before all others, NUL included.
pub(super) fn by_level(left: &[u8], right: &[u8]) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { None } else { Some(*byte) };
    match left.iter().zip(right).find(|(left, right)| left != right) {
        Some((left, right)) => rank(left).cmp(&rank(right)),
        None => left.len().cmp(&right.len()),
    }
}
