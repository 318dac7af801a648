//! A client's will in the hands of another node, which sends it when the client's own node is down. Never sent by
//! anybody twice: a will has an identity, the same wherever it is sent from.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mqtt::MessageId;
use mqtt::session::Will;

use super::{Epoch, Holder};

/// What is owed for a client when its node is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWill {
    /// Whose it is.
    pub client_id: Arc<str>,
    /// By which this client's connection owns the id: the will is of that connection.
    pub epoch: Epoch,
    /// The user who is asked, when it is sent, whether they may publish it; `None` is anonymous.
    pub user: Option<Arc<str>>,
    /// Where the client was.
    pub ip: IpAddr,
    /// What is published, and how long after the connection has ended.
    pub will: Will,
    /// In seconds: the will is sent no later than the session ends.
    pub session_expiry: u32,
    /// How long it is until then, where the connection has ended already.
    pub due_in: Option<Duration>,
}

/// A page of them, and where the next begins; `None` after the last.
pub type WillPage = (Vec<LastWill>, Option<u64>);

/// No worker of a node has one of these numbers.
const WILLS: u16 = u16::MAX;
const DELAYED: u16 = u16::MAX - 1;

impl LastWill {
    /// How long after the end of the connection it is sent, if the client does not come back.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_secs(self.will.delay.min(self.session_expiry).into())
    }

    /// Bytes that it takes to hold it.
    #[must_use]
    pub fn size(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.len());
        self.will.message.heap_size() + self.client_id.len() + user + size_of::<Self>()
    }
}

/// The identity of the will that a client's connection has, by the epoch of its claim.
#[must_use]
pub fn will_id(client_id: &str, epoch: Epoch) -> MessageId {
    MessageId { origin: Holder::of(client_id).0, worker: WILLS, sequence: epoch.0 }
}

/// The identity of a message that is delayed: it says which node holds it, also after a restart. `stamp` is of the node's
/// clock, which gives none twice.
#[must_use]
pub fn delayed_id(node: &str, stamp: u64) -> MessageId {
    MessageId { origin: delaying(node), worker: DELAYED, sequence: stamp }
}

/// A node as the identities of what it delays name it.
#[must_use]
pub fn delaying(node: &str) -> u64 {
    Holder::of(&format!("node/{node}")).0
}

/// Whether a message may be sent by more than one node, a will or a delayed one: each node takes the first copy.
#[must_use]
pub const fn is_sent_once(id: MessageId) -> bool {
    id.worker >= DELAYED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_delayed_names_its_node() {
        let id = delayed_id("n1", 9);
        assert!(is_sent_once(id) && id.origin == delaying("n1") && id.origin != delaying("n2"));
    }

    #[test]
    fn a_will_has_the_same_identity_on_every_node_and_another_one_for_each_connection() {
        // A literal, not computed: a change of it is a change of the protocol.
        let id = will_id("abc", Epoch(7));
        assert_eq!(id, MessageId { origin: 0xba78_16bf_8f01_cfea, worker: 0xffff, sequence: 7 });
        assert!(is_sent_once(id) && !is_sent_once(MessageId { origin: 1, worker: 3, sequence: 7 }));
        assert_ne!(id, will_id("abc", Epoch(8)));
    }
}
