//! Which frames of one peer have been taken, and which are carried out: each is taken once, however often it is sent,
//! and acknowledged when its deliveries are done. Never delivers anything.

use std::collections::{BTreeSet, VecDeque};

use proto::peer::forward_refused::Why;
use proto::peer::{ForwardAck, ForwardRefused};

/// Refusals kept to be told again after a stream was lost.
const MOST_REFUSED: usize = 4096;

/// The frames of one generation of one peer. Bounded by what that peer keeps unacknowledged.
#[derive(Debug, Default)]
pub(super) struct Received {
    generation: u64,
    taken: u64,
    pending: BTreeSet<u64>,
    /// Carried out, above the lowest pending one.
    done: BTreeSet<u64>,
    /// Of those, not yet told.
    untold: Vec<u64>,
    told: u64,
    /// Messages that could not be kept, the latest ones, and how many of them are not yet told.
    refused: VecDeque<ForwardRefused>,
    untold_refused: usize,
}

impl Received {
    /// The highest number that was taken from this generation; another generation starts anew.
    pub(super) fn taken(&mut self, generation: u64) -> u64 {
        if generation != self.generation {
            *self = Self { generation, ..Self::default() };
        }
        self.taken
    }

    /// Whether a frame is new; if so it is taken now, and pending if it is to be acknowledged.
    pub(super) fn take(&mut self, generation: u64, number: u64, ack: bool) -> bool {
        if generation != self.generation || number <= self.taken {
            return false;
        }
        self.taken = number;
        if ack {
            self.pending.insert(number);
        }
        true
    }

    /// The messages of a frame could not be kept.
    pub(super) fn refuse(&mut self, generation: u64, number: u64, count: usize) {
        if generation != self.generation {
            return;
        }
        let refused = |index| ForwardRefused { number, index, why: Why::StoreDown.into() };
        self.refused.extend((0..u32::try_from(count).unwrap_or(u32::MAX)).map(refused));
        self.untold_refused += count;
        let excess = self.refused.len().saturating_sub(MOST_REFUSED);
        self.refused.drain(..excess);
    }

    /// A frame is carried out. Late news of an earlier generation changes nothing.
    pub(super) fn done(&mut self, generation: u64, number: u64) {
        if generation != self.generation || !self.pending.remove(&number) {
            return;
        }
        let up_to = self.up_to();
        if number > up_to {
            self.done.insert(number);
            self.untold.push(number);
        }
        self.done = self.done.split_off(&up_to.saturating_add(1));
    }

    /// What has not been told yet.
    pub(super) fn news(&mut self) -> Option<ForwardAck> {
        let up_to = self.up_to();
        let also: Vec<u64> = self.untold.drain(..).filter(|number| *number > up_to).collect();
        let is_news = up_to > self.told || !also.is_empty();
        self.told = up_to;
        is_news.then(|| {
            let told = self.refused.len().saturating_sub(std::mem::take(&mut self.untold_refused));
            ForwardAck { up_to, also, refused: self.refused.iter().skip(told).copied().collect() }
        })
    }

    /// Everything, for a stream that has been told nothing: acknowledgements on an earlier one may be lost.
    pub(super) fn all(&mut self) -> ForwardAck {
        self.untold.clear();
        self.told = self.up_to();
        self.untold_refused = 0;
        let (also, refused) = (self.done.iter().copied().collect(), self.refused.iter().copied().collect());
        ForwardAck { up_to: self.told, also, refused }
    }

    fn up_to(&self) -> u64 {
        self.pending.first().map_or(self.taken, |lowest| lowest - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Received {
        let mut received = Received::default();
        assert_eq!(received.taken(7), 0);
        for number in 1..=3 {
            assert!(received.take(7, number, true));
        }
        received
    }

    #[test]
    fn a_frame_is_taken_once_and_in_order() {
        let mut received = received();
        assert!(!received.take(7, 2, true));
        assert!(!received.take(6, 9, true), "an older generation");
        assert!(received.take(7, 5, false), "frames of QoS 0 may be lost between streams");
        assert_eq!(received.taken(7), 5);
        assert_eq!(received.taken(8), 0, "a new generation starts anew");
    }

    #[test]
    fn acknowledgements_follow_the_deliveries_in_any_order() {
        let mut received = received();
        assert_eq!(received.news(), None);
        received.done(7, 2);
        assert_eq!(received.news(), Some(ForwardAck { also: vec![2], ..ForwardAck::default() }));
        assert_eq!(received.news(), None);
        assert_eq!(received.all(), ForwardAck { also: vec![2], ..ForwardAck::default() }, "for a new stream");
        received.done(7, 1);
        assert_eq!(received.news(), Some(ForwardAck { up_to: 2, ..ForwardAck::default() }));
        received.done(6, 3);
        assert_eq!(received.news(), None, "an older generation's delivery acknowledges nothing");
        received.done(7, 3);
        assert_eq!(received.news(), Some(ForwardAck { up_to: 3, ..ForwardAck::default() }));
        assert!(received.done.is_empty() && received.pending.is_empty());
    }

    #[test]
    fn what_could_not_be_kept_is_told_with_its_frame_and_again_on_another_stream() {
        let mut received = received();
        received.refuse(7, 1, 2);
        received.done(7, 1);
        let places = |ack: &ForwardAck| ack.refused.iter().map(|one| (one.number, one.index)).collect::<Vec<_>>();
        assert_eq!(received.news().map(|ack| (ack.up_to, places(&ack))), Some((1, vec![(1, 0), (1, 1)])));
        received.done(7, 2);
        assert_eq!(received.news().map(|ack| (ack.up_to, places(&ack))), Some((2, vec![])));
        assert_eq!(places(&received.all()), [(1, 0), (1, 1)]);
    }
}
