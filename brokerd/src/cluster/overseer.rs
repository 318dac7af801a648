//! The one task that judges the members: it hears gossip and the links, declares down, forgets, dials, decides when this
//! node is ready, and tells gossip and the peers. Its rules are in `standing` and `ready`; it performs them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proto::peer::{MemberRow, member_row::State as Told};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::MemberState;
use super::acquaintances::Acquaintances;
use super::claims::Claims;
use super::core::{Core, wall_millis};
use super::dial;
use super::discovery::Outlook;
use super::gossip::{Gossip, Members, PublishedState, RouteHead};
use super::peer::Peer;
use super::ready::{self, PeerSight};
use super::standing::Sight;
use crate::metrics::Metric;
use crate::registry::Boxed;

/// Rules that depend on time alone are looked at so often.
const TICK: Duration = Duration::from_millis(100);
/// A member that left is listed so long.
const FAREWELL: Duration = Duration::from_secs(10);

/// What the overseer tells all nodes through gossip.
pub(super) trait Voice: Send + Sync {
    fn state(&self, state: PublishedState) -> Boxed<'_, ()>;
    fn head(&self, head: RouteHead) -> Boxed<'_, ()>;
}

/// What the overseer tells the registry of client ids, and asks of it.
pub(super) trait Registry: Send + Sync {
    fn on_view(&self, live: Vec<String>);
    fn is_in_sync(&self) -> bool;
}

impl Registry for Claims {
    fn on_view(&self, live: Vec<String>) {
        Self::on_view(self, live);
    }
    fn is_in_sync(&self) -> bool {
        Self::is_in_sync(self)
    }
}

impl Voice for Gossip {
    fn state(&self, state: PublishedState) -> Boxed<'_, ()> {
        Box::pin(self.set_state(state))
    }
    fn head(&self, head: RouteHead) -> Boxed<'_, ()> {
        Box::pin(self.set_head(head))
    }
}

/// The task's state.
pub(super) struct Overseer {
    pub(super) core: Arc<Core>,
    pub(super) members: watch::Receiver<Members>,
    pub(super) voice: Arc<dyn Voice>,
    pub(super) registry: Arc<dyn Registry>,
    /// Becomes true once, when this node may serve.
    pub(super) ready_tx: watch::Sender<bool>,
    /// Rises after each look.
    pub(super) looked_tx: watch::Sender<u64>,
    /// Whether there is anyone to wait for.
    pub(super) has_seeds: bool,
    /// Why it may be that nobody was found.
    pub(super) outlook: Outlook,
    pub(super) began: Instant,
    /// This node has been in sync with all once: from then on what is wrong is said of the peer that it is wrong with.
    pub(super) was_complete: bool,
    pub(super) acquaintances: Acquaintances,
}

