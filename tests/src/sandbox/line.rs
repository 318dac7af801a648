//! A node's line to the store that all nodes of a sandbox share. Cut, it answers nothing any more, as for a process that
//! is gone. Never changes what passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use mqtt::MessageId;
use store::{
    Backend, BackendStats, Caps, Claim, Claimed, Delayed, Expired, Op, Outcome, Page, Retained, SessionHead, Sid,
    StoreError, Stored, UnixMillis,
};

/// The line.
#[derive(Debug)]
pub(super) struct Line {
    store: Arc<dyn Backend>,
    is_cut: AtomicBool,
}

impl Line {
    pub(super) fn to(store: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self { store, is_cut: AtomicBool::new(false) })
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }

    async fn far(&self) -> &dyn Backend {
        if self.is_cut.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        &*self.store
    }
}

#[async_trait]
impl Backend for Line {
    fn caps(&self) -> Caps {
        self.store.caps()
    }
    async fn apply(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, StoreError> {
        self.far().await.apply(batches, is_durable).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.far().await.claim(claim).await
    }
    async fn fetch(&self, sid: Sid, after: u64, max_n: usize, max_bytes: usize) -> Result<Vec<Stored>, StoreError> {
        self.far().await.fetch(sid, after, max_n, max_bytes).await
    }
    async fn scan_sessions(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError> {
        self.far().await.scan_sessions(after, limit, with_queues).await
    }
    async fn scan_retained(&self, after: Option<&str>, limit: usize) -> Result<Page<Retained, Box<str>>, StoreError> {
        self.far().await.scan_retained(after, limit).await
    }
    async fn scan_delayed(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError> {
        self.far().await.scan_delayed(after, limit).await
    }
    async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        self.far().await.expire(now, limit).await
    }
    async fn maintain(&self) -> Result<bool, StoreError> {
        self.far().await.maintain().await
    }
    fn stats(&self) -> BackendStats {
        self.store.stats()
    }
}
