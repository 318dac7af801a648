//! The errand of a session's client that comes back: it takes what waits for it, checks it, and goes when it has all.

use mqtt::Version;

use crate::bench::template::Stamp;
use crate::bench::visits::{Errand, Next};
use crate::bench::wire::Packet;

/// Takes what waits.
pub(crate) struct Draining<'a> {
    version: Version,
    /// Messages that wait for a session.
    share: &'a dyn Fn(usize) -> u64,
    /// What each session has: publisher and number.
    had: Vec<Vec<(u32, u32)>>,
    /// PUBRELs of QoS 2 that have not come.
    open: Vec<u32>,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    /// CONNACKs without Session Present.
    pub(crate) absent: u64,
}

impl<'a> Draining<'a> {
    /// Each session until it has its share.
    pub(crate) fn new(version: Version, share: &'a dyn Fn(usize) -> u64) -> Self {
        let (had, open) = (vec![], vec![]);
        Self { version, share, had, open, delivered: 0, duplicates: 0, out_of_order: 0, absent: 0 }
    }

    fn next(&self, number: usize) -> Next {
        let has_all = self.had[number].len() as u64 >= (self.share)(number) && self.open[number] == 0;
        if has_all { Next::Done } else { Next::More }
    }

    fn take(&mut self, number: usize, payload: &[u8]) {
        let Some(stamp) = Stamp::read(payload) else { return };
        let (had, one) = (&mut self.had[number], (stamp.publisher, stamp.sequence));
        if had.contains(&one) {
            self.duplicates += 1;
            return;
        }
        let is_late = had.iter().any(|(publisher, sequence)| *publisher == one.0 && *sequence > one.1);
        self.out_of_order += u64::from(is_late);
        self.delivered += 1;
        had.push(one);
    }
}

impl Errand for Draining<'_> {
    fn greeted(&mut self, number: usize, connack: Packet<'_>, _: &mut Vec<u8>) -> Next {
        if self.had.len() <= number {
            self.had.resize(number + 1, vec![]);
            self.open.resize(number + 1, 0);
        }
        self.absent += u64::from(connack.body.first() != Some(&1));
        self.next(number)
    }

    fn packet(&mut self, number: usize, packet: Packet<'_>, out: &mut Vec<u8>) -> Next {
        match (packet.kind(), packet.publish(self.version)) {
            (3, Some(publish)) => {
                self.take(number, publish.payload);
                match publish.qos {
                    0 => {}
                    1 => out.extend([0x40, 2]),
                    _ => {
                        self.open[number] += 1;
                        out.extend([0x50, 2]);
                    }
                }
                if publish.qos > 0 {
                    out.extend(publish.id.to_be_bytes());
                }
            }
            (6, _) => {
                self.open[number] = self.open[number].saturating_sub(1);
                out.extend([0x70, 2]);
                out.extend(packet.id().unwrap_or(0).to_be_bytes());
            }
            _ => {}
        }
        self.next(number)
    }
}
