//! What packets change in one thread's share: publishers, deliveries and counts. Owns no connection, and sends nothing but
//! acknowledgements.

use mqtt::Qos;

use super::deliveries::{Deliveries, Delivery};
use super::outcome::Outcome;
use super::plan::{Pace, Plan, Share, Until};
use super::publisher::Publisher;
use crate::bench::fleet::Event;
use crate::bench::process::now;
use crate::bench::template::Stamp;
use crate::bench::wire::Packet;

/// When things happen, in nanoseconds of the machine's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) measured_from: u64,
    pub(super) measured_to: u64,
    /// No message is sent from then on.
    pub(super) end: u64,
}

/// All that packets change.
pub(super) struct Traffic {
    pub(super) version: mqtt::Version,
    pub(super) subscribers: usize,
    pub(super) copies: u64,
    pub(super) qos: Qos,
    pub(super) publishers: Vec<Publisher>,
    pub(super) deliveries: Deliveries,
    pub(super) times: Times,
    /// Messages that were to be sent so far (open loop), and in all.
    pub(super) due: u64,
    pub(super) total: u64,
    /// Whether the last was sent.
    pub(super) is_over: bool,
    pub(super) outcome: Outcome,
    /// Publishers that may be able to send.
    pub(super) listed: Vec<usize>,
    /// The time of the packets of one connection, read once.
    pub(super) clock: (usize, u64),
}

impl Traffic {
    /// Nothing yet: publishers whose brokers take so many at a time, from this time on.
    pub(super) fn new(plan: &Plan, share: Share, limits: &[u16], start: u64) -> Self {
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

    /// Lists a publisher to be looked at.
    pub(super) fn list(&mut self, index: usize) {
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

    /// Takes in what a connection has to say.
    pub(super) fn take(&mut self, key: usize, event: Event<'_>, out: &mut Vec<u8>) {
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
    pub(super) fn is_settled(&self) -> bool {
        let outcome = &self.outcome;
        let is_answered = self.qos == Qos::AtMostOnce || outcome.acknowledged == outcome.sent;
        is_answered && outcome.delivered >= (outcome.sent - outcome.refused) * self.copies
    }

    /// Nothing more comes: what is missing is lost.
    pub(super) fn finish(mut self) -> Outcome {
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
