//! A node on its own in this process, for what only the library can be given: mechanisms of enhanced authentication.
//! Owns the node; looks at it only as its clients do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use brokerd::access::Mechanism;
use brokerd::broker::{Broker, Given};
use brokerd::config::{self, Machine, Sources};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::wait::soon;

/// A running node.
#[derive(Debug)]
pub struct InProcess {
    /// Where it serves MQTT.
    pub mqtt: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl InProcess {
    /// Starts it with these keys set.
    pub async fn start(sets: &[&str], mechanisms: Vec<Arc<dyn Mechanism>>) -> Self {
        let directory = tempfile::Builder::new().prefix("brokerd-test").tempdir().expect("a directory");
        let at = directory.path().display();
        let own = [
            format!("node.data_dir={at}/data"),
            format!("admin.listen=unix:{at}/admin.sock"),
            "node.workers=2".into(),
            "listeners.tcp.default.bind=127.0.0.1:0".into(),
        ];
        let set = own.into_iter().chain(sets.iter().map(ToString::to_string)).collect();
        let sources = Sources { set, node_name: Some("n1".into()), machine: Machine::here(), ..Sources::default() };
        let config = config::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"));
        let (address_tx, address) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let started = Broker::start_with(&config, Given { mechanisms, ..Given::default() }, |_| {}).await;
                let broker = started.unwrap_or_else(|error| panic!("{error:#}"));
                let _ = address_tx.send(broker.listeners().iter().find_map(|listener| listener.address()).unwrap());
                stopping.cancelled().await;
                broker.stop().await;
            });
        });
        let mqtt = soon("the node is ready", address).await.expect("the node started");
        Self { mqtt, stop, thread: Some(thread), _directory: directory }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed
        }
    }
}
