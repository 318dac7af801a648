//! What this node knows of itself, gathered from its rooms. Never asks another node.

use std::sync::Arc;

use crate::listener::{Certificate, ControlError, Listeners};
use crate::metrics::Metrics;
use crate::registry::Boxed;
use crate::router::Index;
use crate::worker::view::{ClientView, Count, SubscriptionView};
use crate::worker::{Cursor, Page, Workers};

/// A listener as `brokerctl listeners` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// `tcp` and the like.
    pub kind: String,
    /// `default` and the like.
    pub name: String,
    /// The address, with the real port.
    pub listen_on: String,
    /// Whether it accepts.
    pub running: bool,
    /// Connections now.
    pub current_conn: u64,
    /// At most so many; 0 is no limit.
    pub max_conns: u64,
    /// Since the start.
    pub accepted: u64,
    /// Closed at once, for want of room.
    pub refused: u64,
    /// Whether it expects a PROXY protocol header.
    pub proxy_protocol: bool,
    /// `running`, `drained` or `stopped`.
    pub state: String,
}

/// What a listener is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Accept again.
    Start,
    /// Close, and send its clients away.
    Stop,
    /// Close, and keep its clients.
    Drain,
    /// Stop, then start.
    Restart,
}

/// Reads the listeners as they are now.
pub type ListenersView = Box<dyn Fn() -> Vec<Listener> + Send + Sync>;

/// Reads users and rules again. Answers figures by name, or why nothing has changed.
pub type ReloadAccess = Box<dyn Fn() -> Boxed<'static, Result<Vec<(&'static str, u64)>, String>> + Send + Sync>;

/// A figure of a room that goes up and down: its name in `broker stats`, and how to read it.
pub type Gauge = (&'static str, Box<dyn Fn() -> u64 + Send + Sync>);

/// One node's knowledge of itself. The node is [`LocalParts`]; tests plug in fixed data.
pub trait Local: Send + Sync {
    /// See [`Workers::clients`].
    fn clients(&self, from: Option<Cursor>, limit: usize) -> Boxed<'_, Page<ClientView>>;
    /// See [`Workers::client`].
    fn client<'a>(&'a self, client_id: &'a str) -> Boxed<'a, Option<ClientView>>;
    /// See [`Workers::subscriptions`].
    fn subscriptions(&self, from: Option<Cursor>, limit: usize) -> Boxed<'_, Page<SubscriptionView>>;
    /// See [`Workers::subscriptions_of`].
    fn subscriptions_of<'a>(&'a self, client_id: &'a str) -> Boxed<'a, Option<Vec<SubscriptionView>>>;
    /// See [`Workers::count`].
    fn count(&self) -> Boxed<'_, Count>;
    /// See [`Workers::kick`].
    fn kick<'a>(&'a self, client_id: &'a str) -> Boxed<'a, bool>;
    /// All filters with a subscriber on this node, unordered. Called on a thread that may block.
    fn filters(&self) -> Vec<Arc<str>>;
    /// Subscriptions of this node to a filter. Called on a thread that may block.
    fn subscribers(&self, filter: &str) -> usize;
    /// Filters with a subscriber on this node, and subscriptions to them.
    fn filter_counts(&self) -> (u64, u64);
    /// The listeners.
    fn listeners(&self) -> Vec<Listener>;
    /// Starts, stops, drains or restarts one. See [`Listeners`].
    fn control<'a>(&'a self, id: &'a str, order: Order) -> Boxed<'a, Result<(), ControlError>>;
    /// See [`Listeners::reload_certificates`].
    fn reload_certificates(&self) -> Boxed<'_, Result<Vec<Certificate>, String>>;
    /// See [`Listeners::certificates`].
    fn certificates(&self) -> Vec<Certificate>;
    /// Further figures for `broker stats`.
    fn gauges(&self) -> Vec<(&'static str, u64)>;
    /// Reads users and rules again: see [`ReloadAccess`].
    fn reload_access(&self) -> Boxed<'_, Result<Vec<(&'static str, u64)>, String>>;
    /// The counters.
    fn metrics(&self) -> Vec<(&'static str, u64)>;
}

/// The rooms of a running node.
pub struct LocalParts {
    /// The sessions.
    pub workers: Workers,
    /// The filters.
    pub index: Arc<Index>,
    /// The counters.
    pub metrics: Metrics,
    /// The listeners.
    pub listeners: ListenersView,
    /// The same listeners, to be told what to do.
    pub control: Arc<Listeners>,
    /// Such as the answer to SIGHUP.
    pub reload_access: ReloadAccess,
    /// Such as `retained.count`.
    pub gauges: Vec<Gauge>,
}

impl Local for LocalParts {
    fn clients(&self, from: Option<Cursor>, limit: usize) -> Boxed<'_, Page<ClientView>> {
        Box::pin(self.workers.clients(from, limit))
    }
    fn client<'a>(&'a self, client_id: &'a str) -> Boxed<'a, Option<ClientView>> {
        Box::pin(self.workers.client(client_id))
    }
    fn subscriptions(&self, from: Option<Cursor>, limit: usize) -> Boxed<'_, Page<SubscriptionView>> {
        Box::pin(self.workers.subscriptions(from, limit))
    }
    fn subscriptions_of<'a>(&'a self, client_id: &'a str) -> Boxed<'a, Option<Vec<SubscriptionView>>> {
        Box::pin(self.workers.subscriptions_of(client_id))
    }
    fn count(&self) -> Boxed<'_, Count> {
        Box::pin(self.workers.count())
    }
    fn kick<'a>(&'a self, client_id: &'a str) -> Boxed<'a, bool> {
        Box::pin(self.workers.kick(client_id))
    }
    fn filters(&self) -> Vec<Arc<str>> {
        self.index.local_filters()
    }
    fn subscribers(&self, filter: &str) -> usize {
        self.index.holders(filter).0
    }
    fn filter_counts(&self) -> (u64, u64) {
        let counts = self.index.counts();
        (counts.local_filters as u64, counts.local_subscriptions as u64)
    }
    fn listeners(&self) -> Vec<Listener> {
        (self.listeners)()
    }
    fn control<'a>(&'a self, id: &'a str, order: Order) -> Boxed<'a, Result<(), ControlError>> {
        Box::pin(async move {
            match order {
                Order::Start => self.control.start(id).await,
                Order::Stop => self.control.stop(id).await,
                Order::Drain => self.control.drain(id).await,
                Order::Restart => self.control.restart(id).await,
            }
        })
    }
    fn reload_certificates(&self) -> Boxed<'_, Result<Vec<Certificate>, String>> {
        Box::pin(self.control.reload_certificates())
    }
    fn certificates(&self) -> Vec<Certificate> {
        self.control.certificates()
    }
    fn gauges(&self) -> Vec<(&'static str, u64)> {
        self.gauges.iter().map(|(name, read)| (*name, read())).collect()
    }
    fn reload_access(&self) -> Boxed<'_, Result<Vec<(&'static str, u64)>, String>> {
        (self.reload_access)()
    }
    fn metrics(&self) -> Vec<(&'static str, u64)> {
        self.metrics.totals()
    }
}
