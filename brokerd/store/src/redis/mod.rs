//! The store in a Redis server, for all nodes that name it. Never decides who owns a session: it refuses what comes from
//! an owner of before. Never follows a Redis Cluster: all keys are in one slot, so that one script changes a queue, what
//! it names and what counts that, all or nothing.
//!
//! The keys are in `docs/store-format.md`, the scripts in `lua/`.

mod calls;
mod changes;
mod claims;
mod link;
mod promises;
mod read;
mod rows;
mod scripts;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use mqtt::MessageId;

use crate::backend::{Backend, Caps, Claim, Claimed, Delayed, Expired, Page, Retained, SessionHead, Stored, Survives};
use crate::error::StoreError;
use crate::op::{Op, Outcome};
use crate::record::{Sid, UnixMillis};
use crate::stats::BackendStats;
use link::Link;

/// Where the server is, and who we are to it.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://host:port`, `rediss://host:port` or `unix:///path`, without credentials.
    pub address: String,
    /// User; `None` is the server's default user.
    pub user: Option<String>,
    /// Password. Never shown.
    pub password: Option<String>,
    /// Number of the database.
    pub database: u32,
    /// What all keys begin with. With a hash tag, as in `{brokerd}:`, they stay together wherever they are moved.
    pub prefix: String,
    /// How long an answer, or a connection, is waited for.
    pub timeout: Duration,
    /// Certificates of authorities (PEM) that vouch for the server; `None` are those of the machine.
    pub authorities: Option<Vec<u8>>,
}

impl RedisSettings {
    /// The defaults, at an address.
    #[must_use]
    pub fn new(address: String) -> Self {
        let (prefix, timeout) = ("{brokerd}:".into(), Duration::from_secs(2));
        Self { address, user: None, password: None, database: 0, prefix, timeout, authorities: None }
    }
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings")
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The backend.
#[derive(Debug)]
struct Server {
    address: String,
    prefix: String,
    timeout: Duration,
    /// For changes, one after the other.
    changes: Link,
    /// For reads: none waits behind a large change.
    reads: Link,
    /// Who this is to the server, and how many calls it has made: see `is_late` in `lua/common.lua`.
    writer: String,
    calls: AtomicU64,
    /// Whose writer this is, once it has said so.
    node: OnceLock<Box<str>>,
    /// The server had no memory for the last thing that needed some.
    is_full: AtomicBool,
    /// There may be rows of sessions that are gone.
    is_untidy: AtomicBool,
    shared: AtomicU64,
    corrupt: AtomicU64,
}

/// Connects to a server, and says what it does not promise.
///
/// # Errors
/// Where it does not answer, does not let us in, or is of no use.
pub async fn redis(settings: &RedisSettings) -> Result<Arc<dyn Backend>, StoreError> {
    let server = Server {
        address: settings.address.clone(),
        prefix: settings.prefix.clone(),
        timeout: settings.timeout,
        changes: Link::new(settings)?,
        reads: Link::new(settings)?,
        writer: format!("{:016x}", random()),
        calls: AtomicU64::new(0),
        node: OnceLock::new(),
        is_full: AtomicBool::new(false),
        is_untidy: AtomicBool::new(true),
        shared: AtomicU64::new(0),
        corrupt: AtomicU64::new(0),
    };
    promises::check(&server).await?;
    Ok(Arc::new(server))
}

/// The standard library seeds its hash maps with it.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

impl Server {
    /// Once more, where it failed at once: a connection that was lost while nobody used it is noticed by the next who does.
    async fn again<T, F: Future<Output = Result<T, StoreError>>>(&self, ask: impl Fn() -> F) -> Result<T, StoreError> {
        let begin = tokio::time::Instant::now();
        match ask().await {
            Err(StoreError::Unavailable(_)) if begin.elapsed() < self.timeout / 2 => ask().await,
            result => result,
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A record that cannot be read stays where it is, and is counted.
    fn suspect(&self, what: &str, key: impl std::fmt::Display) {
        self.corrupt.fetch_add(1, Relaxed);
        tracing::error!(server = self.address, what, %key, "a record cannot be read");
    }
}

#[async_trait]
impl Backend for Server {
    fn caps(&self) -> Caps {
        Caps { name: "redis", survives: Survives::Node, is_shared: true, is_atomic: false }
    }

    async fn apply(&self, batches: &[&[Op]], _is_durable: bool) -> Result<Vec<Outcome>, StoreError> {
        self.apply_all(batches).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let claims = std::slice::from_ref(claim);
        self.claim_all(claims).await.pop().unwrap_or_else(|| Err(self.confused("a claim")))
    }

    async fn claim_all(&self, claims: &[Claim]) -> Vec<Result<Claimed, StoreError>> {
        match self.again(|| self.claim_sessions(claims)).await {
            Ok(claimed) => claimed,
            Err(error) => vec![Err(error); claims.len()],
        }
    }

    async fn fence(&self, node: &str) -> Result<(), StoreError> {
        self.again(|| self.fence_node(node)).await
    }

    async fn fetch(&self, sid: Sid, after: u64, max_n: usize, max_bytes: usize) -> Result<Vec<Stored>, StoreError> {
        self.again(|| self.fetch_page(sid, after, max_n, max_bytes)).await
    }

    async fn scan_sessions(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError> {
        self.again(|| self.session_page(after, limit, with_queues)).await
    }

    async fn scan_retained(&self, after: Option<&str>, limit: usize) -> Result<Page<Retained, Box<str>>, StoreError> {
        self.again(|| self.retained_page(after, limit)).await
    }

    async fn scan_delayed(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError> {
        self.again(|| self.delayed_page(after, limit)).await
    }

    async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        self.again(|| self.expire_some(now, limit)).await
    }

    async fn maintain(&self) -> Result<bool, StoreError> {
        self.sweep().await
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }

    fn stats(&self) -> BackendStats {
        BackendStats { disk_bytes: 0, shared_messages: self.shared.load(Relaxed), corrupt: self.corrupt.load(Relaxed) }
    }
}
