//! What one turn of a worker collects: who is to be written to, what leaves for other workers and peers, and who waits.
//! Never sends any of it: the flush does.

use hashbrown::{HashMap, HashSet};
use mqtt::Time;

use std::sync::Arc;

use crate::router::{self, Matches, OnDelivered, Outbound, PeerSet, PeerSlot, Ticket};

/// What a turn collects.
pub(super) struct Turn {
    /// The time, read once a turn.
    pub(super) now: Time,
    /// Connections with something to write.
    pub(super) dirty: Vec<(u32, u32)>,
    /// Connections that were promised something.
    pub(super) promised: Vec<(u32, u32)>,
    /// Connections that are not read until there is room.
    pub(super) paused: HashSet<(u32, u32), foldhash::fast::RandomState>,
    /// Peers that are up, and those that are to get everything, as of the last socket read.
    pub(super) up: PeerSet,
    /// Those of `up` that are not gone.
    pub(super) living: PeerSet,
    pub(super) flood: PeerSet,
    pub(super) matches: Matches,
    pub(super) to_workers: Vec<Vec<router::Delivery>>,
    /// Who waits until those are kept, a worker each.
    pub(super) receipts: Vec<Vec<Ticket>>,
    pub(super) to_peers: Vec<Vec<Outbound>>,
    pub(super) peers_waiting: PeerSet,
    /// The connection whose packets are handled published where there is no room.
    pub(super) under_pressure: Option<u32>,
    /// Who waits for peers, by ticket.
    pub(super) waiting: HashMap<u64, Waiting, foldhash::fast::RandomState>,
    last_token: u64,
}

/// A step of a session that waits for peers.
pub(super) enum Waiting {
    /// A publication, for so many peers.
    Routed { slot: u32, incarnation: u32, token: u64, remaining: u32, is_refused: bool },
    /// A SUBSCRIBE.
    Live { slot: u32, incarnation: u32, answer: Box<super::subscribe::Answer> },
    /// A session that came from another node: its routes are not known everywhere yet.
    Arrived(tokio::sync::oneshot::Sender<()>),
    /// A message of a shared group that is on its way to another member; whoever sent it waits with it.
    Redispatched { _done: Option<Arc<OnDelivered>> },
}

impl Turn {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            now: Time(0),
            dirty: Vec::new(),
            promised: Vec::new(),
            paused: HashSet::default(),
            up: PeerSet::default(),
            living: PeerSet::default(),
            flood: PeerSet::default(),
            matches: Matches::default(),
            to_workers: (0..workers).map(|_| Vec::new()).collect(),
            receipts: (0..workers).map(|_| Vec::new()).collect(),
            to_peers: (0..PeerSet::CAPACITY).map(|_| Vec::new()).collect(),
            peers_waiting: PeerSet::default(),
            under_pressure: None,
            waiting: HashMap::default(),
            last_token: 0,
        }
    }

    /// Whether this connection published into what is full since it was last asked.
    pub(super) fn published_under_pressure(&mut self, slot: u32) -> bool {
        self.under_pressure.take() == Some(slot)
    }

    /// Notes who waits, and gives the name to wait by.
    pub(super) fn wait(&mut self, worker: u16, waiting: Waiting) -> Ticket {
        self.last_token += 1;
        self.waiting.insert(self.last_token, waiting);
        Ticket { worker, token: self.last_token }
    }

    /// Leaves for a peer at the end of the turn.
    pub(super) fn send(&mut self, peer: PeerSlot, outbound: Outbound) {
        self.to_peers[usize::from(peer.0)].push(outbound);
        self.peers_waiting = self.peers_waiting.with(peer);
    }

    pub(super) fn give_up(&mut self, ticket: Ticket) -> Option<Waiting> {
        self.waiting.remove(&ticket.token)
    }
}
