//! Packets that have not come whole, of all connections of one worker: who holds how many bytes, and since when. Owns the
//! bound on their sum and the choice of who has to go: whoever began first. Never reads a byte.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::rc::Rc;

use mqtt::ReasonCode;
use tokio::sync::Notify;

use super::shard::Shard;
use crate::metrics::Metric;

/// Whose packet it is.
#[derive(Clone)]
enum Holder {
    /// That of a session, by place and incarnation.
    Session(u32, u32),
    /// That of a connection before its CONNECT is whole, which ends when it is told.
    Stranger(Rc<Notify>),
}

/// A packet that has begun, in the order of their begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(NonZeroU64);

/// The begin of a packet whose rest has not come.
#[derive(Default)]
pub(super) struct Partial {
    pub(super) bytes: Vec<u8>,
    /// Of that packet, among all that are not whole.
    pub(super) ticket: Option<Ticket>,
}

/// All of one worker.
pub(super) struct Partials {
    most: usize,
    held: usize,
    by_begin: BTreeMap<Ticket, (Holder, usize)>,
    last: NonZeroU64,
}

impl Partials {
    /// With at most so many bytes, or one packet of whatever size is allowed.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, held: 0, by_begin: BTreeMap::new(), last: NonZeroU64::MIN }
    }

    /// Notes what a packet takes now; the ticket is its own, where more of it has come.
    fn hold(&mut self, ticket: Option<Ticket>, holder: &Holder, bytes: usize) -> Ticket {
        let ticket = ticket.unwrap_or_else(|| {
            self.last = self.last.saturating_add(1);
            Ticket(self.last)
        });
        let (_, held) = self.by_begin.entry(ticket).or_insert_with(|| (holder.clone(), 0));
        self.held = self.held - *held + bytes;
        *held = bytes;
        ticket
    }

    /// The packet is whole, or will never be.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some((_, bytes)) = self.by_begin.remove(&ticket) {
            self.held -= bytes;
        }
    }

    /// Who has to go. A packet that is alone may be larger than the bound: its own limit holds for it.
    fn excess(&mut self) -> Option<Holder> {
        if self.held <= self.most || self.by_begin.len() < 2 {
            return None;
        }
        let (_, (holder, bytes)) = self.by_begin.pop_first()?;
        self.held -= bytes;
        Some(holder)
    }
}

/// What a connection holds before its CONNECT is whole; nothing once dropped.
pub(super) struct Stranger {
    partials: Rc<RefCell<Partials>>,
    sent_away: Rc<Notify>,
    ticket: Option<Ticket>,
}

impl Stranger {
    pub(super) fn of(shard: &Shard) -> Self {
        Self { partials: shard.partials.clone(), sent_away: Rc::default(), ticket: None }
    }

    /// Notified when it has to go.
    pub(super) fn sent_away(&self) -> Rc<Notify> {
        self.sent_away.clone()
    }

    pub(super) fn hold(&mut self, bytes: usize) {
        let holder = Holder::Stranger(self.sent_away.clone());
        self.ticket = Some(self.partials.borrow_mut().hold(self.ticket, &holder, bytes));
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.partials.borrow_mut().release(ticket);
        }
    }
}

impl Shard {
    /// Takes note of what a connection holds of a packet; `is_another` where that is not the one it held before.
    pub(super) fn note_partial(&mut self, slot: u32, is_another: bool) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let Some(conn) = &mut entry.conn else { return };
        let Some(partial) = &mut conn.partial else { return };
        let bytes = partial.bytes.capacity();
        if (is_another || bytes == 0)
            && let Some(ticket) = partial.ticket.take()
        {
            self.partials.borrow_mut().release(ticket);
        }
        if bytes == 0 {
            conn.partial = None;
            return;
        }
        let holder = Holder::Session(slot, entry.incarnation);
        partial.ticket = Some(self.partials.borrow_mut().hold(partial.ticket, &holder, bytes));
        self.send_holders_away();
    }

    /// Sends away who began first, until the rest is within the bound.
    pub(super) fn send_holders_away(&mut self) {
        loop {
            let excess = self.partials.borrow_mut().excess();
            let Some(holder) = excess else { return };
            self.counters.inc(Metric::PartialDropped);
            match holder {
                Holder::Session(slot, incarnation) => {
                    if self.entry(slot, incarnation).is_some() {
                        self.say_and_drop(slot, ReasonCode::QuotaExceeded);
                    }
                }
                Holder::Stranger(sent_away) => sent_away.notify_one(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(slot: u32) -> Holder {
        Holder::Session(slot, 1)
    }

    fn slot_of(holder: Option<Holder>) -> Option<u32> {
        match holder {
            Some(Holder::Session(slot, _)) => Some(slot),
            _ => None,
        }
    }

    #[test]
    fn over_the_bound_whoever_began_first_goes_until_the_rest_fits() {
        let mut partials = Partials::new(100);
        let first = partials.hold(None, &session(1), 30);
        partials.hold(None, &session(2), 30);
        partials.hold(None, &session(3), 40);
        assert!(partials.excess().is_none(), "100 of 100");
        assert_eq!(partials.hold(Some(first), &session(1), 65), first, "more of the same packet");
        assert_eq!(slot_of(partials.excess()), Some(1));
        assert!(partials.excess().is_none());
        assert_eq!(partials.held, 70);
        partials.release(first); // it is gone already
        assert_eq!(partials.held, 70);
    }

    #[test]
    fn a_packet_that_is_alone_may_be_larger_than_the_bound() {
        let mut partials = Partials::new(100);
        let large = partials.hold(None, &session(1), 500);
        assert!(partials.excess().is_none());
        partials.hold(None, &session(2), 1);
        assert_eq!(slot_of(partials.excess()), Some(1), "{large:?}");
        assert_eq!((partials.held, partials.by_begin.len()), (1, 1));
    }
}
