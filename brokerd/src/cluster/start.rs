//! The cluster of one node, put together: what binds, what runs, and what the rest of the broker holds of it. Decides
//! nothing about members; joining and leaving are in `turnover`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Mutex as Turn, watch};
use tokio::task::JoinSet;

use super::acquaintances::{self, Acquaintances};
use super::asks::Kind;
use super::claims::{ClaimSettings, Claims};
use super::core::{Core, Parts};
use super::forward::{self, Tally};
use super::gossip::{Gossip, GossipError, GossipSettings};
use super::identity::{Identity, IdentityError};
use super::overseer::{Overseer, Registry, Voice};
use super::requests::ClaimLinks;
use super::retained::{self, Replica, RetainedParts};
use super::secret::Ring;
use super::{Answer, AskError, accept, discovery};
use crate::alarms::Board;
use crate::config;
use crate::metrics::Metrics;
use crate::registry::Clock;
use crate::router::{Forward, Index, Mailboxes};

/// Attempts to find a port that is free for TCP and UDP.
const BIND_ATTEMPTS: usize = 16;

/// Keeps addresses over a restart.
pub type Remember = Arc<dyn Fn(&[String]) + Send + Sync>;

/// What a cluster is made from.
pub struct Inputs {
    /// `[cluster]`; its secret must be there.
    pub settings: config::Cluster,
    /// `node.name`.
    pub node: String,
    /// Above that of every earlier start of this node.
    pub generation: u64,
    /// A generation above all before, kept over a restart: for a node that joins again after it left.
    pub next_generation: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Seeds: those of the configuration and those remembered.
    pub seeds: Vec<String>,
    /// Keeps the seeds that were learned by `join`; empty after `leave`.
    pub remember_seeds: Remember,
    /// Where its peers were when it saw them last: they are looked for as seeds are.
    pub peers: Vec<String>,
    /// Keeps where its peers are. May block.
    pub remember_peers: Remember,
    /// Zero of the clock that messages expire by.
    pub started: Instant,
    /// The node's hybrid logical clock.
    pub clock: Arc<Clock>,
    /// The node's index.
    pub index: Arc<Index>,
    /// What the node retains.
    pub retained: RetainedParts,
    /// The workers.
    pub mailboxes: Arc<dyn Mailboxes>,
    /// The node's counters.
    pub metrics: Metrics,
    /// `mqtt.max_packet_size`.
    pub max_packet_size: u32,
    /// Version of this software.
    pub version: String,
    /// Whether all nodes share a store, so that another node takes the sessions of one that is gone.
    pub sessions_move: bool,
    /// Where it tells what is wrong.
    pub alarms: Arc<Board>,
}

/// Why the cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No `cluster.secret`.
    #[error("`cluster.secret` is missing: make one with `brokerctl cluster keygen`")]
    NoSecret,
    /// `cluster.bind` could not be bound.
    #[error("cannot bind `cluster.bind` = `{address}`: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// TLS.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Gossip.
    #[error(transparent)]
    Gossip(#[from] GossipError),
}

/// This node's part in its cluster. Cheap to clone; ends by [`Cluster::stop`], or when the last clone is dropped.
#[derive(Clone)]
pub struct Cluster {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) core: Arc<Core>,
    pub(super) bound: SocketAddr,
    pub(super) claims: Arc<Claims>,
    pub(super) metrics: Metrics,
    /// How many keys gossip knows.
    pub(super) gossip_keys: Arc<AtomicU64>,
    pub(super) next_generation: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(super) remember_seeds: Remember,
    pub(super) remember_peers: Remember,
    pub(super) ready_tx: watch::Sender<bool>,
    pub(super) looked_tx: watch::Sender<u64>,
    pub(super) failed_tx: watch::Sender<Option<String>>,
    /// Accepting and the barrier: until the end.
    pub(super) tasks: Turn<JoinSet<()>>,
    /// Between a join and a leave.
    pub(super) membership: Turn<Option<Membership>>,
}

/// Gossip and what judges it.
pub(super) struct Membership {
    pub(super) gossip: Arc<Gossip>,
    pub(super) tasks: JoinSet<()>,
    pub(super) seeds: Vec<String>,
}

