//! Membership by gossip: who there is, at which address, in which state, and where its route table stands. Owns chitchat
//! and the sealed UDP socket. Never carries rows, sessions or messages, and never decides who is up: it reports.

mod codec;
mod driver;
pub(super) mod fuzz;
mod member;
mod seal;
#[cfg(test)]
mod tests;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub use self::member::{GossipMember, Members, PublishedState, RouteHead};
use self::member::{KEY_PROTOCOL, KEY_ROUTES, KEY_SECRETS, KEY_SOFTWARE, KEY_STATE};
use super::discovery::{Discovery, Outlook, Plan, Search, Seeds};
use super::secret::Ring;
use crate::metrics::{Counters, Metrics};

/// A stall of about nine intervals is survived: at 8, chitchat's default, one of 350 ms at 100 ms was a death.
const PHI: f64 = 20.0;
const SAMPLES: usize = 1_000;
/// Longer silences say nothing of the usual interval.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// Forgets the dead soon: every restart is a new id, and the digest must fit a datagram.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// What gossip needs to know.
pub struct GossipSettings {
    /// Of the cluster; others are not heard.
    pub cluster: String,
    /// Of this node.
    pub node: String,
    /// Above that of every earlier start.
    pub generation: u64,
    /// Where peers reach this node, gossip and streams.
    pub advertise: SocketAddr,
    /// `host:port` of any nodes; this node may be among them.
    pub seeds: Vec<String>,
    /// What finds peers besides the seeds.
    pub discovery: Option<Box<dyn Discovery>>,
    /// `cluster.gossip_interval`.
    pub interval: Duration,
    /// From the cluster's secrets, and every change of them.
    pub ring: watch::Receiver<Ring>,
    /// The newest version of the peer protocol that this node speaks.
    pub protocol: u32,
    /// Bound at `cluster.bind`.
    pub socket: tokio::net::UdpSocket,
    /// Version of this software.
    pub version: String,
    /// A block that nothing else counts in.
    pub counters: Arc<Counters>,
    /// Where the search for peers gets its own blocks.
    pub metrics: Metrics,
    /// Is told how many keys of all nodes are known.
    pub keys: Arc<AtomicU64>,
}

/// Why gossip did not start.
#[derive(Debug, thiserror::Error)]
#[error("gossip did not start: {0:#}")]
pub struct GossipError(anyhow::Error);

/// This node's part in the gossip. Dropped, it ends without a word, as a crash would.
pub struct Gossip {
    chitchat: Arc<ChitchatHandle>,
    members: watch::Receiver<Members>,
    unusable: watch::Receiver<member::Unusable>,
    head: watch::Sender<RouteHead>,
    seeds: watch::Sender<Vec<String>>,
    push: Arc<Notify>,
    search: Search,
    /// The driver, which owns the view, and who reads from it whether there are others.
    tasks: JoinSet<()>,
    _on_change: chitchat::ListenerHandle,
}

