//! Which node and which epoch owns a client id, or another key that one of all may have. Never touches a socket or a session, and never imports `cluster`:
//! it owns the trait `Elsewhere`, which `cluster` implements.

use std::pin::Pin;
use std::sync::Arc;

/// Fences the owners of a client id: the higher one wins. A hybrid logical clock's stamp, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// What a CONNECT asks of the registrar of its client id, and a SUBSCRIBE to what is exclusive of that of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Of what: a client id, or an [`exclusive_key`].
    pub client_id: Arc<str>,
    /// For whom: what another one has on a live node is not taken.
    pub holder: Holder,
    /// Whether a registrar that is silent means no, and not a grant of this node's own.
    pub needs_registrar: bool,
    /// Whether it is for a session whose node is gone: what a live node has by more than `known` is not taken.
    pub is_orphan: bool,
    /// Whether the session is to start empty.
    pub clean_start: bool,
    /// Session expiry in seconds, as granted.
    pub session_expiry: u32,
    /// The highest epoch that the claimant knows of for this id; 0 is none.
    pub known: Epoch,
}

/// The registrar's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Above every epoch known for the id.
    pub epoch: Epoch,
    /// The node that owned it before, where that is another live one. It was told that it lost. Where the registrar is
    /// silent, one of those that may have owned it.
    pub previous: Option<String>,
}

/// Why a claim is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another holder has it, on a node that is live.
    Held,
    /// The registrar did not answer, and the claim needs it.
    Silent,
}

/// What is owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// A client id, or an [`exclusive_key`].
    pub client_id: Arc<str>,
    /// By this epoch.
    pub epoch: Epoch,
    /// For whom.
    pub holder: Holder,
}

/// Before a key that is no client id: none can begin with it [MQTT-1.5.4-2].
const EXCLUSIVE: char = '\0';

/// What is claimed for an exclusive subscription.
#[must_use]
pub fn exclusive_key(filter: &str) -> Arc<str> {
    format!("{EXCLUSIVE}{filter}").into()
}

/// The filter of a key that is one of those.
#[must_use]
pub fn exclusive_filter(key: &str) -> Option<&str> {
    key.strip_prefix(EXCLUSIVE)
}

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is owned, and where the next page begins; `None` after the last.
pub type OwnedPage = (Vec<Owned>, Option<u64>);

/// What the workers need of the cluster's registry. A single node plugs [`OnlyHere`] in.
pub trait Elsewhere: Send + Sync {
    /// Claims an id. Always answers within `cluster.claim_timeout`: a registrar that is silent is done without, and
    /// the grant is this node's own, unless the claim needs it.
    fn claim(&self, claim: Claim) -> Boxed<'_, Result<Grant, Refusal>>;
    /// The session of the id ended on this node, at this epoch: its row goes.
    fn release(&self, client_id: &Arc<str>, epoch: Epoch);
    /// Messages for a kept session that another node owns by now: brings them to its owner. Answers whether they need
    /// no more care: they are kept there, or the session is gone.
    fn relay(&self, _: Relayed) -> Boxed<'_, bool> {
        Box::pin(std::future::ready(false))
    }
    /// A kept session came from another node, and every node routes to this one: completes when all that had reached
    /// that one before is here, or after a while.
    fn collect(&self, _: String, _: Arc<str>, _: Epoch) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// A client comes with a will: another node has it when this completes, or that node is silent for long.
    fn entrust(&self, _: LastWill) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// The connection has ended and the will waits: the node that has it is to know.
    fn will_waits(&self, _: LastWill) {}
    /// The will of this client's connection was sent or deleted: nobody is to send it any more.
    fn withdraw(&self, _: &Arc<str>, _: Epoch) {}
    /// Whether this node sees a message that [`is_sent_once`] for the first time. To be asked once for each copy.
    fn is_first_copy(&self, _: mqtt::MessageId) -> bool {
        true
    }
    /// A page of a session that another node had; `None` where it does not answer in time.
    fn fetch(&self, _: String, _: Fetch) -> Boxed<'_, Option<Fetched>> {
        Box::pin(std::future::ready(None))
    }
    /// The other nodes that are up.
    fn others(&self) -> Vec<String> {
        Vec::new()
    }
    /// Has another node take a session of this one that has no connection, for this one leaves. Answers whether it has.
    fn give(&self, _: Owned, _: u32, _: String) -> Boxed<'_, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// What a node asks of the one that had a session before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Whose.
    pub client_id: Arc<str>,
    /// By which the session is this node's now.
    pub epoch: Epoch,
    /// Messages behind this number.
    pub after: u64,
    /// Whether what the session is beside its messages comes too.
    pub is_head: bool,
    /// Every node routes to this one: what they sent before has to be there first.
    pub is_drained: bool,
    /// Bytes of the next message that are here.
    pub offset: usize,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There is no such session.
    NotHere,
    /// The node is about to get it.
    Busy,
    /// So far.
    Page(Box<MovingPage>),
}

