//! What a node that is gone was to get, where all nodes share a store: held until its sessions are on other nodes, then
//! matched again for those. Whoever published it waits. Never longer than `cluster.route_grace`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mqtt::message::SharedMessage;
use prost::Message as _;
use proto::peer::Forward;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::MemberState;
use super::asks::Kind;
use super::core::Core;
use super::forward::settle;
use super::inbound;
use super::peer::Peer;
use super::queue::Released;
use crate::metrics::Metric;
use crate::router::{Outbound, Outcome, PeerSlot};

/// Messages of one question.
const FRAME: usize = 256;
/// How long a node may take to keep them.
const PATIENCE: Duration = Duration::from_secs(5);

/// By node.
pub(super) type Orphans = HashMap<Arc<str>, Held>;

/// What one node was to get, in order.
pub(super) struct Held {
    /// When the first of it was held.
    since: Instant,
    messages: Vec<Outbound>,
}

impl Default for Held {
    fn default() -> Self {
        Self { since: Instant::now(), messages: Vec::new() }
    }
}

impl Core {
    /// Holds what a peer was to get.
    pub(super) fn orphan(&self, node: &Arc<str>, left: Vec<Outbound>) {
        if !left.is_empty() {
            self.orphans.lock().entry(node.clone()).or_default().messages.extend(left);
        }
    }

    /// The same, of a peer that has gone down just now.
    pub(super) fn orphan_at(&self, slot: PeerSlot, left: Vec<Outbound>) {
        let name = self.all_peers().into_iter().find(|peer| peer.slot == slot).map(|peer| peer.name.clone());
        let left = left.into_iter().filter(|outbound| outbound.message.qos != mqtt::Qos::AtMostOnce).collect();
        match name {
            Some(name) => self.orphan(&name, left),
            None => self.refuse(left),
        }
    }

