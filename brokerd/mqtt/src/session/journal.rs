//! What a durable session remembers, as changes in the order they happened: whoever keeps them can give the session
//! back after the process died. Never says where they are kept, nor waits for it.

use super::Delivery;
use crate::PacketId;

/// One change. The caller keeps it before anything that the same step wrote leaves, where [`super::Tally`] counts an
/// acknowledgement or a QoS 2 PUBLISH: a peer that saw those relies on it.
#[derive(Clone, Debug)]
pub enum Change {
    /// A message waits for the client, in flight under `id` where there is one.
    Queued {
        /// Names the message within the session, and rises with each.
        seq: u64,
        /// The message.
        delivery: Delivery,
        /// The identifier that it was sent with.
        id: Option<PacketId>,
    },
    /// A message that was queued is in flight.
    Sent {
        /// The message.
        seq: u64,
        /// The identifier that it was sent with.
        id: PacketId,
    },
    /// PUBREC came: the identifier remains, PUBREL is what is sent again.
    Released {
        /// The message.
        seq: u64,
        /// The identifier that it was sent with.
        id: PacketId,
    },
    /// A message needs no more keeping: it was acknowledged, dropped, or it expired.
    Gone {
        /// The message.
        seq: u64,
    },
    /// A QoS 2 PUBLISH came: a repeat of its identifier is no news.
    Received(PacketId),
    /// Its PUBREL came, or it was refused.
    Finished(PacketId),
}
