//! The SQL servers as a [`Backend`]. Never answers a change before the server has.

use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use mqtt::MessageId;

use super::Sql;
use super::lanes::twice;
use super::server::Server;
use crate::backend::{Backend, Caps, Claim, Claimed, Delayed, Expired, Page, Retained, SessionHead, Stored, Survives};
use crate::error::StoreError;
use crate::op::{Op, Outcome};
use crate::record::{Sid, UnixMillis};
use crate::stats::BackendStats;

/// All calls may be made twice: see [`twice`].
#[async_trait]
impl<S: Server> Backend for Sql<S> {
    fn caps(&self) -> Caps {
        Caps { name: S::NAME, survives: Survives::Node, is_shared: true, is_atomic: true }
    }

    async fn apply(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, StoreError> {
        Ok(twice(|| self.apply_all(batches, is_durable)).await?)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        Ok(twice(|| self.claim_session(claim)).await?)
    }

    async fn claim_all(&self, claims: &[Claim]) -> Vec<Result<Claimed, StoreError>> {
        let together = if claims.len() > 1 { self.claim_many(claims).await.ok() } else { None };
        let mut results = Vec::with_capacity(claims.len());
        let together = together.into_iter().flatten().chain(std::iter::repeat_with(|| None));
        for (claim, result) in claims.iter().zip(together) {
            results.push(match result {
                Some(result) => result.map_err(StoreError::from),
                None => self.claim(claim).await,
            });
        }
        results
    }

    async fn fence(&self, node: &str) -> Result<(), StoreError> {
        Ok(self.fence_node(node).await?)
    }

    async fn fetch(&self, sid: Sid, after: u64, max_n: usize, max_bytes: usize) -> Result<Vec<Stored>, StoreError> {
        Ok(twice(|| self.fetch_page(sid, after, max_n, max_bytes)).await?)
    }

    async fn scan_sessions(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError> {
        Ok(twice(|| self.session_page(after, limit, with_queues)).await?)
    }

    async fn scan_retained(&self, after: Option<&str>, limit: usize) -> Result<Page<Retained, Box<str>>, StoreError> {
        Ok(twice(|| self.retained_page(after, limit)).await?)
    }

    async fn scan_delayed(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError> {
        Ok(twice(|| self.delayed_page(after, limit)).await?)
    }

    async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        Ok(twice(|| self.expire_some(now, limit)).await?)
    }

    async fn maintain(&self) -> Result<bool, StoreError> {
        Ok(twice(|| self.maintain_some()).await?)
    }

    fn stats(&self) -> BackendStats {
        BackendStats { disk_bytes: 0, shared_messages: self.shared.load(Relaxed), corrupt: self.corrupt.load(Relaxed) }
    }
}
