//! Which messages of one publisher have arrived: a bit each, so that what is twice, late or lost is told exactly. Keeps
//! the last four million at most.

use std::collections::VecDeque;

/// Words of 64 messages that are kept.
const LONGEST: usize = 1 << 16;

/// Numbers that were seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The number of the first bit.
    base: u64,
    words: VecDeque<u64>,
    /// One above the highest.
    next: u64,
}

/// What a number is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    InOrder,
    /// A higher one came before.
    Late,
    /// It came before.
    Again,
}

impl Seen {
    /// Takes in a number.
    pub(crate) fn record(&mut self, number: u32) -> Arrival {
        let number = u64::from(number);
        let Some(offset) = number.checked_sub(self.base) else {
            return Arrival::Again;
        };
        if offset >= 64 * LONGEST as u64 + self.words.len() as u64 * 64 {
            // Further ahead than anything that is kept.
            self.words.clear();
            self.base = number / 64 * 64;
        }
        let offset = number - self.base;
        let (word, bit) = ((offset / 64) as usize, 1 << (offset % 64));
        while self.words.len() <= word {
            self.words.push_back(0);
        }
        if self.words[word] & bit != 0 {
            return Arrival::Again;
        }
        self.words[word] |= bit;
        let is_late = number < self.next;
        self.next = self.next.max(number + 1);
        while self.words.front() == Some(&u64::MAX) || self.words.len() > LONGEST {
            self.words.pop_front();
            self.base += 64;
        }
        if is_late { Arrival::Late } else { Arrival::InOrder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_told_once_and_in_its_place() {
        let mut seen = Seen::default();
        for number in 0..1000 {
            assert_eq!(seen.record(number), Arrival::InOrder);
        }
        assert_eq!(seen.record(1001), Arrival::InOrder);
        assert_eq!(seen.record(1000), Arrival::Late);
        for number in [3, 999, 1000, 1001] {
            assert_eq!(seen.record(number), Arrival::Again, "{number}");
        }
    }

    #[test]
    fn a_gap_that_is_never_filled_costs_no_more_than_the_bound() {
        let mut seen = Seen::default();
        for number in 1..8_000_000 {
            seen.record(number);
        }
        assert!(seen.words.len() <= LONGEST);
        assert_eq!(seen.record(7_999_999), Arrival::Again);
    }
}
