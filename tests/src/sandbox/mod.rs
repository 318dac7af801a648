//! Real nodes in this process, each on threads of its own, and what happens to them as a value: a scenario that fails
//! prints as a story. Owns the nodes and their links; never looks inside a node but as its clients do.

mod line;
mod links;
mod relay;
mod story;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use brokerd::broker::{Broker, Given};
use brokerd::config::{self, Config, Machine, Sources};
use brokerd::worker::Workers;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use story::{Step, play};

use crate::node::SECRET;
use crate::wait::soon;
use line::Line;
use links::{Links, Pair, Way};
use relay::Relay;

/// Nodes of one cluster.
#[derive(Debug)]
pub struct Sandbox {
    /// By number, from 0; the first is everybody's seed.
    pub nodes: Vec<Inhabitant>,
    links: Arc<Links>,
    /// The store that all share, if they share one.
    store: Option<Arc<dyn store::Backend>>,
    settings: Vec<String>,
}

/// A node in this process.
pub struct Inhabitant {
    /// Where it serves MQTT.
    pub mqtt: SocketAddr,
    /// Its sessions, as the rooms of the node that move them see them.
    pub workers: Workers,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    directory: tempfile::TempDir,
    relay: Option<Relay>,
    line: Option<Arc<Line>>,
}

impl Sandbox {
    /// Starts nodes whose links go through relays, and waits until each is ready.
    pub async fn start(size: usize) -> Self {
        Self::start_with(size, &[]).await
    }

    /// The same with settings of the test's own, each `key=value`.
    pub async fn start_with(size: usize, settings: &[&str]) -> Self {
        Self::start_on(size, settings, None).await
    }

    /// Nodes that share a store, in memory.
    pub async fn start_sharing(size: usize, settings: &[&str]) -> Self {
        Self::start_on(size, settings, Some(store::shared_memory())).await
    }

    async fn start_on(size: usize, settings: &[&str], store: Option<Arc<dyn store::Backend>>) -> Self {
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut sandbox = Self { nodes: Vec::new(), links: Arc::default(), store, settings };
        for _ in 0..size {
            sandbox.join().await;
        }
        sandbox
    }

    /// One node more.
    pub async fn join(&mut self) {
        let number = self.nodes.len();
        let relay = Relay::open(number, self.links.clone()).await;
        let node = self.start_node(number, relay).await;
        self.nodes.push(node);
    }

    /// A node that was killed is back, at the same address, with nothing but its name.
    pub async fn restart(&mut self, number: usize) {
        let relay = self.nodes.remove(number).end().await;
        self.links.set(&self.ways_of(number), Way::Open);
        let node = self.start_node(number, relay).await;
        self.nodes.insert(number, node);
    }

    /// The first node is the seed of those that start; one that comes back knows all.
    async fn start_node(&self, number: usize, relay: Relay) -> Inhabitant {
        let line = self.store.clone().map(Line::to);
        let known = if number < self.nodes.len() { self.nodes.len() } else { self.nodes.len().min(1) };
        let seeds: Vec<_> = self.nodes[..known].iter().filter_map(Inhabitant::front).collect();
        Inhabitant::start(number, relay, &seeds, &self.settings, line).await
    }

    /// As good as killed for the others: its links close, and it says no more. A node that is killed could not say
    /// good-bye to its clients, which this one does.
    pub fn kill(&mut self, number: usize) {
        self.isolate(number);
        self.nodes[number].kill();
    }

    /// Cuts the links of one node.
    pub fn isolate(&self, number: usize) {
        self.links.set(&self.ways_of(number), Way::Cut);
    }

    /// Cuts every link between the nodes.
    pub fn cut(&self) {
        let ways: Vec<Pair> = (0..=self.nodes.len()).flat_map(|number| self.ways_of(number)).collect();
        self.links.set(&ways, Way::Cut);
    }

    /// Cuts the links between two nodes.
    pub fn cut_between(&self, one: usize, other: usize) {
        self.links.set(&[(one, other), (other, one)], Way::Cut);
    }

    /// What one node says to another does not come; what the other says does. No connection ends by it.
    pub fn silence(&self, from: usize, to: usize) {
        self.links.set(&[(from, to)], Way::Silent);
    }