impl Cluster {
    /// Binds, and starts everything on the current runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(inputs: Inputs) -> Result<Self, StartError> {
        let secret = inputs.settings.secret.clone().ok_or(StartError::NoSecret)?;
        let ring = ring(&secret, &inputs.settings);
        let identity = Identity::new(&inputs.node, &inputs.settings.name, ring)?;
        let (listener, socket) = bind(inputs.settings.bind).await?;
        let failed = |error| StartError::Bind { address: inputs.settings.bind, error };
        let bound = listener.local_addr().map_err(failed)?;
        let address = inputs.settings.advertise.unwrap_or(bound);
        let parts = Parts {
            identity,
            settings: inputs.settings,
            max_packet_size: inputs.max_packet_size,
            version: inputs.version,
            started: inputs.started,
            clock: inputs.clock,
            index: inputs.index,
            mailboxes: inputs.mailboxes,
            tally: Tally::new(inputs.metrics.block()),
            sessions_move: inputs.sessions_move,
            alarms: inputs.alarms,
        };
        let tally = Tally::new(inputs.metrics.block());
        let replica = Replica::new(inputs.retained, parts.clock.clone(), tally);
        let core = Arc::new(Core::new(parts, replica, inputs.generation, address));
        let claims = Claims::new(
            ClaimSettings {
                node: core.parts.identity.node.clone(),
                claim_timeout: core.parts.settings.claim_timeout,
                protocol: core.parts.settings.protocol,
                clock: core.parts.clock.clone(),
                counters: inputs.metrics.block(),
                max_wills_bytes: core.parts.settings.max_wills_bytes,
            },
            Arc::new(ClaimLinks(Arc::downgrade(&core))),
        );
        core.handlers.write().claims = Arc::downgrade(&claims);
        core.handlers.write().core = Arc::downgrade(&core);
        let shared = Arc::new(Shared {
            core: core.clone(),
            bound,
            claims,
            metrics: inputs.metrics,
            gossip_keys: Arc::default(),
            next_generation: inputs.next_generation,
            remember_seeds: inputs.remember_seeds,
            remember_peers: inputs.remember_peers,
            ready_tx: watch::Sender::new(false),
            looked_tx: watch::Sender::new(0),
            failed_tx: watch::Sender::new(None),
            tasks: Turn::default(),
            membership: Turn::default(),
        });
        let membership = shared.begin(socket, inputs.seeds, &inputs.peers).await?;
        *shared.membership.lock().await = Some(membership);
        let mut tasks = shared.tasks.lock().await;
        tasks.spawn(accept::run(core.clone(), listener));
        tasks.spawn(retained::run(core.clone()));
        tasks.spawn(async move { forward::run_barrier(&core).await });
        drop(tasks);
        Ok(Self { shared })
    }

    /// Where peers reach this node: the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.bound
    }

    /// What the workers forward through.
    #[must_use]
    pub fn forwarder(&self) -> Arc<dyn Forward> {
        self.shared.core.clone()
    }

    /// Since when (by the hybrid clock) what was deleted anywhere is not retained here.
    #[must_use]
    pub fn retained_since(&self) -> u64 {
        self.shared.core.replica.since()
    }

    /// Completes when this node may serve: in sync with all members, or alone after `cluster.join_timeout`.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ready_rx = self.shared.ready_tx.subscribe();
        async move {
            ready_rx.wait_for(|is_ready| *is_ready).await.ok();
        }
    }

    /// Completes, with the reason, when this node no longer hears of the others though nobody asked for it: it must stop.
    pub fn failed(&self) -> impl Future<Output = String> + Send + 'static {
        let mut failed_rx = self.shared.failed_tx.subscribe();
        async move {
            match failed_rx.wait_for(Option::is_some).await.map(|why| why.clone()) {
                Ok(why) => why.unwrap_or_default(),
                Err(_) => std::future::pending().await, // stopped
            }
        }
    }

    /// Asks another node's management API.
    ///
    /// # Errors
    /// If the node is not up, or does not answer in time.
    pub async fn ask(&self, node: &str, question: Bytes, deadline: Duration) -> Result<Bytes, AskError> {
        let peer = self.shared.core.peer(node).ok_or_else(|| AskError::NotUp(node.to_owned()))?;
        peer.asks.ask(node, Kind::Admin, question, deadline).await
    }

    /// Who answers other nodes' management APIs.
    pub fn answer_with(&self, answer: Arc<dyn Answer>) {
        self.shared.core.handlers.write().admin = Some(answer);
    }

    /// The nodes that are gone and for whose sessions messages are held.
    #[must_use]
    pub fn orphaned(&self) -> Vec<Arc<str>> {
        self.shared.core.orphaned()
    }

    /// Brings what is held for the sessions of a node that is gone to those who have them now.
    pub async fn rematch(&self, node: &Arc<str>) {
        self.shared.core.rematch(node).await;
    }

    /// Where all nodes share a store: completes when what is published here from then on finds every session that is on its
    /// way to another node now, or a node does not say so in time.
    pub async fn await_claims(&self) {
        self.shared.core.await_claims().await;
    }

    /// Exchanges the secrets for those of these settings. Gossip is sealed by the new one at once; links that were proven
    /// by one that is not used, or not accepted, any more are closed and opened anew. Answers their ids.
    ///
    /// # Errors
    /// Without a secret nothing changes.
    pub fn exchange_secrets(&self, settings: &config::Cluster) -> Result<String, StartError> {
        let secret = settings.secret.as_ref().ok_or(StartError::NoSecret)?;
        let identity = &self.shared.core.parts.identity;
        // Of the cluster as it runs: its name does not change with a reload.
        let ring = ring(secret, &config::Cluster { name: identity.cluster.clone(), ..settings.clone() });
        let ids = ring.to_string();
        identity.set_ring(ring);
        Ok(ids)
    }

    /// The registry of client ids: give it the workers by `serve` before waiting for [`Cluster::ready`].
    #[must_use]
    pub fn claims(&self) -> Arc<Claims> {
        self.shared.claims.clone()
    }

    /// Tells of every look at the members: for what must act when they change.
    #[must_use]
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.shared.looked_tx.subscribe()
    }

    /// Stops the process's part. Not a leave: the others wait for this node to come back.
    pub async fn stop(&self) {
        self.drain_queues().await;
        if let Some(mut membership) = self.shared.membership.lock().await.take() {
            membership.tasks.shutdown().await;
            if let Ok(gossip) = Arc::try_unwrap(membership.gossip) {
                gossip.shutdown().await;
            }
        }
        self.shared.tasks.lock().await.shutdown().await;
    }

    /// Lets the last messages of this node's clients, wills and what shared groups leave to others, reach the peers that
    /// are up: a second at most.
    async fn drain_queues(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        const LOOK: Duration = Duration::from_millis(5);
        let core = &self.shared.core;
        let drained = async {
            while core.hot.up().iter().any(|slot| !core.hot.with_queue(slot, |queue| queue.is_empty()).0) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, drained).await.is_err() {
            tracing::warn!("peers have not acknowledged everything in {} s", PATIENCE.as_secs());
        }
    }
}

