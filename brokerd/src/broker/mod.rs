//! The composition root: builds the rooms in order, wires them, and ends them in order. Decides nothing itself.

mod adopt;
mod clustered;
mod expiry;
mod glue;
mod import;
mod keep;
mod opening;
mod pulse;
mod upkeep;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Mechanism};
use crate::admin::{Admin, AdminParts, Nodes, ThisNode};
use crate::alarms::Board;
use crate::cluster::Cluster;
use crate::config::{self, Config};
use crate::datadir::DataDir;
use crate::drain::Drain;
use crate::health::{Health, Sign};
use crate::listener::Listeners;
use crate::metrics::Metrics;
use crate::registry::{Clock, Elsewhere, OnlyHere};
use crate::retain::{self, Retained};
use crate::router::{self, Alone, Forward, Index};
use crate::sys::{self, Sys};
use crate::worker::{Parts, Restored, Workers};

/// The version of this software.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a stop waits for clients and peers before the process ends anyway.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running node.
pub struct Broker {
    listeners: Arc<Listeners>,
    metrics: Metrics,
    cluster: Option<Cluster>,
    admin: Admin,
    access: Access,
    workers: Workers,
    store: Option<Arc<Store>>,
    tasks: TaskTracker,
    upkeep: CancellationToken,
    drain: Drain,
    health: Option<Health>,
}

/// What a node is given beside its configuration.
#[derive(Default)]
pub struct Given {
    /// Mechanisms of enhanced authentication. The program has none yet.
    pub mechanisms: Vec<Arc<dyn Mechanism>>,
    /// The store, instead of the one that the configuration names: several nodes of a process can share one.
    pub store: Option<Arc<Store>>,
}

/// What the rooms share.
struct Foundation {
    name: String,
    generation: u64,
    data: Arc<DataDir>,
    clock: Arc<Clock>,
    metrics: Metrics,
    index: Arc<Index>,
    retained: Arc<Retained>,
    system: Arc<Retained>,
    access: Access,
    workers: Workers,
    store: Option<Arc<Store>>,
    started: Instant,
    alarms: Arc<Board>,
    /// What is said before it serves.
    sign: Sign,
}

impl Broker {
    /// Starts a node on the current runtime, which is its control runtime. Answers when its clients can connect: a
    /// node of a cluster is in sync by then, or has found nobody. `waiting` is told once, if that takes a while.
    ///
    /// # Errors
    /// With the key of what cannot be had.
    pub async fn start(config: &Config, waiting: impl FnOnce(&Self)) -> anyhow::Result<Self> {
        Self::start_with(config, Given::default(), waiting).await
    }

