//! The MQTT protocol as data and state machines. Performs no I/O, reads no clock, knows no runtime.

pub mod codec;
pub mod message;
pub mod packet;
pub mod reason;
pub mod session;
pub mod topic;
pub mod trie;

mod types;

pub use message::{Message, MessageId};
pub use reason::ReasonCode;
pub use types::{PacketId, Qos, RetainHandling, Time, Version};
