//! Sessions as the store has them, and back: names, times of the wall clock, bodies. Never decides what is kept.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mqtt::session::{Delivery, Kept};
use mqtt::{Message, Time};
use store::{Body, Op, SessionRecord, Stored, UnixMillis};

use super::shard;
use crate::access::{Identity, Principal};

/// How the process's clock and the wall's relate.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    pub(super) now: Time,
    pub(super) wall: UnixMillis,
}

impl WallClock {
    pub(super) fn to_wall(self, at: Time) -> UnixMillis {
        self.wall.saturating_add(at.since(self.now)).saturating_sub(self.now.since(at))
    }

    pub(super) fn to_time(self, at: UnixMillis) -> Time {
        let past = self.wall.saturating_sub(at);
        Time(self.now.0.saturating_sub(past)).after_millis(at.saturating_sub(self.wall))
    }
}

/// A message for a session. Its body is put aside where others wait for it too.
pub(super) fn entry(delivery: Delivery, clock: WallClock) -> store::Entry {
    store::Entry {
        qos: delivery.qos,
        retain: delivery.retain,
        subscription_ids: delivery.subscription_ids,
        shared: delivery.shared,
        expires_at: delivery.message.expires_at.map(|at| clock.to_wall(at)),
        body: Body::Inline(delivery.message),
    }
}

/// And back.
pub(super) fn delivery(stored: Stored, clock: WallClock) -> Delivery {
    let entry = stored.entry;
    let mut message = Arc::unwrap_or_clone(stored.message);
    message.expires_at = entry.expires_at.map(|at| clock.to_time(at));
    Delivery {
        message: Arc::new(message),
        qos: entry.qos,
        retain: entry.retain,
        subscription_ids: entry.subscription_ids,
        shared: entry.shared,
    }
}

/// A message at a time of the wall clock.
pub(super) fn expiry(message: &Message, clock: WallClock) -> Option<UnixMillis> {
    message.expires_at.map(|at| clock.to_wall(at))
}

/// Who somebody is, as a store has it.
pub(super) fn principal(identity: &Identity) -> Option<Box<str>> {
    match &identity.principal {
        Principal::Anonymous => None,
        Principal::User(name) => Some((&**name).into()),
    }
}

/// And back; where from is not known any more.
pub(super) fn identity(principal: Option<Box<str>>) -> Identity {
    let principal = principal.map_or(Principal::Anonymous, |name| Principal::User(name.into()));
    Identity::new(principal, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// A session but for its messages.
pub(super) fn record(entry: &shard::Entry, clock: WallClock) -> SessionRecord {
    let kept = entry.session.kept();
    SessionRecord {
        client_id: (&**entry.session.client_id()).into(),
        version: kept.version,
        expiry: kept.expiry,
        detached_at: kept.detached_at.map(|at| clock.to_wall(at)),
        principal: principal(&entry.identity),
        subscriptions: kept.subscriptions,
        will: kept.will,
        next_seq: kept.last_seq + 1,
        first_serial: kept.first_serial,
        serials: kept.serials,
    }
}

/// And back: whose it is, and what it was.
pub(super) fn kept(record: SessionRecord, clock: WallClock) -> (Identity, Kept) {
    let identity = identity(record.principal);
    let kept = Kept {
        version: record.version,
        expiry: record.expiry,
        detached_at: record.detached_at.map(|at| clock.to_time(at)),
        will: record.will,
        subscriptions: record.subscriptions,
        first_serial: record.first_serial,
        serials: record.serials,
        last_seq: record.next_seq.saturating_sub(1),
    };
    (identity, kept)
}

/// That PUBLISHes at QoS 2 were received.
pub(super) fn received(ops: &[Op]) -> Vec<Op> {
    ops.iter().filter(|op| matches!(op, Op::Received { .. })).cloned().collect()
}
