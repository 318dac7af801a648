//! When a node may believe that it has all rows of a peer (cluster-traps 1). The asking side holds a `Lease`; the
//! answering side keeps `Answers`, which tells it when no lease without a given version can run any more. Reads no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A lease runs so long from the moment the question was asked.
pub(super) const LEASE: Duration = Duration::from_millis(400);
/// Between two questions.
pub(super) const PROBE: Duration = Duration::from_millis(100);
/// The answering side waits so much longer than the lease: two clocks do not run at quite the same rate.
pub(super) const MARGIN: Duration = Duration::from_millis(50);
/// Questions without an answer, and answers not yet covered by rows, that are remembered.
const REMEMBERED: usize = 32;

/// The asking side, for one session with a peer.
#[derive(Debug, Default)]
pub(super) struct Lease {
    next: u64,
    asked: VecDeque<(u64, Instant)>,
    /// Versions that the peer had when it was asked, and when it was asked, for which rows are still on their way.
    ahead: VecDeque<(u64, Instant)>,
    until: Option<Instant>,
}

impl Lease {
    /// A question is about to be asked: its number.
    pub(super) fn ask(&mut self, now: Instant) -> u64 {
        self.next += 1;
        push(&mut self.asked, (self.next, now));
        self.next
    }

    /// The answer to a question: the peer's rows were at `version` some time after it was asked. `applied` is what this
    /// node has applied as a whole.
    pub(super) fn answered(&mut self, id: u64, version: u64, applied: Option<u64>) -> Option<Instant> {
        while let Some((asked, stamp)) = self.asked.front().copied() {
            if asked > id {
                break;
            }
            self.asked.pop_front();
            if asked == id {
                push(&mut self.ahead, (version, stamp));
            }
        }
        self.applied(applied)
    }

    /// Rows were applied: answers that they cover give the lease.
    pub(super) fn applied(&mut self, applied: Option<u64>) -> Option<Instant> {
        let applied = applied?;
        // Versions and stamps rise together.
        while let Some((_, stamp)) = self.ahead.pop_front_if(|(version, _)| *version <= applied) {
            self.until = self.until.max(Some(stamp + LEASE));
        }
        self.until
    }

    /// The session is over, or its rows are not believed.
    pub(super) fn end(&mut self) {
        let next = self.next;
        *self = Self { next, ..Self::default() };
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// The answering side, for one peer, over all of its sessions: what it told the peer of its own version, and what the
/// peer has acknowledged.
#[derive(Debug, Default)]
pub(super) struct Answers {
    acked: u64,
    /// Versions told, rising, each with the last time it was told.
    told: VecDeque<(u64, Instant)>,
}

impl Answers {
    /// The peer was told `version`.
    pub(super) fn told(&mut self, version: u64, now: Instant) {
        self.forget(now);
        let is_full = self.told.len() == REMEMBERED;
        match self.told.back_mut() {
            // Bounded: when full, the last one claims that its lower version was told as late as this one.
            Some((last, at)) if *last >= version || is_full => *at = now,
            _ => self.told.push_back((version, now)),
        }
    }

    /// The peer has applied `version`.
    pub(super) fn acked(&mut self, version: u64) {
        self.acked = self.acked.max(version);
    }

    /// A new stream of the peer: what it says it has is all that it is known to have.
    pub(super) const fn restart(&mut self, applied: u64) {
        self.acked = applied;
    }

    /// Up to which version the peer either has every row or floods; and when that changes by the passing of time.
    pub(super) fn live(&mut self, now: Instant) -> (u64, Option<Instant>) {
        self.forget(now);
        match self.told.front() {
            None => (u64::MAX, None),
            Some((version, at)) => ((*version).max(self.acked), Some(*at + LEASE + MARGIN)),
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.told.pop_front_if(|(_, at)| *at + LEASE + MARGIN <= now).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn trap_1_a_lease_counts_from_the_question_and_not_from_the_answer() {
        let (mut lease, start) = (Lease::default(), Instant::now());
        let id = lease.ask(start);
        assert_eq!(lease.answered(id, 5, Some(5)), Some(start + LEASE));
        let (mut lease, _) = (Lease::default(), ());
        let id = lease.ask(start);
        assert_eq!(lease.answered(id, 6, Some(5)), None, "version 6 is not applied");
        assert_eq!(lease.applied(None), None, "in the middle of a snapshot");
        assert_eq!(lease.applied(Some(6)), Some(start + LEASE), "the stamp stays that of the question");
    }

    #[test]
    fn trap_1_an_answer_to_nothing_that_was_asked_gives_no_lease() {
        let (mut lease, start) = (Lease::default(), Instant::now());
        assert_eq!(lease.answered(7, 0, Some(0)), None);
        let id = lease.ask(start);
        lease.end();
        assert_eq!(lease.answered(id, 0, Some(0)), None, "it was asked in an earlier session");
        let (first, second) = (lease.ask(start), lease.ask(start + ms(100)));
        lease.answered(second, 0, Some(0));
        assert_eq!(lease.answered(first, 0, Some(0)), Some(start + ms(100) + LEASE), "a late answer shortens nothing");
    }

    #[test]
    fn trap_1_a_version_is_live_once_acknowledged_or_once_no_lease_below_it_can_run() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        assert_eq!(answers.live(start), (u64::MAX, None), "it never had a lease, so it floods");
        answers.told(9, start);
        answers.told(9, start + ms(100));
        answers.told(12, start + ms(200));
        let end = start + ms(100) + LEASE + MARGIN;
        assert_eq!(answers.live(start + ms(300)), (9, Some(end)), "10 must wait");
        answers.acked(10);
        assert_eq!(answers.live(start + ms(300)).0, 10);
        assert_eq!(answers.live(end), (12, Some(start + ms(200) + LEASE + MARGIN)));
        assert_eq!(answers.live(start + ms(650)), (u64::MAX, None));
    }

    #[test]
    fn a_lease_never_outlives_what_the_answering_side_waits_for() {
        let (mut lease, mut answers, asked) = (Lease::default(), Answers::default(), Instant::now());
        let id = lease.ask(asked);
        let answered = asked + ms(120); // on a slow link
        answers.told(3, answered);
        let until = lease.answered(id, 3, Some(3));
        let (_, free) = answers.live(answered);
        assert!(until < free, "{until:?} {free:?}");
    }

    #[test]
    fn the_history_is_bounded_and_errs_on_the_side_of_waiting() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        for version in 0..1_000 {
            answers.told(version, start + Duration::from_micros(version));
        }
        assert_eq!(answers.told.len(), REMEMBERED);
        let late = start + LEASE + MARGIN + Duration::from_micros(998);
        assert!(answers.live(late).0 < 999, "999 was told later than this, so versions above the last kept wait");
    }
}
