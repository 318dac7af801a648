//! Messages whose time is over while nobody looks: dropped from the queues of sessions, a bounded piece at a time. And
//! memory that nobody needs any more. Never touches what is in flight: its exchange is finished first.

use std::time::Duration;

use super::shard::{Handle, Shard};

const INTERVAL: Duration = Duration::from_secs(1);
/// Sessions and messages looked at in one go: a few hundred microseconds.
const AT_ONCE: usize = 16 * 1024;
/// A table with fewer places is not worth shrinking.
const SPACIOUS: usize = 1024;

/// Sweeps for as long as the worker lives.
pub(super) async fn run(shard: Handle) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = 0;
    loop {
        ticks.tick().await;
        next = shard.borrow_mut().sweep(next, AT_ONCE);
    }
}

impl Shard {
    /// Looks at sessions from a place on; answers where to go on.
    fn sweep(&mut self, from: usize, at_once: usize) -> usize {
        if from == 0 {
            self.give_back();
            if !std::mem::take(&mut self.is_stirred) {
                return 0; // a hundred thousand idle sessions cost nothing
            }
        }
        self.refresh_now();
        let (mut slot, mut looked) = (from, 0);
        while looked < at_once {
            if slot >= self.sessions.capacity() {
                return 0;
            }
            let queued = self.sessions.get_mut(slot).map_or(0, |entry| {
                entry.session.rest();
                self.is_stirred |= !entry.session.is_at_rest();
                entry.session.depths().2
            });
            if let Some(slot) = u32::try_from(slot).ok().filter(|_| queued > 0) {
                self.step(slot, |session, _, now, out| session.drop_expired(now, out));
            }
            looked += 1 + queued;
            slot += 1;
        }
        slot
    }

    /// Gives back the memory of tables that are nearly empty, and of buffers that nobody needed since the last time.
    fn give_back(&mut self) {
        self.spare.truncate(self.spare.len() / 2);
        if self.sessions.capacity() > SPACIOUS && self.sessions.len() < self.sessions.capacity() / 8 {
            self.sessions.shrink_to_fit();
            self.by_id.shrink_to_fit();
            self.shrink_timers();
        }
    }
}
