//! The wire: bytes to packets and packets to bytes. Strict, and without an allocation for PUBLISH and the acks.
//! Never keeps state between packets and never decides what a packet leads to.

mod both_ways;
mod cold;
mod connect;
mod decode;
mod encode;
mod frame;
mod property;
mod publish;
mod recipient;
mod subscribe;
mod violation;
pub(crate) mod wire;

pub use both_ways::{AuthOut, auth, disconnect, redirect};
pub use cold::{ConnAck, codes_fit, connack, pingresp, suback, unsuback};
pub use connect::{ConnectError, decode_connect};
pub use decode::decode;
pub use encode::{MAX_PACKET_LEN, PublishOut, ack, publish, publish_len};
pub use frame::{Framed, frame};
pub use property::{Property, check_forwardable, forwardable};
pub use recipient::Recipient;
pub use violation::Violation;

/// What a server takes from a client; a client learns of the first in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest packet in bytes, header included.
    pub max_packet_size: u32,
    /// The longest topic name in bytes.
    pub max_topic_len: usize,
    /// The longest topic filter in bytes, `$share/group/` included.
    pub max_filter_len: usize,
    /// The most levels of a topic name or filter; of a shared one, those after the group.
    pub max_topic_levels: usize,
    /// The most User Properties in one section.
    pub max_user_properties: usize,
}
