//! `wildcard`: point to point beside a great many wildcard subscriptions that match none of it.

use clap::Args;

use super::fleet;
use crate::bench::place::Place;
use crate::bench::process::{Broker, need_open_files};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::scenario::messages::P2p;
use crate::bench::scenario::settle;
use crate::bench::subscribing::Subscribing;
use crate::bench::visits::Visits;
use crate::failure::Failure;

/// Filters in one SUBSCRIBE.
const BATCH: usize = 100;

/// Point to point while wildcard subscriptions are held, which it does not match
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: brokerctl bench wildcard --held 1000000 --holders 100 --rate 20000 --pid $(pidof brokerd)"
)]
pub(crate) struct Wildcard {
    #[command(flatten)]
    pub(crate) p2p: P2p,
    /// Wildcard subscriptions, each once
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    held: u32,
    /// Connections that hold them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    holders: u32,
}

impl Wildcard {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        need_open_files((self.holders + 2 * self.p2p.pairs) as usize)?;
        let (broker, mut fleet, mut progress) = (Broker::of(&place.pids)?, fleet()?, Progress::new());
        let (dials, ids) = (std::slice::from_ref(&place.subscribe_at), format!("{}-hold-", place.name));
        let (held, holders) = (self.held as usize, self.holders as usize);
        let filters = |number: usize, round: usize| {
            let (from, to) = (held * number / holders, held * (number + 1) / holders);
            let from = (from + round * BATCH).min(to);
            let each = (from..(from + BATCH).min(to)).map(|at| format!("{}-held/{}/+/{at}/#", place.name, at % 1000));
            Some(each.collect())
        };
        let mut errand = Subscribing::new(place.any.version, 0, 0, &filters);
        let before = broker.memory();
        let visits = Visits { window: 50, ..place.visits(dials, &ids, 0, holders) };
        let mut tick = |done| progress.draw("holders", done as u64, holders as u64);
        let visited = visits.run(&mut fleet, &mut errand, &mut tick)?.complete()?;
        settle(&mut fleet, std::time::Duration::from_secs(1))?;
        let after = broker.memory();
        drop(progress);
        let mut report = self.p2p.carry_out("wildcard", place)?;
        report = report
            .with("held", held)
            .with_rate("subscriptions_per_s", errand.subscribed, visited.elapsed())
            .with_fault("refused_filters", errand.refused, true);
        if let (Some(before), Some(after)) = (before, after) {
            let each = (after.resident - before.resident) as f64 / held as f64;
            report = report.with_figure("bytes_per_subscription", each);
        }
        Ok(report)
    }
}
