//! The queue behind the window: what waits for a client that is away, slow, or owes acknowledgements. Owns its bounds;
//! never sends anything. Of a kept session that is away it holds places, not bodies: those are where it is kept.

use std::collections::VecDeque;

use super::{Delivery, QueueLimits, WhenFull};
use crate::{Qos, Time};

/// A message that waits or is in flight, and what must be known of it while its body is elsewhere.
#[derive(Debug)]
pub(super) struct Place {
    /// Its name within a session that is kept, rising; 0 in any other.
    pub(super) seq: u64,
    pub(super) qos: Qos,
    size: usize,
    expires_at: Option<Time>,
    /// `None` while it is only where it is kept.
    pub(super) body: Option<Delivery>,
}

impl Place {
    pub(super) fn new(seq: u64, delivery: Delivery) -> Self {
        let message = &delivery.message;
        let (size, expires_at) = (message.heap_size(), message.expires_at);
        Self { seq, qos: delivery.qos, size, expires_at, body: Some(delivery) }
    }

    /// Of a message whose body is elsewhere.
    pub(super) const fn stub(seq: u64, qos: Qos, size: usize, expires_at: Option<Time>) -> Self {
        Self { seq, qos, size, expires_at, body: None }
    }

    /// Whether it is kept elsewhere too: QoS 0 is not worth it.
    pub(super) fn is_kept(&self) -> bool {
        self.seq != 0 && self.qos != Qos::AtMostOnce
    }

    fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Lets go of a body that is kept elsewhere. A group's copy stays: it may have to go to another member.
    pub(super) fn unload(&mut self) {
        if self.is_kept() && self.body.as_ref().is_some_and(|body| body.shared.is_none()) {
            self.body = None;
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    places: VecDeque<Place>,
    bytes: usize,
}

/// What making room for a message came to.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Whether it may be queued.
    pub(super) is_there: bool,
    /// Dropped for it, as expired.
    pub(super) expired: u64,
    /// Dropped for it, as the oldest.
    pub(super) oldest: u64,
}

impl Queue {
    /// Makes room for a message of `size` bytes by the policy; `gone` is told of each that is dropped for it.
    pub(super) fn make_room(
        &mut self,
        size: usize,
        limits: &QueueLimits,
        now: Time,
        mut gone: impl FnMut(Place),
    ) -> Room {
        let mut room = Room::default();
        let is_full = |queue: &Self| queue.places.len() >= limits.depth || queue.bytes + size > limits.bytes;
        // Before anything that lives is dropped.
        while is_full(self) && self.places.front().is_some_and(|oldest| oldest.is_expired(now)) {
            room.expired += 1;
            self.pop().into_iter().for_each(&mut gone);
        }
        if limits.when_full == WhenFull::DropOldest && size <= limits.bytes && limits.depth > 0 {
            while is_full(self) {
                let Some(oldest) = self.pop() else { break };
                room.oldest += 1;
                gone(oldest);
            }
        }
        room.is_there = !is_full(self);
        room
    }

    pub(super) fn push(&mut self, place: Place) {
        self.bytes += place.size;
        self.places.push_back(place);
    }

    pub(super) fn front(&self) -> Option<&Place> {
        self.places.front()
    }

    pub(super) fn pop(&mut self) -> Option<Place> {
        let place = self.places.pop_front()?;
        self.bytes -= place.size;
        self.shrink();
        Some(place)
    }

    /// Takes out all that `is_taken` says.
    pub(super) fn take(&mut self, mut is_taken: impl FnMut(&Place) -> bool, mut taken: impl FnMut(Place)) {
        if !self.places.iter().any(&mut is_taken) {
            return;
        }
        for place in std::mem::take(&mut self.places) {
            if is_taken(&place) {
                self.bytes -= place.size;
                taken(place);
            } else {
                self.places.push_back(place);
            }
        }
        self.shrink();
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut Place> {
        self.places.back_mut()
    }

    /// The message of this name.
    pub(super) fn find(&mut self, seq: u64) -> Option<&mut Place> {
        let at = self.places.binary_search_by_key(&seq, |place| place.seq).ok()?;
        self.places.get_mut(at)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.places.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// Messages and bytes.
    pub(super) fn depth(&self) -> (usize, usize) {
        (self.places.len(), self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn shrink(&mut self) {
        if self.places.is_empty() {
            self.places = VecDeque::new(); // an idle session holds no buffer
        }
    }
}
