//! What a step of the session leads to: bytes for the client, events for the caller, counts for the metrics. Never acts.

use super::{Change, Granted, Requested};
use crate::codec::Violation;
use crate::{Message, PacketId, ReasonCode};

/// What a session wants done. In order; the caller carries them out before it feeds the next input.
#[derive(Debug)]
pub enum Event {
    /// Route this message. Where a token is given, call [`super::Session::routed`] with it when every subscriber has it.
    Publish(Message, Option<u64>),
    /// Make these subscriptions live, then call [`super::Session::suback`].
    Subscribe(PacketId, Vec<Requested>),
    /// Take these subscriptions out of the index: UNSUBACK is already in the wire buffer.
    Unsubscribe(Vec<Granted>),
    /// Give this to the mechanism, to a new conversation where one begins; then call [`super::Session::authenticated`].
    Authenticate {
        /// Whether a re-authentication begins.
        begins: bool,
        /// Authentication Data.
        data: Option<Box<[u8]>>,
    },
    /// The client closed in good order, or broke a rule: after the wire buffer is flushed, close.
    Close(Closing),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// DISCONNECT came, and the will is gone.
    Normal,
    /// DISCONNECT 0x04 came: the will goes out.
    WithWill,
    /// The client broke a rule.
    Violation(Violation),
    /// The server ends it.
    Server(ReasonCode),
    /// The socket ended or failed.
    Lost,
}

/// What came of a step, kept and cleared by the caller so that a step allocates nothing once warm.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Bytes for the client, appended.
    pub wire: Vec<u8>,
    /// What to do.
    pub events: Vec<Event>,
    /// What a kept session is to remember.
    pub changes: Vec<Change>,
    /// Whether something was written that the client relies on from then on: an acknowledgement, or a QoS 2 PUBLISH.
    /// It must not leave before `changes`, these and earlier ones, are kept.
    pub promises: bool,
    /// What happened, for counters.
    pub tally: Tally,
}

/// Counts of what the session sent and dropped since the caller last took them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// PUBLISH sent, by QoS.
    pub published: [u64; 3],
    /// PUBACK, PUBREC, PUBREL, PUBCOMP sent.
    pub acks_sent: [u64; 4],
    /// Acknowledgements that matched nothing, in the same order.
    pub acks_missed: [u64; 4],
    /// Deliveries that the client acknowledged.
    pub acked: u64,
    /// Dropped: the queue was full.
    pub queue_full: u64,
    /// Dropped: QoS 0 for a client that is away.
    pub qos0_away: u64,
    /// Dropped: larger than the client's Maximum Packet Size.
    pub too_large: u64,
    /// Dropped: expired.
    pub expired: u64,
}