impl Shared {
    /// Starts gossip, and the overseer on what it shows.
    pub(super) async fn begin(
        self: &Arc<Self>,
        socket: UdpSocket,
        seeds: Vec<String>,
        peers: &[String],
    ) -> Result<Membership, GossipError> {
        let core = &self.core;
        let own = core.own.lock().clone();
        let identity = &core.parts.identity;
        let found_as =
            discovery::Own { cluster: identity.cluster.clone(), node: identity.node.clone(), address: own.address };
        let discovery = discovery::by(&core.parts.settings.discovery, &found_as);
        // A node that has only itself for a seed has nobody to wait for.
        let looked_for = [&seeds[..], peers].concat();
        let has_seeds = discovery.is_some() || looked_for.iter().any(|seed| *seed != own.address.to_string());
        let gossip = Arc::new(
            Gossip::start(GossipSettings {
                cluster: core.parts.identity.cluster.clone(),
                node: core.parts.identity.node.clone(),
                generation: own.generation,
                advertise: own.address,
                seeds: looked_for,
                discovery,
                interval: core.parts.settings.gossip_interval,
                ring: core.parts.identity.watch_ring(),
                protocol: core.parts.settings.protocol,
                socket,
                version: core.parts.version.clone(),
                counters: self.metrics.block(),
                metrics: self.metrics.clone(),
                keys: self.gossip_keys.clone(),
            })
            .await?,
        );
        let (acquaintances, acquainted) = Acquaintances::new();
        let overseer = Overseer {
            core: core.clone(),
            members: gossip.members(),
            voice: gossip.clone() as Arc<dyn Voice>,
            registry: self.claims.clone() as Arc<dyn Registry>,
            ready_tx: self.ready_tx.clone(),
            looked_tx: self.looked_tx.clone(),
            has_seeds,
            outlook: gossip.outlook(),
            began: Instant::now(),
            was_complete: false,
            acquaintances,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(acquaintances::keep(acquainted, self.remember_peers.clone()));
        tasks.spawn(overseer.run());
        let (watched, failed_tx) = (gossip.clone(), self.failed_tx.clone());
        tasks.spawn(async move {
            let why = watched.failed().await;
            failed_tx.send_replace(Some(why));
        });
        Ok(Membership { gossip, tasks, seeds })
    }
}

fn ring(secret: &config::Secret, settings: &config::Cluster) -> Ring {
    Ring::derive(secret.expose(), settings.accept_secrets.iter().map(config::Secret::expose), &settings.name)
}

/// Binds TCP, then UDP at the same port.
pub(super) async fn bind(address: SocketAddr) -> Result<(TcpListener, UdpSocket), StartError> {
    let failed = |error| StartError::Bind { address, error };
    for _ in 1..BIND_ATTEMPTS {
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        match UdpSocket::bind(bound).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if address.port() != 0 => return Err(failed(error)),
            Err(_) => {} // the kernel's choice is taken for UDP: another
        }
    }
    Err(failed(io::ErrorKind::AddrInUse.into()))
}
