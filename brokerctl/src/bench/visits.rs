//! Connections that are opened one after another, at a rate or in a window, and what each does before it stays or leaves.
//! Owns no connection: those that stay are the fleet's.

use std::time::Duration;

use mqtt::Version;

use super::dial::{Dial, Keep};
use super::figures::Durations;
use super::fleet::{Event, Fleet};
use super::process::now;
use super::wire::{DISCONNECT, Packet};
use crate::failure::Failure;

/// What a visit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    More,
    Done,
}

/// What is done on a connection once it is accepted.
pub(crate) trait Errand {
    /// After CONNACK.
    fn greeted(&mut self, number: usize, connack: Packet<'_>, out: &mut Vec<u8>) -> Next;
    /// After any other packet.
    fn packet(&mut self, number: usize, packet: Packet<'_>, out: &mut Vec<u8>) -> Next;
}

/// Nothing: to be accepted is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Greeting;

impl Errand for Greeting {
    fn greeted(&mut self, _: usize, _: Packet<'_>, _: &mut Vec<u8>) -> Next {
        Next::Done
    }

    fn packet(&mut self, _: usize, _: Packet<'_>, _: &mut Vec<u8>) -> Next {
        Next::Done
    }
}

/// Connections to open.
#[derive(Debug)]
pub(crate) struct Visits<'a> {
    /// In turn by the place in the window.
    pub(crate) dials: &'a [Dial],
    /// Client ids: this, and the number.
    pub(crate) ids: &'a str,
    pub(crate) keep: Keep,
    /// The number of the first.
    pub(crate) first: usize,
    /// Its number in the fleet.
    pub(crate) base: usize,
    pub(crate) count: usize,
    /// None is opened after this time.
    pub(crate) until: u64,
    /// At most so many on their way.
    pub(crate) window: usize,
    /// So many a second, at most.
    pub(crate) rate: Option<u64>,
    /// Whether each disconnects when it is done.
    pub(crate) leaves: bool,
    /// Whether one that fails is counted and tried again.
    pub(crate) retries: bool,
    /// How long one may hear nothing before it is given up.
    pub(crate) patience: Duration,
}

/// What came of them.
#[derive(Debug)]
pub(crate) struct Visited {
    /// From the time a connection was to be opened to its CONNACK.
    pub(crate) connect: Durations,
    pub(crate) done: usize,
    /// Those that failed, where they are tried again.
    pub(crate) failed: u64,
    /// Those that heard nothing for too long.
    pub(crate) silent: usize,
    /// When the first was to be opened, and when the last was done.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// When 99 of 100 were done.
    pub(crate) nearly_all: u64,
    /// Receive Maximum of each, from the first.
    pub(crate) limits: Vec<u16>,
}

impl Visited {
    /// An error if some were given up.
    pub(crate) fn complete(self) -> Result<Self, Failure> {
        match self.silent {
            0 => Ok(self),
            silent => Err(Failure::Unreachable(format!("{silent} connections heard nothing for too long"))),
        }
    }

    /// From the first to the last.
    pub(crate) const fn elapsed(&self) -> u64 {
        self.to - self.from
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Free,
    Opening,
    Busy,
    Staying,
    Leaving,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    phase: Phase,
    number: usize,
    since: u64,
    heard: u64,
}

struct Round<'a, 'b> {
    visits: &'a Visits<'b>,
    errand: &'a mut dyn Errand,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// To be opened again.
    again: Vec<usize>,
    opened: usize,
    under_way: usize,
    visited: Visited,
    failure: Option<Failure>,
}

impl Visits<'_> {
    /// Opens them all and waits until each is done; `tick` is told how many are.
    pub(crate) fn run(
        &self,
        fleet: &mut Fleet,
        errand: &mut dyn Errand,
        tick: &mut dyn FnMut(usize),
    ) -> Result<Visited, Failure> {
        let mut round = Round::new(self, errand);
        let mut looked = now();
        loop {
            let wait = round.open(fleet)?;
            if round.under_way == 0 && round.is_all_opened() {
                break;
            }
            let wait = Duration::from_nanos(wait.min(50_000_000));
            let turned = fleet.turn(wait, &mut |key, event, out| round.take(key, event, out));
            turned.map_err(|error| Failure::Failed(format!("epoll: {error}")))?;
            if let Some(failure) = round.failure.take() {
                return Err(failure);
            }
            tick(round.visited.done);
            if now() - looked > 500_000_000 {
                looked = now();
                round.give_up(fleet, looked);
            }
        }
        round.visited.to = round.visited.to.max(round.visited.from);
        Ok(round.visited)
    }

    fn version(&self) -> Version {
        self.dials.first().map_or(Version::V311, |dial| dial.version)
    }
}

impl<'a, 'b> Round<'a, 'b> {
    fn new(visits: &'a Visits<'b>, errand: &'a mut dyn Errand) -> Self {
        let from = now();
        let limits = if visits.leaves { vec![] } else { vec![u16::MAX; visits.count] };
        let connect = Durations::new();
        let visited = Visited { connect, done: 0, failed: 0, silent: 0, from, to: from, nearly_all: from, limits };
        let (slots, free, again) = (vec![], vec![], vec![]);
        Self { visits, errand, slots, free, again, opened: 0, under_way: 0, visited, failure: None }
    }

