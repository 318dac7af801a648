//! `retained`: messages are published retained, then a wildcard subscription asks for all of them.

use clap::Args;
use mqtt::Version;

use super::fleet;
use super::subscriptions::acknowledge;
use crate::bench::dial::Keep;
use crate::bench::figures::Durations;
use crate::bench::place::{Place, PlaceArgs};
use crate::bench::process::{Broker, need_open_files, now};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::template::{Stamp, topic};
use crate::bench::traffic::{Filters, Pace, Plan, Until, run, summary};
use crate::bench::visits::{Errand, Next, Visits};
use crate::bench::wire::{self, Packet};
use crate::failure::Failure;

/// Publishes retained messages, then subscribes to all of them by a wildcard
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench retained --messages 100000 --subscribers 10")]
pub(crate) struct Retained {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Retained messages, a topic each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=99_999_999))]
    messages: u32,
    /// Subscribers that ask for all of them at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscribers: u32,
    /// QoS of publications and subscriptions
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    qos: u8,
    /// Bytes of a payload
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=200_000_000))]
    size: u32,
    /// Messages on their way at a time
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    window: u32,
    /// Leaves the messages where they are
    #[arg(long)]
    leave: bool,
}

/// Takes what is retained, and goes when it has all.
struct Asking {
    version: Version,
    qos: u8,
    filter: String,
    messages: u32,
    /// Of each subscriber: when it asked, and a bit for each message.
    had: Vec<(u64, Vec<bool>, u32)>,
    delivered: u64,
    duplicates: u64,
    durations: Durations,
}

impl Errand for Asking {
    fn greeted(&mut self, number: usize, _: Packet<'_>, out: &mut Vec<u8>) -> Next {
        wire::subscribe(out, self.version, 1, std::slice::from_ref(&self.filter), self.qos);
        let had = vec![false; self.messages as usize];
        self.had.resize(self.had.len().max(number + 1), (0, vec![], 0));
        self.had[number] = (now(), had, 0);
        Next::More
    }

    fn packet(&mut self, number: usize, packet: Packet<'_>, out: &mut Vec<u8>) -> Next {
        acknowledge(packet, self.version, out);
        let publish = packet.publish(self.version).filter(|_| packet.kind() == 3);
        let (since, had, count) = &mut self.had[number];
        if let Some(stamp) = publish.and_then(|publish| Stamp::read(publish.payload)) {
            match had.get_mut(stamp.sequence as usize) {
                Some(had) if !*had => {
                    *had = true;
                    *count += 1;
                    self.delivered += 1;
                }
                _ => self.duplicates += 1,
            }
            if *count == self.messages {
                self.durations.record(now() - *since);
                return Next::Done;
            }
        }
        Next::More
    }
}

impl Retained {
    fn plan(&self, place: &Place) -> Plan {
        Plan {
            scenario: "retained",
            publishers: 1,
            subscribers: 0,
            filters: Filters::Own,
            topics: self.messages,
            prefix: place.name.clone(),
            qos: mqtt::Qos::from_bits(self.qos).unwrap_or_default(),
            size: self.size as usize,
            retain: true,
            pace: Pace::Window(self.window),
            until: Until::Count(self.messages.into()),
            keep: Keep::Nothing,
            publish_to: place.publish_to.clone(),
            subscribe_at: place.subscribe_at.clone(),
            version: place.any.version,
        }
    }

    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        need_open_files(self.subscribers as usize)?;
        let broker = Broker::of(&place.pids)?;
        let plan = self.plan(place);
        let report = summary(&plan, &run(&plan, place)?);
        let asked = self.ask(place, &broker, report);
        if !self.leave {
            self.clear(place)?;
        }
        asked
    }

    fn ask(&self, place: &Place, broker: &Broker, report: Report) -> Result<Report, Failure> {
        let (messages, all) = (self.messages, u64::from(self.messages) * u64::from(self.subscribers));
        let mut asking = Asking {
            version: place.any.version,
            qos: self.qos,
            filter: format!("{}/+", place.name),
            messages,
            had: vec![],
            delivered: 0,
            duplicates: 0,
            durations: Durations::new(),
        };
        let (mut fleet, mut progress) = (fleet()?, Progress::new());
        let (dials, ids) = (std::slice::from_ref(&place.subscribe_at), format!("{}-sub-", place.name));
        let count = self.subscribers as usize;
        let visits = Visits { leaves: true, window: count, ..place.visits(dials, &ids, 0, count) };
        let before = broker.cpu();
        let mut tick = |done| progress.draw("subscribers", done as u64, count as u64);
        let visited = visits.run(&mut fleet, &mut asking, &mut tick)?;
        let cpu = broker.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        let report = report
            .with("askers", self.subscribers)
            .with("delivered", asking.delivered)
            .with_rate("delivered_per_s", asking.delivered, visited.elapsed())
            .with_fault("lost", all.saturating_sub(asking.delivered), true)
            .with_fault("duplicates", asking.duplicates, true)
            .with_percentiles("all_received", &asking.durations);
        let each = |cpu: u64| cpu as f64 / 1000.0 / asking.delivered.max(1) as f64;
        Ok(match cpu {
            Some(cpu) => report.with_figure("cpu_us_per_delivery", each(cpu)),
            None => report,
        })
    }

    /// An empty payload ends what is retained.
    fn clear(&self, place: &Place) -> Result<(), Failure> {
        let (mut fleet, ids) = (fleet()?, format!("{}-clear-", place.name));
        let mut clearing =
            Clearing { version: place.any.version, prefix: &place.name, next: 0, messages: self.messages };
        let dials = std::slice::from_ref(&place.publish_to);
        let visits = Visits { leaves: true, ..place.visits(dials, &ids, 0, 1) };
        visits.run(&mut fleet, &mut clearing, &mut |_| {})?.complete().map(drop)
    }
}

/// Publishes one empty retained message after another.
struct Clearing<'a> {
    version: Version,
    prefix: &'a str,
    next: u32,
    messages: u32,
}

impl Errand for Clearing<'_> {
    fn greeted(&mut self, _: usize, _: Packet<'_>, out: &mut Vec<u8>) -> Next {
        /// Published before the last one, which alone is acknowledged.
        const AT_A_TIME: u32 = 500;
        let to = (self.next + AT_A_TIME).min(self.messages);
        for number in self.next..to {
            let name = topic(self.prefix, number);
            let qos = if number + 1 == to { mqtt::Qos::AtLeastOnce } else { mqtt::Qos::AtMostOnce };
            let packet_id = std::num::NonZeroU16::new(1);
            let (topic, retain) = (name.as_bytes(), true);
            let packet = mqtt::codec::PublishOut { topic, retain, qos, packet_id, ..Default::default() };
            mqtt::codec::publish(out, self.version, &packet);
        }
        self.next = to;
        Next::More
    }

    fn packet(&mut self, number: usize, packet: Packet<'_>, out: &mut Vec<u8>) -> Next {
        match packet.kind() {
            4 if self.next == self.messages => Next::Done,
            4 => self.greeted(number, packet, out),
            _ => Next::More,
        }
    }
}
