//! Where one room's trait meets another room's type. Converts, and decides nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::import::Importer;
use super::{Foundation, VERSION};
use crate::access::Access;
use crate::admin::{self, Keeping, LocalParts, NodeInfo, Nodes, Outside, ThisNode};
use crate::cluster::{AskError, Cluster, JoinError, Member};
use crate::config::Config;
use crate::drain::{Drain, DrainParts, HandOver};
use crate::listener::{Listener, Listeners, State};
use crate::registry::{Boxed, Elsewhere};
use crate::sys::{Figures, Sources, Sys};
use crate::worker::Workers;

impl Nodes for Cluster {
    fn members(&self) -> Vec<Member> {
        Self::members(self)
    }
    fn ask<'a>(&'a self, node: &'a str, question: Bytes, timeout: Duration) -> Boxed<'a, Result<Bytes, AskError>> {
        Box::pin(Self::ask(self, node, question, timeout))
    }
    fn join<'a>(&'a self, seed: &'a str) -> Boxed<'a, Result<(), JoinError>> {
        Box::pin(Self::join(self, seed))
    }
    fn leave(&self) -> Boxed<'_, Result<(), String>> {
        Box::pin(async {
            Self::leave(self).await;
            Ok(())
        })
    }
}

/// Who this node is, for the management API.
pub(super) fn info(base: &Foundation) -> NodeInfo {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    NodeInfo {
        name: base.name.clone(),
        version: VERSION.to_owned(),
        generation: base.generation,
        started_at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Reads users and rules again, then lets the workers end what they no longer allow. Answers how much of each.
pub(super) async fn reload_access(access: Access, workers: Workers) -> Result<Vec<(&'static str, u64)>, String> {
    let reload = tokio::task::spawn_blocking(move || access.reload());
    let loaded = reload.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let reviewed = workers.review().await;
    tracing::info!(?loaded, ?reviewed, "users and rules were read again");
    Ok(vec![
        ("users", loaded.users as u64),
        ("rules", loaded.rules as u64),
        ("subscriptions.revoked", reviewed.subscriptions),
        ("sessions.ended", reviewed.sessions),
    ])
}

/// What the management API reads of this node.
pub(super) fn local(base: &Foundation, listeners: &Arc<Listeners>) -> LocalParts {
    let (access, workers) = (base.access.clone(), base.workers.clone());
    let (control, retained, delaying) = (listeners.clone(), base.retained.clone(), base.workers.clone());
    let (index, deletions, forgotten) = (base.index.clone(), base.retained.clone(), base.retained.clone());
    let view = |listener: &Arc<Listener>| admin::Listener {
        kind: listener.config.kind.name().to_owned(),
        name: listener.config.name.clone(),
        listen_on: listener.config.bind.to_string(),
        running: listener.state() == State::Running,
        state: listener.state().name().to_owned(),
        current_conn: listener.connections() as u64,
        max_conns: listener.config.max_connections as u64,
        accepted: listener.accepted(),
        refused: listener.refused(),
        proxy_protocol: listener.has_proxy_protocol(),
    };
    LocalParts {
        workers: base.workers.clone(),
        index: base.index.clone(),
        metrics: base.metrics.clone(),
        listeners: Box::new(move || control.iter().map(view).collect()),
        control: listeners.clone(),
        reload_access: Box::new(move || Box::pin(reload_access(access.clone(), workers.clone()))),
        gauges: vec![
            ("retained.count", Box::new(move || retained.counts().messages as u64)),
            ("retained.deletions.count", Box::new(move || deletions.remembered().0 as u64)),
            ("retained.deletions.unremembered", Box::new(move || forgotten.remembered().1)),
            ("delayed.count", Box::new(move || delaying.delayed() as u64)),
            ("subscriptions.shared.count", Box::new(move || index.groups().members() as u64)),
        ],
    }
}

/// What it keeps, for the same.
pub(super) fn keeping(base: &Foundation, cluster: Option<&Cluster>) -> Keeping {
    Keeping {
        workers: base.workers.clone(),
        retained: base.retained.clone(),
        store: base.store.clone(),
        started: base.started,
        node: base.name.clone(),
        rest: admin::Rest::default(),
        import: Arc::new(Importer::new(base, cluster)),
    }
}

/// The nodes that take sessions without a connection.
struct Peers {
    workers: Workers,
    cluster: Cluster,
}

impl HandOver for Peers {
    fn others(&self) -> Vec<String> {
        Elsewhere::others(&*self.cluster.claims())
    }
    fn hand_over(&self, client_id: Arc<str>, to: String) -> Boxed<'static, bool> {
        let workers = self.workers.clone();
        Box::pin(async move { workers.give(&client_id, &to).await })
    }
}

/// What takes this node's clients to others, and where each node keeps its own the sessions without a connection. In a
/// store that all share those stay: others take them once this node is gone.
pub(super) fn drain(
    config: &Config,
    base: &Foundation,
    cluster: Option<&Cluster>,
    listeners: &Arc<Listeners>,
) -> Drain {
    let is_shared = base.store.as_ref().is_some_and(|store| store.caps().is_shared);
    let peers = cluster.filter(|_| !is_shared).cloned();
    let sessions = peers.map(|cluster| Arc::new(Peers { workers: base.workers.clone(), cluster }) as Arc<dyn HandOver>);
    Drain::new(DrainParts {
        workers: base.workers.clone(),
        listeners: listeners.clone(),
        rate: config.node.drain_rate,
        // Without `health.listen` nobody can see that it is not ready.
        wait: config.health.listen.map_or(Duration::ZERO, |_| config.node.drain_wait),
        sessions,
    })
}

/// Its part in the cluster, for the management API.
pub(super) fn outside(config: &Config, base: &Foundation, cluster: Option<&Cluster>, drain: &Drain) -> Outside {
    Outside {
        drain: drain.clone(),
        alarms: base.alarms.clone(),
        cluster: cluster.cloned(),
        index: base.index.clone(),
        workers: base.workers.clone(),
        server_reference: config.node.server_reference.clone().unwrap_or_default(),
        node: base.name.clone(),
        listing: admin::Listing::default(),
    }
}

/// The publisher of the `$SYS` tree. It shows what the management API shows.
pub(super) fn sys(base: &Foundation, this_node: Arc<ThisNode>) -> Sys {
    let gather = move || -> Pin<Box<dyn Future<Output = Figures> + Send>> {
        let this_node = this_node.clone();
        Box::pin(async move { Figures { brokers: this_node.running(), stats: this_node.stats().await } })
    };
    let sources = Sources {
        node: base.name.clone(),
        version: VERSION,
        started: base.started,
        metrics: base.metrics.clone(),
        gather: Box::new(gather),
    };
    Sys::new(sources, base.system.clone(), base.index.clone(), base.workers.mailboxes())
}

/// A node and generation as message identities name it.
pub(super) fn origin(name: &str, generation: u64) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{name}\0{generation}").as_bytes());
    digest.as_ref().iter().take(8).fold(0, |origin, byte| origin << 8 | u64::from(*byte))
}
