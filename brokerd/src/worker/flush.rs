//! The end of a turn: everything that the turn produced leaves at once, one write a connection, one batch a worker,
//! one batch a peer. This is where the batching comes from.

use super::shard::{Handle, Shard};

/// Flushes for as long as the worker lives. The first dirty connection of a turn wakes it; it then stands behind every
/// task that is ready already, so that their output goes along.
pub(super) async fn run(shard: Handle) {
    let dirty = shard.borrow().dirty_notify.clone();
    loop {
        dirty.notified().await;
        shard.borrow_mut().flush();
    }
}

impl Shard {
    pub(super) fn flush(&mut self) {
        self.refresh_now();
        self.submit();
        self.hold_promises();
        self.post_to_workers();
        self.forward_to_peers();
        let mut dirty = std::mem::take(&mut self.turn.dirty);
        for (slot, incarnation) in dirty.drain(..) {
            let conn = self.entry(slot, incarnation).and_then(|entry| entry.conn.as_mut());
            if let Some(conn) = conn {
                conn.is_dirty = false;
                self.flush_one(slot);
            }
        }
        if self.turn.dirty.is_empty() {
            self.turn.dirty = dirty; // keeps its memory
        } else {
            self.dirty_notify.notify_one(); // what became dirty meanwhile waits for the next turn
        }
    }

    /// Writes a connection's buffer, and lets its session fill it again for as long as the kernel takes everything
    /// (within reason).
    pub(super) fn flush_one(&mut self, slot: u32) {
        const ROUNDS: usize = 4;
        for _ in 0..ROUNDS {
            if !self.write(slot) {
                return;
            }
            let Some(entry) = self.sessions.get(slot as usize) else {
                return;
            };
            if !entry.session.has_backlog() && entry.replays.is_empty() {
                return;
            }
            self.refill(slot);
            let is_filled = self
                .sessions
                .get(slot as usize)
                .is_some_and(|entry| entry.conn.as_ref().is_some_and(|conn| !conn.wire.is_empty()));
            if !is_filled {
                return;
            }
        }
    }
}
