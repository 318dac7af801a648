//! One publisher: what it has sent, and what of that is acknowledged. Owns no connection.

use std::collections::VecDeque;

/// Packet identifiers go from 1 to this.
const IDS: u64 = 65_535;

/// A publisher.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    /// Messages sent so far: the next one's number.
    pub(crate) sent: u64,
    /// Messages that were to be sent so far (open loop).
    pub(crate) due: u64,
    /// Acknowledged to the end.
    pub(crate) acknowledged: u64,
    /// Of all deliveries of its messages.
    pub(crate) delivered: u64,
    /// Intended times of what is not acknowledged; 0 where it is and one before it is not.
    unanswered: VecDeque<u64>,
    /// The number of the first of them.
    oldest: u64,
    /// Unacknowledged at a time, at most.
    limit: u64,
    /// Whether its connection is there.
    pub(crate) is_open: bool,
    /// Whether it is listed to be looked at.
    pub(crate) is_listed: bool,
}

impl Publisher {
    /// Whose broker takes so many at a time.
    pub(crate) const fn new(limit: u16) -> Self {
        let unanswered = VecDeque::new();
        let limit = limit as u64;
        let (is_open, is_listed) = (true, false);
        Self { sent: 0, due: 0, acknowledged: 0, delivered: 0, unanswered, oldest: 0, limit, is_open, is_listed }
    }

    /// The packet id of a message.
    pub(crate) const fn id(number: u64) -> u16 {
        (number % IDS) as u16 + 1
    }

    /// Counts a message that is sent, and when it should have been.
    pub(crate) fn send(&mut self, intended: u64, is_answered: bool) {
        self.sent += 1;
        if is_answered {
            self.unanswered.push_back(intended.max(1));
        }
    }

    /// Whether the broker takes another.
    pub(crate) fn has_room(&self) -> bool {
        (self.unanswered.len() as u64) < self.limit
    }

    /// Takes in an acknowledgement; the intended time of its message, if it was waited for.
    pub(crate) fn acknowledge(&mut self, id: u16) -> Option<u64> {
        let offset = (u64::from(id) + IDS - 1 - self.oldest % IDS) % IDS;
        let slot = self.unanswered.get_mut(offset as usize)?;
        let intended = std::mem::take(slot);
        if intended == 0 {
            return None;
        }
        self.acknowledged += 1;
        while self.unanswered.front() == Some(&0) {
            self.unanswered.pop_front();
            self.oldest += 1;
        }
        Some(intended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_find_their_message_in_any_order_and_past_the_last_id() {
        let mut publisher = Publisher::new(u16::MAX);
        for number in 0..200_000_u64 {
            publisher.send(number + 1, true);
            if number % 2 == 1 {
                assert_eq!(publisher.acknowledge(Publisher::id(number)), Some(number + 1));
                assert_eq!(publisher.acknowledge(Publisher::id(number)), None, "twice");
                assert_eq!(publisher.acknowledge(Publisher::id(number - 1)), Some(number));
            }
        }
        assert_eq!(publisher.acknowledged, 200_000);
        assert!(publisher.unanswered.is_empty());
    }

    #[test]
    fn a_broker_that_takes_two_at_a_time_gets_no_third() {
        let mut publisher = Publisher::new(2);
        publisher.send(1, true);
        assert!(publisher.has_room());
        publisher.send(2, true);
        assert!(!publisher.has_room());
        publisher.acknowledge(2);
        assert!(!publisher.has_room(), "the window is counted from the oldest");
        publisher.acknowledge(1);
        assert!(publisher.has_room());
    }
}
