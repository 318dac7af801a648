//! The changes that a store carries out. Never in what order batches of different workers are applied.

use std::num::NonZeroU32;

use mqtt::message::SharedMessage;
use mqtt::{MessageId, PacketId, Qos};

use crate::backend::Delayed;
use crate::record::{SessionRecord, Sid, Stamp, UnixMillis};

/// Where the message of an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In the entry: small, or for one session.
    Inline(SharedMessage),
    /// Stored once for many, by an [`Op::PutMessage`] before it in the same batch; with its size, for bounds.
    Shared(MessageId, u32),
}

/// A queued delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The QoS it is sent with.
    pub qos: Qos,
    /// RETAIN of the PUBLISH that is sent.
    pub retain: bool,
    /// Subscription identifiers of all matching subscriptions.
    pub subscription_ids: Box<[u32]>,
    /// Serial of the shared subscription that it is a member's copy for.
    pub shared: Option<NonZeroU32>,
    /// When it is no longer worth sending.
    pub expires_at: Option<UnixMillis>,
    /// What is sent.
    pub body: Body,
}

/// One change. Those of a session carry its number, `sid`, and the epoch of its owner: one below the store's is
/// refused. `seq` is the number of an entry in its queue.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "what the fields of all changes have in common is said once, above")]
pub enum Op {
    /// Stores a message for many sessions. Each batch that refers to it has it; a copy that is there is not written
    /// again. It goes when no entry refers to it.
    PutMessage(MessageId, SharedMessage),
    /// Appends to a session's queue. The owner gives `seq`, from 1 on and rising; the same again changes nothing.
    Enqueue { sid: Sid, epoch: u64, seq: u64, entry: Entry },
    /// It is in flight under this packet id.
    Sent { sid: Sid, epoch: u64, seq: u64, packet_id: PacketId },
    /// PUBREC came: the message goes, the packet id stays taken until `Ack`.
    Released { sid: Sid, epoch: u64, seq: u64, packet_id: PacketId },
    /// PUBACK or PUBCOMP came, or it was dropped.
    Ack { sid: Sid, epoch: u64, seq: u64 },
    /// All from `first` to `last`, both included, were dropped.
    AckRange { sid: Sid, epoch: u64, first: u64, last: u64 },
    /// A QoS 2 PUBLISH came from the client under this packet id.
    Received { sid: Sid, epoch: u64, packet_id: PacketId },
    /// Its PUBREL came.
    ReceivedReleased { sid: Sid, epoch: u64, packet_id: PacketId },
    /// The session as it is now.
    SaveSession { sid: Sid, epoch: u64, record: Box<SessionRecord> },
    /// The session and all that is queued for it are gone.
    DropSession { sid: Sid, epoch: u64 },
    /// A retained message; `None` is a deletion that is remembered. An earlier stamp changes nothing.
    PutRetained { topic: Box<str>, stamp: Stamp, message: Option<SharedMessage>, expires_at: Option<UnixMillis> },
    /// Nothing is known of the topic any more, unless it was set after `stamp`.
    DropRetained { topic: Box<str>, stamp: Stamp },
    /// A message to be published when it is due.
    PutDelayed(Box<Delayed>),
    /// It was published, or is not to be.
    DropDelayed(MessageId),
}

impl Op {
    /// Bytes that it holds while it waits.
    #[must_use]
    pub fn size(&self) -> usize {
        let held = match self {
            Self::PutMessage(_, message) => message.heap_size(),
            Self::PutDelayed(delayed) => size_of::<Delayed>() + delayed.message.heap_size(),
            Self::Enqueue { entry: Entry { body: Body::Inline(message), .. }, .. } => message.heap_size(),
            Self::SaveSession { record, .. } => record.subscriptions.len() * 96 + 256,
            Self::PutRetained { topic, message, .. } => topic.len() + message.as_ref().map_or(0, |one| one.heap_size()),
            Self::DropRetained { topic, .. } => topic.len(),
            _ => 0,
        };
        size_of::<Self>() + held
    }

    /// Whether it makes the store larger for longer than an exchange of packets: refused where there is no room.
    #[must_use]
    pub const fn grows(&self) -> bool {
        matches!(
            self,
            Self::PutMessage(..)
                | Self::Enqueue { .. }
                | Self::Received { .. }
                | Self::PutRetained { message: Some(_), .. }
                | Self::PutDelayed(_)
        )
    }

    /// Whose it is, and since which epoch its owner is the owner.
    #[must_use]
    pub const fn owner(&self) -> Option<(Sid, u64)> {
        match self {
            Self::Enqueue { sid, epoch, .. }
            | Self::Sent { sid, epoch, .. }
            | Self::Released { sid, epoch, .. }
            | Self::Ack { sid, epoch, .. }
            | Self::AckRange { sid, epoch, .. }
            | Self::Received { sid, epoch, .. }
            | Self::ReceivedReleased { sid, epoch, .. }
            | Self::SaveSession { sid, epoch, .. }
            | Self::DropSession { sid, epoch } => Some((*sid, *epoch)),
            _ => None,
        }
    }
}

/// What of a batch was not carried out. The rest was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sessions that have another owner, or are gone: none of their changes was made, nothing may be acknowledged for
    /// them.
    pub fenced: Vec<Sid>,
    /// There is no room: none of the changes that [grow](Op::grows) the store was made.
    pub is_full: bool,
    /// No [`Op::Received`] of the batch was made, for one of its entries was refused: who sends the PUBLISH again is not to be
    /// told that it is known, before that entry is where it belongs.
    pub is_unreceived: bool,
}

/// Whether a batch has a QoS 2 PUBLISH and an entry that is refused.
pub(crate) fn is_unreceived(ops: &[Op], is_refused: impl Fn(&Op) -> bool) -> bool {
    ops.iter().any(|op| matches!(op, Op::Received { .. }))
        && ops.iter().any(|op| matches!(op, Op::Enqueue { .. }) && is_refused(op))
}
