//! Taking this node's clients to others: it stops to accept, sends them away at a rate, and takes clients again when it
//! is told to. Decides when; who goes first is the workers' affair, and where to is the order's.

mod order;
mod run;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;
use tokio::task::JoinHandle;

use crate::listener::{Listeners, State as Listening};
use crate::registry::Boxed;
use crate::worker::Workers;
pub use order::Order;

/// Gives sessions without a connection to other nodes: after the last client has gone.
pub trait HandOver: Send + Sync {
    /// The other nodes that are up.
    fn others(&self) -> Vec<String>;
    /// Whether that node has it now.
    fn hand_over(&self, client_id: Arc<str>, to: String) -> Boxed<'static, bool>;
}

/// What a drain works on.
pub struct DrainParts {
    /// The clients.
    pub workers: Workers,
    /// What is closed first.
    pub listeners: Arc<Listeners>,
    /// `node.drain_rate`
    pub rate: u32,
    /// How long the node says that it is not ready before it closes anything.
    pub wait: Duration,
    /// Who takes sessions without a connection; without one they stay: there is nobody, or all nodes share a store, where
    /// another node takes them once this one is gone.
    pub sessions: Option<Arc<dyn HandOver>>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The node takes clients.
    #[default]
    Off,
    /// It says that it is not ready, and accepts.
    Waiting,
    /// It accepts nobody, and sends clients away.
    Moving,
    /// It has no clients and accepts none.
    Drained,
    /// It sends some clients away, and accepts others.
    Shedding,
}

impl Phase {
    /// As `brokerctl node drain` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Waiting => "waiting",
            Self::Moving => "moving",
            Self::Drained => "drained",
            Self::Shedding => "shedding",
        }
    }
}

/// What has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How far it is.
    pub phase: Phase,
    /// Clients that were sent away by this order, or the last one.
    pub moved: u64,
    /// How many it is to send away; 0 is all.
    pub wanted: u64,
    /// Sessions without a connection that another node has taken.
    pub handed_over: u64,
    /// Clients a second.
    pub rate: u32,
    /// Since when it is in this phase, milliseconds since 1970.
    pub since: u64,
}

/// The drain of a node: one at a time. Cheap to clone.
#[derive(Clone)]
pub struct Drain(Arc<Inner>);

struct Inner {
    parts: DrainParts,
    progress: Mutex<Progress>,
    /// The listeners that it has closed: only they are opened again.
    closed: Mutex<Vec<String>>,
    /// Held while an order is given.
    task: Turn<Option<JoinHandle<()>>>,
}

impl Drain {
    /// None is under way.
    #[must_use]
    pub fn new(parts: DrainParts) -> Self {
        let (progress, closed, task) = (Mutex::default(), Mutex::default(), Turn::default());
        Self(Arc::new(Inner { parts, progress, closed, task }))
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.0.progress.lock()
    }

    /// Why the node is not to be given clients, if it is not.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<&'static str> {
        match self.progress().phase {
            Phase::Off => None,
            Phase::Waiting | Phase::Moving => Some("draining"),
            Phase::Drained => Some("drained"),
            Phase::Shedding => Some("rebalancing"),
        }
    }

    /// Begins, or goes on by another order: at another rate, to other nodes.
    ///
    /// # Errors
    /// Where some clients are to go while all are going.
    pub async fn start(&self, order: Order) -> Result<(), &'static str> {
        let mut task = self.0.task.lock().await;
        let before = self.progress();
        let is_draining = matches!(before.phase, Phase::Waiting | Phase::Moving | Phase::Drained);
        if is_draining && order.clients > 0 {
            return Err("this node is drained: all of its clients go");
        }
        if let Some(task) = task.take() {
            task.abort();
            let _ = task.await; // how it ended does not matter
        }
        let rate = if order.rate == 0 { self.0.parts.rate } else { order.rate };
        let moved = if is_draining { before.moved } else { 0 };
        *self.0.progress.lock() =
            Progress { phase: before.phase, moved, wanted: order.clients, handed_over: 0, rate, since: before.since };
        self.enter(match order.clients {
            0 if is_draining && before.phase != Phase::Waiting => Phase::Moving,
            0 => Phase::Waiting,
            _ => Phase::Shedding,
        });
        tracing::info!(rate, clients = order.clients, references = ?order.redirect.references, "clients are sent away");
        *task = Some(tokio::spawn(self.clone().run(order, !is_draining)));
        Ok(())
    }

    /// Sends nobody away any more, and takes clients again.
    ///
    /// # Errors
    /// With the listener that cannot be opened, and why.
    pub async fn stop(&self) -> Result<(), String> {
        let mut task = self.0.task.lock().await;
        if let Some(task) = task.take() {
            task.abort();
            let _ = task.await; // how it ended does not matter
        }
        let closed = std::mem::take(&mut *self.0.closed.lock());
        let mut wrong = Vec::new();
        for id in closed {
            match self.0.parts.listeners.start(&id).await {
                Ok(()) | Err(crate::listener::ControlError::AlreadyStarted) => {}
                Err(error) => {
                    wrong.push(format!("{id}: {error}"));
                    self.0.closed.lock().push(id);
                }
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }
        if self.progress().phase != Phase::Off {
            tracing::info!("this node takes clients again");
            self.enter(Phase::Off);
        }
        Ok(())
    }

    /// The node ends: nothing is opened again.
    pub async fn end(&self) {
        if let Some(task) = self.0.task.lock().await.take() {
            task.abort();
        }
    }

    async fn close_listeners(&self) {
        for listener in self.0.parts.listeners.iter() {
            if listener.state() != Listening::Running {
                continue;
            }
            let id = listener.id();
            self.0.closed.lock().push(id.clone());
            let _ = self.0.parts.listeners.drain(&id).await; // one that was stopped meanwhile is closed, too
        }
    }

    fn enter(&self, phase: Phase) {
        let mut progress = self.0.progress.lock();
        if progress.phase != phase {
            progress.phase = phase;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            progress.since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        }
    }
}
