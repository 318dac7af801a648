//! What waits for the committer. Never holds more than its bounds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::counters::Counters;
use super::{Batch, Settings};
use crate::backend::{Claim, Claimed, Expired};
use crate::error::{State, StoreError};
use crate::op::Op;
use crate::record::UnixMillis;
use crate::stats::Stats;

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;
/// Who was refused, or is to stop: told once.
pub(super) type Told = Box<dyn FnOnce() + Send>;
/// Who wants to hear that what waits is late: told again and again.
type Late = Box<dyn Fn() + Send + Sync>;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Work {
    Batch(Batch),
    Claim(Claim, Answer<Claimed>),
    Expire(UnixMillis, usize, Answer<Expired>),
    Fence(Box<str>, Answer<()>),
    Flush(Answer<()>),
}

impl Work {
    /// Whether somebody waits for nothing but the answer: it may be asked again.
    const fn is_question(&self) -> bool {
        !matches!(self, Self::Batch(_))
    }

    /// Who asked may have gone.
    fn refuse(self, error: &StoreError) {
        match self {
            Self::Batch(batch) => (batch.done)(Err(error.clone())),
            Self::Claim(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Expire(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Self::Fence(_, answer) | Self::Flush(answer) => drop(answer.send(Err(error.clone()))),
        }
    }
}

/// And what it weighs.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) work: Work,
    pub(super) ops: usize,
    pub(super) bytes: usize,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    ops: usize,
    bytes: usize,
    is_closed: bool,
    /// Who wants to hear that something was taken: each has one thing that waits for it.
    for_room: Vec<Told>,
}

/// The queue.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Whether `waiting` is over half of its bounds, for those who ask often.
    is_half_full: AtomicBool,
    state: Mutex<State>,
    /// Since when the backend has been at work on what it was given last.
    begun: Mutex<Option<Instant>>,
    /// Why a batch could not be carried out yet, while it is tried again: questions are answered with it at once.
    trouble: Mutex<Option<StoreError>>,
    late: Mutex<Vec<Late>>,
    settings: Settings,
    pub(super) wake: Notify,
    pub(super) counters: Counters,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            waiting: Mutex::default(),
            is_half_full: AtomicBool::new(false),
            state: Mutex::default(),
            begun: Mutex::default(),
            trouble: Mutex::default(),
            late: Mutex::default(),
            settings,
            wake: Notify::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn push_batch(&self, batch: Batch) -> Result<(), Batch> {
        let (ops, bytes) = (batch.ops.len().max(1), batch.ops.iter().map(Op::size).sum());
        self.push(Item { work: Work::Batch(batch), ops, bytes }).map_err(|item| {
            self.counters.refused.fetch_add(1, Relaxed);
            match item.work {
                Work::Batch(batch) => batch,
                _ => Batch { ops: Vec::new(), done: Box::new(|_| ()) },
            }
        })
    }

    /// Gives back what does not fit. An empty queue takes anything: a batch larger than the bound is not refused for
    /// ever.
    pub(super) fn push(&self, item: Item) -> Result<(), Item> {
        let mut waiting = self.waiting.lock();
        let is_over =
            waiting.ops + item.ops > self.settings.max_ops || waiting.bytes + item.bytes > self.settings.max_bytes;
        if waiting.is_closed || (is_over && !waiting.items.is_empty()) {
            return Err(item);
        }
        waiting.ops += item.ops;
        waiting.bytes += item.bytes;
        waiting.items.push_back(item);
        self.look(&waiting);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// The next things to do, as many as go in one commit; `None` where nothing waits. Batches and questions do not go
    /// together: those that stay here can be answered while a batch is tried again.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Item>> {
        let mut waiting = self.waiting.lock();
        let (mut ops, mut bytes, mut count) = (0, 0, 0);
        let is_question = waiting.items.front().is_some_and(|item| item.work.is_question());
        for item in waiting.items.iter().take(most) {
            let is_over = ops + item.ops > self.settings.commit_ops || bytes + item.bytes > self.settings.commit_bytes;
            if count > 0 && (is_over || item.work.is_question() != is_question) {
                break;
            }
            (ops, bytes, count) = (ops + item.ops, bytes + item.bytes, count + 1);
        }
        waiting.ops -= ops;
        waiting.bytes -= bytes;
        let taken: Vec<Item> = waiting.items.drain(..count).collect();
        self.look(&waiting);
        let told = if taken.is_empty() { Vec::new() } else { std::mem::take(&mut waiting.for_room) };
        drop(waiting);
        told.into_iter().for_each(|tell| tell());
        (!taken.is_empty()).then_some(taken)
    }

    /// A batch is tried again: who asks something meanwhile is answered with the reason, and so is who has asked.
    pub(super) fn set_trouble(&self, trouble: Option<&StoreError>) {
        *self.trouble.lock() = trouble.cloned();
        let Some(trouble) = trouble else { return };
        let mut waiting = self.waiting.lock();
        let waited = std::mem::take(&mut waiting.items).into_iter();
        let (questions, batches): (VecDeque<Item>, VecDeque<Item>) = waited.partition(|item| item.work.is_question());
        waiting.items = batches;
        waiting.ops -= questions.iter().map(|item| item.ops).sum::<usize>();
        self.look(&waiting);
        drop(waiting);
        questions.into_iter().for_each(|item| item.work.refuse(trouble));
    }

    /// Why nothing can be asked now, if so.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        self.trouble.lock().clone()
    }

    pub(super) fn when_late(&self, tell: Late) {
        self.late.lock().push(tell);
    }

    /// What waits has waited for longer than anybody is to wait.
    pub(super) fn is_late(&self) {
        self.late.lock().iter().for_each(|tell| tell());
    }

    /// Tells when something was taken since: at once, where nothing waits.
    pub(super) fn when_taken(&self, tell: Told) {
        let mut waiting = self.waiting.lock();
        if waiting.items.is_empty() {
            drop(waiting);
            return tell();
        }
        waiting.for_room.push(tell);
    }

    pub(super) fn is_half_full(&self) -> bool {
        self.is_half_full.load(Relaxed)
    }

    fn look(&self, waiting: &Waiting) {
        let is_half_full = waiting.ops * 2 >= self.settings.max_ops || waiting.bytes * 2 >= self.settings.max_bytes;
        self.is_half_full.store(is_half_full, Relaxed);
    }

    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().is_closed
    }

    /// Nothing comes any more, and nothing waits.
    pub(super) fn is_over(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.is_closed && waiting.items.is_empty()
    }

    pub(super) fn state(&self) -> State {
        let begun = *self.begun.lock();
        let known = self.state.lock().clone();
        match begun.map(|begun| begun.elapsed()).filter(|busy| known == State::Ok && *busy > self.settings.timeout) {
            Some(busy) => State::Down(format!("it has not answered for {} s", busy.as_secs())),
            None => known,
        }
    }

    /// The backend was given work, or is done with it.
    pub(super) fn set_busy(&self, is_busy: bool) {
        *self.begun.lock() = is_busy.then(Instant::now);
    }

    pub(super) fn set_state(&self, state: State) {
        let mut known = self.state.lock();
        if *known != state {
            match &state {
                State::Down(reason) => tracing::error!(%reason, "the store is down"),
                _ => tracing::info!("the store is back"),
            }
            *known = state;
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let (queued_ops, queued_bytes) = {
            let waiting = self.waiting.lock();
            (waiting.ops as u64, waiting.bytes as u64)
        };
        Stats { queued_ops, queued_bytes, ..self.counters.read() }
    }
}
