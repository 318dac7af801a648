//! What the threads of a load tell the one that watches, and how they begin together. Never waits for a thread that has
//! failed.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Barrier, OnceLock};

use super::process::{Broker, Memory, now, own_cpu};

/// Between threads.
#[derive(Debug)]
pub(crate) struct Watch {
    broker: Broker,
    barrier: Barrier,
    attached: AtomicUsize,
    is_failed: AtomicBool,
    start: AtomicU64,
    at_start: OnceLock<Sample>,
    sent: AtomicU64,
    done: AtomicU64,
    finished: AtomicUsize,
}

/// Everything that is looked at, at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time: u64,
    /// Of the broker.
    pub(crate) cpu: Option<u64>,
    pub(crate) memory: Option<Memory>,
    /// Of this process.
    pub(crate) own_cpu: u64,
    pub(crate) sent: u64,
    /// Delivered, or acknowledged where nobody subscribes.
    pub(crate) done: u64,
}

impl Watch {
    /// Of so many threads.
    pub(crate) fn new(broker: Broker, threads: usize) -> Self {
        Self {
            broker,
            barrier: Barrier::new(threads),
            attached: AtomicUsize::new(0),
            is_failed: AtomicBool::new(false),
            start: AtomicU64::new(0),
            at_start: OnceLock::new(),
            sent: AtomicU64::new(0),
            done: AtomicU64::new(0),
            finished: AtomicUsize::new(0),
        }
    }

    /// Counts connections that are there.
    pub(crate) fn attach(&self, count: usize) {
        self.attached.fetch_add(count, Relaxed);
    }

    /// Connections that are there.
    pub(crate) fn attached(&self) -> usize {
        self.attached.load(Relaxed)
    }

    /// Waits until all threads are ready; when to start, unless one of them failed.
    pub(crate) fn ready(&self, is_ok: bool) -> Option<u64> {
        if !is_ok {
            self.is_failed.store(true, Release);
        }
        if self.barrier.wait().is_leader() {
            let sample = self.at_start.get_or_init(|| self.sample());
            self.start.store(sample.time, Release);
        }
        self.barrier.wait();
        (!self.is_failed.load(Acquire)).then(|| self.start.load(Acquire))
    }

    /// When the threads start, once that is known.
    pub(crate) fn start(&self) -> Option<(u64, Sample)> {
        let sample = self.at_start.get()?;
        Some((self.start.load(Acquire), *sample)).filter(|(start, _)| *start > 0)
    }

    /// Counts messages.
    pub(crate) fn add(&self, sent: u64, done: u64) {
        self.sent.fetch_add(sent, Relaxed);
        self.done.fetch_add(done, Relaxed);
    }

    /// A thread has ended, in whatever way.
    pub(crate) fn finish(&self) {
        self.finished.fetch_add(1, AcqRel);
    }

    /// How many threads have ended.
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Acquire)
    }

    /// Looks at everything.
    pub(crate) fn sample(&self) -> Sample {
        let (cpu, memory) = (self.broker.cpu(), self.broker.memory());
        let (sent, done) = (self.sent.load(Relaxed), self.done.load(Relaxed));
        Sample { time: now(), cpu, memory, own_cpu: own_cpu(), sent, done }
    }
}
