//! The window and the queue of a kept session: how they come back without bodies, and get them. Never sends anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::outbound::{InFlight, Outbound};
use super::place::Place;
use super::queue::{Priorities, Queue};
use super::{CopyId, Delivery, KeptMessage, Outputs, Stage};
use crate::MessageId;

impl Outbound {
    pub(super) fn restore(last_seq: u64, messages: impl IntoIterator<Item = KeptMessage>) -> Self {
        let mut outbound = Self { is_kept: true, last_seq, ..Self::default() };
        let unranked = Priorities::default(); // until the bodies say what their topics are
        for KeptMessage { seq, qos, size, expires_at, stage } in messages {
            outbound.last_seq = outbound.last_seq.max(seq);
            let place = Place::stub(seq, qos, size, expires_at);
            match stage {
                Stage::Queued => outbound.queue.push(place, Queue::rank("", &unranked), &unranked),
                Stage::Sent(id) => outbound.fly(InFlight { id, is_released: false, place }),
                Stage::Released(id) => outbound.fly(InFlight { id, is_released: true, place }),
            }
        }
        outbound
    }

    pub(super) fn fly(&mut self, in_flight: InFlight) {
        self.last_id = in_flight.id.get(); // about where the identifiers were
        self.in_flight.push_back(in_flight);
    }

    /// Every message that is not released, in flight first.
    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let in_flight = self.in_flight.iter_mut().filter(|one| !one.is_released).map(|one| &mut one.place);
        in_flight.chain(self.queue.iter_mut())
    }

    pub(super) fn hold_bodies(&mut self) {
        self.holds_bodies = true;
    }

    /// The names of messages without a body.
    pub(super) fn missing(&self) -> impl Iterator<Item = u64> {
        let in_flight = self.in_flight.iter().filter(|one| one.lacks_body()).map(|one| one.place.seq);
        in_flight.chain(self.queue.iter().filter(|place| place.body.is_none()).map(|place| place.seq))
    }

    pub(super) fn load(&mut self, seq: u64, delivery: Delivery) {
        let in_flight = self.in_flight.iter_mut().find(|one| one.place.seq == seq && !one.is_released);
        let place = in_flight.map_or_else(|| self.queue.find(seq), |one| Some(&mut one.place));
        if let Some(place) = place {
            place.body.get_or_insert(delivery);
        }
    }

    /// What came by two ways: once, and for each publisher in its order. What was named out of order gets new names, for
    /// where it is kept the order is that of names.
    pub(super) fn arrange(&mut self, after: u64, priorities: &Priorities, out: &mut Outputs) {
        let identity = |place: &Place| place.body.as_ref().map(Delivery::copy_id).filter(|(id, _)| id.sequence != 0);
        let queued = self.queue.iter().filter(|place| place.seq <= after);
        let earlier = self.in_flight.iter().map(|one| &one.place).chain(queued);
        let mut known: BTreeSet<CopyId> = earlier.filter_map(identity).collect();
        let mut late = self.queue.extract(|place| place.seq > after);
        late.sort_by_key(|place| place.seq);
        late.retain(|place| {
            let is_news = identity(place).is_none_or(|id| known.insert(id));
            if !is_news && place.is_kept() {
                out.changes.push(super::Change::Gone { seq: place.seq });
            }
            is_news
        });
        let order = |place: &Place| identity(place).map_or_else(MessageId::default, |(id, _)| id);
        let mut last: BTreeMap<(u64, u16), u64> = BTreeMap::new();
        let is_in_order = late.iter().map(order).all(|id| {
            let last = last.entry((id.origin, id.worker)).or_default();
            std::mem::replace(last, id.sequence) <= id.sequence
        });
        if !is_in_order {
            let first;
            (late, first) = in_order(late, order);
            for place in late.iter_mut().skip(first).filter(|place| place.is_kept()) {
                out.changes.push(super::Change::Gone { seq: place.seq });
                self.last_seq += 1;
                place.seq = self.last_seq;
                let queued =
                    place.body.clone().map(|delivery| super::Change::Queued { seq: place.seq, delivery, id: None });
                out.changes.extend(queued);
            }
        }
        for place in late {
            let topic = place.body.as_ref().map_or("", |body| body.message.topic());
            let rank = Queue::rank(topic, priorities);
            self.queue.push(place, rank, priorities);
        }
    }

    pub(super) fn forget_missing(&mut self, up_to: u64, out: &mut Outputs) -> usize {
        let lost: Vec<u64> = self.missing().filter(|seq| *seq <= up_to).collect();
        let is_lost = |place: &Place| place.body.is_none() && place.seq <= up_to;
        self.in_flight.retain(|one| one.is_released || !is_lost(&one.place));
        drop(self.queue.extract(is_lost));
        out.changes.extend(lost.iter().map(|seq| super::Change::Gone { seq: *seq }));
        lost.len()
    }
}

