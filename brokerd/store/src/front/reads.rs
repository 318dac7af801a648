//! Reads, away from the thread that asks and from the committer's. Never more of them wait than the bound: who asks
//! then waits for a place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mqtt::MessageId;
use tokio::sync::{mpsc, oneshot};

use super::{Store, closed};
use crate::backend::{Backend, Delayed, Page, Retained, SessionHead, Stored};
use crate::error::StoreError;
use crate::record::Sid;

/// Reads that wait for the reader.
const MOST_WAITING: usize = 1024;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where reads are done.
#[derive(Debug)]
pub(super) enum Reads {
    /// By a thread, one after the other.
    Thread(Option<mpsc::Sender<Job>>, Option<std::thread::JoinHandle<()>>),
    /// On a runtime, side by side.
    Runtime(tokio::runtime::Handle),
}

impl Reads {
    pub(super) fn on_a_thread() -> std::io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel::<Job>(MOST_WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new().name("store-read".into()).spawn(move || {
            runtime.block_on(async {
                while let Some(job) = jobs.recv().await {
                    job.await;
                }
            });
        })?;
        Ok(Self::Thread(Some(sender), Some(thread)))
    }

    pub(super) const fn on(runtime: tokio::runtime::Handle) -> Self {
        Self::Runtime(runtime)
    }

    pub(super) fn close(&mut self) {
        if let Self::Thread(sender, thread) = self {
            sender.take();
            if let Some(thread) = thread.take() {
                let _ = thread.join(); // a panic there was reported where it happened
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::pin(async move {
            let _ = answer.send(read.await); // who asked may have gone
        });
        match self {
            Self::Thread(Some(sender), _) => sender.send(job).await.map_err(|_| closed())?,
            Self::Thread(None, _) => return Err(closed()),
            Self::Runtime(runtime) => drop(runtime.spawn(job)),
        }
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Reads show what was committed when they are done; not what still waits.
impl Store {
    /// See [`Backend::fetch`].
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn fetch(&self, sid: Sid, after: u64, max_n: usize, max_bytes: usize) -> Result<Vec<Stored>, StoreError> {
        let backend = self.reader();
        self.reads.run(async move { backend.fetch(sid, after, max_n, max_bytes).await }).await
    }

    /// See [`Backend::scan_sessions`].
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn scan_sessions(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError> {
        let backend = self.reader();
        self.reads.run(async move { backend.scan_sessions(after, limit, with_queues).await }).await
    }

    /// See [`Backend::scan_retained`].
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn scan_retained(
        &self,
        after: Option<Box<str>>,
        limit: usize,
    ) -> Result<Page<Retained, Box<str>>, StoreError> {
        let backend = self.reader();
        self.reads.run(async move { backend.scan_retained(after.as_deref(), limit).await }).await
    }

    /// See [`Backend::scan_delayed`].
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn scan_delayed(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError> {
        let backend = self.reader();
        self.reads.run(async move { backend.scan_delayed(after, limit).await }).await
    }

    fn reader(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }
}
