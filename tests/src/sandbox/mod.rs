//! Real nodes in this process, each on threads of its own, and what happens to them as a value: a scenario that fails
//! prints as a story. Owns the nodes and their links; never looks inside a node but as its clients do.

mod relay;
mod story;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use brokerd::broker::Broker;
use brokerd::config::{self, Config, Machine, Sources};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use story::{Step, play};

use crate::node::SECRET;
use crate::wait::soon;
use relay::Relay;

/// Nodes of one cluster.
#[derive(Debug)]
pub struct Sandbox {
    /// By number, from 0; the first is everybody's seed.
    pub nodes: Vec<Inhabitant>,
    cut: Arc<relay::Switch>,
}

/// A node in this process.
#[derive(Debug)]
pub struct Inhabitant {
    /// Where it serves MQTT.
    pub mqtt: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
    _relay: Relay,
}

impl Sandbox {
    /// Starts nodes whose links go through relays, and waits until each is ready.
    pub async fn start(size: usize) -> Self {
        Self::start_with(size, &[]).await
    }

    /// The same with settings of the test's own, each `key=value`.
    pub async fn start_with(size: usize, settings: &[&str]) -> Self {
        let cut = Arc::new(relay::Switch::default());
        let mut nodes: Vec<Inhabitant> = Vec::new();
        let mut seed = None;
        for number in 0..size {
            let relay = Relay::open(cut.clone()).await;
            let advertise = relay.address();
            nodes.push(Inhabitant::start(number, relay, seed, settings).await);
            seed = seed.or(Some(advertise));
        }
        Self { nodes, cut }
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
    async fn start(number: usize, relay: Relay, seed: Option<SocketAddr>, settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("brokerd-sandbox").tempdir().expect("a directory");
        let config = configuration(number, directory.path(), relay.address(), seed, settings);
        let (addresses_tx, addresses) = oneshot::channel();
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let stopping = stop.clone();
        let upstream = relay.upstream();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let started = Broker::start(&config, |broker| upstream.set(broker.cluster_address()));
                let broker = started.await.unwrap_or_else(|error| panic!("node {number}: {error:#}"));
                let _ = addresses_tx.send(broker.listeners().iter().find_map(|listener| listener.address()).unwrap());
                stopping.cancelled().await;
                broker.stop().await;
            });
            stopped.cancel();
        });
        let mqtt = soon("the node is ready", addresses).await.expect("the node started");
        Self { mqtt, stop, thread: Some(thread), _directory: directory, _relay: relay }
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
    settings: &[&str],
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
        set: own.into_iter().chain(settings.iter().map(ToString::to_string)).collect(),
        node_name: Some(format!("s{number}")),
        seeds: seed.iter().map(ToString::to_string).collect(),
        machine: Machine::here(),
        // As for nodes in processes of their own: tests/run chooses where sessions are kept.
        environment: std::env::vars_os().filter(|(name, _)| name == "BROKERD_PERSISTENCE__BACKEND").collect(),
        ..Sources::default()
    };
    config::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}
