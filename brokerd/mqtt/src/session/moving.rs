//! A session that goes on in another process: what is told of it, page by page, and how it is put together there. Never
//! says who asks, nor where it goes.

use super::outbound::{InFlight, Outbound};
use super::place::Place;
use super::queue::{Priorities, Queue};
use super::{Delivery, KeptMessage, Session, SessionLimits, Stage};
use crate::PacketId;

/// A message of a session that moves. Without a body where PUBREC came, or where it is only kept elsewhere.
pub type Moving = (KeptMessage, Option<Delivery>);

impl Session {
    /// Gives its messages names, as those of a kept session have, and holds their bodies: so a session that is kept
    /// nowhere can be told page by page. Nobody may keep what it says has changed.
    pub fn number(&mut self) {
        self.outbound.hold_bodies();
        if !self.is_kept() {
            self.keep(true);
            self.outbound.number();
        }
    }

    /// It is kept nowhere, and no page of it is asked for any more.
    pub fn unnumber(&mut self) {
        self.keep(false);
        self.outbound.unnumber();
    }

    /// QoS 2 identifiers of the client whose PUBREL has not come.
    pub fn received_ids(&self) -> impl Iterator<Item = PacketId> {
        self.inbound.awaiting_release_ids()
    }

    /// Messages behind the name `after`, in the order of their names: at most `most`, and no more once they have `bytes`.
    /// And whether there are more.
    #[must_use]
    pub fn page(&self, after: u64, most: usize, bytes: usize) -> (Vec<Moving>, bool) {
        self.outbound.page(after, most, bytes)
    }

    /// Puts a message behind those that came before, in the order of their names. For a session without a connection.
    pub fn append(&mut self, message: KeptMessage, body: Option<Delivery>, limits: &SessionLimits) {
        self.outbound.append(message, body, &limits.queue.priorities);
    }

    /// The name of its last message.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.outbound.last_seq
    }
}

impl Outbound {
    fn number(&mut self) {
        let places = self.in_flight.iter_mut().map(|one| &mut one.place).chain(self.queue.iter_mut());
        for place in places {
            self.last_seq += 1;
            place.seq = self.last_seq;
        }
    }

    fn unnumber(&mut self) {
        self.last_seq = 0;
        let places = self.in_flight.iter_mut().map(|one| &mut one.place).chain(self.queue.iter_mut());
        places.for_each(|place| place.seq = 0);
    }

    fn page(&self, after: u64, most: usize, bytes: usize) -> (Vec<Moving>, bool) {
        let in_flight = self.in_flight.iter().filter(|one| one.place.seq > after);
        let mut page: Vec<_> = in_flight.map(|one| (one.stage(), &one.place)).collect();
        page.extend(self.queue.behind(after, most + 1).map(|place| (Stage::Queued, place)));
        page.sort_unstable_by_key(|(_, place)| place.seq);
        let mut size = 0;
        let fits = |(_, place): &&(Stage, &Place)| {
            let is_room = size < bytes;
            size += place.size;
            is_room
        };
        let count = page.iter().take(most).take_while(fits).count();
        let messages = page[..count].iter().map(|(stage, place)| place.moving(*stage)).collect();
        (messages, count < page.len())
    }

    fn append(&mut self, message: KeptMessage, body: Option<Delivery>, priorities: &Priorities) {
        let KeptMessage { seq, qos, size, expires_at, stage } = message;
        self.last_seq = self.last_seq.max(seq);
        let rank = Queue::rank(body.as_ref().map_or("", |body| body.message.topic()), priorities);
        let place = match body {
            Some(body) => Place::new(seq, body),
            None => Place::stub(seq, qos, size, expires_at),
        };
        match stage {
            Stage::Queued => self.queue.push(place, rank, priorities),
            Stage::Sent(id) => self.fly(InFlight { id, is_released: false, place }),
            Stage::Released(id) => self.fly(InFlight { id, is_released: true, place }),
        }
    }
}

impl InFlight {
    const fn stage(&self) -> Stage {
        if self.is_released { Stage::Released(self.id) } else { Stage::Sent(self.id) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::session::{Outputs, QueueLimits, WhenFull};
    use crate::{Message, Qos, Time, Version};

    fn limits() -> SessionLimits {
        let priorities = Priorities::new([("high".into(), 9)], false);
        let queue = QueueLimits { depth: 100, bytes: 1 << 20, when_full: WhenFull::DropNewest, qos0: true, priorities };
        SessionLimits {
            queue,
            write_buffer: 1 << 16,
            max_subscriptions: 0,
            capabilities: crate::session::Capabilities::default(),
            auth_timeout: 0,
        }
    }

    fn deliver(session: &mut Session, topic: &str, payload: u8) {
        let message = Arc::new(Message::new(topic, &[], &[payload]));
        let (qos, subscription_ids) = (Qos::AtLeastOnce, Box::default());
        let delivery = Delivery { message, qos, retain: false, subscription_ids, shared: None };
        session.deliver(delivery, &limits(), Time(0), &mut Outputs::default());
    }

    fn session() -> Session {
        Session::new("panel".into(), Version::V5, 1, Time(0))
    }

    #[test]
    fn a_session_that_is_kept_nowhere_is_told_page_by_page_and_put_together_in_the_order_in_which_it_would_leave() {
        let mut before = session();
        for number in 0..5 {
            deliver(&mut before, if number % 2 == 0 { "low" } else { "high" }, number);
        }
        before.number();
        deliver(&mut before, "low", 9);
        let mut after = session();
        after.keep(true);
        let (mut last, mut pages) = (0, 0);
        loop {
            let (page, has_more) = before.page(last, 2, 1 << 20);
            last = page.last().unwrap().0.seq;
            page.into_iter().for_each(|(message, body)| after.append(message, body, &limits()));
            pages += 1;
            if !has_more {
                break;
            }
        }
        after.unnumber();
        let mut payloads = Vec::new();
        while let Some(place) = after.outbound.queue.pop() {
            assert_eq!(place.seq, 0);
            payloads.push(place.body.unwrap().message.payload()[0]);
        }
        assert_eq!((payloads, pages), (vec![1, 3, 0, 2, 4, 9], 3));
    }

    #[test]
    fn a_page_ends_when_it_has_its_bytes_and_has_one_message_at_least() {
        let mut session = session();
        (0..3).for_each(|number| deliver(&mut session, "low", number));
        session.number();
        let (page, has_more) = session.page(0, 100, 1);
        assert_eq!((page.len(), has_more), (1, true));
        let (page, has_more) = session.page(1, 100, 1 << 20);
        assert_eq!((page.len(), has_more), (2, false));
    }
}
