//! How far this worker has heard each worker of each node. What a worker takes from publishers comes here in its order, so
//! that what a session had before it moved is known by one number for each of them. Never delivers anything.

use hashbrown::HashMap;
use mqtt::MessageId;

use crate::registry::is_sent_once;

/// Nodes that come and go leave theirs behind; beyond this all are forgotten, and a copy may be taken for news.
const MOST: usize = 1_024;

/// The last number of each.
#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<(u64, u16), u64, foldhash::fast::RandomState>);

impl Marks {
    /// A message has come. What is sent at a time of its own, and by whoever is there then, is in nobody's order.
    pub(super) fn hear(&mut self, id: MessageId) {
        if id.sequence == 0 || is_sent_once(id) {
            return;
        }
        let worker = (id.origin, id.worker);
        if self.0.len() >= MOST && !self.0.contains_key(&worker) {
            self.0.clear();
        }
        let last = self.0.entry(worker).or_default();
        *last = id.sequence.max(*last);
    }

    /// Whether a message had come by then.
    pub(super) fn has(&self, id: MessageId) -> bool {
        let last = || self.0.get(&(id.origin, id.worker));
        !self.0.is_empty() && id.sequence != 0 && !is_sent_once(id) && last().is_some_and(|last| id.sequence <= *last)
    }

    /// The last message of each.
    pub(super) fn all(&self) -> impl Iterator<Item = MessageId> {
        self.0.iter().map(|((origin, worker), last)| MessageId { origin: *origin, worker: *worker, sequence: *last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_known_by_its_worker_and_its_number() {
        let id = |origin, worker, sequence| MessageId { origin, worker, sequence };
        let mut marks = Marks::default();
        [id(1, 0, 5), id(1, 0, 3), id(1, 1, 9), id(2, 0, 0)].into_iter().for_each(|id| marks.hear(id));
        assert!(marks.has(id(1, 0, 5)) && marks.has(id(1, 0, 4)) && marks.has(id(1, 1, 9)));
        assert!(!marks.has(id(1, 0, 6)) && !marks.has(id(2, 0, 1)) && !marks.has(id(1, 0, 0)));
        let mut copy = Marks::default();
        marks.all().for_each(|id| copy.hear(id));
        assert_eq!(copy.0, marks.0);
        for origin in 0..=MOST as u64 {
            marks.hear(id(origin, 7, 1));
        }
        assert!(marks.0.len() <= MOST);
    }
}
