//! The hybrid logical clock: stamps that rise on this node and after everything this node has heard of.
//! Never believes a peer that is too far ahead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A peer's stamp that was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its clock is {} s ahead of this node's, more than `cluster.max_clock_skew`", ahead.as_secs())]
pub struct TooFarAhead {
    /// By how much.
    pub ahead: Duration,
}

/// Microseconds since 1970 that never go back.
#[derive(Debug)]
pub struct Clock {
    last: AtomicU64,
    max_skew: Duration,
}

impl Clock {
    /// Starts above `high_water`, the highest stamp of this node's earlier life; 0 if there was none.
    #[must_use]
    pub const fn new(high_water: u64, max_skew: Duration) -> Self {
        Self { last: AtomicU64::new(high_water), max_skew }
    }

    /// A new stamp, above every one given or heard so far.
    pub fn now(&self) -> u64 {
        self.above(0)
    }

    /// A new stamp that is also above `floor`.
    pub fn above(&self, floor: u64) -> u64 {
        let wall = wall_micros().max(floor.saturating_add(1));
        let before =
            self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(wall.max(last.saturating_add(1))));
        wall.max(before.unwrap_or_default().saturating_add(1))
    }

    /// Hears a peer's stamp.
    ///
    /// # Errors
    /// If it is further ahead of the wall clock than `cluster.max_clock_skew`; the clock then stays as it was.
    pub fn merge(&self, stamp: u64) -> Result<(), TooFarAhead> {
        let ahead = Duration::from_micros(stamp.saturating_sub(wall_micros()));
        if ahead > self.max_skew {
            return Err(TooFarAhead { ahead });
        }
        self.last.fetch_max(stamp, Ordering::AcqRel);
        Ok(())
    }

    /// The highest stamp given or heard: what is kept over a restart.
    pub fn high_water(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }
}

fn wall_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stamps_rise_also_where_the_wall_clock_stands_still_or_was_ahead() {
        let ahead = wall_micros() + 30_000_000;
        let clock = Clock::new(ahead, Duration::from_secs(60));
        let first = clock.now();
        assert!(first > ahead);
        assert!(clock.now() > first);
        assert!(clock.above(first + 500) > first + 500);
    }

    #[test]
    fn a_peer_within_the_skew_is_believed_and_one_beyond_is_not() {
        let clock = Clock::new(0, Duration::from_secs(60));
        let near = wall_micros() + 50_000_000;
        clock.merge(near).unwrap();
        assert!(clock.now() > near);
        let before = clock.high_water();
        assert!(clock.merge(wall_micros() + 31_536_000_000_000).is_err());
        assert_eq!(clock.high_water(), before);
    }
}
