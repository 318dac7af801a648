//! What is sent and how fast: the flags of the scenarios that carry messages. Never connects.

use std::time::Duration;

use clap::Args;
use mqtt::Qos;

use super::dial::Keep;
use super::place::Place;
use super::traffic::{Filters, Pace, Plan, Until};
use crate::args::duration;

/// What, and how fast.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// QoS of publications and subscriptions
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Bytes of a payload
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=200_000_000))]
    size: u32,
    /// Open loop: messages a second over all publishers, whatever the broker does
    #[arg(short, long, conflicts_with = "window", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,
    /// Closed loop: messages of each publisher on their way at a time
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    window: u32,
    /// How long is sent before measuring begins
    #[arg(long, default_value = "1s", value_parser = duration_or_none)]
    warm_up: Duration,
    /// How long is measured
    #[arg(short, long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Sends so many messages in all instead, and measures all of them
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=4_000_000_000))]
    count: Option<u64>,
    /// Subscribers have persistent sessions
    #[arg(long)]
    persistent: bool,
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    if text.trim_end_matches(['m', 's']) == "0" { Ok(Duration::ZERO) } else { duration(text) }
}

impl LoadArgs {
    /// Of these publishers to these subscribers, a topic for each publisher.
    pub(crate) fn plan(
        &self,
        scenario: &'static str,
        place: &Place,
        (publishers, subscribers, filters): (u32, u32, Filters),
    ) -> Plan {
        let nanoseconds = |time: Duration| time.as_nanos() as u64;
        let (warm_up, measured) = (nanoseconds(self.warm_up), nanoseconds(self.duration));
        Plan {
            scenario,
            publishers: publishers as usize,
            subscribers: subscribers as usize,
            filters,
            topics: publishers,
            prefix: place.name.clone(),
            qos: Qos::from_bits(self.qos).unwrap_or_default(),
            size: self.size as usize,
            retain: false,
            pace: self.rate.map_or(Pace::Window(self.window), Pace::Rate),
            until: self.count.map_or(Until::Time { warm_up, measured }, Until::Count),
            keep: if self.persistent { Keep::Session } else { Keep::Nothing },
            publish_to: place.publish_to.clone(),
            subscribe_at: place.subscribe_at.clone(),
            version: place.any.version,
        }
    }
}
