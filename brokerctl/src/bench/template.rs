//! One PUBLISH that is written once and stamped for each message. Never encodes twice.

use std::num::NonZeroU16;

use mqtt::codec::{PublishOut, publish};
use mqtt::{Qos, Version};

/// Digits of a topic's number.
const DIGITS: usize = 8;
/// The shortest payload: the stamp.
pub(crate) const SHORTEST: usize = 16;

/// What each payload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was to be sent, in nanoseconds of the machine's clock.
    pub(crate) time: u64,
    pub(crate) publisher: u32,
    /// The publisher's messages are numbered from 0.
    pub(crate) sequence: u32,
}

impl Stamp {
    /// What a payload begins with; `None` of one that is not ours.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (time, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (sequence, _) = rest.split_first_chunk()?;
        Some(Self {
            time: u64::from_be_bytes(*time),
            publisher: u32::from_be_bytes(*publisher),
            sequence: u32::from_be_bytes(*sequence),
        })
    }
}

/// `PREFIX/00000042`
pub(crate) fn topic(prefix: &str, number: u32) -> String {
    format!("{prefix}/{number:0DIGITS$}")
}

/// A PUBLISH.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    digits_at: usize,
    topic: u32,
    id_at: Option<usize>,
    stamp_at: usize,
}

impl Template {
    /// To the topics of a prefix.
    pub(crate) fn new(version: Version, prefix: &str, qos: Qos, retain: bool, size: usize) -> Self {
        let (name, payload) = (topic(prefix, 0), vec![b'.'; size.max(SHORTEST)]);
        let packet_id = NonZeroU16::new(1);
        let (topic, mut bytes) = (name.as_bytes(), vec![]);
        let packet = PublishOut { topic, payload: &payload, qos, retain, packet_id, ..PublishOut::default() };
        let is_written = publish(&mut bytes, version, &packet);
        debug_assert!(is_written, "sizes are limited on the command line");
        let stamp_at = bytes.len().saturating_sub(payload.len());
        let properties = usize::from(version == Version::V5);
        let id_at = (qos != Qos::AtMostOnce).then(|| stamp_at - properties - 2);
        let digits_at = id_at.unwrap_or(stamp_at - properties) - DIGITS;
        Self { bytes, digits_at, topic: 0, id_at, stamp_at }
    }

    /// The packet for one message; `id` counts from QoS 1.
    pub(crate) fn stamp(&mut self, topic: u32, id: u16, stamp: Stamp) -> &[u8] {
        if topic != self.topic {
            self.topic = topic;
            let mut rest = topic;
            for digit in self.bytes[self.digits_at..self.digits_at + DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        if let Some(at) = self.id_at {
            self.bytes[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        let (time, rest) = self.bytes[self.stamp_at..self.stamp_at + SHORTEST].split_at_mut(8);
        let (publisher, sequence) = rest.split_at_mut(4);
        time.copy_from_slice(&stamp.time.to_be_bytes());
        publisher.copy_from_slice(&stamp.publisher.to_be_bytes());
        sequence.copy_from_slice(&stamp.sequence.to_be_bytes());
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::bench::wire::{Packet, frame};

    #[test]
    fn a_stamped_packet_is_the_one_that_would_be_encoded() {
        for version in [Version::V311, Version::V5] {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let mut template = Template::new(version, "bench/x", qos, false, 300);
                let stamp = Stamp { time: 7 << 40, publisher: 3, sequence: 9 };
                let bytes = template.stamp(12_345_678, 513, stamp).to_vec();
                let (start, end) = frame(&bytes).unwrap().unwrap();
                assert_eq!(end, bytes.len());
                let packet = Packet { first: bytes[0], body: &bytes[start..] };
                let publish = packet.publish(version).unwrap();
                assert_eq!(&packet.body[2..18], b"bench/x/12345678", "{version:?} {qos:?}");
                assert_eq!((publish.qos, publish.payload.len()), (qos as u8, 300));
                assert_eq!(publish.id, if qos == Qos::AtMostOnce { 0 } else { 513 });
                assert_eq!(Stamp::read(publish.payload), Some(stamp));
            }
        }
    }
}
