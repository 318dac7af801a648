//! Durations in an HDR histogram, and their percentiles. Never keeps a single one.

use hdrhistogram::Histogram;

/// The longest that is told apart: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// The percentiles of a report.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// Durations in nanoseconds, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Durations(Option<Histogram<u64>>);

impl Durations {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).ok())
    }

    /// Takes in one; what is longer than an hour is an hour.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(nanoseconds.max(1));
        }
    }

    /// Takes in all of another.
    pub(crate) fn add(&mut self, other: &Self) {
        if let (Some(histogram), Some(other)) = (&mut self.0, &other.0) {
            // Of the same bounds, so that it cannot fail.
            let _ = histogram.add(other);
        }
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Microseconds that this percentage did not exceed.
    pub(crate) fn microseconds(&self, percentile: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.value_at_percentile(percentile) as f64 / 1000.0)
    }

    /// The longest, in microseconds.
    pub(crate) fn longest(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.max() as f64 / 1000.0)
    }

    /// The mean, in microseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.mean() / 1000.0)
    }
}
