//! This node among others: membership, routes, forwarding and claims over authenticated links. Implements
//! `router::Forward` and `registry::Elsewhere`. Never touches a client's socket or session.

mod accept;
mod acquaintances;
mod alarming;
mod asks;
mod barrier;
pub mod claims;
mod core;
mod dial;
pub mod discovery;
mod fence;
mod forward;
mod frames;
#[doc(hidden)]
pub mod fuzz;
pub mod gossip;
mod handshake;
mod identity;
mod inbound;
mod late;
mod lease;
mod orphans;
mod overseer;
mod peer;
mod queue;
mod quiet;
mod ready;
mod received;
mod remote;
mod repair;
mod requests;
mod retained;
mod routes;
pub mod secret;
mod serve;
mod sight;
mod standing;
mod start;
#[cfg(test)]
mod tests;
mod turnover;
pub mod versions;

pub use repair::RouteSum;
pub use retained::RetainedParts;
pub use start::{Cluster, Inputs, Remember, StartError};

/// Where a member stands, as `cluster status` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Known, not yet in sync.
    Joining,
    /// In sync and serving.
    Up,
    /// On its way out.
    Leaving,
    /// Gone: gossip says dead and its stream is gone, or its stream is gone for long.
    Down,
}

/// A member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Node name.
    pub name: String,
    /// Rises at every start.
    pub generation: u64,
    /// Its state.
    pub state: MemberState,
    /// The address of gossip and peers.
    pub address: String,
    /// Its software version.
    pub version: String,
    /// The ids of its secrets, the one in use first; empty where it does not tell.
    pub secrets: String,
    /// Whether it is the node that answers.
    pub is_self: bool,
    /// Rows of it that this node holds; own rows for itself.
    pub routes: u64,
    /// Version of its route table that is applied here, and the newest that is known.
    pub route_version: (u64, u64),
    /// Why it is not `Up`, or what is wrong with the link; empty if nothing is.
    pub reason: String,
    /// Since when it is in this state, milliseconds since 1970.
    pub since: u64,
    /// The pair of links to it; none of this node to itself.
    pub link: Option<Link>,
}

/// The pair of links that this node keeps to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it is there.
    pub is_open: bool,
    /// Since the last frame of that node came, if one has.
    pub frame_age: Option<std::time::Duration>,
    /// Messages that wait to be sent to it or to be acknowledged by it.
    pub queued: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
    /// What gossip says of it: `unseen`, `alive` or `dead`.
    pub gossip: &'static str,
}

/// Why a member is not forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// There is none of this name.
    #[error("not_found")]
    Unknown,
    /// It is alive, or not called down yet.
    #[error("it is not down; a member that is alive leaves by `cluster leave`")]
    NotDown,
    /// Other nodes are taking its sessions from the shared store.
    #[error("other nodes are taking its sessions: try again when `cluster.route_grace` is over")]
    HasSessions,
}

/// Why a join did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No `cluster.secret`.
    #[error(
        "this node has no `cluster.secret`: make one with `brokerctl cluster keygen`, give it to every node, and restart"
    )]
    NoSecret,
    /// Nobody answered.
    #[error("seed `{seed}` is unreachable: {why}")]
    Unreachable {
        /// As given.
        seed: String,
        /// The last error.
        why: String,
    },
    /// The seed does not hold our secret.
    #[error("seed `{seed}` refused the cluster secret")]
    SecretRefused {
        /// As given.
        seed: String,
    },
    /// The seed is of another cluster.
    #[error("seed `{seed}` belongs to cluster `{theirs}`, this node to `{ours}`")]
    AnotherCluster {
        /// As given.
        seed: String,
        /// Its cluster.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// This node was not `up` in the peers' view in time.
    #[error("not up in the view of `{waiting_for}` after {seconds} s")]
    Slow {
        /// The peers that do not list it as up.
        waiting_for: String,
        /// How long it took.
        seconds: u64,
    },
}

/// Why a question to another node has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No such member, or it is down.
    #[error("`{0}` is not a member that is up")]
    NotUp(String),
    /// It did not answer in time.
    #[error("`{0}` did not answer in time")]
    Silent(String),
}

/// Answers questions of other nodes' management APIs: bytes in, bytes out.
pub trait Answer: Send + Sync {
    /// Never fails: a failure is part of the answer.
    fn answer(&self, question: bytes::Bytes) -> crate::registry::Boxed<'_, bytes::Bytes>;
}
