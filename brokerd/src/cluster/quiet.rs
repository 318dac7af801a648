//! Keeps a log line that a stranger or a flapping member could cause from filling the disk.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(30);

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Option<Instant>>);

impl Quiet {
    /// Whether the line may be written now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_once_in_a_while() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        assert!(quiet.allows(now));
        assert!(!quiet.allows(now + PAUSE / 2));
        assert!(quiet.allows(now + PAUSE));
    }
}
