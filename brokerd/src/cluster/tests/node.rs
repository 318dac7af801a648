//! One node without workers: its core, its peer port, its overseer, and letter boxes that record.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::{Message, MessageId, Qos};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::super::accept;
use super::super::acquaintances::Acquaintances;
use super::super::core::{Core, Parts};
use super::super::discovery::Outlook;
use super::super::forward::{self, Tally};
use super::super::gossip::{GossipMember, Members, PublishedState, RouteHead};
use super::super::identity::Identity;
use super::super::overseer::{Overseer, Registry, Voice};
use super::super::peer::Peer;
use super::super::retained::{self, Replica, RetainedParts};
use super::super::secret::Ring;
use super::super::versions;
use crate::config;
use crate::metrics::Metrics;
use crate::registry::{Boxed, Clock};
use crate::retain::{Limits, Retained};
use crate::router::{
    Delivery, Forward, Index, Mailboxes, OnDelivered, Outbound, Outcome, PeerSlot, Subscriber, Ticket,
};

pub(super) const SECRET: &str = "a secret of sixteen bytes";

/// Letter boxes that record what comes, and may hold it back.
#[derive(Default)]
pub(super) struct Post {
    pub(super) delivered: Mutex<Vec<(String, u64)>>,
    pub(super) settled: Mutex<Vec<(u64, Outcome)>>,
    pub(super) is_full: AtomicBool,
    /// Deliveries are recorded but not carried out until they are let go.
    pub(super) holds: AtomicBool,
    held: Mutex<Vec<Arc<OnDelivered>>>,
    pub(super) relieved: AtomicBool,
    pub(super) changed: Notify,
}

impl Post {
    pub(super) fn let_go(&self) {
        self.holds.store(false, Ordering::SeqCst);
        let held = std::mem::take(&mut *self.held.lock());
        drop(held);
    }
    pub(super) fn drain(&self) {
        self.is_full.store(false, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
    pub(super) fn sequences(&self) -> Vec<u64> {
        self.delivered.lock().iter().map(|(_, sequence)| *sequence).collect()
    }
}

impl Mailboxes for Post {
    fn workers(&self) -> usize {
        2
    }
    fn deliver(&self, worker: u16, batch: Vec<Delivery>, done: Option<Arc<OnDelivered>>) {
        for delivery in batch {
            assert!(delivery.subscribers.iter().all(|subscriber| subscriber.worker == worker));
            assert!(delivery.subscribers.is_sorted_by_key(|subscriber| subscriber.session));
            let entry = (delivery.message.topic().to_owned(), delivery.message.id.sequence);
            self.delivered.lock().push(entry);
        }
        if self.holds.load(Ordering::SeqCst) {
            self.held.lock().extend(done);
        }
        self.changed.notify_waiters();
    }
    fn settled(&self, _: u16, tickets: Vec<(u64, Outcome)>) {
        self.settled.lock().extend(tickets);
        self.changed.notify_waiters();
    }
    fn is_full(&self, _: u16) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }
    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            loop {
                let changed = self.changed.notified();
                if !self.is_full.load(Ordering::SeqCst) {
                    return;
                }
                changed.await;
            }
        })
    }
    fn uncongested(&self) {
        self.relieved.store(true, Ordering::SeqCst);
    }
}

struct Silent;

impl Voice for Silent {
    fn state(&self, _: PublishedState) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn head(&self, _: RouteHead) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Registry for Silent {
    fn on_view(&self, _: Vec<String>) {}
    fn is_in_sync(&self) -> bool {
        true
    }
}

/// One node. Dropped, it is killed.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) core: Arc<Core>,
    pub(super) post: Arc<Post>,
    pub(super) address: SocketAddr,
    pub(super) members_tx: watch::Sender<Members>,
    pub(super) ready_rx: watch::Receiver<bool>,
    pub(super) metrics: Metrics,
    looked_rx: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

/// What differs between the nodes of a test.
pub(super) struct Plan {
    pub(super) secret: &'static str,
    pub(super) cluster: &'static str,
    pub(super) generation: u64,
    pub(super) has_seeds: bool,
    pub(super) settings: fn(&mut config::Cluster),
    pub(super) max_retained: usize,
    /// Whether all nodes share a store.
    pub(super) sessions_move: bool,
    pub(super) tombstone_ttl: Duration,
    /// What an earlier life of it kept, and when that ended.
    pub(super) earlier: Option<(Arc<Retained>, u64)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            secret: SECRET,
            cluster: "c",
            generation: 1,
            has_seeds: false,
            settings: |_| (),
            max_retained: usize::MAX,
            sessions_move: false,
            tombstone_ttl: Duration::from_secs(3600),
            earlier: None,
        }
    }
}

