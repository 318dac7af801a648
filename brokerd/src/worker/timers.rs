//! A worker's timers: data, not tasks. Never says what is due, only whose session to ask.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mqtt::Time;

use super::shard::{Handle, NEVER, Shard};

/// When to look at which session. An entry may be stale: the session is asked and answers "nothing".
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Time, u32, u32)>>,
    /// Wakes the task that waits for the first of them.
    pub(super) earlier: std::rc::Rc<tokio::sync::Notify>,
}

/// Timers beyond two a session that are not worth a sweep.
const SLACK: usize = 4096;

impl Timers {
    fn set(&mut self, at: Time, slot: u32, incarnation: u32) {
        let is_first = self.heap.peek().is_none_or(|Reverse((first, ..))| at < *first);
        self.heap.push(Reverse((at, slot, incarnation)));
        if is_first {
            self.earlier.notify_one();
        }
    }

    fn first(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    fn pop_due(&mut self, now: Time) -> Option<(Time, u32, u32)> {
        let Reverse(first) = *self.heap.peek()?;
        (first.0 <= now).then(|| {
            self.heap.pop();
            first
        })
    }
}

impl Shard {
    /// Sets the session's timer, unless one that is early enough is set: keep alives are then looked at once a period,
    /// not at every packet.
    pub(super) fn arm(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let Some(next) = entry.session.next_timeout() else {
            return;
        };
        if next < entry.armed {
            entry.armed = next;
            let incarnation = entry.incarnation;
            self.timers.set(next, slot, incarnation);
        }
    }

    /// When the first timer runs out, of a session or of a message that is delayed.
    fn first_due(&self) -> Option<Time> {
        [self.timers.first(), self.delayed.first()].into_iter().flatten().min()
    }

    fn run_due(&mut self) {
        self.begin_turn();
        self.release_delayed();
        let now = self.turn.now;
        while let Some((at, slot, incarnation)) = self.timers.pop_due(now) {
            let Some(entry) = self.entry(slot, incarnation) else {
                continue;
            };
            if entry.armed != at {
                continue; // an earlier one was set meanwhile
            }
            entry.armed = NEVER;
            self.session_due(slot);
            self.arm(slot);
        }
    }

    /// Forgets timers of sessions that are gone, once they are the most: a client that connects again and again with a
    /// long keep alive must not fill the heap.
    pub(super) fn sweep_timers(&mut self) {
        if self.timers.heap.len() >= 2 * self.sessions.len() + SLACK {
            self.drop_stale_timers();
        }
    }

    /// Gives back the memory of timers of sessions that are gone.
    pub(super) fn shrink_timers(&mut self) {
        self.drop_stale_timers();
        self.timers.heap.shrink_to_fit();
    }

    fn drop_stale_timers(&mut self) {
        let mut heap = std::mem::take(&mut self.timers.heap).into_vec();
        heap.retain(|Reverse((at, slot, incarnation))| {
            let entry = self.sessions.get(*slot as usize);
            entry.is_some_and(|entry| entry.incarnation == *incarnation && entry.armed == *at)
        });
        self.timers.heap = heap.into();
    }
}

/// Runs a worker's timers for as long as the worker lives.
pub(super) async fn run(shard: Handle) {
    let earlier = shard.borrow().timers.earlier.clone();
    loop {
        let first = shard.borrow().first_due();
        let Some(first) = first else {
            earlier.notified().await;
            continue;
        };
        let wait = first.since(shard.borrow().shared.now());
        let sleep = tokio::time::sleep(std::time::Duration::from_millis(wait));
        tokio::select! {
            () = sleep => shard.borrow_mut().run_due(),
            () = earlier.notified() => {}
        }
    }
}