impl Overseer {
    /// Runs until it is dropped; the links that this node dialed end with it.
    pub(super) async fn run(mut self) {
        let mut dialers = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut published, mut view) = (None, Vec::new());
        self.members.mark_changed();
        loop {
            if self.members.has_changed().unwrap_or(false) {
                let members = self.members.borrow_and_update().clone();
                self.hear_gossip(&members, Instant::now());
            }
            self.judge(Instant::now());
            let live = self.live();
            if view != live {
                view.clone_from(&live);
                self.registry.on_view(live);
            }
            self.acquaintances.look(&self.core.all_peers());
            self.check_ready(Instant::now());
            self.core.report_alarms(Instant::now());
            self.tell();
            for peer in self.core.all_peers() {
                if !peer.gone.is_cancelled() && !peer.is_dialed.swap(true, Ordering::AcqRel) {
                    dialers.spawn(dial::keep(self.core.clone(), peer));
                }
            }
            let (head, own) = (self.core.routes.head(), self.core.own.lock().clone());
            if published != Some(own.state) {
                published = Some(own.state);
                self.voice.state(own.state).await;
            }
            let head = RouteHead { generation: own.generation, version: head.version, hash: head.hash };
            self.voice.head(head).await;
            self.looked_tx.send_modify(|looks| *looks += 1);
            tokio::select! {
                _ = tick.tick() => {}
                () = self.core.changed.notified() => {}
                changed = self.members.changed() => match changed {
                    Ok(()) => self.members.mark_changed(),
                    Err(_) => { tick.tick().await; } // gossip has ended, which its owner reports
                },
                Some(_) = dialers.join_next() => {}
            }
        }
    }

    fn hear_gossip(&self, members: &Members, now: Instant) {
        for member in members.values().filter(|member| member.name != self.core.parts.identity.node) {
            self.core.sighted(member, now);
        }
        for peer in self.core.all_peers() {
            let mut standing = peer.standing.lock();
            let is_forgotten = standing.sight != Sight::Unseen && !members.contains_key(&*peer.name);
            if is_forgotten {
                standing.sight = Sight::Dead;
            }
        }
    }

    fn judge(&self, now: Instant) {
        for peer in self.core.all_peers() {
            self.judge_one(&peer, now);
            let mut standing = peer.standing.lock();
            let state = standing.state(&peer.name);
            if state != standing.reported.0 || standing.reported.1 == 0 {
                tracing::info!(peer = %peer.name, ?state, "member");
                standing.reported = (state, wall_millis());
            }
        }
    }

    fn judge_one(&self, peer: &Peer, now: Instant) {
        let (core, settings) = (&self.core, &self.core.parts.settings);
        let standing = peer.standing.lock().clone();
        if standing.is_leaving(&peer.name) {
            if !peer.gone.is_cancelled() {
                peer.gone.cancel();
                core.drop_peer(peer);
                core.clear_rows(peer);
                peer.fence.close_before(u64::MAX);
                peer.standing.lock().gone_since = Some(now);
            }
            let is_over = standing.gone_since.is_some_and(|since| now.duration_since(since) > FAREWELL);
            if is_over {
                core.forget(peer);
            }
            return;
        }
        let Some(down_since) = standing.down_since else {
            if standing.is_lost(now, settings.peer_timeout, settings.down_after) {
                tracing::warn!(peer = %peer.name, "is down");
                core.parts.tally.add(Metric::PeerDown, 1);
                peer.standing.lock().down_since = Some(now);
                if core.parts.sessions_move && core.hot.up().contains(peer.slot) {
                    core.hot.set_held(peer.slot, true);
                    core.end_lease(peer);
                } else {
                    core.drop_peer(peer);
                }
            }
            return;
        };
        if now.saturating_duration_since(down_since) < settings.route_grace {
            return;
        }
        if core.hot.held().contains(peer.slot) {
            core.drop_peer(peer);
            core.give_up(&peer.name);
        }
        if peer.remote.lock().len() > 0 {
            core.clear_rows(peer);
        }
        let is_known = self.members.borrow().contains_key(&*peer.name);
        if !is_known {
            core.forget(peer);
        }
    }

    /// Ready at once without seeds; else when nobody is missing, or after `cluster.join_timeout`, said aloud.
    fn check_ready(&mut self, now: Instant) {
        if self.core.own.lock().state == PublishedState::Leaving {
            return;
        }
        let missing = self.missing(now);
        let is_routed = missing.as_ref().is_some_and(BTreeSet::is_empty);
        self.was_complete |= is_routed && self.registry.is_in_sync() && self.has_compared();
        let is_late = now.saturating_duration_since(self.began) >= self.core.parts.settings.join_timeout;
        let trouble = if self.was_complete || !self.has_seeds || !is_late {
            String::new()
        } else {
            alarm(missing, &self.outlook)
        };
        let mut own = self.core.own.lock();
        if own.trouble != trouble {
            if !trouble.is_empty() {
                tracing::warn!("{trouble}");
            }
            own.trouble = trouble;
        }
        if own.state == PublishedState::Joining && (self.was_complete || is_late || !self.has_seeds) {
            own.state = PublishedState::Ready;
            own.since = wall_millis();
            drop(own);
            self.ready_tx.send_replace(true);
        }
    }

    /// The nodes that client ids are shared out among: this one and those that are up.
    fn live(&self) -> Vec<String> {
        let (up, held) = (self.core.hot.up(), self.core.hot.held());
        let up = held.iter().fold(up, crate::router::PeerSet::without);
        let peers = self.core.all_peers();
        let names = peers.iter().filter(|peer| up.contains(peer.slot)).map(|peer| peer.name.to_string());
        std::iter::once(self.core.parts.identity.node.clone()).chain(names).collect()
    }

    fn missing(&self, now: Instant) -> Option<BTreeSet<String>> {
        let mut peers = Vec::new();
        for peer in self.core.all_peers() {
            let standing = peer.standing.lock();
            let counts = !matches!(standing.state(&peer.name), MemberState::Down | MemberState::Leaving);
            if counts {
                let in_sync = standing.gone_since.is_none() && self.core.hot.is_in_sync(peer.slot, now);
                peers.push(PeerSight { name: peer.name.to_string(), in_sync, list: standing.list.clone() });
            }
        }
        ready::missing((&self.core.parts.identity.node, self.core.generation()), &peers)
    }

    /// Whether what the live members retain is here.
    fn has_compared(&self) -> bool {
        let up = self.core.hot.up();
        let peers = self.core.all_peers();
        peers.iter().all(|peer| !up.contains(peer.slot) || peer.is_compared.load(Ordering::Acquire))
    }

    /// Tells the peers of the live members, where that has changed.
    fn tell(&self) {
        let own = self.core.own.lock().clone();
        let mut rows = vec![MemberRow {
            node: self.core.parts.identity.node.clone(),
            generation: own.generation,
            state: match own.state {
                PublishedState::Joining => Told::Joining,
                PublishedState::Ready => Told::Up,
                PublishedState::Leaving => Told::Leaving,
            }
            .into(),
            address: own.address.to_string(),
        }];
        for peer in self.core.all_peers() {
            let standing = peer.standing.lock();
            // One that gossip shows and that nobody has met may not exist any more: only the met are listed.
            let state = match standing.state(&peer.name) {
                MemberState::Joining if standing.is_proven => Told::Joining,
                MemberState::Up => Told::Up,
                MemberState::Joining | MemberState::Leaving | MemberState::Down => continue,
            };
            rows.push(MemberRow {
                node: peer.name.to_string(),
                generation: standing.generation,
                state: state.into(),
                address: standing.address.to_string(),
            });
        }
        self.core.list_tx.send_if_modified(|list| {
            let is_new = **list != rows;
            if is_new {
                *list = Arc::new(rows);
            }
            is_new
        });
    }
}

/// Why a node serves that is not in sync with all.
fn alarm(missing: Option<BTreeSet<String>>, outlook: &Outlook) -> String {
    match missing {
        None => outlook.alarm().unwrap_or_default(),
        Some(names) if names.is_empty() => {
            "this node serves, though not all peers have announced their client ids and what they retain".to_owned()
        }
        Some(names) => {
            let names: Vec<String> = names.into_iter().collect();
            format!("this node serves, though it is not in sync with `{}`", names.join("`, `"))
        }
    }
}