pub(super) fn settings(cluster: &str, secret: &str) -> config::Cluster {
    config::Cluster {
        name: cluster.to_owned(),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: None,
        seeds: Vec::new(),
        discovery: config::Discovery::Static,
        secret: Some(config::Secret::new(secret.to_owned())),
        accept_secrets: Vec::new(),
        protocol: versions::NEWEST,
        subscribe_timeout: Duration::from_secs(5),
        claim_timeout: Duration::from_millis(500),
        join_timeout: Duration::from_secs(60),
        peer_timeout: Duration::from_secs(2),
        down_after: Duration::from_secs(5),
        route_grace: Duration::from_secs(60),
        tombstone_ttl: Duration::from_secs(3600),
        gossip_interval: Duration::from_millis(100),
        max_clock_skew: Duration::from_secs(60),
        peer_queue: 1 << 20,
        max_wills_bytes: 1 << 20,
    }
}

impl Node {
    pub(super) async fn start(name: &str) -> Self {
        Self::start_as(name, Plan::default()).await
    }

    pub(super) async fn start_as(name: &str, plan: Plan) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (post, metrics) = (Arc::new(Post::default()), Metrics::default());
        let mut settings = settings(plan.cluster, plan.secret);
        (plan.settings)(&mut settings);
        let parts = Parts {
            sessions_move: plan.sessions_move,
            alarms: Arc::default(),
            identity: Identity::new(name, plan.cluster, Ring::derive(plan.secret, [], plan.cluster)).unwrap(),
            clock: Arc::new(Clock::new(0, settings.max_clock_skew)),
            settings,
            max_packet_size: 1 << 20,
            version: "test".to_owned(),
            started: Instant::now(),
            index: Arc::new(Index::default()),
            mailboxes: post.clone(),
            tally: Tally::new(metrics.block()),
        };
        let limits = Limits { max_messages: plan.max_retained, max_bytes: 1 << 30 };
        let since = parts.clock.now();
        let (store, ended) = match plan.earlier {
            Some((store, ended)) => (store, Some(ended)),
            None => (Arc::new(Retained::replicated(limits, plan.tombstone_ttl)), None),
        };
        let retained = RetainedParts { store, keeper: None, since, ended };
        let replica = Replica::new(retained, parts.clock.clone(), Tally::new(metrics.block()));
        let core = Arc::new(Core::new(parts, replica, plan.generation, address));
        let members_tx = watch::Sender::new(Members::default());
        let (ready_tx, ready_rx) = watch::channel(false);
        let (looked_tx, looked_rx) = watch::channel(0);
        let overseer = Overseer {
            core: core.clone(),
            members: members_tx.subscribe(),
            voice: Arc::new(Silent),
            registry: Arc::new(Silent),
            ready_tx,
            looked_tx,
            has_seeds: plan.has_seeds,
            outlook: Outlook::unknown(),
            began: Instant::now(),
            was_complete: false,
            acquaintances: Acquaintances::new().0,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept::run(core.clone(), listener));
        tasks.spawn(retained::run(core.clone()));
        tasks.spawn(overseer.run());
        let for_barrier = core.clone();
        tasks.spawn(async move { forward::run_barrier(&for_barrier).await });
        let name = name.to_owned();
        Self { name, core, post, address, members_tx, ready_rx, metrics, looked_rx, _tasks: tasks }
    }

    /// What gossip would show of this node.
    pub(super) fn sight(&self) -> GossipMember {
        let (own, head) = (self.core.own.lock().clone(), self.core.routes.head());
        GossipMember {
            name: self.name.clone(),
            generation: own.generation,
            address: self.address,
            state: own.state,
            protocol: self.core.parts.settings.protocol,
            secrets: self.core.parts.identity.ring().to_string(),
            version: "test".to_owned(),
            head: RouteHead { generation: own.generation, version: head.version, hash: head.hash },
            alive: true,
        }
    }

    /// Gossip shows these.
    pub(super) fn sees(&self, others: &[GossipMember]) {
        let members: BTreeMap<_, _> = others.iter().map(|member| (member.name.clone(), member.clone())).collect();
        self.members_tx.send_replace(Arc::new(members));
    }

    pub(super) fn subscribe(&self, filter: &str, session: u32) -> u64 {
        let filter: Arc<str> = filter.into();
        let worker = u16::try_from(session % 2).unwrap();
        let subscriber = Subscriber { session, serial: 1, subscription_id: 0, worker, qos: Qos::AtLeastOnce, flags: 0 };
        self.core.parts.index.subscribe(&filter, subscriber, || self.core.route_changed(&filter, true))
    }

    pub(super) fn unsubscribe(&self, filter: &str, session: u32) {
        let name: Arc<str> = filter.into();
        let worker = u16::try_from(session % 2).unwrap();
        assert!(self.core.parts.index.unsubscribe(filter, worker, session, || {
            self.core.route_changed(&name, false);
        }));
    }

    /// Forwards messages at QoS 1 with these sequences, each with its own ticket.
    pub(super) fn forward(&self, to: &Self, topic: &str, sequences: std::ops::Range<u64>) {
        let outbound = |sequence| {
            let mut message = Message::new(topic, &[], b"payload");
            message.id = MessageId { origin: 1, worker: 0, sequence };
            message.qos = Qos::AtLeastOnce;
            Outbound {
                message: Arc::new(message),
                ticket: Some(Ticket { worker: 0, token: sequence }),
                share: None,
                retained_at: 0,
            }
        };
        self.core.forward(self.slot(to), &mut sequences.map(outbound).collect());
    }

    pub(super) fn peer(&self, other: &Self) -> Arc<Peer> {
        self.core.peer(&other.name).unwrap_or_else(|| panic!("`{}` does not know `{}`", self.name, other.name))
    }
    pub(super) fn slot(&self, other: &Self) -> PeerSlot {
        self.peer(other).slot
    }
    pub(super) fn floods(&self, other: &Self) -> bool {
        self.core.flood().contains(self.slot(other))
    }
    pub(super) fn is_up(&self, other: &Self) -> bool {
        self.core.peer(&other.name).is_some_and(|peer| self.core.up().contains(peer.slot))
    }
    pub(super) fn is_synced(&self, other: &Self) -> bool {
        self.core.peer(&other.name).is_some_and(|peer| {
            self.core.up().contains(peer.slot) && self.core.hot.is_in_sync(peer.slot, Instant::now())
        })
    }
    /// Drops the sockets of the links that this node dialed.
    pub(super) fn cut(&self, other: &Self) {
        self.peer(other).pair.lock().cancel();
    }
    pub(super) fn settled(&self) -> Vec<(u64, Outcome)> {
        self.post.settled.lock().clone()
    }
    pub(super) fn count(&self, name: &str) -> u64 {
        self.metrics.totals().iter().find(|(known, _)| *known == name).map_or(0, |(_, n)| *n)
    }

    /// Waits for a condition, looked at again whenever this node has looked at its members or its post has changed.
    pub(super) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let mut looked_rx = self.looked_rx.clone();
        let wait = async {
            loop {
                let changed = self.post.changed.notified();
                if condition() {
                    return;
                }
                tokio::select! {
                    () = changed => {}
                    _ = looked_rx.changed() => {}
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "`{}` waited in vain until {what}", self.name);
    }
}

/// Lets every node see every other, and waits until each is in sync with all.
pub(super) async fn connect(nodes: &[&Node]) {
    let sights: Vec<GossipMember> = nodes.iter().map(|node| node.sight()).collect();
    for node in nodes {
        node.sees(&sights);
    }
    for node in nodes {
        let others = || nodes.iter().filter(|other| other.name != node.name);
        node.until("it is in sync with all", || others().all(|other| node.is_synced(other))).await;
    }
}