    /// Closes those that hear nothing.
    fn give_up(&mut self, fleet: &mut Fleet, time: u64) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let waits = matches!(slot.phase, Phase::Opening | Phase::Busy | Phase::Leaving);
            if waits && time.saturating_sub(slot.heard) > self.visits.patience.as_nanos() as u64 {
                fleet.close(self.visits.base + at);
                self.visited.silent += usize::from(slot.phase != Phase::Leaving);
                slot.phase = Phase::Free;
                self.under_way -= 1;
                if self.visits.leaves {
                    self.free.push(at);
                }
            }
        }
    }

    fn is_all_opened(&self) -> bool {
        let is_late = now() >= self.visits.until;
        is_late || (self.again.is_empty() && self.opened == self.visits.count)
    }

    /// Opens what the window and the rate allow; nanoseconds until the rate allows another.
    fn open(&mut self, fleet: &mut Fleet) -> Result<u64, Failure> {
        while self.under_way < self.visits.window && !self.is_all_opened() {
            let (number, since) = match self.again.pop() {
                Some(number) => (number, now()),
                None => {
                    let due = self.visits.rate.map_or_else(now, |rate| {
                        self.visited.from + (self.opened as u64).saturating_mul(1_000_000_000) / rate.max(1)
                    });
                    if due > now() {
                        return Ok(due - now());
                    }
                    self.opened += 1;
                    (self.visits.first + self.opened - 1, due)
                }
            };
            self.open_one(fleet, number, since)?;
        }
        Ok(u64::MAX)
    }

    fn open_one(&mut self, fleet: &mut Fleet, number: usize, since: u64) -> Result<(), Failure> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.visits.leaves => {
                self.slots.push(Slot { phase: Phase::Free, number, since, heard: since });
                self.slots.len() - 1
            }
            // Those that stay have their place by their number.
            None => number - self.visits.first,
        };
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, Slot { phase: Phase::Free, number, since, heard: since });
        }
        let dial = &self.visits.dials[slot % self.visits.dials.len()];
        let client = dial.open(number, &format!("{}{number:08}", self.visits.ids), self.visits.keep)?;
        let added = fleet.add(self.visits.base + slot, client);
        added.map_err(|error| Failure::Failed(format!("a connection cannot be watched: {error}")))?;
        self.slots[slot] = Slot { phase: Phase::Opening, number, since, heard: now() };
        self.under_way += 1;
        Ok(())
    }

    fn take(&mut self, key: usize, event: Event<'_>, out: &mut Vec<u8>) {
        let at = key.wrapping_sub(self.visits.base);
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.heard = now();
        let slot = *slot;
        match event {
            Event::Packet(packet) => match slot.phase {
                Phase::Opening => self.greeted(at, packet, out),
                Phase::Busy if self.errand.packet(slot.number, packet, out) == Next::Done => self.done(at, out),
                _ => {}
            },
            Event::Closed(_) if slot.phase == Phase::Leaving => {
                self.slots[at].phase = Phase::Free;
                self.free.push(at);
                self.under_way -= 1;
            }
            Event::Closed(why) => self.broken(at, why.map_or_else(|| "closed".to_owned(), |why| why.to_string())),
        }
    }

    fn greeted(&mut self, at: usize, packet: Packet<'_>, out: &mut Vec<u8>) {
        if packet.kind() != 2 || packet.reason() != 0 {
            let code = packet.reason();
            if !self.visits.retries {
                self.failure = Some(Failure::Unauthorised(format!("CONNACK with code {code:#04x}")));
            }
            return; // the broker closes
        }
        let slot = self.slots[at];
        self.visited.connect.record(now().saturating_sub(slot.since));
        if let Some(limit) = self.visited.limits.get_mut(slot.number - self.visits.first) {
            *limit = packet.receive_maximum(self.visits.version());
        }
        self.slots[at].phase = Phase::Busy;
        if self.errand.greeted(slot.number, packet, out) == Next::Done {
            self.done(at, out);
        }
    }

    fn done(&mut self, at: usize, out: &mut Vec<u8>) {
        self.visited.done += 1;
        self.visited.to = now();
        if self.visited.done * 100 <= self.visits.count.saturating_mul(99) {
            self.visited.nearly_all = self.visited.to;
        }
        if self.visits.leaves {
            out.extend(DISCONNECT);
            self.slots[at].phase = Phase::Leaving;
        } else {
            self.slots[at].phase = Phase::Staying;
            self.under_way -= 1;
        }
    }

    fn broken(&mut self, at: usize, why: String) {
        let slot = self.slots[at];
        if slot.phase == Phase::Free {
            return;
        }
        self.visited.failed += 1;
        if slot.phase == Phase::Staying || !self.visits.retries {
            self.failure = Some(Failure::Unreachable(format!("a connection broke: {why}")));
            return;
        }
        self.slots[at].phase = Phase::Free;
        self.under_way -= 1;
        self.again.push(slot.number);
        if self.visits.leaves {
            self.free.push(at);
        }
    }
}