    pub(super) fn orphaned(&self) -> Vec<Arc<str>> {
        let held = self.hot.held();
        let peers = self.all_peers();
        let is_open = |peer: &&Arc<Peer>| held.contains(peer.slot) || peer.is_returned.load(Ordering::Acquire);
        let mut names: Vec<Arc<str>> = peers.iter().filter(is_open).map(|peer| peer.name.clone()).collect();
        names.extend(self.orphans.lock().keys().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Nobody has taken the sessions in time.
    pub(super) fn give_up(&self, node: &str) {
        let left = self.orphans.lock().remove(node).unwrap_or_default();
        self.refuse(left.messages);
    }

    /// Not kept by all it is for: whoever published it is told so.
    fn refuse(&self, left: Vec<Outbound>) {
        self.parts.tally.add(Metric::DroppedPeerDown, left.len() as u64);
        let tickets = left.into_iter().filter_map(|outbound| outbound.ticket).map(|ticket| (ticket, Outcome::Full));
        settle(&*self.parts.mailboxes, tickets.collect());
    }

    /// The sessions of a node that is gone are on others: those get what it was to get. What cannot be brought now is
    /// held on, as long as `cluster.route_grace` allows: who is told no sends it again, and that is another message then.
    pub(super) async fn rematch(&self, node: &Arc<str>) {
        if let Some(peer) = self.peer(node).filter(|peer| self.hot.held().contains(peer.slot)) {
            self.drop_peer(&peer);
        }
        let returned = self.returned(node);
        let held = self.orphans.lock().remove(node);
        if held.is_none() && returned.is_none() {
            return;
        }
        let Held { since, messages } = held.unwrap_or_default();
        let mut left = messages.into_iter().peekable();
        while left.peek().is_some() {
            // Who has taken some of the sessions may be gone too: they come to somebody else, or back.
            if let Some(other) = self.other_that_is_gone(node) {
                return self.orphan(&other, left.collect());
            }
            let frame: Vec<Outbound> = left.by_ref().take(FRAME).collect();
            if self.rematch_frame(&frame).await {
                self.settle_frame(frame);
            } else if since.elapsed() < self.parts.settings.route_grace {
                let mut orphans = self.orphans.lock();
                let held = orphans.entry(node.clone()).or_default();
                let later = std::mem::take(&mut held.messages);
                (held.since, held.messages) = (since, frame.into_iter().chain(left).chain(later).collect());
                return;
            } else {
                self.refuse(frame);
            }
        }
        if let Some(peer) = returned {
            self.settle_down(&peer).await;
        }
    }

    /// A peer that came back and serves.
    fn returned(&self, node: &str) -> Option<Arc<Peer>> {
        let is_returned = |peer: &Arc<Peer>| {
            peer.is_returned.load(Ordering::Acquire) && peer.standing.lock().state(&peer.name) == MemberState::Up
        };
        self.peer(node).filter(is_returned)
    }

    /// A peer that came back serves: of the sessions that it had before, those that others took while it was away are known
    /// everywhere once no CONNECT is under way any more that was then. From there on it gets what is for it.
    async fn settle_down(&self, peer: &Peer) {
        if !self.rematch_wave(&Bytes::new(), &[]).await {
            return; // tried again at the next look
        }
        // What was matched before those were known goes the same way as all before.
        let owners = self.handlers.read().claims.upgrade().and_then(|claims| claims.owners());
        if let Some(owners) = owners {
            owners.end_turns().await;
        }
        self.trust(peer);
    }

    /// What a peer takes from now on is for it alone.
    pub(super) fn trust(&self, peer: &Peer) {
        self.hot.with_queue(peer.slot, |queue| queue.doubt(false));
        peer.is_returned.store(false, Ordering::Release);
    }

    /// Completes when no CONNECT is under way anywhere that is now, or a node does not say so in time: what is published here
    /// from then on finds whatever session that node goes on with.
    pub(super) async fn await_claims(&self) {
        self.rematch_wave(&Bytes::new(), &[]).await;
    }

    fn other_that_is_gone(&self, node: &str) -> Option<Arc<str>> {
        let held = self.hot.held();
        let mut peers = self.all_peers().into_iter();
        peers.find(|peer| held.contains(peer.slot) && *peer.name != *node).map(|peer| peer.name.clone())
    }

    /// It is where it is to be.
    fn settle_frame(&self, frame: Vec<Outbound>) {
        // Shared groups choose another member, as ever: only at QoS 2 what was sent could be a second copy.
        let is_for_groups = |outbound: &Outbound| outbound.share.as_ref().is_some_and(|share| !share.serve.is_empty());
        let mut released = Released::default();
        for outbound in frame {
            let (lost, is_plain) = (released.lost, !is_for_groups(&outbound));
            released.add(outbound, mqtt::Qos::AtLeastOnce);
            released.lost = if is_plain { lost } else { released.lost };
        }
        self.give_back(released);
    }

    async fn rematch_frame(&self, frame: &[Outbound]) -> bool {
        let plain = |outbound: &&Outbound| outbound.share.as_ref().is_none_or(|share| !share.only_groups);
        let plain: Vec<Outbound> = frame.iter().filter(plain).cloned().collect();
        if plain.is_empty() {
            return true;
        }
        let messages = inbound::encode(&plain, self.time(), |_| Vec::new());
        let body = Bytes::from(Forward { messages, ..Forward::default() }.encode_to_vec());
        let own: Vec<SharedMessage> = plain.into_iter().map(|outbound| outbound.message).collect();
        // Twice: a session that goes from one node to another while both are asked is found by the second wave. It knows
        // what it has.
        self.rematch_wave(&body, &own).await && self.rematch_wave(&body, &own).await
    }

    async fn rematch_wave(&self, body: &Bytes, own: &[SharedMessage]) -> bool {
        let held = self.hot.held();
        let mut asked = JoinSet::new();
        for peer in self.all_peers() {
            if self.hot.up().contains(peer.slot) && !held.contains(peer.slot) {
                let body = body.clone();
                asked.spawn(async move { peer.asks.ask(&peer.name, Kind::Rematch, body, PATIENCE).await });
            }
        }
        let mut is_kept = self.rematch_here(own.to_vec()).await;
        while let Some(answer) = asked.join_next().await {
            is_kept &= matches!(answer, Ok(Ok(answer)) if *answer == [1]);
        }
        is_kept
    }

    async fn rematch_here(&self, messages: Vec<SharedMessage>) -> bool {
        let owners = self.handlers.read().claims.upgrade().and_then(|claims| claims.owners());
        match owners {
            Some(owners) => owners.rematched(messages).await,
            None => false,
        }
    }

    /// Messages that a node which is gone was to get, from one that holds them. Answers one byte.
    pub(super) async fn on_rematch(&self, body: Bytes) -> Bytes {
        let Ok(forward) = Forward::decode(body) else { return Bytes::new() };
        let now = self.time();
        let read = |sent| inbound::decode(sent, now, self.parts.max_packet_size).ok().map(Arc::new);
        let messages: Vec<SharedMessage> = forward.messages.iter().filter_map(read).collect();
        let is_kept = messages.len() == forward.messages.len() && self.rematch_here(messages).await;
        Bytes::from_static(if is_kept { &[1] } else { &[0] })
    }
}
