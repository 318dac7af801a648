//! An application message, shared by all who receive it. Never changed once made.

use std::sync::Arc;

use crate::{Qos, Time};

/// Who a message is, across the cluster: kept in frames, queues and stores, so that a copy is known as a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// The node that took the message from its publisher: a hash of its node id and its generation.
    pub origin: u64,
    /// The worker of that node.
    pub worker: u16,
    /// Rises by one a message within the worker; 0 is "no identity".
    pub sequence: u64,
}

/// An application message. One allocation holds topic, properties and payload, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its identity.
    pub id: MessageId,
    /// The QoS it was published with.
    pub qos: Qos,
    /// Whether RETAIN was set by the publisher.
    pub retain: bool,
    /// When it expires (5.0 Message Expiry Interval counted from its arrival), on this process's clock.
    pub expires_at: Option<Time>,
    topic_len: u16,
    properties_len: u32,
    bytes: Box<[u8]>,
}

impl Message {
    /// Makes a message from its parts. `properties` is the encoded 5.0 property section without its length, and
    /// without Topic Alias, Message Expiry Interval and Subscription Identifier: it is forwarded as it stands.
    ///
    /// A `topic` of more than 65,535 bytes is cut at the decoder, which is why the length is a `u16` here; a longer
    /// one is a bug of the caller and yields an empty topic.
    #[must_use]
    pub fn new(topic: &str, properties: &[u8], payload: &[u8]) -> Self {
        let topic_len = u16::try_from(topic.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(usize::from(topic_len) + properties.len() + payload.len());
        bytes.extend_from_slice(&topic.as_bytes()[..usize::from(topic_len)]);
        bytes.extend_from_slice(properties);
        bytes.extend_from_slice(payload);
        Self {
            id: MessageId::default(),
            qos: Qos::AtMostOnce,
            retain: false,
            expires_at: None,
            topic_len,
            properties_len: u32::try_from(properties.len()).unwrap_or(0),
            bytes: bytes.into_boxed_slice(),
        }
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.topic_len)]).unwrap_or("")
    }

    /// The encoded 5.0 properties that are forwarded, without a length.
    #[must_use]
    pub fn properties(&self) -> &[u8] {
        let start = usize::from(self.topic_len);
        &self.bytes[start..start + self.properties_len as usize]
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.topic_len) + self.properties_len as usize..]
    }

    /// Topic and UTF-8 check apart, the topic as bytes: for encoding.
    #[must_use]
    pub fn topic_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.topic_len)]
    }

    /// Bytes of heap that this message holds: for queue bounds.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.bytes.len() + size_of::<Self>() + 2 * size_of::<usize>()
    }

    /// Seconds left until it expires, rounded up; `None` if it never does, `Some(0)` if it has.
    #[must_use]
    pub fn seconds_left(&self, now: Time) -> Option<u32> {
        self.expires_at.map(|at| u32::try_from(at.since(now).div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

/// A message in the hands of many.
pub type SharedMessage = Arc<Message>;