/// A page of a session that moves: at most some hundred KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovingPage {
    /// The clock of the wall there, by which times are meant.
    pub wall: u64,
    /// As the store writes it; empty but in the first page.
    pub record: bytes::Bytes,
    /// QoS 2 packet identifiers of the client.
    pub received: Vec<u16>,
    /// In the order of their numbers.
    pub messages: Vec<MovingMessage>,
    /// Whether there are no more now.
    pub is_last: bool,
    /// Up to which number there is no more than this.
    pub up_to: u64,
    /// The last message of each worker of each node that was heard there; in the first page.
    pub marks: Vec<mqtt::MessageId>,
}

/// A message of a session that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingMessage {
    /// Its number.
    pub seq: u64,
    /// Under what it was sent; 0 if it was not.
    pub packet_id: u16,
    /// PUBREC came: its body is gone.
    pub is_released: bool,
    /// As the store writes it, or a piece of that.
    pub entry: bytes::Bytes,
    /// Bytes behind this piece.
    pub missing: usize,
}

/// Messages for a session that has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Of this client.
    pub client_id: Arc<str>,
    /// The session's number in the store that the nodes share: a later session of the client is another one.
    pub sid: u64,
    /// As the store writes them.
    pub entries: Vec<bytes::Bytes>,
}

/// What a node says to messages for a session that has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// They are kept.
    Kept,
    /// The session is no more.
    Gone,
    /// It is not here, or not yet.
    NotHere,
}

/// Another node owns an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// From this epoch on.
    pub epoch: Epoch,
    /// It lets what was there end, and begins anew.
    pub is_clean: bool,
}

/// The owner's side: what the cluster asks of this node's sessions. The workers implement it.
pub trait Owners: Send + Sync {
    /// Another node owns the id from `epoch` on: a session here with a lower epoch is closed (5.0: DISCONNECT 0x8E)
    /// and dropped, its will sent by the rules of a takeover.
    /// May come while a claim of the id is under way here, or granted and its session not yet made: a session that is
    /// then made with a lower epoch has lost already.
    /// Where all nodes share a store a kept session is handed over: this completes when the store has what came so far.
    fn superseded(&self, client_id: &Arc<str>, loss: Loss) -> Boxed<'_, ()>;
    /// All that is owned here: for announcing them to new registrars. Pages of at most
    /// `limit`, a worker at a time, `cursor` from 0 until `None` comes back.
    fn owned(&self, cursor: u64, limit: usize) -> Boxed<'_, OwnedPage>;
    /// By which epoch and for whom an id is owned here, if it is.
    fn owned_one(&self, client_id: &Arc<str>) -> Boxed<'_, Option<(Epoch, Holder)>>;
    /// Whether a CONNECT for the id is under way here: its session is there when it ends.
    fn is_awaited(&self, _: &Arc<str>) -> Boxed<'_, bool> {
        Box::pin(std::future::ready(false))
    }
    /// Messages for a session that moved here.
    fn relayed(&self, _: Relayed) -> Boxed<'_, Reception> {
        Box::pin(std::future::ready(Reception::NotHere))
    }
    /// Messages that a node which is gone was to get: for those sessions here that have come from elsewhere. Answers
    /// whether they are kept.
    fn rematched(&self, _: Vec<mqtt::message::SharedMessage>) -> Boxed<'_, bool> {
        Box::pin(std::future::ready(false))
    }
    /// What the workers have matched so far is in the queues to the peers when this completes.
    fn end_turns(&self) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// The session that was handed over is not routed to here any more: completes when all that came for it is with
    /// its new owner, and forgets it.
    fn let_go(&self, _: &Arc<str>, _: Epoch) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// The wills that another node is to have, as [`Owners::owned`] gives ids.
    fn wills(&self, _: u64, _: usize) -> Boxed<'_, WillPage> {
        Box::pin(std::future::ready((Vec::new(), None)))
    }
    /// Sends the will of a client whose node is down, if its user may.
    fn send_will(&self, _: LastWill) {}
    /// Another node owns a session of this one from now on: a page of it.
    fn fetched(&self, _: Fetch) -> Boxed<'_, Fetched> {
        Box::pin(std::future::ready(Fetched::NotHere))
    }
    /// A node that leaves wants this one to have a session of its, with this expiry. Answers whether it does.
    fn taken(&self, _: Owned, _: u32, _: String) -> Boxed<'_, bool> {
        Box::pin(std::future::ready(false))
    }
}

pub mod hlc;
mod holder;
mod last_will;

pub use hlc::Clock;
pub use holder::Holder;
pub use last_will::{LastWill, WillPage, delayed_id, delaying, is_sent_once, will_id};

/// The registry of a node that is alone: every claim is granted here.
#[derive(Debug)]
pub struct OnlyHere {
    clock: Arc<Clock>,
}

impl OnlyHere {
    /// Grants from this clock.
    #[must_use]
    pub const fn new(clock: Arc<Clock>) -> Self {
        Self { clock }
    }
}

impl Elsewhere for OnlyHere {
    fn claim(&self, claim: Claim) -> Boxed<'_, Result<Grant, Refusal>> {
        let epoch = Epoch(self.clock.above(claim.known.0));
        Box::pin(std::future::ready(Ok(Grant { epoch, previous: None })))
    }
    fn release(&self, _: &Arc<str>, _: Epoch) {}
}
