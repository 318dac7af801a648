//! How late a peer's frames come, by what it says of when it sent them. Compares no clocks of two nodes: the frame that came
//! fastest over the link so far is the measure of the others.

use std::time::Instant;

/// Of one link.
#[derive(Debug)]
pub(super) struct Lateness {
    opened: Instant,
    /// Milliseconds between the two ends' times of the link, of the frame that came fastest.
    least: Option<u64>,
}

impl Lateness {
    /// The link is open.
    pub(super) const fn new(now: Instant) -> Self {
        Self { opened: now, least: None }
    }

    /// By how many milliseconds a frame that comes now is later than the fastest one was; 0 if it does not say when it was sent.
    pub(super) fn of(&mut self, sent_ms: u64, now: Instant) -> u32 {
        /// So that the difference is never negative: the dialer opened the link earlier than this side did.
        const BIAS: u64 = 1 << 40;
        if sent_ms == 0 {
            return 0;
        }
        let here = u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX / 2);
        let difference = here.saturating_add(BIAS).saturating_sub(sent_ms);
        let least = self.least.map_or(difference, |least| least.min(difference));
        self.least = Some(least);
        u32::try_from(difference - least).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_frame_is_late_by_what_it_took_longer_than_the_fastest_and_one_that_says_nothing_is_not() {
        let opened = Instant::now();
        let at = |millis| opened + Duration::from_millis(millis);
        let mut lateness = Lateness::new(opened);
        assert_eq!(lateness.of(5_000, at(20)), 0, "the ends count from different moments");
        assert_eq!(lateness.of(5_100, at(130)), 10);
        assert_eq!(lateness.of(5_200, at(820)), 600, "it was held up on its way");
        assert_eq!(lateness.of(0, at(900)), 0);
        assert_eq!(lateness.of(5_980, at(990)), 0, "a faster one is the measure from now on");
        assert_eq!(lateness.of(u64::MAX, at(1_000)), 0, "and a peer that lies is taken for fast");
    }
}
