//! The embedded stores as a [`Backend`]. Blocks: the committer and the reader have threads for it.

use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use mqtt::MessageId;

use super::Embedded;
use super::engine::Engine;
use crate::backend::{Backend, Caps, Claim, Claimed, Delayed, Expired, Page, Retained, SessionHead, Stored};
use crate::error::StoreError;
use crate::op::{Op, Outcome};
use crate::record::{Sid, UnixMillis};
use crate::stats::BackendStats;

#[async_trait]
impl<E: Engine> Backend for Embedded<E> {
    fn caps(&self) -> Caps {
        self.caps
    }

    async fn apply(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, StoreError> {
        self.apply_all(batches, is_durable)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.claim_session(claim)
    }

    async fn fetch(&self, sid: Sid, after: u64, max_n: usize, max_bytes: usize) -> Result<Vec<Stored>, StoreError> {
        self.fetch_page(sid, after, max_n, max_bytes)
    }

    async fn scan_sessions(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError> {
        self.session_page(after, limit, with_queues)
    }

    async fn scan_retained(&self, after: Option<&str>, limit: usize) -> Result<Page<Retained, Box<str>>, StoreError> {
        self.retained_page(after, limit)
    }

    async fn scan_delayed(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError> {
        self.delayed_page(after, limit)
    }

    async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        self.expire_some(now, limit)
    }

    async fn maintain(&self) -> Result<bool, StoreError> {
        self.maintain_some()
    }

    fn is_full(&self) -> bool {
        !self.engine.has_room()
    }

    fn stats(&self) -> BackendStats {
        BackendStats {
            disk_bytes: self.engine.disk_bytes(),
            shared_messages: self.shared.load(Relaxed),
            corrupt: self.corrupt.load(Relaxed),
        }
    }
}
