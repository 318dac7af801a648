//! `offline`: sessions whose clients are away, in phases with processes of their own, so that the broker can be looked at,
//! killed and started between them.

use std::time::Duration;

use clap::{Args, Subcommand};
use mqtt::{Qos, Version};

use crate::bench::dial::Keep;
use crate::bench::figures::Durations;
use crate::bench::fleet::Fleet;
use crate::bench::place::{Place, PlaceArgs};
use crate::bench::process::{Broker, need_open_files};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::scenario::draining::Draining;
use crate::bench::subscribing::Subscribing;
use crate::bench::template::topic;
use crate::bench::traffic::{Filters, Pace, Plan, Until, run, summary};
use crate::bench::visits::{Errand, Greeting, Visited, Visits};
use crate::failure::Failure;

/// Persistent sessions whose clients are away: prepare, fill, drain, clear
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl bench offline prepare --sessions 100000
  brokerctl bench offline fill --sessions 100000 --messages 1000000
  brokerctl bench offline drain --sessions 100000 --messages 1000000")]
pub(crate) enum Offline {
    /// Makes the sessions: each connects, subscribes and goes
    #[command(after_help = "Example: brokerctl bench offline prepare --sessions 100000")]
    Prepare(Sessions),
    /// Publishes to them, in turn, until the last PUBACK
    #[command(after_help = "Example: brokerctl bench offline fill --sessions 100000 --messages 1000000")]
    Fill(Fill),
    /// Connects them all and waits until each has what was published to it
    #[command(after_help = "Example: brokerctl bench offline drain --sessions 100000 --messages 1000000")]
    Drain(Drain),
    /// Ends the sessions
    #[command(after_help = "Example: brokerctl bench offline clear --sessions 100000")]
    Clear(Sessions),
}

/// Which sessions.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sessions {
    #[command(flatten)]
    place: PlaceArgs,
    /// How many
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=99_999_999))]
    sessions: u32,
    /// All subscribe to one topic, not each to its own
    #[arg(long)]
    fan_out: bool,
    /// QoS of publications and subscriptions
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    qos: u8,
    /// Connections at a time
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
}

/// What to publish to them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Fill {
    #[command(flatten)]
    sessions: Sessions,
    /// Messages in all
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000_000))]
    messages: u64,
    /// Bytes of a payload
    #[arg(short, long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=200_000_000))]
    size: u32,
    /// Publishers
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    publishers: u32,
    /// Messages of each publisher on their way at a time
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    window: u32,
}

/// What was published to them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Drain {
    #[command(flatten)]
    sessions: Sessions,
    /// Messages in all
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000_000))]
    messages: u64,
}

impl Offline {
    /// The flags of its place.
    pub(crate) const fn place(&self) -> &PlaceArgs {
        match self {
            Self::Prepare(sessions) | Self::Clear(sessions) => &sessions.place,
            Self::Fill(fill) => &fill.sessions.place,
            Self::Drain(drain) => &drain.sessions.place,
        }
    }

    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        match self {
            Self::Prepare(sessions) => sessions.prepare(place),
            Self::Fill(fill) => fill.run(place),
            Self::Drain(drain) => drain.run(place),
            Self::Clear(sessions) => sessions.clear(place),
        }
    }
}

impl Sessions {
    /// What topics begin with: those of one session each, or the one of all.
    fn prefix(&self, place: &Place) -> String {
        format!("{}/{}", place.name, if self.fan_out { "all" } else { "each" })
    }

    /// Lets each session's client come, do its errand and go.
    fn visit(&self, place: &Place, keep: Keep, errand: &mut dyn Errand, what: &str) -> Result<Visited, Failure> {
        need_open_files(self.connections as usize)?;
        let fleet = Fleet::new();
        let mut fleet = fleet.map_err(|error| Failure::Failed(format!("epoll: {error}")))?;
        let (dials, ids) = (std::slice::from_ref(&place.subscribe_at), format!("{}-session-", place.name));
        let (all, mut progress) = (self.sessions as usize, Progress::new());
        let visits =
            Visits { keep, leaves: true, window: self.connections as usize, ..place.visits(dials, &ids, 0, all) };
        visits.run(&mut fleet, errand, &mut |done| progress.draw(what, done as u64, all as u64))
    }

