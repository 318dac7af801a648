//! What was measured, as a table for people or as one JSON document, and whether it kept what a broker promises. Never
//! measures.

use serde_json::{Map, Value};

use super::figures::{Durations, PERCENTILES};
use super::plot::Plot;
use crate::Session;
use crate::args::Format;
use crate::failure::Failure;
use crate::output;

/// Names and values in the order they are to be read.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<(String, Value)>,
    /// What the broker must not have done.
    broken: Vec<String>,
    pub(crate) plot: Plot,
}

impl Report {
    /// Of this scenario.
    pub(crate) fn of(scenario: &str) -> Self {
        Self { rows: vec![("scenario".into(), scenario.into())], broken: vec![], plot: Plot::of(scenario) }
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

    /// With so many a second.
    pub(crate) fn with_rate(self, name: &str, count: u64, nanoseconds: u64) -> Self {
        self.with_figure(name, count as f64 * 1e9 / nanoseconds.max(1) as f64)
    }

    /// With percentiles in microseconds; without any, if nothing was recorded.
    pub(crate) fn with_percentiles(mut self, name: &str, durations: &Durations) -> Self {
        if durations.count() == 0 {
            return self;
        }
        for (percentile, value) in PERCENTILES {
            self = self.with_figure(&format!("{name}_{percentile}_us"), durations.microseconds(value));
        }
        self.plot.curve(name, durations);
        self.with_figure(&format!("{name}_max_us"), durations.longest())
            .with_figure(&format!("{name}_mean_us"), durations.mean())
    }

    /// A count that is 0 unless a promise was broken.
    pub(crate) fn with_fault(mut self, name: &str, count: u64, is_fault: bool) -> Self {
        if is_fault && count > 0 {
            self.broken.push(format!("{count} {}", name.replace('_', " ")));
        }
        self.with(name, count)
    }

    /// Prints it; an error where the broker broke a promise.
    pub(crate) fn print(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match session.global.output {
            Format::Json => output::json(session.out, &Map::from_iter(self.rows))?,
            Format::Table => {
                let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                output::pairs(session.out, self.rows.iter().map(|(name, value)| (name.as_str(), text(value.clone()))))?;
            }
        }
        if self.broken.is_empty() { Ok(()) } else { Err(Failure::Failed(self.broken.join(", "))) }
    }
}
