//! What a registrar knows and decides: rows, the view, and who has announced what. Never asks anybody and never waits:
//! the room's other files carry its decisions out.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::rows::{Ownership, Rows};
use super::view::View;
use super::wills::Wills;
use crate::registry::{Claim, Clock, Epoch, Holder, Loss, Owned};

pub(super) struct Engine {
    node: String,
    clock: Arc<Clock>,
    /// Differs at each start: who starts anew has forgotten its rows.
    pub(super) instance: u64,
    view: Arc<View>,
    pub(super) rows: Rows,
    /// Of clients of other nodes.
    pub(super) wills: Wills,
    /// Clients whose wills were made void by their coming back, since this was asked last.
    pub(super) cancelled: u64,
    /// Those of the view, and those that spoke to us before our view had them.
    peers: HashMap<String, Peer>,
    /// Nodes that are gone, whose sessions this node has as far as they fall to it in this view.
    pub(super) adopted: HashSet<String>,
    /// Ids that are being claimed by this node: how many times, and the highest epoch at which they were lost meanwhile.
    pending: HashMap<Arc<str>, (usize, Epoch)>,
}

#[derive(Default)]
struct Peer {
    /// Which of its starts we spoke to last; 0 before we did.
    instance: u64,
    /// A task announces to it.
    is_announcing: bool,
    /// The view for which it has everything of ours.
    announced: Option<Arc<View>>,
    /// Rises when what we announced may not have reached it.
    distrusted: u64,
    /// The view for which we have everything of it.
    done: Option<u64>,
}

/// Who owns an id, as somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) owner: String,
    pub(super) epoch: Epoch,
    pub(super) holder: Holder,
}

/// A claim that was decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) epoch: Epoch,
    pub(super) previous: Option<String>,
    /// The live nodes that own the id no more; `previous` is one of them.
    pub(super) losers: Vec<String>,
}

pub(super) enum Step {
    Decided(Decided),
    /// Too little is known: these are to be asked first.
    Ask(Vec<String>),
    /// Another holder seems to have it: this owner is to be asked whether that is so still.
    Verify(Found),
}

/// What is to be announced to a peer.
pub(super) struct Announcement {
    pub(super) view: Arc<View>,
    /// It has everything for this view already.
    pub(super) base: Option<Arc<View>>,
    /// To which start of the peer.
    pub(super) to: u64,
    distrusted: u64,
}

/// Somebody has to be told that it lost an id.
pub(super) struct Lost {
    pub(super) owner: String,
    pub(super) client_id: Arc<str>,
    pub(super) loss: Loss,
}

