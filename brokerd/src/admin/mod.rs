//! The management API: answers brokerctl for this node and, by asking the others, for the cluster. Never decides
//! anything: it asks the rooms and converts.

mod answer;
mod ask;
mod caller;
mod convert;
mod export;
mod import;
mod incoming;
mod keeping;
mod local;
mod nodes;
mod outside;
mod page;
mod service;
mod socket;
mod store_state;
mod topics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::admin::admin_server::AdminServer;
use proto::endpoint::Endpoint;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

pub use answer::{NodeInfo, ThisNode};
pub use export::Rest;
pub use import::{Import, Imported, Spool};
pub use keeping::Keeping;
pub use local::{Gauge, Listener, ListenersView, Local, LocalParts, Order, ReloadAccess};
pub use nodes::Nodes;
pub use outside::{Listing, Outside};
pub use socket::StartError;

use crate::config;
use crate::metrics::Counters;

/// A question is small; a client id has at most 65,535 bytes.
const MAX_REQUEST: usize = 256 * 1024;
/// Requests at a time of one connection; more wait in HTTP/2.
const MAX_STREAMS: u32 = 32;
/// A caller that vanished is noticed after so long.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a stop waits for answers under way.
const GRACE: Duration = Duration::from_millis(500);

/// What the management API is made of.
pub struct AdminParts {
    /// `admin.listen`
    pub listen: config::Endpoint,
    /// `proto::endpoint::runtime_dir()`, but for tests.
    pub runtime_dir: PathBuf,
    /// The same that the cluster was given to answer peers with.
    pub this_node: Arc<ThisNode>,
    /// The other nodes; `None` where there is no cluster.
    pub nodes: Option<Arc<dyn Nodes>>,
    /// A block of this room's own.
    pub counters: Arc<Counters>,
}

/// The served API. Dropping it ends it at once and removes its socket and token.
#[derive(Debug)]
pub struct Admin {
    endpoint: Endpoint,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _files: socket::Files,
}

impl Admin {
    /// Where it is, with the real port.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes no new request, gives those under way half a second, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(GRACE, &mut self.task).await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds the endpoint and serves it on the current runtime.
///
/// # Errors
/// Where the endpoint is taken or cannot be made; the message names `admin.listen` and its value.
pub async fn serve(parts: AdminParts) -> Result<Admin, StartError> {
    let bound = socket::bind(&parts.listen, &parts.runtime_dir).await?;
    if let Some(nodes) = &parts.nodes {
        parts.this_node.sees(nodes);
    }
    let (endpoint, files) = (bound.endpoint, bound.files);
    let service = service::Service::new(parts.this_node, parts.nodes);
    let service = AdminServer::new(service).max_decoding_message_size(MAX_REQUEST);
    let service = InterceptedService::new(service, caller::Guard::new(bound.token));
    let stop = CancellationToken::new();
    let serving = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(
            incoming::Incoming::new(bound.listener, parts.counters),
            stop.clone().cancelled_owned(),
        );
    let task = tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the management API ended");
        }
    });
    Ok(Admin { endpoint, stop, task, _files: files })
}
