//! What a kind of store has to do. Never how changes are gathered into commits: `front` does that.

use async_trait::async_trait;
use mqtt::message::SharedMessage;
use mqtt::{MessageId, PacketId, Qos};

use crate::error::StoreError;
use crate::op::{Entry, Op, Outcome};
use crate::record::{SessionRecord, Sid, Stamp, UnixMillis};
use crate::stats::BackendStats;

/// What a committed batch outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survives {
    /// Nothing.
    Nothing,
    /// The end of this node's process and a power cut, not the loss of its disk.
    PowerCut,
    /// The loss of this node, as far as the server promises.
    Node,
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What a commit outlives.
    pub survives: Survives,
    /// Whether other nodes use the same store.
    pub is_shared: bool,
    /// Whether a group of batches is one commit, all or nothing; if not, each session's part of each batch is.
    pub is_atomic: bool,
}

/// Who wants a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Client identifier.
    pub client_id: Box<str>,
    /// From the registrar.
    pub epoch: u64,
    /// The node that will own it.
    pub node: Box<str>,
    /// Whether what was there is dropped (Clean Start).
    pub is_clean: bool,
    /// The highest epoch by which the claimant may have it, where it is to go on with what it has of it: refused where it was
    /// another node's since. `None` where it goes on with what the store has.
    pub held: Option<u64>,
}

impl Claim {
    /// Whether this is the claim that the store has already.
    pub(crate) fn is_again(&self, epoch: u64, node: &str) -> bool {
        self.epoch == epoch && *self.node == *node
    }

    /// Whether it is granted over what the store has.
    pub(crate) fn is_granted(&self, epoch: u64, node: &str) -> bool {
        let is_held = self.held.is_none_or(|held| epoch <= held && *self.node == *node);
        self.is_again(epoch, node) || (self.epoch > epoch && is_held)
    }
}

/// A delivery that is not finished, without its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number in the queue.
    pub seq: u64,
    /// The QoS it is sent with.
    pub qos: Qos,
    /// Bytes of its message; 0 where that is gone.
    pub size: u32,
    /// When it is no longer worth sending.
    pub expires_at: Option<UnixMillis>,
    /// Under what it was sent, if it was.
    pub packet_id: Option<PacketId>,
    /// PUBREC came: its message is gone.
    pub is_released: bool,
}

/// A session taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its number, for all changes to it.
    pub sid: Sid,
    /// As saved last; `None` where it is new.
    pub record: Option<SessionRecord>,
    /// What is queued or in flight, in the order of their numbers.
    pub queue: Vec<Waiting>,
    /// QoS 2 packet ids of the client whose PUBREL has not come.
    pub received: Vec<PacketId>,
}

/// A queued delivery as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// As it was given.
    pub entry: Entry,
    /// Its message, also where the entry only names it. `expires_at` is not set: the entry's counts.
    pub message: SharedMessage,
}

/// A session at start, or for the admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHead {
    /// Its number.
    pub sid: Sid,
    /// Its client.
    pub client_id: Box<str>,
    /// Its owner's epoch.
    pub epoch: u64,
    /// Its owner.
    pub node: Box<str>,
    /// As saved last; `None` where its owner never did: at a start of a store that is one node's, such a session is
    /// nobody's, and is to be dropped.
    pub record: Option<SessionRecord>,
    /// What is queued or in flight; empty where it was not asked for.
    pub queue: Vec<Waiting>,
    /// QoS 2 packet ids of the client whose PUBREL has not come; empty where it was not asked for.
    pub received: Vec<PacketId>,
}

/// A retained message, or the memory of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Its topic.
    pub topic: Box<str>,
    /// When it was set.
    pub stamp: Stamp,
    /// `None` where it was deleted.
    pub message: Option<SharedMessage>,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
}

/// A message that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// Its identity.
    pub id: MessageId,
    /// Its time.
    pub due: UnixMillis,
    /// The message.
    pub message: SharedMessage,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// Who published it: their right to is asked about again when it is due.
    pub client_id: Box<str>,
    /// Who that is for `authorize`; `None` is nobody in particular.
    pub principal: Option<Box<str>>,
}

/// Part of a scan, and where the next part begins; `None` is the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// In the store's order.
    pub items: Vec<T>,
    /// For the next call.
    pub next: Option<C>,
}

/// What had its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Sessions that ended.
    pub sessions: Vec<(Sid, Box<str>)>,
    /// Entries that left their queues. Those in flight stay: their exchange is finished first.
    pub messages: Vec<(Sid, u64)>,
    /// Whether all was looked at since a call last said so.
    pub is_round: bool,
}

/// A kind of store. Embedded ones block in these calls, which the committer's thread is for; those of servers await.
///
/// One caller makes all changes, one after the other (`apply`, `claim`, `expire`, `maintain`); reads come at any time.
#[async_trait]
pub trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// What it can do.
    fn caps(&self) -> Caps;

    /// Carries out batches in their order, as one commit where [`Caps::is_atomic`]; the same batch again changes
    /// nothing. `is_durable` is whether to answer only when they survive what the backend survives. Answers one
    /// outcome a batch.
    async fn apply(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, StoreError>;

    /// Makes a session the claimant's, in one step and only where the epoch is higher than the store's, or the same of
    /// the same node, and it is the claimant's still if it is to be [`Claim::held`].
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError>;

    /// The same for many sessions, each of another client: one answer each, in their order.
    async fn claim_all(&self, claims: &[Claim]) -> Vec<Result<Claimed, StoreError>> {
        let mut results = Vec::with_capacity(claims.len());
        for claim in claims {
            results.push(self.claim(claim).await);
        }
        results
    }

    /// Raises the epoch of all that is this node's. Whatever its process before has still under way at a server is refused from
    /// here on, each batch in whole. For its start, before it reads what it has.
    async fn fence(&self, _node: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Entries of a queue after `after`, in order: at most `max_n`, and no more once they have `max_bytes`.
    async fn fetch(&self, sid: Sid, after: u64, max_n: usize, max_bytes: usize) -> Result<Vec<Stored>, StoreError>;

    /// Sessions after `after`. With `with_queues` also what is queued for them, which reads that.
    async fn scan_sessions(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError>;

    /// Retained messages after a topic.
    async fn scan_retained(&self, after: Option<&str>, limit: usize) -> Result<Page<Retained, Box<str>>, StoreError>;

    /// Delayed messages after one.
    async fn scan_delayed(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError>;

    /// Looks at no more than `limit` sessions and `limit` entries, and drops those whose time has come.
    async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError>;

    /// A bounded piece of what is to be done behind the scenes; whether there is more.
    async fn maintain(&self) -> Result<bool, StoreError>;

    /// Whether there is no room. Answers at once: workers ask.
    fn is_full(&self) -> bool {
        false
    }

    /// What it measures of itself.
    fn stats(&self) -> BackendStats;
}
