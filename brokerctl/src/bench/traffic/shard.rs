//! The publishers and subscribers of one thread at work. Owns their connections; never starts before all threads are
//! ready.

use std::time::Duration;

use mqtt::Qos;

use super::outcome::Outcome;
use super::plan::{Pace, Plan, Share, Until};
use super::publisher::Publisher;
use super::state::Traffic;
use crate::bench::fleet::Fleet;
use crate::bench::process::now;
use crate::bench::template::{Stamp, Template};
use crate::bench::watch::Watch;

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

impl Shard<'_> {
    /// Sends, receives, and waits for what is on its way.
    pub(crate) fn run(&self, fleet: &mut Fleet, limits: &[u16], start: u64) -> Result<Outcome, String> {
        let mut traffic = Traffic::new(self.plan, self.share, limits, start);
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
        let arrived = publisher.delivered.checked_div(copies).unwrap_or(publisher.sent);
        publisher.sent - acknowledged.min(arrived) < u64::from(window)
    }
}
