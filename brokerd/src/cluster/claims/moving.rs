//! A session that moves between nodes which share a store: what still reaches its previous owner is brought to the new
//! one. Never decides who owns it, and never waits longer than its deadlines: then the store's fence is what is left.

use std::sync::Arc;
use std::time::Duration;

use proto::claims::{self as pb, Drain, Found as FoundWire, LetGo, Lookup, received::How, reply, request};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Claims;
use crate::registry::{Epoch, Reception, Relayed};

/// How long an owner is looked for; whoever published is refused then.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts.
const RELAY_GAP: Duration = Duration::from_millis(20);
/// The longest that a CONNECT waits for what is on its way to the previous owner.
pub(super) const HAND_OVER: Duration = Duration::from_secs(2);

impl Claims {
    /// Brings messages to whoever owns the session now.
    pub(super) async fn relay_to_owner(self: Arc<Self>, relayed: Relayed) -> bool {
        let until = Instant::now() + RELAY_PATIENCE;
        loop {
            match self.relay_once(&relayed, until).await {
                Reception::Kept | Reception::Gone => return true,
                Reception::NotHere if Instant::now() >= until => return false,
                Reception::NotHere => sleep(RELAY_GAP).await, // it is on its way
            }
        }
    }

    async fn relay_once(self: &Arc<Self>, relayed: &Relayed, until: Instant) -> Reception {
        let owner = self.owner_of(&relayed.client_id, until).await;
        if owner == self.node {
            let Some(owners) = self.owners.get() else { return Reception::NotHere };
            return owners.relayed(relayed.clone()).await;
        }
        if owner.is_empty() {
            return Reception::NotHere;
        }
        let relay = pb::Relay {
            client_id: relayed.client_id.to_string(),
            sid: relayed.sid,
            entries: relayed.entries.iter().map(|entry| entry.to_vec()).collect(),
        };
        match self.ask(&owner, request::What::Relay(relay), until).await {
            Some(reply::What::Received(received)) => match received.how() {
                How::Kept => Reception::Kept,
                How::Gone => Reception::Gone,
                How::NotHere => Reception::NotHere,
            },
            _ => Reception::NotHere,
        }
    }

    /// The owner as its registrar knows it; empty where that knows none.
    async fn owner_of(self: &Arc<Self>, client_id: &Arc<str>, until: Instant) -> String {
        let registrar = self.engine.lock().view().registrar(client_id).to_owned();
        if registrar == self.node {
            return self.find(client_id.clone()).await.0.owner;
        }
        let lookup = request::What::Lookup(Lookup { client_id: client_id.to_string() });
        match self.ask(&registrar, lookup, until.min(Instant::now() + self.timeout)).await {
            Some(reply::What::Found(FoundWire { owner, .. })) => owner,
            _ => String::new(),
        }
    }

    /// Whether every live node, this one too, has taken its part of the sessions of a node that is gone.
    pub async fn all_have_adopted(&self, node: &str) -> bool {
        let (is_here, others) = {
            let engine = self.engine.lock();
            (engine.adopted.contains(node), engine.others().map(str::to_owned).collect::<Vec<_>>())
        };
        if !is_here {
            return false;
        }
        for other in others {
            let asked = request::What::Adopted(pb::Adopted { node: node.to_owned() });
            let answer = self.ask(&other, asked, Instant::now() + self.timeout).await;
            if !matches!(answer, Some(reply::What::Done(pb::Done { held: 1 }))) {
                return false;
            }
        }
        true
    }

    pub(super) async fn on_relay(&self, relay: pb::Relay) -> reply::What {
        let pb::Relay { client_id, sid, entries } = relay;
        let entries = entries.into_iter().map(Into::into).collect();
        let how = match self.owners.get() {
            Some(owners) => owners.relayed(Relayed { client_id: client_id.into(), sid, entries }).await,
            None => Reception::NotHere,
        };
        let how = match how {
            Reception::Kept => How::Kept,
            Reception::Gone => How::Gone,
            Reception::NotHere => How::NotHere,
        };
        reply::What::Received(pb::Received { how: how.into() })
    }

    /// Has the previous owner hand on what still comes to it.
    pub(super) async fn collect_from(&self, previous: String, client_id: Arc<str>, epoch: Epoch) {
        let let_go = request::What::LetGo(LetGo { client_id: client_id.to_string(), epoch: epoch.0 });
        if self.ask(&previous, let_go, Instant::now() + HAND_OVER).await.is_none() {
            tracing::debug!(client = &*client_id, node = previous, "the previous owner has not handed everything over");
        }
    }

    /// What was on its way to this node has come, or is late.
    pub(super) async fn drain_peers(self: &Arc<Self>, until: Instant) {
        let others: Vec<String> = self.engine.lock().others().map(str::to_owned).collect();
        let mut drains = JoinSet::new();
        for peer in others {
            let (claims, node) = (self.clone(), self.node.clone());
            // A peer that is silent holds nobody up for long: what it still has here is brought on as it comes.
            let most = until.min(Instant::now() + self.timeout);
            let drain = async move { claims.ask(&peer, request::What::Drain(Drain { node }), most).await };
            drains.spawn_on(drain, &self.runtime);
        }
        while drains.join_next().await.is_some() {}
    }

    /// Every node routes to the new owner by now: once what they had sent here before is here, and with the new owner,
    /// the session may go.
    pub(super) async fn on_let_go(self: &Arc<Self>, client_id: &Arc<str>, epoch: Epoch) {
        let until = Instant::now() + HAND_OVER * 4 / 5;
        self.drain_peers(until).await;
        if let Some(owners) = self.owners.get() {
            let _ = timeout_at(until, owners.let_go(client_id, epoch)).await; // late: it goes all the same, by its timer
        }
    }

    /// What this node has for another, matched or queued, has reached it.
    pub(super) async fn on_drain(&self, node: &str) {
        if let Some(owners) = self.owners.get() {
            owners.end_turns().await;
        }
        let _ = timeout(HAND_OVER, self.peers.drained(node)).await; // who asks has its own deadline
    }
}
