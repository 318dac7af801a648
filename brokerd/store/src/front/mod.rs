//! A store as the broker holds it: a backend, a bounded queue before it, and one committer. Never blocks the thread
//! that submits, and never lets it wait for the backend.

mod committer;
mod counters;
mod queue;
mod reads;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, Caps, Claim, Claimed, Expired};
use crate::error::{State, StoreError};
use crate::op::{Op, Outcome};
use crate::record::UnixMillis;
use crate::stats::Stats;
use committer::Committer;
use queue::{Item, Queue, Work};
use reads::Reads;

/// Called once a batch is committed, or is not going to be: the store failed for good, or is closed while its server is
/// away. Runs on the committer: it posts, and returns.
pub type Done = Box<dyn FnOnce(Result<Outcome, StoreError>) + Send>;

/// When a batch is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// When it is durable; what waits is made durable together.
    #[default]
    Group,
    /// When it is durable, each by itself.
    Every,
    /// At once: what is written before the process dies is there after it, what waits is not.
    None,
}

/// Bounds of the queue, and how commits are made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// When a batch is done.
    pub commit: Commit,
    /// Changes that may wait.
    pub max_ops: usize,
    /// Bytes they may hold.
    pub max_bytes: usize,
    /// Changes in one commit; a larger batch is a commit of its own.
    pub commit_ops: usize,
    /// Bytes in one commit.
    pub commit_bytes: usize,
    /// After how long who waits for a batch is told that the server does not answer; it is tried again for as long as that
    /// is so.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit: Commit::Group,
            max_ops: 100_000,
            max_bytes: 64 << 20,
            commit_ops: 4096,
            commit_bytes: 4 << 20,
            timeout: Duration::from_secs(5),
        }
    }
}

/// What a worker wants done in a turn: all of it, or nothing of it, is durable.
pub struct Batch {
    /// In order.
    pub ops: Vec<Op>,
    /// Who is told.
    pub done: Done,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("ops", &self.ops.len()).finish_non_exhaustive()
    }
}

/// A store. Dropping it carries out what waits, and closes the backend.
#[derive(Debug)]
pub struct Store {
    queue: Arc<Queue>,
    backend: Arc<dyn Backend>,
    reads: Reads,
    commit: Commit,
    committer: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    /// A backend that blocks: it gets a thread for changes and one for reads.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn embedded(backend: Arc<dyn Backend>, settings: Settings) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::new(settings));
        let committer = Committer::new(queue.clone(), backend.clone(), settings);
        let failed = |error: std::io::Error| StoreError::Down(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let thread = std::thread::Builder::new().name("store".into());
        let committer = thread.spawn(move || runtime.block_on(committer.run())).map_err(failed)?;
        let reads = Reads::on_a_thread().map_err(failed)?;
        Ok(Self { queue, backend, reads, commit: settings.commit, committer: Some(committer) })
    }

    /// A backend that awaits a server: it is driven on this runtime.
    #[must_use]
    pub fn remote(backend: Arc<dyn Backend>, settings: Settings, runtime: &tokio::runtime::Handle) -> Self {
        let queue = Arc::new(Queue::new(settings));
        runtime.spawn(Committer::new(queue.clone(), backend.clone(), settings).run());
        let reads = Reads::on(runtime.clone());
        Self { queue, backend, reads, commit: settings.commit, committer: None }
    }

    /// What the backend can do.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.backend.caps()
    }

    /// When a batch is done.
    #[must_use]
    pub const fn commit(&self) -> Commit {
        self.commit
    }

    /// Posts a batch. Never blocks. Batches are carried out in the order they come.
    ///
    /// # Errors
    /// The batch, where the queue is full: `done` was not called.
    pub fn submit(&self, batch: Batch) -> Result<(), Batch> {
        if self.commit != Commit::None {
            return self.queue.push_batch(batch);
        }
        let unasked = Box::new(|_: Result<Outcome, StoreError>| ());
        let done = batch.done;
        match self.queue.push_batch(Batch { ops: batch.ops, done: unasked }) {
            Ok(()) => {
                done(Ok(Outcome::default()));
                Ok(())
            }
            Err(refused) => Err(Batch { ops: refused.ops, done }),
        }
    }

    /// Tells once that the committer has taken something from the queue since, so that there may be room: to be asked for
    /// by who was refused, and for each thing that was refused once. Calls at once where nothing waits. Runs on the
    /// committer: it posts, and returns.
    pub fn when_taken(&self, tell: impl FnOnce() + Send + 'static) {
        self.queue.when_taken(Box::new(tell));
    }

    /// The same, awaited.
    pub async fn taken(&self) {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.when_taken(move || {
            let _ = tell.send(()); // who asked may have gone
        });
        let _ = told.await; // a committer that is gone takes nothing
    }

    /// Tells that batches have waited for longer than [`Settings::timeout`], and again with every attempt until the server
    /// answers: who waits for them is not to wait on. They are still carried out, in their order. Runs on the committer: it
    /// posts, and returns.
    pub fn when_late(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.queue.when_late(Box::new(tell));
    }

    /// Whether so much waits that publishers are not to be read: half of what may. Cheap enough to ask for every message.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.is_half_full()
    }

    /// Whether there is no room for what makes it larger. Cheap enough to ask for every message.
    #[must_use]
    pub fn is_out_of_room(&self) -> bool {
        self.backend.is_full()
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        let state = self.queue.state();
        if state == State::Ok && self.backend.is_full() { State::Full } else { state }
    }

    /// What it measures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { backend: self.backend.stats(), state: self.state(), ..self.queue.stats() }
    }

    /// Makes a session this node's. Comes after all that was submitted before.
    ///
    /// # Errors
    /// `Fenced` with the epoch to go above, or what is wrong with the store.
    pub async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.ask(Work::Claim(claim, answer))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Makes what this node's process before has still under way be refused: see [`Backend::fence`].
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn fence(&self, node: &str) -> Result<(), StoreError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.ask(Work::Fence(node.into(), answer))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Drops what has had its time; looks at no more than `limit` sessions and `limit` entries.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.ask(Work::Expire(now, limit, answer))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Answers when all that was submitted before is durable, or failed.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.ask(Work::Flush(answer))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    fn ask(&self, work: Work) -> Result<(), StoreError> {
        if let Some(trouble) = self.queue.trouble() {
            return Err(trouble); // it would wait behind what the server does not take
        }
        self.queue.push(Item { work, ops: 1, bytes: 0 }).map_err(|_| StoreError::Full)
    }
}

fn closed() -> StoreError {
    StoreError::Down("it is closed".into())
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue.close();
        self.reads.close();
        if let Some(committer) = self.committer.take() {
            let _ = committer.join(); // a panic there was reported where it happened
        }
    }
}
