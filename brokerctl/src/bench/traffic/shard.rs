//! The publishers and subscribers of one thread at work. Owns their connections; never starts before all threads are
//! ready.

use std::time::Duration;

use mqtt::Qos;

use super::deliveries::{Deliveries, Delivery};
use super::outcome::Outcome;
use super::plan::{Pace, Plan, Share, Until};
use super::publisher::Publisher;
use crate::bench::fleet::{Event, Fleet};
use crate::bench::process::now;
use crate::bench::template::{Stamp, Template};
use crate::bench::watch::Watch;
use crate::bench::wire::Packet;

/// Bytes of a connection that its socket has not taken, beyond which nothing is added.
const UNWRITTEN: usize = 1024 * 1024;
/// After the last answer, for what comes twice.
const LINGER: u64 = 100_000_000;

/// One thread's part.
pub(crate) struct Shard<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) share: Share,
    pub(crate) patience: Duration,
    pub(crate) watch: &'a Watch,
}

/// When things happen, in nanoseconds of the machine's clock.
#[derive(Clone, Copy, Debug)]
struct Times {
    start: u64,
    measured_from: u64,
    measured_to: u64,
    /// No message is sent from then on.
    end: u64,
}

/// All that packets change.
struct Traffic {
    version: mqtt::Version,
    subscribers: usize,
    copies: u64,
    qos: Qos,
    publishers: Vec<Publisher>,
    deliveries: Deliveries,
    times: Times,
    /// Messages that were to be sent so far (open loop), and in all.
    due: u64,
    total: u64,
    /// Whether the last was sent.
    is_over: bool,
    outcome: Outcome,
    /// Publishers that may be able to send.
    listed: Vec<usize>,
    /// The time of the packets of one connection, read once.
    clock: (usize, u64),
}