/// Puts what came behind a later message of the same node's worker right before that one, and answers from where on they
/// stand otherwise than before. All others stay as they are to each other: who was on another node before has messages of
/// two names, which nothing but their places keeps in order.
fn in_order(late: Vec<Place>, order: impl Fn(&Place) -> MessageId) -> (Vec<Place>, usize) {
    // Of each worker, by number: the message that it stays with.
    let mut of_worker: BTreeMap<(u64, u16), BTreeMap<u64, usize>> = BTreeMap::new();
    let key = |(at, place): (usize, Place)| {
        let id = order(&place);
        let known = of_worker.entry((id.origin, id.worker)).or_default();
        let anchor = known.range((Excluded(id.sequence), Unbounded)).next().map_or(at, |(_, anchor)| *anchor);
        known.entry(id.sequence).or_insert(anchor);
        ((anchor, anchor == at, id.sequence, at), place)
    };
    let mut keyed: Vec<_> = late.into_iter().enumerate().map(key).collect();
    keyed.sort_unstable_by_key(|(key, _)| *key);
    let first = keyed.iter().enumerate().position(|(to, ((.., at), _))| to != *at).unwrap_or(keyed.len());
    (keyed.into_iter().map(|(_, place)| place).collect(), first)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::{Message, Qos};

    fn queued(messages: &[(u64, u64, u64)]) -> Outbound {
        let mut outbound = Outbound { is_kept: true, ..Outbound::default() };
        for &(seq, origin, sequence) in messages {
            let mut message = Message::new("t", &[], b"x");
            message.id = MessageId { origin, worker: 0, sequence };
            let message = Arc::new(message);
            let ids = Box::default();
            let delivery =
                Delivery { message, qos: Qos::AtLeastOnce, retain: false, subscription_ids: ids, shared: None };
            outbound.queue.push(
                Place::new(seq, delivery),
                Queue::rank("t", &Priorities::default()),
                &Priorities::default(),
            );
            outbound.last_seq = seq;
        }
        outbound
    }

    /// What is queued after it, as (name, sequence), and what is to be changed where it is kept.
    fn arranged(messages: &[(u64, u64, u64)]) -> (Vec<(u64, u64)>, Vec<String>) {
        let (mut outbound, mut out) = (queued(messages), Outputs::default());
        outbound.arrange(1, &Priorities::default(), &mut out);
        let sequence = |place: &Place| place.body.as_ref().map_or(0, |body| body.message.id.sequence);
        let queue = outbound.queue.iter().map(|place| (place.seq, sequence(place))).collect();
        let change = |change: super::super::Change| match change {
            super::super::Change::Gone { seq } => format!("gone {seq}"),
            super::super::Change::Queued { seq, .. } => format!("queued {seq}"),
            other => format!("{other:?}"),
        };
        (queue, out.changes.drain(..).map(change).collect())
    }

    #[test]
    fn what_came_in_order_stays_as_it_is() {
        let (queue, changes) = arranged(&[(1, 7, 9), (2, 7, 1), (3, 8, 5), (4, 7, 2)]);
        assert_eq!(queue, [(1, 9), (2, 1), (3, 5), (4, 2)], "and what was there before it came is nobody's business");
        assert!(changes.is_empty(), "{changes:?}");
    }

    #[test]
    fn a_second_copy_goes() {
        let (queue, changes) = arranged(&[(1, 7, 1), (2, 7, 1), (3, 7, 2), (4, 7, 2)]);
        assert_eq!((queue, changes), (vec![(1, 1), (3, 2)], vec!["gone 2".to_owned(), "gone 4".to_owned()]));
    }

    #[test]
    fn what_came_out_of_order_is_put_in_order_and_named_anew() {
        let (queue, changes) = arranged(&[(1, 7, 1), (2, 7, 3), (3, 7, 2)]);
        assert_eq!(queue, [(1, 1), (4, 2), (5, 3)]);
        assert_eq!(changes, ["gone 3", "queued 4", "gone 2", "queued 5"]);
    }

    #[test]
    fn what_comes_late_moves_alone() {
        // Of one worker a late message of one publisher, behind three of another publisher which went on at another node.
        let (queue, changes) =
            arranged(&[(1, 7, 1), (2, 9, 11), (3, 9, 12), (4, 9, 13), (5, 7, 1), (6, 9, 10), (7, 9, 9)]);
        let sequences: Vec<u64> = queue.iter().map(|(_, sequence)| *sequence).skip(1).collect();
        assert_eq!(sequences, [9, 10, 11, 12, 13], "and none of the three is behind what followed them");
        assert_eq!(changes.first().map(String::as_str), Some("gone 5"), "a second copy");
        let (queue, changes) = arranged(&[(1, 7, 1), (2, 9, 11), (3, 9, 12), (4, 9, 13), (5, 8, 1), (6, 9, 10)]);
        assert_eq!(queue, [(1, 1), (7, 10), (8, 11), (9, 12), (10, 13), (11, 1)]);
        assert_eq!(changes.len(), 10);
        let (queue, changes) = arranged(&[(1, 7, 1), (2, 9, 5), (3, 9, 11), (4, 8, 2), (5, 9, 10)]);
        assert_eq!(queue, [(1, 1), (2, 5), (6, 10), (7, 11), (8, 2)], "what stands before it keeps its name");
        assert_eq!(changes.len(), 6);
        let most = u64::MAX; // what another node says is any number
        assert_eq!(arranged(&[(1, 7, 1), (2, 9, most), (3, 9, 1)]).0, [(1, 1), (4, 1), (5, most)]);
    }

    #[test]
    fn a_member_s_copy_is_no_second_copy_of_the_session_s_own() {
        let mut outbound = queued(&[(2, 7, 1), (3, 7, 1), (4, 7, 1), (5, 7, 1)]);
        let serials = [None, NonZeroU32::new(4), NonZeroU32::new(5), NonZeroU32::new(4)];
        for (place, serial) in outbound.queue.iter_mut().zip(serials) {
            if let Some(delivery) = &mut place.body {
                delivery.shared = serial;
            }
        }
        let mut out = Outputs::default();
        outbound.arrange(1, &Priorities::default(), &mut out);
        assert_eq!(outbound.queue.iter().map(|place| place.seq).collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn what_a_publisher_sent_by_another_node_before_stays_before() {
        // Its node with the higher hash is killed after its third message; what it sends again is named by the other.
        let (queue, changes) = arranged(&[(1, 9, 1), (2, 9, 3), (3, 9, 2), (4, 7, 1), (5, 7, 2)]);
        assert_eq!(queue.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(), [1, 2, 3, 1, 2]);
        assert!(queue.is_sorted_by_key(|(name, _)| *name), "the order that is kept is that of names: {queue:?}");
        assert_eq!(changes.len(), 8);
    }
}
