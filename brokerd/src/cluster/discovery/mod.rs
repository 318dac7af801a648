//! Where peers may be: the trait of all ways to know, the ways themselves, and the search that asks them again and again.
//! Never says who is a member: an address that it finds is gossiped with, and gossip decides.

mod dns;
mod etcd;
mod http;
mod kubernetes;
mod search;
mod seeds;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub(super) use self::search::{Outlook, Plan, Search};
pub use self::seeds::Seeds;
use crate::config;
use crate::registry::Boxed;

/// The longest that one way is waited for: a resolver that is silent, a server that does not answer.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Addresses taken of one look; what lists more is not a list of our nodes.
pub const MOST: usize = 256;

/// One way to find peers. A look never takes much longer than [`DEADLINE`], and remembers no address: they move.
pub trait Discovery: Send {
    /// As the log names it.
    fn name(&self) -> &'static str;

    /// Between two looks, once there are peers; and the longest between two that fail.
    fn period(&self) -> Duration;

    /// Where peers may be now, this node perhaps among them. Called again after every outcome.
    fn look(&mut self) -> Boxed<'_, Found>;

    /// Completes when the next look should not wait for its time.
    fn prompted(&mut self) -> Boxed<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// This node leaves: others shall not find it any more. Not called at a stop, for a node that stops comes back.
    fn withdraw(&mut self) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What a look has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In no order; at most [`MOST`].
    pub addresses: Vec<SocketAddr>,
    /// What went wrong, in words that stay the same as long as the reason does. There may be addresses all the same.
    pub trouble: Option<String>,
}

impl From<Result<Vec<SocketAddr>, String>> for Found {
    fn from(looked: Result<Vec<SocketAddr>, String>) -> Self {
        match looked {
            Ok(mut addresses) => {
                addresses.truncate(MOST);
                Self { addresses, trouble: None }
            }
            Err(why) => Self { addresses: Vec::new(), trouble: Some(why) },
        }
    }
}

/// This node, as others shall find it.
#[derive(Clone, Debug)]
pub struct Own {
    /// `cluster.name`
    pub cluster: String,
    /// `node.name`
    pub node: String,
    /// What peers dial.
    pub address: SocketAddr,
}

/// What the configuration names besides the seeds. Opens nothing yet.
#[must_use]
pub fn by(settings: &config::Discovery, own: &Own) -> Option<Box<dyn Discovery>> {
    match settings {
        config::Discovery::Static => None,
        config::Discovery::Dns(dns) => Some(Box::new(dns::Dns::new(dns.clone()))),
        config::Discovery::Etcd(etcd) => Some(Box::new(etcd::Etcd::new(etcd.clone(), own))),
        config::Discovery::Kubernetes(kubernetes) => Some(Box::new(kubernetes::Kubernetes::new(kubernetes.clone()))),
    }
}

/// The outcome, or that there was none in time.
async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let silent = || format!("no answer within {} s", limit.as_secs_f32());
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silent()))
}

/// What a stranger wrote, fit for a line of the log.
fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    text.chars().take(LONGEST).flat_map(char::escape_debug).collect()
}
