//! The scenarios of connections that carry nothing: `conn`, `idle`, `storm`.

use std::time::Duration;

use clap::Args;

use super::{fleet, settle};
use crate::args::duration;
use crate::bench::place::{Place, PlaceArgs};
use crate::bench::process::{Broker, need_open_files};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::visits::{Greeting, Visited, Visits};
use crate::failure::Failure;

/// Opens connections and keeps them: how fast, and what each costs
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench conn --connections 10000 --rate 1000 --pid $(pidof brokerd)")]
pub(crate) struct Conn {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// How many
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,
    /// So many a second [default: as fast as the window allows]
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// On their way at a time
    #[arg(short, long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
}

/// Bytes of the broker's memory for each connection that does nothing, and its CPU meanwhile
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench idle --connections 15000 --pid $(pidof brokerd)")]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// How many
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,
    /// How long memory is given to come to rest, each time
    #[arg(long, default_value = "2s", value_parser = duration)]
    rest: Duration,
}

/// All connections break at once and all come back at once: how long until they are there
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench storm --connections 10000")]
pub(crate) struct Storm {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// How many
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,
}

/// What connecting came to.
fn connected(report: Report, visited: &Visited) -> Report {
    report
        .with_figure("seconds", visited.elapsed() as f64 / 1e9)
        .with_rate("connections_per_s", visited.done as u64, visited.elapsed())
        .with_percentiles("connect", &visited.connect)
}

impl Conn {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        need_open_files(self.connections as usize)?;
        let (broker, mut fleet, mut progress) = (Broker::of(&place.pids)?, fleet()?, Progress::new());
        let (dials, ids, all) = (std::slice::from_ref(&place.any), format!("{}-", place.name), self.connections);
        let visits =
            Visits { rate: self.rate, window: self.window as usize, ..place.visits(dials, &ids, 0, all as usize) };
        let before = broker.cpu();
        let mut tick = |done| progress.draw("connections", done as u64, all.into());
        let visited = visits.run(&mut fleet, &mut Greeting, &mut tick)?.complete()?;
        let cpu = broker.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        let report = connected(Report::of("conn").with("connections", all), &visited);
        Ok(match cpu {
            Some(cpu) => report.with_figure("cpu_us_per_connection", cpu as f64 / 1000.0 / f64::from(all)),
            None => report,
        })
    }
}

impl Idle {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        /// Before anything is measured: what a broker makes once.
        const WARM: usize = 100;
        need_open_files(self.connections as usize)?;
        let (broker, mut fleet, mut progress) = (Broker::of(&place.pids)?, fleet()?, Progress::new());
        let dials = std::slice::from_ref(&place.any);
        let memory = || broker.memory().ok_or_else(|| Failure::Usage("--pid is needed: the broker's memory".into()));
        memory()?;
        let ids = format!("{}-warm-", place.name);
        place.visits(dials, &ids, 0, WARM).run(&mut fleet, &mut Greeting, &mut |_| {})?.complete()?;
        fleet.close_all();
        settle(&mut fleet, self.rest)?;
        let before = memory()?;
        let (ids, all) = (format!("{}-idle-", place.name), self.connections);
        let mut tick = |done| progress.draw("connections", done as u64, all.into());
        let visits = place.visits(dials, &ids, 0, all as usize);
        let visited = visits.run(&mut fleet, &mut Greeting, &mut tick)?.complete()?;
        let mut broken = settle(&mut fleet, self.rest)?;
        let (after, cpu) = (memory()?, broker.cpu());
        broken += settle(&mut fleet, self.rest)?;
        let idle = broker.cpu().zip(cpu).map_or(0, |(after, before)| after.saturating_sub(before));
        fleet.close_all();
        settle(&mut fleet, self.rest)?;
        let gone = memory()?;
        let each = |bytes: i64| bytes as f64 / f64::from(all);
        Ok(connected(Report::of("idle").with("connections", all), &visited)
            .with("resident_before", before.resident)
            .with("resident_after", after.resident)
            .with("resident_when_they_left", gone.resident)
            .with_figure("bytes_per_connection", each(after.resident - before.resident))
            .with_figure("anonymous_per_connection", each(after.anonymous - before.anonymous))
            .with_figure("cpu_cores_idle", idle as f64 / self.rest.as_nanos() as f64)
            .with_fault("broken_connections", broken, true))
    }
}

impl Storm {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        // The old ones are closed before the new ones are opened.
        need_open_files(self.connections as usize)?;
        let (broker, mut fleet, mut progress) = (Broker::of(&place.pids)?, fleet()?, Progress::new());
        let (dials, ids, all) = (std::slice::from_ref(&place.any), format!("{}-", place.name), self.connections);
        let mut tick = |done| progress.draw("connections", done as u64, all.into());
        let visits = place.visits(dials, &ids, 0, all as usize);
        visits.run(&mut fleet, &mut Greeting, &mut tick)?.complete()?;
        fleet.close_all();
        let before = broker.cpu();
        let mut tick = |done| progress.draw("back", done as u64, all.into());
        let visits = Visits { window: all as usize, retries: true, ..visits };
        let visited = visits.run(&mut fleet, &mut Greeting, &mut tick)?;
        let cpu = broker.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        let nearly_all = (visited.nearly_all - visited.from) as f64 / 1e6;
        let report = connected(Report::of("storm").with("connections", all), &visited)
            .with_figure("back_99_percent_ms", nearly_all)
            .with_figure("back_all_ms", visited.elapsed() as f64 / 1e6)
            .with("attempts_that_failed", visited.failed)
            .with_fault("never_back", (all as usize - visited.done) as u64, true);
        Ok(match cpu {
            Some(cpu) => report.with_figure("cpu_us_per_connection", cpu as f64 / 1000.0 / f64::from(all)),
            None => report,
        })
    }
}
