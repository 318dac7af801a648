//! What subscribers receive, checked: each message once, in its publisher's order. Owns no connection.

use super::plan::{Filters, Plan, Share};
use crate::bench::seen::{Arrival, Seen};
use crate::bench::template::Stamp;

/// A message is one of so many flows, each with its own numbers.
#[derive(Debug)]
pub(crate) struct Deliveries {
    filters: Filters,
    publishers: usize,
    first_publisher: usize,
    /// By subscriber and publisher; of a group, by publisher alone.
    seen: Vec<Seen>,
    /// Of a group: one above the highest number, by member and publisher.
    next: Vec<u32>,
}

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Good,
    OutOfOrder,
    Duplicate,
    /// Not of this run.
    Foreign,
}

impl Deliveries {
    /// Of one thread's share.
    pub(crate) fn new(plan: &Plan, share: &Share) -> Self {
        let pairs = share.subscribers * share.publishers;
        let (seen, next) = match plan.filters {
            _ if share.subscribers == 0 => (0, 0),
            Filters::Own => (share.publishers, 0),
            Filters::Each | Filters::All => (pairs, 0),
            Filters::Shared => (share.publishers, pairs),
        };
        let (seen, next) = (vec![Seen::default(); seen], vec![0; next]);
        let (publishers, first_publisher) = (share.publishers, share.first_publisher);
        Self { filters: plan.filters, publishers, first_publisher, seen, next }
    }

    /// Takes in a message; with it, the publisher's number in this share.
    pub(crate) fn record(&mut self, subscriber: usize, stamp: Stamp) -> (Delivery, usize) {
        let publisher = (stamp.publisher as usize).wrapping_sub(self.first_publisher);
        let is_ours = publisher < self.publishers && (self.filters != Filters::Own || publisher == subscriber);
        if !is_ours {
            return (Delivery::Foreign, 0);
        }
        let pair = subscriber * self.publishers + publisher;
        let flow = match self.filters {
            Filters::Own | Filters::Shared => publisher,
            Filters::Each | Filters::All => pair,
        };
        let arrival = self.seen[flow].record(stamp.sequence);
        let delivery = match (arrival, self.next.get_mut(pair)) {
            (Arrival::Again, _) => Delivery::Duplicate,
            // Members of a group are ahead of each other; each by itself sees the order.
            (_, Some(next)) if stamp.sequence < *next => Delivery::OutOfOrder,
            (_, Some(next)) => {
                *next = stamp.sequence + 1;
                Delivery::Good
            }
            (Arrival::Late, None) => Delivery::OutOfOrder,
            (Arrival::InOrder, None) => Delivery::Good,
        };
        (delivery, publisher)
    }
}