    fn prepare(&self, place: &Place) -> Result<Report, Failure> {
        let broker = Broker::of(&place.pids)?;
        let before = broker.memory();
        let prefix = self.prefix(place);
        let number_of = |session: usize| if self.fan_out { 0 } else { session as u32 };
        let filters = |session, round| (round == 0).then(|| vec![topic(&prefix, number_of(session))]);
        let mut errand = Subscribing::new(place.any.version, self.qos, 0, &filters);
        let visited = self.visit(place, Keep::Session, &mut errand, "sessions made")?.complete()?;
        let mut report = Report::of("offline prepare")
            .with("sessions", self.sessions)
            .with_figure("seconds", visited.elapsed() as f64 / 1e9)
            .with_rate("sessions_per_s", visited.done as u64, visited.elapsed())
            .with_fault("refused_filters", errand.refused, true)
            .with_percentiles("connect", &visited.connect)
            .with_percentiles("subscribe", &errand.durations);
        if let (Some(before), Some(after)) = (before, broker.memory()) {
            let each = (after.resident - before.resident) as f64 / f64::from(self.sessions);
            report = report.with("resident", after.resident).with_figure("bytes_per_session", each);
        }
        Ok(report)
    }

    fn clear(&self, place: &Place) -> Result<Report, Failure> {
        let visited = self.visit(place, Keep::Nothing, &mut Greeting, "sessions ended")?.complete()?;
        let report = Report::of("offline clear").with("sessions", visited.done);
        Ok(report.with_figure("seconds", visited.elapsed() as f64 / 1e9))
    }
}

impl Fill {
    fn run(&self, place: &Place) -> Result<Report, Failure> {
        let sessions = &self.sessions;
        let broker = Broker::of(&place.pids)?;
        let before = broker.memory();
        let plan = Plan {
            scenario: "offline fill",
            // One after another: what one fan-out costs is to be seen, not what several do to each other.
            publishers: if sessions.fan_out { 1 } else { self.publishers as usize },
            subscribers: 0,
            filters: Filters::Own,
            topics: if sessions.fan_out { 1 } else { sessions.sessions },
            prefix: sessions.prefix(place),
            qos: Qos::from_bits(sessions.qos).unwrap_or_default(),
            size: self.size as usize,
            retain: false,
            pace: Pace::Window(if sessions.fan_out { 1 } else { self.window }),
            until: Until::Count(self.messages),
            keep: Keep::Nothing,
            publish_to: place.publish_to.clone(),
            subscribe_at: place.subscribe_at.clone(),
            version: place.any.version,
        };
        let ran = run(&plan, place)?;
        let mut report = summary(&plan, &ran);
        if let (Some(before), Some(after)) = (before, broker.memory()) {
            let queued = self.messages * if sessions.fan_out { u64::from(sessions.sessions) } else { 1 };
            let each = (after.resident - before.resident) as f64 / queued as f64;
            report = report.with("resident_before", before.resident).with_figure("bytes_per_queued", each);
        }
        Ok(report)
    }
}

impl Drain {
    fn run(&self, place: &Place) -> Result<Report, Failure> {
        let sessions = &self.sessions;
        let broker = Broker::of(&place.pids)?;
        let (count, fan_out) = (u64::from(sessions.sessions), sessions.fan_out);
        let messages = self.messages;
        let share =
            move |session: usize| if fan_out { messages } else { (messages + count - 1 - session as u64) / count };
        let all: u64 = if fan_out { messages * count } else { messages };
        let mut errand = Draining::new(place.any.version, &share);
        let before = broker.cpu();
        let visited = sessions.visit(place, Keep::Session, &mut errand, "sessions drained")?;
        let cpu = broker.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        let mut waited = Durations::new();
        waited.add(&visited.connect);
        let mut report = Report::of("offline drain")
            .with("mqtt", if place.any.version == Version::V5 { "5" } else { "3.1.1" })
            .with("sessions", sessions.sessions)
            .with("connections", sessions.connections)
            .with_figure("seconds", Duration::from_nanos(visited.elapsed()).as_secs_f64())
            .with("delivered", errand.delivered)
            .with_rate("delivered_per_s", errand.delivered, visited.elapsed())
            .with_fault("lost", all.saturating_sub(errand.delivered), true)
            .with_fault("duplicates", errand.duplicates, sessions.qos == 2)
            .with_fault("out_of_order", errand.out_of_order, true)
            .with_fault("sessions_not_there", errand.absent, true)
            .with_percentiles("connect", &waited);
        if let Some(cpu) = cpu {
            let each = cpu as f64 / 1000.0 / errand.delivered.max(1) as f64;
            report = report.with_figure("cpu_us_per_delivery", each);
        }
        Ok(report)
    }
}
