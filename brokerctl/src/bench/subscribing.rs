//! The errand of a subscriber: SUBSCRIBE after SUBSCRIBE, each when the one before is answered. Never reads messages.

use mqtt::Version;

use super::figures::Durations;
use super::process::now;
use super::visits::{Errand, Next};
use super::wire::{self, Packet};

/// Filters of the n-th SUBSCRIBE of a client; `None` after the last.
pub(crate) type Filters<'a> = dyn Fn(usize, usize) -> Option<Vec<String>> + 'a;

/// Subscribes each client to its filters.
pub(crate) struct Subscribing<'a> {
    version: Version,
    qos: u8,
    filters: &'a Filters<'a>,
    /// The number of the first client.
    first: usize,
    /// Of each client: its SUBSCRIBEs so far, and when the last left.
    asked: Vec<(usize, u64)>,
    /// From SUBSCRIBE to SUBACK.
    pub(crate) durations: Durations,
    /// Filters.
    pub(crate) subscribed: u64,
    /// Filters that the broker did not want.
    pub(crate) refused: u64,
}

impl<'a> Subscribing<'a> {
    /// For clients from this number on.
    pub(crate) fn new(version: Version, qos: u8, first: usize, filters: &'a Filters<'a>) -> Self {
        Self { version, qos, filters, first, asked: vec![], durations: Durations::new(), subscribed: 0, refused: 0 }
    }

    fn ask(&mut self, number: usize, out: &mut Vec<u8>) -> Next {
        let at = number - self.first;
        if self.asked.len() <= at {
            self.asked.resize(at + 1, (0, 0));
        }
        let (asked, since) = &mut self.asked[at];
        let Some(filters) = (self.filters)(number, *asked).filter(|filters| !filters.is_empty()) else {
            return Next::Done;
        };
        *asked += 1;
        *since = now();
        self.subscribed += filters.len() as u64;
        let id = (*asked % usize::from(u16::MAX)) as u16 + 1;
        wire::subscribe(out, self.version, id, &filters, self.qos);
        Next::More
    }
}

impl Errand for Subscribing<'_> {
    fn greeted(&mut self, number: usize, _: Packet<'_>, out: &mut Vec<u8>) -> Next {
        self.ask(number, out)
    }

    fn packet(&mut self, number: usize, packet: Packet<'_>, out: &mut Vec<u8>) -> Next {
        if packet.kind() != 9 {
            return Next::More;
        }
        self.refused += packet.refused(self.version).unwrap_or(1) as u64;
        self.durations.record(now().saturating_sub(self.asked[number - self.first].1));
        self.ask(number, out)
    }
}
