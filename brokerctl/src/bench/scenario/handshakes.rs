//! The scenarios of connections that come and go: `churn`, and `tls`, which counts full and resumed handshakes.

use std::time::Duration;

use clap::Args;

use super::fleet;
use crate::args::duration;
use crate::bench::dial::Dial;
use crate::bench::fleet::Fleet;
use crate::bench::place::{Place, PlaceArgs};
use crate::bench::process::{Broker, need_open_files, now};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::visits::{Greeting, Visited, Visits};
use crate::failure::Failure;

/// Connects and disconnects again and again
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench churn --window 50 --duration 10s --pid $(pidof brokerd)")]
pub(crate) struct Churn {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pace: PaceArgs,
}

/// TLS handshakes again and again: full ones, or resumed ones with --resume
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench tls --target localhost:8883 --tls-ca cert.pem --resume")]
pub(crate) struct Tls {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pace: PaceArgs,
    /// Each connection resumes the session of the one before it
    #[arg(long)]
    resume: bool,
}

#[derive(Args, Clone, Debug)]
struct PaceArgs {
    /// Connections at a time
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// So many a second at most
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// How long is not measured at first
    #[arg(long, default_value = "1s", value_parser = duration)]
    warm_up: Duration,
    /// How long is measured
    #[arg(short, long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// So many connections instead
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    count: Option<u64>,
}

impl PaceArgs {
    fn come_and_go(&self, place: &Place, dials: &[Dial], fleet: &mut Fleet) -> Result<(Visited, Option<u64>), Failure> {
        need_open_files(self.window as usize)?;
        let (broker, mut progress, ids) = (Broker::of(&place.pids)?, Progress::new(), format!("{}-", place.name));
        let nanoseconds = |time: Duration| time.as_nanos() as u64;
        let visits = Visits {
            leaves: true,
            window: self.window as usize,
            rate: self.rate,
            ..place.visits(dials, &ids, 0, usize::MAX)
        };
        if self.count.is_none() {
            let until = now() + nanoseconds(self.warm_up);
            Visits { until, ..visits }.run(fleet, &mut Greeting, &mut |_| {})?.complete()?;
        }
        let (start, before) = (now(), broker.cpu());
        let visits = match self.count {
            Some(count) => Visits { count: count as usize, ..visits },
            None => Visits { until: start + nanoseconds(self.duration), ..visits },
        };
        let mut tick = |done: usize| match self.count {
            Some(count) => progress.draw("connections", done as u64, count),
            None => progress.draw("of the time", now() - start, nanoseconds(self.duration)),
        };
        let visited = visits.run(fleet, &mut Greeting, &mut tick)?.complete()?;
        let cpu = broker.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        Ok((visited, cpu))
    }
}

fn report(scenario: &str, window: u32, (visited, cpu): &(Visited, Option<u64>)) -> Report {
    let report = Report::of(scenario)
        .with("window", window)
        .with_figure("seconds", visited.elapsed() as f64 / 1e9)
        .with("connections", visited.done)
        .with_rate("connections_per_s", visited.done as u64, visited.elapsed())
        .with_percentiles("connect", &visited.connect);
    match cpu {
        Some(cpu) => report.with_figure("cpu_us_per_connection", *cpu as f64 / 1000.0 / visited.done.max(1) as f64),
        None => report,
    }
}

impl Churn {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        let done = self.pace.come_and_go(place, std::slice::from_ref(&place.any), &mut fleet()?)?;
        Ok(report("churn", self.pace.window, &done))
    }
}

impl Tls {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        if place.any.tls.is_none() {
            return Err(Failure::Usage("--tls-ca is needed: whom to trust".into()));
        }
        // Tickets are used once: each place in the window has its own.
        let dial = |_| Ok(Dial { tls: self.place.secure(self.resume)?, ..place.any.clone() });
        let dials = (0..self.pace.window).map(dial).collect::<Result<Vec<_>, Failure>>()?;
        let mut fleet = fleet()?;
        let done = self.pace.come_and_go(place, &dials, &mut fleet)?;
        let handshakes = fleet.handshakes();
        Ok(report("tls", self.pace.window, &done)
            .with("full_handshakes", handshakes.full)
            .with("resumed_handshakes", handshakes.resumed))
    }
}