impl Shard<'_> {
    /// Sends, receives, and waits for what is on its way.
    pub(crate) fn run(&self, fleet: &mut Fleet, limits: &[u16], start: u64) -> Result<Outcome, String> {
        let mut traffic = Traffic::new(self, limits, start);
        let mut template = self.template();
        let mut told = (0, 0);
        let (mut heard, mut count) = (now(), 0);
        loop {
            let time = now();
            let wait = self.send(fleet, &mut traffic, &mut template, time);
            let is_sending = time < traffic.times.end && !self.is_all_sent(&traffic);
            let quiet = time.saturating_sub(heard);
            let patience = if !is_sending && traffic.is_settled() { LINGER } else { self.patience.as_nanos() as u64 };
            if quiet > patience && (!is_sending || matches!(self.plan.until, Until::Count(_))) {
                break;
            }
            traffic.clock.0 = usize::MAX;
            let wait = if is_sending { wait.min(50_000_000) } else { 10_000_000 };
            let turned = fleet.turn(Duration::from_nanos(wait), &mut |key, event, out| traffic.take(key, event, out));
            turned.map_err(|error| format!("epoll: {error}"))?;
            let answers = traffic.outcome.delivered + traffic.outcome.acknowledged + traffic.outcome.duplicates;
            if answers != count || (is_sending && traffic.is_settled()) {
                (heard, count) = (time, answers);
            }
            told = self.tell(&traffic, told);
            if self.is_stuck(&traffic, fleet) {
                break;
            }
        }
        Ok(traffic.finish())
    }

    fn template(&self) -> Template {
        let plan = self.plan;
        Template::new(plan.version, &plan.prefix, plan.qos, plan.retain, plan.size)
    }

    /// Nobody is left.
    fn is_stuck(&self, traffic: &Traffic, fleet: &Fleet) -> bool {
        fleet.open() == 0 || traffic.outcome.broken as usize >= self.share.publishers + self.share.subscribers
    }

    fn is_all_sent(&self, traffic: &Traffic) -> bool {
        match self.plan.until {
            Until::Time { .. } => false,
            Until::Count(_) => {
                traffic.outcome.sent >= traffic.total || traffic.publishers.iter().all(|one| !one.is_open)
            }
        }
    }

    /// Tells the watch what is new.
    fn tell(&self, traffic: &Traffic, told: (u64, u64)) -> (u64, u64) {
        let (sent, delivered) = (traffic.outcome.sent, traffic.outcome.delivered);
        let done = if traffic.copies > 0 { delivered } else { traffic.outcome.acknowledged };
        self.watch.add(sent - told.0, done - told.1);
        (sent, done)
    }

    /// Sends what is due; nanoseconds until the next is.
    fn send(&self, fleet: &mut Fleet, traffic: &mut Traffic, template: &mut Template, time: u64) -> u64 {
        let end = traffic.times.end;
        if time >= end && std::mem::replace(&mut traffic.is_over, true) {
            return u64::MAX;
        }
        // What fell due before the end is sent, if the broker takes it.
        let wait = match self.plan.pace {
            Pace::Window(_) if traffic.is_over => return u64::MAX,
            Pace::Rate(rate) => self.fall_due(traffic, rate, time.min(end - 1)),
            Pace::Window(_) => u64::MAX,
        };
        let mut listed = std::mem::take(&mut traffic.listed);
        for index in listed.drain(..) {
            traffic.publishers[index].is_listed = false;
            self.fill(fleet, traffic, template, index, time);
        }
        if traffic.listed.is_empty() {
            traffic.listed = listed; // its memory
            wait
        } else {
            wait.min(1_000_000) // a socket that is full
        }
    }

    /// Counts what the rate asks for by now, in turn over the publishers.
    fn fall_due(&self, traffic: &mut Traffic, rate: u64, time: u64) -> u64 {
        let publishers = traffic.publishers.len() as u64;
        let elapsed = time.saturating_sub(traffic.times.start);
        let due = self.due(rate, elapsed).min(traffic.total);
        while traffic.due < due {
            let index = (traffic.due % publishers) as usize;
            traffic.publishers[index].due += 1;
            traffic.list(index);
            traffic.due += 1;
        }
        (traffic.times.start + self.intended(rate, due)).saturating_sub(now())
    }

    /// Messages of this share that are due after so many nanoseconds, and the reverse.
    fn due(&self, rate: u64, elapsed: u64) -> u64 {
        let share = self.share.publishers as u128 * u128::from(rate) * u128::from(elapsed);
        (share / self.plan.publishers as u128 / 1_000_000_000) as u64 + 1
    }

    fn intended(&self, rate: u64, number: u64) -> u64 {
        let time = u128::from(number) * 1_000_000_000 * self.plan.publishers as u128;
        (time / (u128::from(rate.max(1)) * self.share.publishers as u128)) as u64
    }

    /// Sends what one publisher may.
    fn fill(&self, fleet: &mut Fleet, traffic: &mut Traffic, template: &mut Template, index: usize, time: u64) {
        let key = self.share.subscribers + index;
        let number = self.share.first_publisher + index;
        let is_answered = self.plan.qos != Qos::AtMostOnce;
        let Some(client) = fleet.client(key) else { return };
        let publishers = traffic.publishers.len() as u64;
        let publisher = &mut traffic.publishers[index];
        let before = publisher.sent;
        while self.may_send(publisher, traffic.copies) && client.unwritten() < UNWRITTEN {
            let intended = match self.plan.pace {
                Pace::Rate(rate) => {
                    traffic.times.start + self.intended(rate, publisher.sent * publishers + index as u64)
                }
                Pace::Window(_) => time,
            };
            let stamp = Stamp { time: intended, publisher: number as u32, sequence: publisher.sent as u32 };
            let topic = self.plan.topic(number, publisher.sent);
            client.out().extend_from_slice(template.stamp(topic, Publisher::id(publisher.sent), stamp));
            publisher.send(intended, is_answered);
            traffic.outcome.late = traffic.outcome.late.max(time.saturating_sub(intended));
        }
        traffic.outcome.sent += publisher.sent - before;
        if !is_answered && traffic.copies == 0 {
            traffic.outcome.last = time;
        }
        let is_full = client.unwritten() >= UNWRITTEN;
        let waits = publisher.sent < publisher.due && matches!(self.plan.pace, Pace::Rate(_));
        fleet.flush(key, &mut |key, event, out| traffic.take(key, event, out));
        let floods = !is_answered && traffic.copies == 0 && matches!(self.plan.pace, Pace::Window(_));
        if is_full || waits || floods {
            traffic.list(index);
        }
    }

    fn may_send(&self, publisher: &Publisher, copies: u64) -> bool {
        if !publisher.is_open || !publisher.has_room() || publisher.sent >= publisher.due {
            return false;
        }
        let Pace::Window(window) = self.plan.pace else { return true };
        let acknowledged = if self.plan.qos == Qos::AtMostOnce { publisher.sent } else { publisher.acknowledged };
        let arrived = if copies == 0 { publisher.sent } else { publisher.delivered / copies };
        publisher.sent - acknowledged.min(arrived) < u64::from(window)
    }
}

