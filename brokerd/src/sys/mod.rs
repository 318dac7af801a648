//! The `$SYS` tree of this node: its figures as retained messages, published now and then to whoever is subscribed
//! here. Never forwards them: each node speaks for itself, and a subscriber sees the node that it is connected to.
//!
//! They are kept apart from what clients retain, so that no limit or copy of those concerns them.

mod date;
mod load;
#[cfg(test)]
mod tests;
mod tree;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mqtt::Message;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Counters, Metric, Metrics};
use crate::retain::{Limits, Retained};
use crate::router::{Delivery, Index, Mailboxes, Matches};
use load::Loads;
use tree::Snapshot;

/// More topics than the tree has, whatever is counted one day.
const LIMITS: Limits = Limits { max_messages: 4096, max_bytes: 4 << 20 };

/// What other rooms know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Names of the nodes that are up, this one included.
    pub brokers: Vec<String>,
    /// By the names of `broker stats`.
    pub stats: Vec<(&'static str, u64)>,
}

/// Asks other rooms for their figures.
pub type Gather = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Figures> + Send>> + Send + Sync>;

/// What the tree is made from.
pub struct Sources {
    /// `node.name`
    pub node: String,
    /// Of the software.
    pub version: &'static str,
    /// When the node started.
    pub started: Instant,
    /// The counters.
    pub metrics: Metrics,
    /// The rest.
    pub gather: Gather,
}

/// The publisher of the tree.
pub struct Sys {
    sources: Sources,
    counters: Arc<Counters>,
    tree: Arc<Retained>,
    index: Arc<Index>,
    mailboxes: Arc<dyn Mailboxes>,
    loads: Loads,
    at: Instant,
}

/// The store of the last values, empty. Give it to the workers too: that is where new subscribers read them.
#[must_use]
pub fn store() -> Arc<Retained> {
    Arc::new(Retained::new(LIMITS))
}

impl Sys {
    /// Publishes nothing yet.
    #[must_use]
    pub fn new(sources: Sources, tree: Arc<Retained>, index: Arc<Index>, mailboxes: Arc<dyn Mailboxes>) -> Self {
        let (counters, at) = (sources.metrics.block(), sources.started);
        Self { sources, counters, tree, index, mailboxes, loads: Loads::default(), at }
    }

    /// Publishes every `interval` until `stop`.
    pub async fn run(mut self, interval: Duration, stop: CancellationToken) {
        while tokio::time::timeout(interval, stop.cancelled()).await.is_err() {
            self.publish().await;
        }
    }

    /// Publishes every value once.
    pub async fn publish(&mut self) {
        let figures = (self.sources.gather)().await;
        let metrics = self.sources.metrics.totals();
        let now = Instant::now();
        self.loads.observe(&metrics, now.saturating_duration_since(self.at));
        self.at = now;
        let values = tree::values(&Snapshot {
            node: &self.sources.node,
            version: self.sources.version,
            uptime: now.saturating_duration_since(self.sources.started),
            unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            figures: &figures,
            metrics: &metrics,
            loads: &self.loads,
        });
        self.send(values);
    }

    /// Keeps the values for those who subscribe later, and hands them to those who have: QoS 0, one batch a worker.
    fn send(&self, values: Vec<(String, String)>) {
        let mut batches: Vec<Vec<Delivery>> = (0..self.mailboxes.workers()).map(|_| Vec::new()).collect();
        let mut matches = Matches::default();
        for (topic, value) in values {
            let mut message = Message::new(&topic, &[], value.as_bytes());
            message.retain = true;
            let message = Arc::new(message);
            if self.tree.set(message.clone()).is_err() {
                self.counters.inc(Metric::MessagesDropped);
            }
            matches.clear();
            self.index.matches(&topic, &mut matches);
            matches.local.sort_unstable_by_key(|subscriber| (subscriber.worker, subscriber.session, subscriber.serial));
            for subscribers in matches.local.chunk_by(|a, b| a.worker == b.worker) {
                let delivery = Delivery { message: message.clone(), subscribers: subscribers.to_vec(), shared: None };
                batches[usize::from(subscribers[0].worker)].push(delivery);
            }
        }
        for (worker, batch) in (0_u16..).zip(batches) {
            if batch.is_empty() {
                continue;
            }
            if self.mailboxes.is_full(worker) {
                self.counters.add(Metric::MessagesDropped, batch.len() as u64); // the next round has newer values
            } else {
                self.mailboxes.deliver(worker, batch, None);
            }
        }
    }
}
