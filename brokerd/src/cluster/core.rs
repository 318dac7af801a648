//! The state that the cluster's tasks and the workers share, and how members enter and leave it. Performs no I/O.
//! Lock order: a peer's locks, the table of peers, the barrier and the route table are never held together, but for the
//! barrier, under which the route table's head is read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use proto::peer::{MemberRow, refused::Reason};
use tokio::sync::{Notify, watch};

use super::barrier::Barrier;
use super::forward::{Hot, Tally};
use super::gossip::PublishedState;
use super::identity::Identity;
use super::orphans::Orphans;
use super::peer::Peer;
use super::quiet::Quiet;
use super::requests::Handlers;
use super::retained::Replica;
use super::routes::{Head, Routes};
use super::standing::Standing;
use crate::alarms::Board;
use crate::config;
use crate::metrics::Metric;
use crate::registry::Clock;
use crate::router::{Index, Mailboxes, PeerSet, PeerSlot};

/// This node, as it tells of itself.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) generation: u64,
    pub(super) address: SocketAddr,
    pub(super) state: PublishedState,
    /// It has left, and takes part in nothing until it joins again.
    pub(super) has_left: bool,
    /// What is wrong, in words.
    pub(super) trouble: String,
    /// Since when it is in this state, milliseconds since 1970.
    pub(super) since: u64,
}

/// What the rest of the node gives the cluster, once.
pub(super) struct Parts {
    pub(super) identity: Identity,
    pub(super) settings: config::Cluster,
    pub(super) max_packet_size: u32,
    pub(super) version: String,
    pub(super) started: Instant,
    pub(super) clock: Arc<Clock>,
    pub(super) index: Arc<Index>,
    pub(super) mailboxes: Arc<dyn Mailboxes>,
    pub(super) tally: Tally,
    /// Whether sessions of a node that is gone come back elsewhere.
    pub(super) sessions_move: bool,
    pub(super) alarms: Arc<Board>,
}

/// Shared by all of the cluster's tasks and by the workers.
pub(super) struct Core {
    pub(super) parts: Parts,
    pub(super) routes: Routes,
    /// What all nodes retain.
    pub(super) replica: Replica,
    pub(super) hot: Hot,
    pub(super) barrier: Mutex<Barrier>,
    pub(super) barrier_moved: Notify,
    pub(super) own: Mutex<Own>,
    pub(super) peers: Mutex<BTreeMap<Arc<str>, Arc<Peer>>>,
    /// Wakes the overseer.
    pub(super) changed: Notify,
    /// The live members as this node tells its peers.
    pub(super) list_tx: watch::Sender<Arc<Vec<MemberRow>>>,
    pub(super) handlers: RwLock<Handlers>,
    /// What nodes that are gone were to get, until their sessions are elsewhere.
    pub(super) orphans: Mutex<Orphans>,
    session: AtomicU64,
    said_full: Quiet,
}

/// Why a member is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) Reason, pub(super) String);

/// A node that shows itself: by a proven hello.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) address: SocketAddr,
    pub(super) version: String,
}

impl Core {
    pub(super) fn new(parts: Parts, replica: Replica, generation: u64, address: SocketAddr) -> Self {
        let own = Own {
            generation,
            address,
            state: PublishedState::Joining,
            has_left: false,
            trouble: String::new(),
            since: wall_millis(),
        };
        Self {
            hot: Hot::new(parts.started, parts.settings.peer_queue),
            barrier: Mutex::new(Barrier::new(parts.settings.subscribe_timeout)),
            parts,
            routes: Routes::new(),
            replica,
            barrier_moved: Notify::new(),
            own: Mutex::new(own),
            peers: Mutex::default(),
            changed: Notify::new(),
            list_tx: watch::Sender::default(),
            handlers: RwLock::default(),
            orphans: Mutex::default(),
            session: AtomicU64::new(0),
            said_full: Quiet::default(),
        }
    }