    /// The same, with what only the library can be given.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(config: &Config, given: Given, waiting: impl FnOnce(&Self)) -> anyhow::Result<Self> {
        let health = bind_health(config).await?;
        let base = Foundation::lay(config, given, health.as_ref().map(Health::sign).unwrap_or_default()).await?;
        let listeners = Arc::new(Listeners::bind(&config.listeners, Arc::new(base.workers.clone()))?);
        let retained = keep::retained(&base).await?;
        let cluster = match config.cluster.secret {
            Some(_) => Some(clustered::start(config, &base, retained > 0).await?),
            None => None,
        };
        import::finish(&base).await?;
        let restored = keep::restore(&base).await?;
        base.start_workers(config, cluster.as_ref(), restored).await?;
        let this_node = ThisNode::new(glue::info(&base), Arc::new(glue::local(&base, &listeners)));
        let drain = glue::drain(config, &base, cluster.as_ref(), &listeners);
        let this_node = this_node.outside(glue::outside(config, &base, cluster.as_ref(), &drain));
        let this_node = Arc::new(this_node.keeping(glue::keeping(&base, cluster.as_ref())));
        let admin = base.serve_admin(config, cluster.as_ref(), &this_node).await?;
        let watched = watch::Watched { this_node: this_node.clone(), drain: drain.clone(), store: base.store.clone() };
        let sys = glue::sys(&base, this_node);
        let (tasks, upkeep) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(upkeep::run(upkeep::Upkeep::new(&base, cluster.clone()), upkeep.clone()));
        if let Some(store) = base.store.clone().filter(|store| store.caps().is_shared) {
            let (cluster, node, counters) = (cluster.clone(), base.name.clone(), base.metrics.block());
            tasks.spawn(expiry::Expirer { store, cluster, node, counters }.run(upkeep.clone()));
        }
        if let (Some(cluster), Some(store)) = (&cluster, base.store.clone().filter(|store| store.caps().is_shared)) {
            let (cluster, workers) = (cluster.clone(), base.workers.clone());
            let adopter = adopt::Adopter { store, cluster, workers, patience: config.cluster.down_after };
            tasks.spawn(adopter.run(upkeep.clone()));
        }
        if let Some(store) = base.store.clone() {
            tasks.spawn(watch::store(store, base.alarms.clone(), upkeep.clone()));
        }
        let (access, workers, metrics, store) = (base.access, base.workers, base.metrics, base.store);
        let broker = Self { listeners, metrics, cluster, admin, access, workers, store, tasks, upkeep, drain, health };
        if let Some(cluster) = &broker.cluster {
            waiting(&broker);
            broker.is_not_ready("joining");
            cluster.ready().await;
            if broker.store.as_ref().is_some_and(|store| store.caps().is_shared) {
                cluster.await_claims().await; // of sessions that were this node's, before it was back
            }
        }
        broker.publish_sys(sys, config.sys.interval).await;
        broker.listeners.open().await?;
        if let Some(health) = &broker.health {
            health.serves(Arc::new(watched));
        }
        Ok(broker)
    }

    /// Fills the `$SYS` tree, so that the first subscriber finds it, and keeps it up to date.
    async fn publish_sys(&self, mut sys: Sys, interval: Duration) {
        if !interval.is_zero() {
            sys.publish().await;
            self.tasks.spawn(sys.run(interval, self.upkeep.clone()));
        }
    }

    /// Its MQTT listeners.
    #[must_use]
    pub const fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// Its counters by name.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&'static str, u64)> {
        self.metrics.totals()
    }

    /// The workers: for what an operator does with sessions.
    #[must_use]
    pub const fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Where its peers reach it, if it is one of a cluster.
    #[must_use]
    pub fn cluster_address(&self) -> Option<std::net::SocketAddr> {
        self.cluster.as_ref().map(|cluster| cluster.local_addr())
    }

    /// Where load balancers ask after it.
    #[must_use]
    pub fn health_address(&self) -> Option<std::net::SocketAddr> {
        self.health.as_ref().map(Health::address)
    }

    fn is_not_ready(&self, why: &'static str) {
        if let Some(health) = &self.health {
            health.is_not_ready(why);
        }
    }

    /// Where brokerctl reaches it.
    #[must_use]
    pub fn admin_endpoint(&self) -> String {
        self.admin.endpoint().to_string()
    }

    /// Completes with the reason if the node can no longer do its work: the process must end.
    pub async fn failed(&self) -> String {
        match &self.cluster {
            Some(cluster) => cluster.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Reads users and rules again, and ends what they no longer allow.
    ///
    /// # Errors
    /// With what is wrong: then nothing has changed.
    pub async fn reload_access(&self) -> Result<Vec<(&'static str, u64)>, String> {
        glue::reload_access(self.access.clone(), self.workers.clone()).await
    }

    /// Reads the certificates of all listeners again, all or nothing.
    ///
    /// # Errors
    /// The key, the file, and what is wrong with it: everything stays as it was.
    pub async fn reload_certificates(&self) -> Result<(), String> {
        let certificates = self.listeners.reload_certificates().await?;
        tracing::info!(certificates = certificates.len(), "certificates were read again");
        Ok(())
    }

    /// Takes the secrets of these settings for those of its cluster; a node that began without one stays without.
    pub fn exchange_secrets(&self, settings: &crate::config::Cluster) {
        let Some(cluster) = &self.cluster else { return };
        match cluster.exchange_secrets(settings) {
            Ok(ids) => tracing::info!(ids, "the secrets of the cluster were read again; the first is used"),
            Err(why) => tracing::error!(%why, "the secrets of the cluster stay as they were"),
        }
    }

    /// Stops in phases: no new clients; good-bye to those who are here, their wills sent; the peers; the management API.
    pub async fn stop(self) {
        self.is_not_ready("stopping");
        self.upkeep.cancel();
        self.drain.end().await;
        self.tasks.close();
        let phases = async {
            self.listeners.close().await;
            self.tasks.wait().await;
            self.workers.stop().await;
            if let Some(store) = &self.store
                && let Err(error) = keep::flush(store).await
            {
                tracing::warn!(%error, "the store does not have the last changes");
            }
            if let Some(cluster) = &self.cluster {
                cluster.stop().await;
            }
            self.admin.stop().await;
        };
        if tokio::time::timeout(STOP_DEADLINE, phases).await.is_err() {
            tracing::warn!("not everything ended in {} s; stopping all the same", STOP_DEADLINE.as_secs());
        }
    }
}

impl Foundation {
    async fn lay(config: &Config, given: Given, sign: Sign) -> anyhow::Result<Self> {
        let data = DataDir::open(&config.node.data_dir)?;
        let generation = data.next_generation(wall_nanos())?;
        Ok(Self {
            name: config.node.name.clone(),
            generation,
            clock: Arc::new(Clock::new(data.high_water(), config.cluster.max_clock_skew)),
            data: Arc::new(data),
            metrics: Metrics::default(),
            index: Arc::new(Index::new(strategy(config.mqtt.shared_strategy))),
            retained: Arc::new(retained(config)),
            system: sys::store(),
            access: Access::load_with(&config.auth, given.mechanisms)?,
            workers: Workers::new(&config.node),
            store: match given.store {
                Some(store) => Some(store),
                None => opening::open(config, &sign).await?,
            },
            started: keep::beginning_of_time(),
            alarms: Arc::default(),
            sign,
        })
    }

    async fn start_workers(
        &self,
        config: &Config,
        cluster: Option<&Cluster>,
        restored: Vec<Restored>,
    ) -> std::io::Result<()> {
        let forward: Arc<dyn Forward> = match cluster {
            Some(cluster) => cluster.forwarder(),
            None => Arc::new(Alone),
        };
        let elsewhere: Arc<dyn Elsewhere> = match cluster {
            Some(cluster) => cluster.claims(),
            None => Arc::new(OnlyHere::new(self.clock.clone())),
        };
        self.workers
            .start(
                config,
                Parts {
                    index: self.index.clone(),
                    retained: self.retained.clone(),
                    clock: self.clock.clone(),
                    system: self.system.clone(),
                    forward,
                    elsewhere,
                    access: self.access.clone(),
                    metrics: self.metrics.clone(),
                    origin: glue::origin(&self.name, self.generation),
                    started: self.started,
                    node: self.name.as_str().into(),
                    store: self.store.clone(),
                },
                restored,
            )
            .await
    }

    async fn serve_admin(
        &self,
        config: &Config,
        cluster: Option<&Cluster>,
        this_node: &Arc<ThisNode>,
    ) -> anyhow::Result<Admin> {
        let nodes = cluster.map(|cluster| {
            cluster.answer_with(this_node.clone());
            Arc::new(cluster.clone()) as Arc<dyn Nodes>
        });
        Ok(crate::admin::serve(AdminParts {
            listen: config.admin.listen.clone(),
            runtime_dir: proto::endpoint::runtime_dir(),
            this_node: this_node.clone(),
            nodes,
            counters: self.metrics.block(),
        })
        .await?)
    }
}

/// Before anything else, so that whoever asks is told `starting`.
async fn bind_health(config: &Config) -> anyhow::Result<Option<Health>> {
    let Some(address) = config.health.listen else { return Ok(None) };
    let bound = Health::bind(address).await;
    bound.map(Some).map_err(|error| anyhow::anyhow!("cannot bind `health.listen` = `{address}`: {error}"))
}

/// A node that is alone need not remember what was deleted.
fn retained(config: &Config) -> Retained {
    let limits = retain::Limits {
        max_messages: config.persistence.max_retained,
        max_bytes: config.persistence.max_retained_bytes,
    };
    match config.cluster.secret {
        Some(_) => Retained::replicated(limits, config.cluster.tombstone_ttl),
        None => Retained::new(limits),
    }
}

fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

const fn strategy(configured: config::SharedStrategy) -> router::Strategy {
    use config::SharedStrategy as Configured;
    match configured {
        Configured::RoundRobin => router::Strategy::RoundRobin,
        Configured::Random => router::Strategy::Random,
        Configured::Sticky => router::Strategy::Sticky,
        Configured::Local => router::Strategy::Local,
        Configured::HashClientId => router::Strategy::HashClientId,
        Configured::HashTopic => router::Strategy::HashTopic,
    }
}