    /// What two nodes say to each other comes this much later.
    pub fn slow_down(&self, one: usize, other: usize, by: Duration) {
        self.links.set(&[(one, other), (other, one)], Way::Slow(by));
    }

    /// A node is silent to the others and hears nothing, as if it were stopped; its clients are still served.
    pub fn stall(&self, number: usize) {
        self.links.set(&self.ways_of(number), Way::Silent);
    }

    /// Its links are as new.
    pub fn resume(&self, number: usize) {
        self.links.set(&self.ways_of(number), Way::Open);
    }

    /// Mends all links.
    pub fn heal(&self) {
        self.links.heal();
    }

    fn ways_of(&self, number: usize) -> Vec<Pair> {
        let others = (0..=self.nodes.len()).filter(|other| *other != number);
        others.flat_map(|other| [(number, other), (other, number)]).collect()
    }
}

impl Inhabitant {
    /// As good as killed for the others: it cannot write any more, and its links close. A node that is killed could not
    /// say good-bye to its clients, which this one does.
    pub fn kill(&mut self) {
        if let Some(line) = &self.line {
            line.cut();
        }
        self.stop.cancel();
    }

    /// Where brokerctl finds it.
    #[must_use]
    pub fn admin(&self) -> std::path::PathBuf {
        self.directory.path().join("admin.sock")
    }

    fn front(&self) -> Option<SocketAddr> {
        self.relay.as_ref().map(Relay::address)
    }

    /// Waits for its end; its front stays.
    async fn end(mut self) -> Relay {
        let relay = self.relay.take().expect("only the end takes it");
        let ending = tokio::task::spawn_blocking(move || drop(self));
        ending.await.expect("the end of a node");
        relay
    }

    async fn start(
        number: usize,
        relay: Relay,
        seeds: &[SocketAddr],
        settings: &[String],
        line: Option<Arc<Line>>,
    ) -> Self {
        let directory = tempfile::Builder::new().prefix("brokerd-sandbox").tempdir().expect("a directory");
        let config = configuration(number, directory.path(), relay.address(), seeds, settings);
        let (addresses_tx, addresses) = oneshot::channel();
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let stopping = stop.clone();
        let upstream = relay.upstream();
        let backend = line.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let here = tokio::runtime::Handle::current();
                let store = backend.map(|line| Arc::new(store::Store::remote(line, store::Settings::default(), &here)));
                let given = Given { store, ..Given::default() };
                let started = Broker::start_with(&config, given, |broker| upstream.set(broker.cluster_address()));
                let broker = started.await.unwrap_or_else(|error| panic!("node {number}: {error:#}"));
                let address = broker.listeners().iter().find_map(|listener| listener.address()).unwrap();
                let _ = addresses_tx.send((address, broker.workers().clone()));
                stopping.cancelled().await;
                broker.stop().await;
            });
            stopped.cancel();
        });
        let (mqtt, workers) = soon("the node is ready", addresses).await.expect("the node started");
        Self { mqtt, workers, stop, thread: Some(thread), directory, relay: Some(relay), line }
    }
}

impl std::fmt::Debug for Inhabitant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inhabitant").field("mqtt", &self.mqtt).finish_non_exhaustive()
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed
        }
    }
}

fn configuration(
    number: usize,
    directory: &std::path::Path,
    advertise: SocketAddr,
    seeds: &[SocketAddr],
    settings: &[String],
) -> Config {
    let own = [
        format!("node.data_dir={}", directory.join("data").display()),
        "node.workers=2".into(),
        "listeners.tcp.default.bind=127.0.0.1:0".into(),
        format!("admin.listen=unix:{}", directory.join("admin.sock").display()),
        format!("cluster.bind={}:0", relay::address_of(number)),
        format!("cluster.advertise={advertise}"),
        format!("cluster.secret={SECRET}"),
        "cluster.gossip_interval=50ms".into(),
        "cluster.peer_timeout=1s".into(),
    ];
    let sources = Sources {
        set: own.into_iter().chain(settings.iter().cloned()).collect(),
        node_name: Some(format!("s{number}")),
        seeds: seeds.iter().map(ToString::to_string).collect(),
        machine: Machine::here(),
        // As for nodes in processes of their own: tests/run chooses where sessions are kept.
        environment: std::env::vars_os().filter(|(name, _)| name == "BROKERD_PERSISTENCE__BACKEND").collect(),
        ..Sources::default()
    };
    config::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}