impl Traffic {
    fn new(shard: &Shard<'_>, limits: &[u16], start: u64) -> Self {
        let (plan, share) = (shard.plan, shard.share);
        let times = match plan.until {
            Until::Count(_) => Times { start, measured_from: start, measured_to: u64::MAX, end: u64::MAX },
            Until::Time { warm_up, measured } => {
                let (measured_from, end) = (start + warm_up, start + warm_up + measured);
                Times { start, measured_from, measured_to: end, end }
            }
        };
        let mut publishers: Vec<_> = limits.iter().map(|limit| Publisher::new(*limit)).collect();
        let mut total = 0_u64;
        for (index, publisher) in publishers.iter_mut().enumerate() {
            let due = plan.messages_of(share.first_publisher + index);
            total = total.saturating_add(due);
            publisher.due = if matches!(plan.pace, Pace::Window(_)) { due } else { 0 };
        }
        let mut traffic = Self {
            version: plan.version,
            subscribers: share.subscribers,
            copies: plan.copies(),
            qos: plan.qos,
            publishers,
            deliveries: Deliveries::new(plan, &share),
            times,
            due: 0,
            total,
            is_over: false,
            outcome: Outcome::new(),
            listed: vec![],
            clock: (usize::MAX, 0),
        };
        (0..share.publishers).for_each(|index| traffic.list(index));
        traffic
    }

    fn list(&mut self, index: usize) {
        let publisher = &mut self.publishers[index];
        if !publisher.is_listed {
            publisher.is_listed = true;
            self.listed.push(index);
        }
    }

    fn time(&mut self, key: usize) -> u64 {
        if self.clock.0 != key {
            self.clock = (key, now());
        }
        self.clock.1
    }

    fn take(&mut self, key: usize, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Closed(_) => {
                self.outcome.broken += 1;
                if let Some(publisher) = key.checked_sub(self.subscribers).and_then(|at| self.publishers.get_mut(at)) {
                    publisher.is_open = false;
                }
            }
            Event::Packet(packet) if key < self.subscribers => self.received(key, packet, out),
            Event::Packet(packet) => self.answered(key, packet, out),
        }
    }

    /// A packet for a publisher.
    fn answered(&mut self, key: usize, packet: Packet<'_>, out: &mut Vec<u8>) {
        let Some(id) = packet.id() else { return };
        let is_refused = packet.reason() >= 0x80;
        match packet.kind() {
            5 if !is_refused => return reply(out, 0x62, id),
            4 | 5 | 7 => {}
            _ => return,
        }
        let (index, time) = (key - self.subscribers, self.time(key));
        let Some(publisher) = self.publishers.get_mut(index) else { return };
        let Some(intended) = publisher.acknowledge(id) else { return };
        self.outcome.acknowledged += 1;
        self.outcome.last = time;
        if is_refused {
            self.outcome.refused += 1;
            publisher.delivered += self.copies; // none of them comes
        } else if self.is_measured(intended) {
            self.outcome.ack.record(time.saturating_sub(intended));
        }
        self.list(index);
    }

    /// A packet for a subscriber.
    fn received(&mut self, key: usize, packet: Packet<'_>, out: &mut Vec<u8>) {
        if packet.kind() == 6 {
            return packet.id().map_or((), |id| reply(out, 0x70, id));
        }
        let Some(publish) = packet.publish(self.version).filter(|_| packet.kind() == 3) else { return };
        match publish.qos {
            0 => {}
            1 => reply(out, 0x40, publish.id),
            _ => reply(out, 0x50, publish.id),
        }
        let time = self.time(key);
        let Some(stamp) = Stamp::read(publish.payload) else {
            self.outcome.foreign += 1;
            return;
        };
        let (delivery, index) = self.deliveries.record(key, stamp);
        match delivery {
            Delivery::Foreign => self.outcome.foreign += 1,
            Delivery::Duplicate => self.outcome.duplicates += 1,
            Delivery::Good | Delivery::OutOfOrder => {
                self.outcome.out_of_order += u64::from(delivery == Delivery::OutOfOrder);
                self.outcome.delivered += 1;
                self.outcome.last = time;
                self.publishers[index].delivered += 1;
                if self.is_measured(stamp.time) {
                    self.outcome.latency.record(time.saturating_sub(stamp.time));
                }
                self.list(index);
            }
        }
    }

    const fn is_measured(&self, intended: u64) -> bool {
        intended >= self.times.measured_from && intended < self.times.measured_to
    }

    /// Whether nothing is on its way.
    fn is_settled(&self) -> bool {
        let outcome = &self.outcome;
        let is_answered = self.qos == Qos::AtMostOnce || outcome.acknowledged == outcome.sent;
        is_answered && outcome.delivered >= (outcome.sent - outcome.refused) * self.copies
    }

    fn finish(mut self) -> Outcome {
        let outcome = &mut self.outcome;
        outcome.unsent = self.due.saturating_sub(outcome.sent);
        if self.qos != Qos::AtMostOnce {
            outcome.unanswered = outcome.sent - outcome.acknowledged;
        }
        let expected = (outcome.sent - outcome.refused) * self.copies;
        outcome.lost = expected.saturating_sub(outcome.delivered);
        self.outcome
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
fn reply(out: &mut Vec<u8>, first: u8, id: u16) {
    out.extend([first, 2]);
    out.extend(id.to_be_bytes());
}
