//! Who waits for a version of this node's routes to be live on every peer (cluster-traps 1 and 2). Never waits itself
//! and reads no clock: it answers who is to be told, and when to look again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::lease::Answers;
use crate::router::{Outcome, PeerSet, PeerSlot, Ticket};

/// The waiters, and per peer what it was told and has acknowledged. Waiters are bounded by time: each waits at most
/// `timeout`, and a session waits for one SUBACK a SUBSCRIBE.
#[derive(Debug)]
pub(super) struct Barrier {
    timeout: Duration,
    peers: [Answers; PeerSet::CAPACITY],
    /// By version, then by number, so that equal versions have their own.
    waiting: BTreeMap<(u64, u64), Ticket>,
    /// In the order of their coming, which is that of their deadlines.
    deadlines: VecDeque<(Instant, (u64, u64))>,
    next: u64,
}

impl Barrier {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            peers: std::array::from_fn(|_| Answers::default()),
            waiting: BTreeMap::new(),
            deadlines: VecDeque::new(),
            next: 0,
        }
    }

    /// What this node told and knows of a peer.
    pub(super) fn peer(&mut self, slot: PeerSlot) -> &mut Answers {
        &mut self.peers[usize::from(slot.0) % PeerSet::CAPACITY]
    }

    /// Whether a version is live at once; else the ticket waits.
    pub(super) fn when_live(&mut self, version: u64, ticket: Ticket, now: Instant) -> bool {
        if version <= self.live(now).0 {
            return true;
        }
        let key = (version, self.next);
        self.next += 1;
        self.waiting.insert(key, ticket);
        self.deadlines.push_back((now + self.timeout, key));
        false
    }

    /// The tickets that need wait no longer, and when to look again if nothing happens.
    pub(super) fn settle(&mut self, now: Instant) -> (Vec<(Ticket, Outcome)>, Option<Instant>) {
        let mut settled = Vec::new();
        let (live, change) = self.live(now);
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > live {
                break;
            }
            settled.push((entry.remove(), Outcome::Done));
        }
        while let Some((deadline, key)) = self.deadlines.front().copied() {
            if deadline > now && self.waiting.contains_key(&key) {
                break;
            }
            self.deadlines.pop_front();
            if let Some(ticket) = self.waiting.remove(&key) {
                settled.push((ticket, Outcome::TimedOut));
            }
        }
        let deadline = self.deadlines.front().map(|(deadline, _)| *deadline);
        let next = deadline.map(|deadline| change.map_or(deadline, |change| change.min(deadline)));
        (settled, next)
    }

    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    fn live(&mut self, now: Instant) -> (u64, Option<Instant>) {
        let all = self.peers.iter_mut().map(|peer| peer.live(now));
        all.fold((u64::MAX, None), |(live, change), (version, at)| {
            (live.min(version), [change, at].into_iter().flatten().min())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerSlot = PeerSlot(0);
    const B: PeerSlot = PeerSlot(63);

    fn ticket(token: u64) -> Ticket {
        Ticket { worker: 0, token }
    }
    fn barrier(now: Instant) -> Barrier {
        let mut barrier = Barrier::new(Duration::from_millis(500));
        for slot in [A, B] {
            barrier.peer(slot).told(9, now);
        }
        barrier
    }

    #[test]
    fn a_ticket_waits_for_every_peer_and_is_settled_by_the_last() {
        let now = Instant::now();
        let mut barrier = barrier(now);
        assert!(barrier.when_live(9, ticket(1), now));
        assert!(!barrier.when_live(10, ticket(2), now));
        barrier.peer(A).acked(10);
        assert_eq!(barrier.settle(now).0, []);
        barrier.peer(B).acked(12);
        assert_eq!(barrier.settle(now).0, [(ticket(2), Outcome::Done)]);
        assert!(barrier.is_idle());
    }

    #[test]
    fn trap_2_a_second_subscriber_of_an_unacknowledged_row_waits_for_it_too() {
        let now = Instant::now();
        let mut barrier = barrier(now);
        assert!(!barrier.when_live(10, ticket(1), now));
        assert!(!barrier.when_live(10, ticket(2), now), "the row did not change, but no peer has it yet");
        barrier.peer(A).acked(10);
        barrier.peer(B).acked(10);
        assert_eq!(barrier.settle(now).0, [(ticket(1), Outcome::Done), (ticket(2), Outcome::Done)]);
    }

    #[test]
    fn trap_1_a_silent_peer_delays_a_ticket_until_its_lease_must_be_over() {
        let now = Instant::now();
        let mut barrier = barrier(now);
        assert!(!barrier.when_live(10, ticket(1), now));
        barrier.peer(A).acked(10);
        let (none, next) = barrier.settle(now);
        assert_eq!((none, next), (Vec::new(), Some(now + Duration::from_millis(450))));
        let later = now + Duration::from_millis(450);
        assert_eq!(barrier.settle(later), (vec![(ticket(1), Outcome::Done)], None));
    }

    #[test]
    fn a_peer_that_answers_and_never_acknowledges_ends_the_wait_by_timeout() {
        let now = Instant::now();
        let mut barrier = barrier(now);
        assert!(!barrier.when_live(10, ticket(1), now));
        let later = now + Duration::from_millis(500);
        barrier.peer(A).told(9, later);
        assert_eq!(barrier.settle(later).0, [(ticket(1), Outcome::TimedOut)]);
    }
}
