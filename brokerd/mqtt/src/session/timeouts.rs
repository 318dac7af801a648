//! What a session waits for in time: the client's silence, its will, its own end. Never reads a clock.

use super::{Outputs, Session};
use crate::{Message, Time};

/// What a timeout asks for.
#[derive(Debug)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Nothing was heard for one and a half times the keep alive: close with 0x8D.
    KeepAlive,
    /// A re-authentication took too long: close with 0x87.
    Unauthenticated,
    /// The will delay is over: publish this.
    Will(Message),
    /// The session is over: send its will, forget it.
    Expired,
}

impl Session {
    /// When [`Self::due`] next has an answer; `None` is never.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        if let Some(connection) = &self.connection {
            return [connection.keep_alive_deadline(), connection.auth_deadline()].into_iter().flatten().min();
        }
        let will_at = self.will.as_ref().map(|will| self.detached_at.after_secs(u64::from(will.delay)));
        [will_at, self.expires_at()].into_iter().flatten().min()
    }

    /// What is due at `now`.
    #[must_use]
    pub fn due(&mut self, now: Time) -> Due {
        if let Some(connection) = &self.connection {
            let is_over = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
            return match (is_over(connection.auth_deadline()), is_over(connection.keep_alive_deadline())) {
                (true, _) => Due::Unauthenticated,
                (false, true) => Due::KeepAlive,
                (false, false) => Due::Nothing,
            };
        }
        if self.is_over(now) {
            return Due::Expired;
        }
        let will_is_due =
            self.will.as_ref().is_some_and(|will| self.detached_at.after_secs(u64::from(will.delay)) <= now);
        match will_is_due.then(|| self.take_will(now)).flatten() {
            Some(message) => Due::Will(message),
            None => Due::Nothing,
        }
    }

    /// Whether its time without a connection is over.
    #[must_use]
    pub fn is_over(&self, now: Time) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// When the session ends; `None` while it has a connection or if it never does.
    fn expires_at(&self) -> Option<Time> {
        let ends = self.connection.is_none() && self.expiry != u32::MAX;
        ends.then(|| self.detached_at.after_secs(u64::from(self.expiry)))
    }

    /// Drops what is queued and has expired.
    pub fn drop_expired(&mut self, now: Time, out: &mut Outputs) {
        self.outbound.drop_expired(now, out);
    }

    /// The client counts as heard: it was not read for a while.
    pub fn heard(&mut self, now: Time) {
        if let Some(connection) = &mut self.connection {
            connection.heard_at = now;
        }
    }
}