    /// Milliseconds on the clock that messages expire by.
    pub(super) fn time(&self) -> mqtt::Time {
        mqtt::Time(u64::try_from(self.parts.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
    pub(super) fn generation(&self) -> u64 {
        self.own.lock().generation
    }
    pub(super) fn next_session(&self) -> u64 {
        self.session.fetch_add(1, Ordering::Relaxed) + 1
    }
    pub(super) fn peer(&self, name: &str) -> Option<Arc<Peer>> {
        self.peers.lock().get(name).cloned()
    }
    /// The names of those peers that are among these.
    pub(super) fn names(&self, slots: PeerSet) -> Vec<String> {
        let peers = self.peers.lock();
        peers.values().filter(|peer| slots.contains(peer.slot)).map(|peer| peer.name.to_string()).collect()
    }
    /// The slots of those that are peers.
    pub(super) fn slots(&self, names: &[String]) -> Vec<(PeerSlot, Arc<str>)> {
        let peers = self.peers.lock();
        names.iter().filter_map(|name| peers.get(&**name)).map(|peer| (peer.slot, peer.name.clone())).collect()
    }
    pub(super) fn all_peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().values().cloned().collect()
    }

    /// Hears a peer's clock; one that is too far ahead is named and not believed (cluster-traps 7).
    pub(super) fn hear(&self, peer: &Peer, stamp: u64) {
        peer.heard.store(self.time().0.max(1), Ordering::Relaxed);
        match self.parts.clock.merge(stamp) {
            Ok(()) => {
                if peer.is_ahead.load(Ordering::Relaxed) && peer.is_ahead.swap(false, Ordering::Relaxed) {
                    peer.standing.lock().trouble.clear();
                }
            }
            Err(error) => {
                if !peer.is_ahead.swap(true, Ordering::Relaxed) {
                    tracing::error!(peer = %peer.name, "{error}");
                    peer.standing.lock().trouble = error.to_string();
                }
            }
        }
    }

    /// A hello of a node that has proven the secret: from now on it is flooded, until this node is in sync with it.
    pub(super) fn meet(&self, visitor: &Visitor, now: Instant) -> Result<Arc<Peer>, Refusal> {
        let peer = self.find_or_make(&visitor.name, visitor.generation, visitor.address, now)?;
        let known = peer.standing.lock().generation;
        if visitor.generation < known {
            let why = format!("generation {} of it has been seen, this is {}", known, visitor.generation);
            return Err(Refusal(Reason::OldGeneration, why));
        }
        if visitor.generation > known {
            self.renew(&peer, visitor.generation, visitor.address, now);
        }
        let is_new = {
            let mut standing = peer.standing.lock();
            if standing.is_leaving(&peer.name) {
                return Err(Refusal(Reason::Left, "it has left; it may come back with a new generation".to_owned()));
            }
            standing.address = visitor.address;
            standing.version.clone_from(&visitor.version);
            if standing.gone_since.is_some() {
                peer.redial.notify_one(); // it is there: no need to wait out a pause
            }
            !std::mem::replace(&mut standing.is_proven, true)
        };
        if is_new {
            let was_held = self.hot.held().contains(peer.slot);
            if self.parts.sessions_move && peer.remote.lock().len() > 0 {
                self.hot.with_queue(peer.slot, |queue| queue.doubt(true));
                peer.is_returned.store(true, Ordering::Release);
            }
            self.hot.set_held(peer.slot, false);
            self.hot.set_up(peer.slot, true);
            if was_held {
                self.orphan_queue(&peer); // some of its sessions may be on other nodes by now
            }
            tracing::info!(peer = %peer.name, generation = visitor.generation, address = %visitor.address, "met a peer");
        }
        self.changed.notify_one();
        Ok(peer)
    }

    /// The member of a name, which gets a slot if it has none.
    pub(super) fn find_or_make(
        &self,
        name: &str,
        generation: u64,
        address: SocketAddr,
        now: Instant,
    ) -> Result<Arc<Peer>, Refusal> {
        if name == self.parts.identity.node {
            return Err(Refusal(Reason::SameName, format!("this node is named `{name}` too")));
        }
        if self.own.lock().has_left {
            return Err(Refusal(Reason::Left, "this node has left its cluster".to_owned()));
        }
        if let Some(peer) = self.peer(name) {
            let is_over = peer.gone.is_cancelled() && peer.standing.lock().generation < generation;
            if !is_over {
                return Ok(peer);
            }
            self.forget(&peer); // it left, and comes back
        }
        let mut peers = self.peers.lock();
        let taken = peers.values().fold(PeerSet::default(), |taken, peer| taken.with(peer.slot));
        let free = (0..64).map(PeerSlot).find(|slot| !taken.contains(*slot));
        let Some(slot) = free else {
            let why = format!("a node has at most {} peers, and `{name}` is one more", PeerSet::CAPACITY);
            if self.said_full.allows(now) {
                tracing::error!("{why}");
            }
            return Err(Refusal(Reason::Full, why));
        };
        let peer = Arc::new(Peer::new(name, slot, Standing::new(generation, address, now)));
        peers.insert(peer.name.clone(), peer.clone());
        Ok(peer)
    }

    /// A newer generation of a peer: all that was known of the older one is void.
    ///
    /// Where all nodes share a store its sessions are there: what they are to get is held until it is met, by the rows of
    /// its older generation, which the snapshot of the newer one replaces.
    pub(super) fn renew(&self, peer: &Peer, generation: u64, address: SocketAddr, now: Instant) {
        let is_up = self.hot.up().contains(peer.slot);
        if self.parts.sessions_move && (is_up || peer.remote.lock().len() > 0) {
            self.hot.set_held(peer.slot, is_up);
            self.end_lease(peer);
            peer.remote.lock().distrust();
            self.orphan_queue(peer);
        } else {
            self.drop_peer(peer);
            self.clear_rows(peer);
        }
        peer.fence.close_before(generation);
        peer.is_compared.store(false, Ordering::Release);
        peer.pair.lock().cancel();
        *peer.standing.lock() = Standing::new(generation, address, now);
        peer.redial.notify_one();
    }

    /// Masks a peer: it gets nothing more, and whoever waits for it waits no longer.
    pub(super) fn drop_peer(&self, peer: &Peer) {
        self.hot.set_up(peer.slot, false);
        self.hot.set_held(peer.slot, false);
        self.end_lease(peer);
        if self.parts.sessions_move {
            return self.orphan_queue(peer);
        }
        let (released, is_relieved) = self.hot.with_queue(peer.slot, super::queue::Queue::release);
        self.give_back(released);
        if is_relieved {
            self.parts.mailboxes.uncongested();
        }
    }

    /// What waits for a peer waits until its sessions are somewhere.
    fn orphan_queue(&self, peer: &Peer) {
        let (left, is_relieved) = self.hot.with_queue(peer.slot, super::queue::Queue::take);
        self.orphan(&peer.name, left);
        if is_relieved {
            self.parts.mailboxes.uncongested();
        }
    }

    /// Forgets a peer's rows.
    pub(super) fn clear_rows(&self, peer: &Peer) {
        self.end_lease(peer);
        peer.remote.lock().reset();
        self.parts.index.clear_remote(peer.slot);
    }

    /// This node is not in sync with a peer any more.
    pub(super) fn end_lease(&self, peer: &Peer) {
        peer.lease.lock().end();
        self.hot.set_lease(peer.slot, None);
    }

    /// Forgets a peer and frees its slot.
    pub(super) fn forget(&self, peer: &Peer) {
        peer.gone.cancel();
        self.drop_peer(peer);
        self.clear_rows(peer);
        peer.fence.close_before(u64::MAX);
        self.hot.with_queue(peer.slot, |queue| queue.doubt(false)); // the slot's next peer has its own
        self.peers.lock().remove(&peer.name);
        // A slot's next peer must not inherit what this one was told.
        *self.barrier.lock().peer(peer.slot) = super::lease::Answers::default();
        self.barrier_moved.notify_one();
    }

    /// Both links to a peer are open.
    pub(super) fn linked(&self, peer: &Peer) {
        let mut standing = peer.standing.lock();
        (standing.gone_since, standing.refused_since) = (None, None);
        self.parts.tally.add(Metric::LinkOpened, 1);
        if !peer.is_ahead.load(Ordering::Relaxed) {
            standing.trouble.clear();
        }
        let was_down = standing.down_since.take().is_some();
        drop(standing);
        peer.has_new_link.store(true, Ordering::Release);
        self.replica.wake.notify_one();
        if was_down {
            self.hot.set_held(peer.slot, false);
            self.hot.set_up(peer.slot, true);
            tracing::info!(peer = %peer.name, "is back");
        }
        self.changed.notify_one();
    }

    /// The pair of links to a peer is closed, or could not be opened.
    /// `is_refused` is whether nobody listens at its address.
    pub(super) fn unlinked(&self, peer: &Peer, trouble: String, is_refused: bool, now: Instant) {
        self.end_lease(peer);
        peer.asks.disconnect();
        let mut standing = peer.standing.lock();
        if standing.gone_since.is_none() {
            standing.gone_since = Some(now);
            self.parts.tally.add(Metric::LinkLost, 1);
        }
        standing.trouble = trouble;
        standing.refused_since = if is_refused { standing.refused_since.or(Some(now)) } else { None };
        drop(standing);
        self.changed.notify_one();
    }

    /// A head of a peer, from a lease answer or from gossip, is compared with what is applied: whether to ask for all
    /// rows again. Until they have come the peer is flooded.
    pub(super) fn needs_snapshot(&self, peer: &Peer, generation: u64, head: Head, now: Instant) -> bool {
        {
            let mut standing = peer.standing.lock();
            if standing.generation != generation {
                return false;
            }
            standing.newest = standing.newest.max(head.version);
        }
        let mut remote = peer.remote.lock();
        let applied = remote.head();
        if !remote.needs_snapshot(head, now) {
            return false;
        }
        remote.distrust();
        drop(remote);
        self.end_lease(peer);
        tracing::warn!(peer = %peer.name, ?applied, theirs = ?head, "its rows here differ from its own: asking for all of them");
        true
    }

    /// What gossip shows of a peer.
    pub(super) fn sighted(&self, member: &super::gossip::GossipMember, now: Instant) {
        let is_news = member.alive && member.state != PublishedState::Leaving;
        let known = self.peer(&member.name);
        if known.is_none() && !is_news {
            return;
        }
        let Ok(peer) = self.find_or_make(&member.name, member.generation, member.address, now) else {
            return;
        };
        let known = peer.standing.lock().generation;
        if member.generation < known {
            return; // of its earlier life
        }
        if member.generation > known && member.alive {
            self.renew(&peer, member.generation, member.address, now);
        }
        if member.generation >= known {
            let mut standing = peer.standing.lock();
            standing.see(member.alive);
            standing.published = Some(member.state);
            standing.address = member.address;
            standing.version.clone_from(&member.version);
            standing.secrets.clone_from(&member.secrets);
        }
        let head = Head { version: member.head.version, hash: member.head.hash };
        let is_linked = peer.standing.lock().gone_since.is_none();
        if is_linked && self.needs_snapshot(&peer, member.head.generation, head, now) {
            peer.asks.tell(super::dial::pull(&peer, true));
        }
    }
}

pub(super) fn wall_millis() -> u64 {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
