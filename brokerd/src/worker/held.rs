//! Bytes of a wire buffer that must not leave yet: what they promise is still on its way to the store. Never touches the
//! buffer itself.

use std::collections::VecDeque;

/// Where in the wire buffer which promises begin. Behind the first of them nothing leaves, for order is kept.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The batch of the store, and where the bytes that wait for it begin. Both rise.
    barriers: VecDeque<(u64, usize)>,
    /// Where the promises of this turn begin: it has no batch yet.
    promised: Option<usize>,
}

impl Held {
    /// A promise was written behind the first `at` bytes.
    /// Answers whether it is the first of this turn.
    pub(super) const fn promise(&mut self, at: usize) -> bool {
        let is_first = self.promised.is_none();
        if is_first {
            self.promised = Some(at);
        }
        is_first
    }

    /// The turn ends: where its promises begin.
    pub(super) const fn take_promised(&mut self) -> Option<usize> {
        self.promised.take()
    }

    pub(super) fn hold(&mut self, batch: u64, from: usize) {
        self.barriers.push_back((batch, from));
    }

    /// How many of `len` bytes may leave.
    pub(super) fn free(&self, len: usize) -> usize {
        let from = self.barriers.front().map(|(_, from)| *from);
        [from, self.promised].into_iter().flatten().fold(len, usize::min)
    }

    /// So many bytes have left.
    pub(super) fn left(&mut self, count: usize) {
        let positions = self.barriers.iter_mut().map(|(_, from)| from).chain(&mut self.promised);
        positions.for_each(|from| *from = from.saturating_sub(count));
    }

    /// Batches up to this one are kept.
    pub(super) fn release(&mut self, batch: u64) {
        while self.barriers.front().is_some_and(|(waits_for, _)| *waits_for <= batch) {
            self.barriers.pop_front();
        }
    }

    /// Whether anything waits for this batch or an earlier one.
    pub(super) fn is_held_by(&self, batch: u64) -> bool {
        self.barriers.front().is_some_and(|(waits_for, _)| *waits_for <= batch)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.barriers.is_empty() && self.promised.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_promise_leaves_when_its_batch_and_those_before_are_kept() {
        let mut held = Held::default();
        assert_eq!(held.free(100), 100);
        held.promise(10);
        held.promise(20);
        assert_eq!(held.free(100), 10, "not even before it has a batch");
        assert_eq!(held.take_promised(), Some(10));
        held.hold(7, 10);
        held.promise(40);
        let promised = held.take_promised().unwrap_or_default();
        held.hold(8, promised);
        assert_eq!(held.free(100), 10);
        held.left(10);
        assert_eq!(held.free(90), 0);
        held.release(6);
        assert!(!held.is_held_by(6) && held.is_held_by(7));
        assert_eq!(held.free(90), 0);
        held.release(7);
        assert_eq!(held.free(90), 30, "the next promise");
        held.left(30);
        held.release(8);
        assert_eq!(held.free(60), 60);
        assert!(held.is_empty());
    }
}
