//! Real nodes in this process, each on threads of its own, and what happens to them as a value: a scenario that fails
//! prints as a story. Owns the nodes and their links; never looks inside a node but as its clients do.

mod line;
mod relay;
mod story;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use brokerd::broker::{Broker, Given};
use brokerd::config::{self, Config, Machine, Sources};
use brokerd::worker::Workers;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use story::{Step, play};

use crate::node::SECRET;
use crate::wait::soon;
use line::Line;
use relay::Relay;

/// Nodes of one cluster.
#[derive(Debug)]
pub struct Sandbox {
    /// By number, from 0; the first is everybody's seed.
    pub nodes: Vec<Inhabitant>,
    cut: Arc<relay::Switch>,
    /// The store that all share, if they share one.
    store: Option<Arc<dyn store::Backend>>,
    settings: Vec<String>,
    seed: Option<SocketAddr>,
}

/// A node in this process.
pub struct Inhabitant {
    /// Where it serves MQTT.
    pub mqtt: SocketAddr,
    /// Its sessions, as the rooms of the node that move them see them.
    pub workers: Workers,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
    _relay: Relay,
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
        let mut sandbox = Self { nodes: Vec::new(), cut: Arc::default(), store, settings, seed: None };
        for _ in 0..size {
            sandbox.join().await;
        }
        sandbox
    }

    /// One node more.
    pub async fn join(&mut self) {
        let number = self.nodes.len();
        let relay = Relay::open(self.cut.clone()).await;
        let advertise = relay.address();
        let line = self.store.clone().map(Line::to);
        let node = Inhabitant::start(number, relay, self.seed, &self.settings, line).await;
        self.nodes.push(node);
        self.seed = self.seed.or(Some(advertise));
    }

    /// A node that was killed is back, with nothing but its name.
    pub async fn restart(&mut self, number: usize) {
        drop(self.nodes.remove(number)); // waits for its end
        let relay = Relay::open(self.cut.clone()).await;
        let line = self.store.clone().map(Line::to);
        let node = Inhabitant::start(number, relay, self.seed, &self.settings, line).await;
        self.nodes.insert(number, node);
    }

    /// Cuts every link between the nodes.
    pub fn cut(&self) {
        self.cut.set(true);
    }

    /// Mends them.
    pub fn heal(&self) {
        self.cut.set(false);
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

    async fn start(
        number: usize,
        relay: Relay,
        seed: Option<SocketAddr>,
        settings: &[String],
        line: Option<Arc<Line>>,
    ) -> Self {
        let directory = tempfile::Builder::new().prefix("brokerd-sandbox").tempdir().expect("a directory");
        let config = configuration(number, directory.path(), relay.address(), seed, settings);
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
        Self { mqtt, workers, stop, thread: Some(thread), _directory: directory, _relay: relay, line }
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
    seed: Option<SocketAddr>,
    settings: &[String],
) -> Config {
    let own = [
        format!("node.data_dir={}", directory.join("data").display()),
        "node.workers=2".into(),
        "listeners.tcp.default.bind=127.0.0.1:0".into(),
        format!("admin.listen=unix:{}", directory.join("admin.sock").display()),
        "cluster.bind=127.0.0.1:0".into(),
        format!("cluster.advertise={advertise}"),
        format!("cluster.secret={SECRET}"),
        "cluster.gossip_interval=50ms".into(),
        "cluster.peer_timeout=1s".into(),
    ];
    let sources = Sources {
        set: own.into_iter().chain(settings.iter().cloned()).collect(),
        node_name: Some(format!("s{number}")),
        seeds: seed.iter().map(ToString::to_string).collect(),
        machine: Machine::here(),
        // As for nodes in processes of their own: tests/run chooses where sessions are kept.
        environment: std::env::vars_os().filter(|(name, _)| name == "BROKERD_PERSISTENCE__BACKEND").collect(),
        ..Sources::default()
    };
    config::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}
