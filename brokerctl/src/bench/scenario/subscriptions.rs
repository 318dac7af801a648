//! `sub`: how fast subscriptions are made, what they cost, and what arrives on them.

use std::time::Duration;

use clap::Args;

use super::{fleet, settle};
use crate::args::duration;
use crate::bench::fleet::{Event, Fleet};
use crate::bench::place::{Place, PlaceArgs};
use crate::bench::process::{Broker, need_open_files, now};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::subscribing::Subscribing;
use crate::bench::visits::Visits;
use crate::bench::wire::Packet;
use crate::failure::Failure;

/// Subscribes, and counts what arrives: time to SUBACK, and the broker's memory for a subscription
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  brokerctl bench sub --connections 1000 --filters 100 --pid $(pidof brokerd)
  brokerctl bench sub --connections 3 --filters 1000 --window 1 --batch 1 --target b1:1883,b2:1883,b3:1883
  brokerctl bench sub --connections 10 --filter 'sensors/#' --listen 1m")]
pub(crate) struct Sub {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,
    /// Filters of each, which no other has
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    filters: u32,
    /// This one filter for all, instead
    #[arg(long, conflicts_with = "filters")]
    filter: Option<String>,
    /// Filters end with a wildcard
    #[arg(long, value_parser = ["+", "#"])]
    wildcard: Option<String>,
    /// Filters in one SUBSCRIBE
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
    /// QoS
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Subscribers that connect and subscribe at a time
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// Counts what arrives for so long
    #[arg(long, value_parser = duration)]
    listen: Option<Duration>,
    /// How long memory is given to come to rest
    #[arg(long, default_value = "1s", value_parser = duration)]
    rest: Duration,
}

impl Sub {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        need_open_files(self.connections as usize)?;
        let (broker, mut fleet, mut progress) = (Broker::of(&place.pids)?, fleet()?, Progress::new());
        let (dials, ids) = (std::slice::from_ref(&place.subscribe_at), format!("{}-sub-", place.name));
        let filters = |number: usize, round: usize| self.filters_of(&place.name, number, round);
        let mut errand = Subscribing::new(place.any.version, self.qos, 0, &filters);
        let (before, all) = (broker.memory(), u64::from(self.connections));
        let visits = Visits { window: self.window as usize, ..place.visits(dials, &ids, 0, self.connections as usize) };
        let mut tick = |done| progress.draw("subscribers", done as u64, all);
        let visited = visits.run(&mut fleet, &mut errand, &mut tick)?.complete()?;
        let mut report = Report::of("sub")
            .with("connections", self.connections)
            .with("subscriptions", errand.subscribed)
            .with_figure("seconds", visited.elapsed() as f64 / 1e9)
            .with_rate("subscriptions_per_s", errand.subscribed, visited.elapsed())
            .with_fault("refused_filters", errand.refused, true)
            .with_percentiles("suback", &errand.durations);
        if let Some(before) = before {
            settle(&mut fleet, self.rest)?;
            let after = broker.memory().unwrap_or(before);
            let each = (after.resident - before.resident) as f64 / errand.subscribed.max(1) as f64;
            report = report.with("resident", after.resident).with_figure("bytes_per_subscription", each);
        }
        match self.listen {
            Some(time) => self.listen(&mut fleet, time, report),
            None => Ok(report),
        }
    }

    fn filters_of(&self, prefix: &str, number: usize, round: usize) -> Option<Vec<String>> {
        if let Some(filter) = &self.filter {
            return (round == 0).then(|| vec![filter.clone()]);
        }
        let batch = self.batch as usize;
        let from = (round * batch).min(self.filters as usize);
        let to = (from + batch).min(self.filters as usize);
        let last = self.wildcard.as_ref().map_or(String::new(), |wildcard| format!("/{wildcard}"));
        Some((from..to).map(|filter| format!("{prefix}/{number}/{filter}{last}")).collect())
    }

    /// Counts, and acknowledges.
    fn listen(&self, fleet: &mut Fleet, time: Duration, report: Report) -> Result<Report, Failure> {
        let (start, mut messages, mut bytes, mut broken) = (now(), 0_u64, 0_u64, 0_u64);
        let version = self.place.version();
        let until = start + time.as_nanos() as u64;
        while now() < until {
            let left = Duration::from_nanos(until.saturating_sub(now()).min(100_000_000));
            let turned = fleet.turn(left, &mut |_, event, out| match event {
                Event::Closed(_) => broken += 1,
                Event::Packet(packet) => {
                    messages += u64::from(packet.kind() == 3);
                    bytes += packet
                        .publish(version)
                        .filter(|_| packet.kind() == 3)
                        .map_or(0, |one| one.payload.len() as u64);
                    acknowledge(packet, version, out);
                }
            });
            turned.map_err(|error| Failure::Failed(format!("epoll: {error}")))?;
        }
        let elapsed = now() - start;
        Ok(report
            .with("delivered", messages)
            .with_rate("delivered_per_s", messages, elapsed)
            .with_rate("payload_bytes_per_s", bytes, elapsed)
            .with_fault("broken_connections", broken, true))
    }
}

/// PUBACK, PUBREC or PUBCOMP, whichever is due.
pub(crate) fn acknowledge(packet: Packet<'_>, version: mqtt::Version, out: &mut Vec<u8>) {
    let (first, id) = match (packet.kind(), packet.publish(version)) {
        (3, Some(publish)) if publish.qos > 0 => (if publish.qos == 1 { 0x40 } else { 0x50 }, publish.id),
        (6, _) => (0x70, packet.id().unwrap_or(0)),
        _ => return,
    };
    out.extend([first, 2]);
    out.extend(id.to_be_bytes());
}