impl Engine {
    pub(super) fn new(node: String, clock: Arc<Clock>, max_wills_bytes: usize) -> Self {
        let view = Arc::new(View::new(vec![node.clone()]));
        let instance = clock.now();
        let (rows, peers, pending) = (Rows::new(), HashMap::new(), HashMap::new());
        let wills = Wills::new(max_wills_bytes);
        Self { node, clock, instance, view, rows, wills, cancelled: 0, peers, adopted: HashSet::new(), pending }
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// A new set of live nodes. Answers the peers that need a task to announce to them.
    pub(super) fn set_view(&mut self, mut live: Vec<String>) -> Vec<String> {
        live.push(self.node.clone());
        let view = View::new(live);
        if view == *self.view {
            return Vec::new();
        }
        self.peers.retain(|name, peer| view.contains(name) || peer.is_announcing);
        for peer in self.peers.iter_mut().filter(|(name, _)| !view.contains(name)).map(|(_, peer)| peer) {
            (peer.announced, peer.done) = (None, None);
            peer.distrusted += 1;
        }
        for gone in self.view.names().filter(|name| !view.contains(name)) {
            self.wills.lost(gone);
        }
        self.view = Arc::new(view);
        self.adopted.clear(); // what falls to whom has changed
        let others: Vec<_> = self.others().map(str::to_owned).collect();
        others.into_iter().filter(|peer| self.start_announcing(peer)).collect()
    }

    /// The other live nodes.
    pub(super) fn others(&self) -> impl Iterator<Item = &str> {
        self.view.names().filter(|name| *name != self.node)
    }

    /// Whether every live peer has announced what it owns for this view: no row then means no owner.
    pub(super) fn is_complete(&self) -> bool {
        let mut others = self.others();
        others.all(|name| self.peers.get(name).is_some_and(|peer| peer.done == Some(self.view.hash)))
    }

    // --- claims

    /// Decides a claim, or says who is to be asked first.
    pub(super) fn begin(&mut self, claimant: &str, claim: &Claim) -> Step {
        let is_known = self.rows.get(&claim.client_id).is_some();
        // Of a node that is gone: its client may be on its way to another, which could not ask this one.
        if !claim.is_orphan && (is_known || self.is_complete()) {
            return self.decide(claimant, claim, &[], &[]);
        }
        Step::Ask(self.others().map(str::to_owned).collect())
    }

    /// Grants above everything that is known for the id, unless another holder has it. `gone` are owners that were asked,
    /// and have it no more.
    pub(super) fn decide(&mut self, claimant: &str, claim: &Claim, found: &[Found], gone: &[Found]) -> Step {
        let row = self.found(&claim.client_id);
        let mut known: Vec<&Found> = row.iter().chain(found).collect();
        known.sort_by_key(|found| std::cmp::Reverse(found.epoch));
        // Below the claimant's own nobody has it any more, and the claimant has asked its own sessions before.
        let mut others = known.iter().take_while(|found| found.owner != claimant);
        let is_rival = |found: &&&Found| {
            let is_alive = claim.is_orphan && found.epoch > claim.known;
            let has_it = is_alive || found.holder.is_rival_of(claim.holder);
            has_it && self.view.contains(&found.owner) && !gone.contains(found)
        };
        if let Some(rival) = others.find(is_rival) {
            return Step::Verify((*rival).clone());
        }
        let floor = known.first().map_or(Epoch(0), |found| found.epoch).max(claim.known);
        let epoch = Epoch(self.clock.above(floor.0));
        let mut losers: Vec<String> = Vec::new();
        for Found { owner, .. } in known {
            if owner != claimant && self.view.contains(owner) && !losers.contains(owner) {
                losers.push(owner.clone());
            }
        }
        self.set(claimant, claim, epoch);
        Step::Decided(Decided { epoch, previous: losers.first().cloned(), losers })
    }

    /// A loser holds the id at a higher epoch than was granted: the grant rises above it, unless a later one overtook it.
    pub(super) fn raise(&mut self, claimant: &str, claim: &Claim, granted: Epoch, held: Epoch) -> Option<Epoch> {
        self.rows.get(&claim.client_id).filter(|(_, row)| row.epoch == granted)?;
        let epoch = Epoch(self.clock.above(held.0.max(granted.0)));
        self.set(claimant, claim, epoch);
        Some(epoch)
    }

    fn set(&mut self, owner: &str, claim: &Claim, epoch: Epoch) {
        let (holder, expiry, clean_start) = (claim.holder, claim.session_expiry, claim.clean_start);
        self.cancelled += u64::from(self.wills.claimed(&claim.client_id, epoch, clean_start));
        self.rows.set(&claim.client_id, &Ownership { owner, epoch, holder, expiry, clean_start });
    }

    pub(super) fn found(&self, client_id: &str) -> Option<Found> {
        let (owner, row) = self.rows.get(client_id)?;
        Some(Found { owner: owner.to_string(), epoch: row.epoch, holder: row.holder })
    }

    /// This node owns an id since before it was its registrar.
    pub(super) fn note_own(&mut self, client_id: &Arc<str>, found: &Found) {
        let (owner, epoch, holder) = (found.owner.as_str(), found.epoch, found.holder);
        self.rows.set(client_id, &Ownership { owner, epoch, holder, expiry: 0, clean_start: false });
    }

    /// This node begins to claim an id; each is followed by [`Engine::claim_ended`].
    pub(super) fn claim_began(&mut self, client_id: &Arc<str>) {
        self.pending.entry(client_id.clone()).or_insert((0, Epoch(0))).0 += 1;
    }

    pub(super) fn claim_ended(&mut self, client_id: &Arc<str>) {
        if let Some((count, _)) = self.pending.get_mut(client_id) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(client_id);
            }
        }
    }

    /// Whether this node claims an id at this moment.
    pub(super) fn is_claiming(&self, client_id: &str) -> bool {
        self.pending.contains_key(client_id)
    }

    /// Another node owns the id from `epoch` on.
    pub(super) fn fence(&mut self, client_id: &str, epoch: Epoch) {
        if let Some((_, fence)) = self.pending.get_mut(client_id) {
            *fence = epoch.max(*fence);
        }
    }

    /// The highest epoch at which another node got the id while this node claims it.
    pub(super) fn fence_of(&self, client_id: &str) -> Epoch {
        self.pending.get(client_id).map_or(Epoch(0), |(_, fence)| *fence)
    }

    // --- announcements

    /// Takes a peer's ids. Answers those that others own by a higher epoch, and the owners that lost theirs.
    pub(super) fn announced_by(&mut self, from: &str, owned: Vec<Owned>) -> (Vec<Owned>, Vec<Lost>) {
        let (mut stale, mut lost) = (Vec::new(), Vec::new());
        for Owned { client_id, epoch, holder } in owned {
            if self.clock.merge(epoch.0).is_err() {
                continue; // an epoch of a clock that is not believed would stand for good
            }
            let row = self.found(&client_id);
            if let Some(row) = row.filter(|row| row.owner != from || row.epoch >= epoch) {
                if row.owner == from {
                    continue;
                }
                if row.epoch >= epoch {
                    let epoch = self.settle_tie(&client_id, &row, epoch);
                    stale.push(Owned { client_id, epoch, holder: row.holder });
                    continue;
                }
                if self.view.contains(&row.owner) {
                    let loss = Loss { epoch, is_clean: false };
                    lost.push(Lost { owner: row.owner, client_id: client_id.clone(), loss });
                }
            }
            self.cancelled += u64::from(self.wills.claimed(&client_id, epoch, false));
            self.rows.set(&client_id, &Ownership { owner: from, epoch, holder, expiry: 0, clean_start: false });
        }
        (stale, lost)
    }

    /// The epoch of a row that wins over a session of another owner. Two nodes that could not ask may have granted the
    /// same epoch: then the row's rises, so that one of them is the lower.
    fn settle_tie(&mut self, client_id: &Arc<str>, row: &Found, epoch: Epoch) -> Epoch {
        if row.epoch > epoch {
            return row.epoch;
        }
        let (owner, epoch) = (row.owner.as_str(), Epoch(self.clock.above(epoch.0)));
        self.rows.set(client_id, &Ownership { owner, epoch, holder: row.holder, expiry: 0, clean_start: false });
        epoch
    }

    /// A peer says which of its starts it is. One that started anew has nothing of ours, nor we of
    /// it. Answers whether a task is needed that announces to it.
    pub(super) fn meet(&mut self, name: &str, instance: u64) -> bool {
        let peer = self.peers.entry_ref(name).or_default();
        if peer.instance == instance {
            return false;
        }
        (peer.instance, peer.announced, peer.done) = (instance, None, None);
        self.distrust(name)
    }

    /// A peer says that we have everything of it for this view; `wanted`, that it lacks ours. Answers whether a task
    /// is needed that announces to it again.
    pub(super) fn done_by(&mut self, from: &str, view: u64, wanted: bool) -> bool {
        let current = self.view.clone();
        let peer = self.peers.entry_ref(from).or_default();
        peer.done = Some(view);
        let is_lost = wanted && view == current.hash && peer.announced.as_ref().is_some_and(|a| a.hash == view);
        is_lost && self.distrust(from)
    }

    /// What was announced to this peer may not have arrived. Answers whether a task is needed that does it again.
    pub(super) fn distrust(&mut self, peer: &str) -> bool {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.announced = None;
            peer.distrusted += 1;
        }
        self.view.contains(peer) && peer != self.node && self.start_announcing(peer)
    }

    fn start_announcing(&mut self, peer: &str) -> bool {
        let peer = self.peers.entry_ref(peer).or_default();
        !std::mem::replace(&mut peer.is_announcing, true)
    }

    /// What the task that announces to a peer is to do next; without an answer it ends.
    pub(super) fn next_announcement(&mut self, peer_name: &str) -> Option<Announcement> {
        let view = self.view();
        let peer = self.peers.get_mut(peer_name)?;
        let is_finished = peer.announced.as_ref().is_some_and(|announced| *announced == view);
        if is_finished || !view.contains(peer_name) {
            peer.is_announcing = false;
            return None;
        }
        let (base, to, distrusted) = (peer.announced.clone(), peer.instance, peer.distrusted);
        Some(Announcement { view, base, to, distrusted })
    }

    /// The peer has everything of an announcement.
    pub(super) fn announced_to(&mut self, peer: &str, announcement: Announcement) {
        if let Some(peer) = self.peers.get_mut(peer) {
            let is_lost = peer.distrusted != announcement.distrusted;
            peer.announced = (!is_lost).then_some(announcement.view);
        }
    }

    /// Whether we lack a peer's ids for our view.
    pub(super) fn wants(&self, peer: &str) -> bool {
        self.peers.get(peer).is_none_or(|peer| peer.done != Some(self.view.hash))
    }

    /// Drops the wills that others hold by now. Only once every owner has told those.
    pub(super) fn sweep_wills(&mut self) {
        if self.is_complete() {
            let (view, node) = (self.view.clone(), self.node.clone());
            self.wills.sweep(|owner, id| !view.contains(owner) || view.executor(owner, id) == Some(&*node));
        }
    }

    /// Drops one part's rows whose registrar is another node by now. Only once every owner has told that one.
    pub(super) fn sweep(&mut self, shard: usize) {
        if self.is_complete() {
            let (view, node) = (self.view.clone(), &self.node);
            self.rows.sweep(shard, |client_id| view.registrar(client_id) == node);
        }
    }
}
