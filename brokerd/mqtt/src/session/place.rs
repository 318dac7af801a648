//! A message on its way to a client, as its session holds it: with its body, or, where that is kept elsewhere and the
//! client is away, with what must be known of it all the same. Never orders anything: the queue and the window do.

use super::{Delivery, KeptMessage, Stage};
use crate::{Qos, Time};

/// A message that waits or is in flight, and what must be known of it while its body is elsewhere.
#[derive(Debug)]
pub(super) struct Place {
    /// Its name within a session that is kept, rising; 0 in any other.
    pub(super) seq: u64,
    pub(super) qos: Qos,
    pub(super) size: usize,
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

    /// What another process is told of it.
    pub(super) fn moving(&self, stage: Stage) -> (KeptMessage, Option<Delivery>) {
        let Self { seq, qos, size, expires_at, .. } = *self;
        (KeptMessage { seq, qos, size, expires_at, stage }, self.body.clone())
    }

    /// Whether it is kept elsewhere too: QoS 0 is not worth it.
    pub(super) fn is_kept(&self) -> bool {
        self.seq != 0 && self.qos != Qos::AtMostOnce
    }

    pub(super) fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Lets go of a body that is kept elsewhere. A group's copy stays: it may have to go to another member.
    pub(super) fn unload(&mut self) {
        if self.is_kept() && self.body.as_ref().is_some_and(|body| body.shared.is_none()) {
            self.body = None;
        }
    }
}