impl Gossip {
    /// Starts as `joining`, with an empty route table.
    ///
    /// # Errors
    /// If the loopback sockets of the codec do not open.
    pub async fn start(settings: GossipSettings) -> Result<Self, GossipError> {
        let config = chitchat_config(&settings);
        let GossipSettings {
            generation,
            interval,
            ring,
            socket,
            version,
            counters,
            metrics,
            protocol,
            keys: known,
            ..
        } = settings;
        let transport = transport::SealedTransport::new(socket, ring.clone(), counters).await.map_err(GossipError)?;
        let head = RouteHead { generation, ..RouteHead::default() };
        let keys = [
            (KEY_PROTOCOL, protocol.to_string()),
            (KEY_STATE, PublishedState::Joining.as_str().to_owned()),
            (KEY_ROUTES, head.to_string()),
            (KEY_SOFTWARE, version),
            (KEY_SECRETS, ring.borrow().to_string()),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let chitchat = Arc::new(spawn_chitchat(config, keys, &transport).await.map_err(GossipError)?);

        let (seeds, seeds_rx) = watch::channel(settings.seeds);
        let mut ways: Vec<Box<dyn Discovery>> = vec![Box::new(Seeds::new(seeds_rx))];
        ways.extend(settings.discovery);
        let (joined_tx, is_joined) = watch::channel(false);
        let contacted = chitchat.clone();
        let search = Search::start(Plan {
            ways,
            own: chitchat.chitchat_id().gossip_advertise_addr,
            // Fails only when chitchat's task has ended, which `failed` reports.
            contact: Arc::new(move |address| drop(contacted.gossip(address))),
            is_joined,
            interval,
            metrics,
        });
        let mut gossip = Self::run(chitchat, head, (seeds, search, joined_tx), interval, known).await;
        gossip.tasks.spawn(tell_of_secrets(gossip.chitchat.clone(), ring, gossip.push.clone()));
        Ok(gossip)
    }

    /// Starts the tasks around a chitchat that runs.
    async fn run(
        chitchat: Arc<ChitchatHandle>,
        head: RouteHead,
        (seeds, search, joined_tx): (watch::Sender<Vec<String>>, Search, watch::Sender<bool>),
        interval: Duration,
        keys: Arc<AtomicU64>,
    ) -> Self {
        let (changed, push) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let notify = changed.clone();
        // The empty prefix: chitchat slices a key by its first byte for every other one.
        let on_change = move |_: chitchat::KeyChangeEvent<'_>| notify.notify_one();
        let on_change = chitchat.with_chitchat(|state| state.subscribe_event("", on_change.clone())).await;

        let (head, head_rx) = watch::channel(head);
        let (members_tx, members) = watch::channel(Members::default());
        let (unusable_tx, unusable) = watch::channel(member::Unusable::new());
        let mut driver = driver::Driver {
            chitchat: chitchat.clone(),
            changed,
            push: push.clone(),
            head: head_rx,
            members: members_tx,
            unusable: unusable_tx,
            interval,
            keys,
        };
        driver.refresh().await;
        let mut tasks = JoinSet::new();
        let own_name = chitchat.chitchat_id().node_id.to_string();
        tasks.spawn(watch_for_others(members.clone(), own_name, joined_tx));
        tasks.spawn(driver.run());
        Self { chitchat, members, unusable, head, seeds, push, search, tasks, _on_change: on_change }
    }

    /// Who there is, this node included, and every change of it.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    /// Nodes that say of themselves what cannot be read, with the reason. They are not among the members.
    #[must_use]
    pub fn unusable(&self) -> Vec<(String, String)> {
        self.unusable.borrow().iter().map(|(name, why)| (name.clone(), why.clone())).collect()
    }

    /// Tells all what this node's state is, at once.
    pub async fn set_state(&self, state: PublishedState) {
        self.chitchat.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY_STATE, state.as_str())).await;
        self.push.notify_one();
    }

    /// Tells all where this node's route table stands: the newest at most every 200 ms, and only if it changed.
    pub async fn set_head(&self, head: RouteHead) {
        self.head.send_if_modified(|published| {
            let is_new = *published != head;
            *published = head;
            is_new
        });
    }

    /// Gossips with this address now, whether it is a member or not.
    pub async fn contact(&self, address: SocketAddr) {
        // Fails only when chitchat's task has ended, which `failed` reports.
        let _ = self.chitchat.gossip(address);
    }

    /// Replaces the seeds, and contacts the new ones at once.
    pub fn set_seeds(&self, seeds: Vec<String>) {
        self.seeds.send_replace(seeds);
    }

    /// Why this node may have found nobody.
    pub(super) fn outlook(&self) -> Outlook {
        self.search.outlook()
    }

    /// Looks for peers no more, and has those that keep this node's address forget it: for a node that leaves.
    pub async fn withdraw(&self) {
        self.search.withdraw().await;
    }

    /// Completes, with the reason, when gossip has ended though nobody asked it to: this node then no longer hears of
    /// the others, and must stop.
    pub async fn failed(&self) -> String {
        let mut members = self.members.clone();
        let view_ended = async { while members.changed().await.is_ok() {} };
        tokio::select! {
            ended = self.chitchat.termination_watcher() => match ended {
                Ok(()) => "chitchat's task has ended".to_owned(),
                Err(error) => format!("{error:#}"),
            },
            () = view_ended => "the task that reads the membership has ended".to_owned(),
        }
    }

    /// Ends it and waits for the end. Says nothing to the others: `set_state(Leaving)` does.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        let _ = self.chitchat.initiate_shutdown();
        let _ = self.chitchat.termination_watcher().await;
    }
}

/// Tells all which secrets this node has, whenever they change. Ends with what holds them.
async fn tell_of_secrets(chitchat: Arc<ChitchatHandle>, mut ring: watch::Receiver<Ring>, push: Arc<Notify>) {
    while ring.changed().await.is_ok() {
        let ids = ring.borrow_and_update().to_string();
        chitchat.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY_SECRETS, &ids)).await;
        push.notify_one();
    }
}

/// Ends when the view does.
async fn watch_for_others(mut members: watch::Receiver<Members>, own: String, joined_tx: watch::Sender<bool>) {
    loop {
        let knows_others = members.borrow_and_update().values().any(|member| member.alive && member.name != own);
        joined_tx.send_if_modified(|known| std::mem::replace(known, knows_others) != knows_others);
        if members.changed().await.is_err() {
            return;
        }
    }
}

fn chitchat_config(settings: &GossipSettings) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(settings.node.as_str(), settings.generation, settings.advertise),
        cluster_id: settings.cluster.clone(),
        gossip_interval: settings.interval,
        listen_addr: settings.advertise,
        seed_nodes: Vec::new(), // ours are found by `discovery`, and can change
        failure_detector_config: FailureDetectorConfig::new(PHI, SAMPLES, MAX_INTERVAL, settings.interval, GRACE),
        marked_for_deletion_grace_period: GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}
