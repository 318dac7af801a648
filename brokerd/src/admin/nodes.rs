//! What the management API needs of the cluster. Never knows how a question travels.

use std::time::Duration;

use bytes::Bytes;

use crate::cluster::{AskError, JoinError, Member};
use crate::registry::Boxed;

/// The nodes of the cluster, this one among them.
pub trait Nodes: Send + Sync {
    /// All that are known, the ones that are down too.
    fn members(&self) -> Vec<Member>;
    /// Puts a question to another node's [`crate::cluster::Answer`], for at most `timeout`.
    fn ask<'a>(&'a self, node: &'a str, question: Bytes, timeout: Duration) -> Boxed<'a, Result<Bytes, AskError>>;
    /// Joins by a seed: done when the peers see this node as up, or with the reason.
    fn join<'a>(&'a self, seed: &'a str) -> Boxed<'a, Result<(), JoinError>>;
    /// Leaves, forgets the seeds, and goes on as a single node.
    fn leave(&self) -> Boxed<'_, Result<(), String>>;
}
