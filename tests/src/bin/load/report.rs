//! What was measured, as a table for people on stderr and as one JSON document on stdout. Never measures.

use serde_json::{Map, Value, json};

/// Names and values in the order they are to be read.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<(String, Value)>,
}

impl Report {
    /// Of this scenario.
    pub(crate) fn of(scenario: &str) -> Self {
        Self { rows: vec![("scenario".into(), scenario.into())] }
    }

    /// With one more value.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.rows.push((name.into(), value.into()));
        self
    }

    /// With a number, to three digits after the point.
    pub(crate) fn with_figure(self, name: &str, figure: f64) -> Self {
        self.with(name, (figure * 1000.0).round() / 1000.0)
    }

    /// With the percentiles of durations in nanoseconds, told in microseconds.
    pub(crate) fn with_percentiles(mut self, name: &str, nanoseconds: &mut [u64]) -> Self {
        nanoseconds.sort_unstable();
        for (percentile, share) in [("p50", 0.50), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            let index = ((nanoseconds.len() as f64 * share).ceil() as usize).saturating_sub(1);
            let value = nanoseconds.get(index).map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1000.0);
            self = self.with_figure(&format!("{name}_{percentile}_us"), value);
        }
        self
    }

    /// Prints it.
    pub(crate) fn print(self) {
        for (name, value) in &self.rows {
            eprintln!("{name:<28} {value}");
        }
        println!("{}", json!(Map::from_iter(self.rows)));
    }
}
