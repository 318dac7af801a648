//! What a session is in a store: the values that all backends keep. Never how they are written: `format` has that.

use mqtt::Version;
use mqtt::session::{Granted, Will};

/// Milliseconds since 1970. The caller reads the clock, and minds that it may step.
pub type UnixMillis = u64;

/// A session's number in its store. Given by the store at the claim that made it, and not used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid(pub u64);

/// When and where a retained message was set: the later one stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Hybrid logical clock.
    pub hlc: u64,
    /// The node, where two clocks are equal.
    pub node: u64,
}

/// A session, without its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Client identifier.
    pub client_id: Box<str>,
    /// Protocol version of the last connection.
    pub version: Version,
    /// Session Expiry Interval, seconds; `u32::MAX` never ends.
    pub expiry: u32,
    /// Since when it has no connection; `None` while it has one.
    pub detached_at: Option<UnixMillis>,
    /// Who it is for `authorize`; `None` is nobody in particular.
    pub principal: Option<Box<str>>,
    /// What it is subscribed to.
    pub subscriptions: Vec<Granted>,
    /// The will that is still to be sent or deleted.
    pub will: Option<Will>,
    /// The first number of the queue that was not given yet, as known when this was saved: the queue may be ahead.
    pub next_seq: u64,
    /// Where serials of its subscriptions count from.
    pub first_serial: u32,
    /// How many serials were given.
    pub serials: u32,
}

impl SessionRecord {
    /// When it ends, unless a connection comes first.
    #[must_use]
    pub fn ends_at(&self) -> Option<UnixMillis> {
        let at = self.detached_at.filter(|_| self.expiry != u32::MAX)?;
        Some(at.saturating_add(u64::from(self.expiry) * 1000))
    }
}
