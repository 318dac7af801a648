//! A session that follows its client: a CONNECT where all nodes share the store. It belongs to one node at a time, by
//! the epoch in the store; whoever connects waits alone. Never takes a session whose epoch in the store is higher.

use std::sync::Arc;

use mqtt::session::Negotiated;
use store::{Claimed, Op, SessionHead, Sid, State, Store, StoreError};
use tokio::sync::oneshot;

use super::claims::holder_of;
use super::mailbox::Mail;
use super::shard::{Handle, Shard};
use super::start::Workers;
use super::turn::Waiting;
use super::{attach, keeping, records};
use crate::metrics::Metric;
use crate::registry::{Claim, Epoch, Grant, Loss};

/// How often the registrar is asked to go above what the store has.
const ATTEMPTS: usize = 4;

/// What is to be done before the connection is given.
enum Step {
    /// Another CONNECT of the client came first.
    Stale,
    Claim(store::Claim),
}

/// Readies the store for a CONNECT: answers the place for the session that begins with it, if one does. A session that
/// was elsewhere is here when this returns, with all that came for it.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn ready(
    shard: &Handle,
    store: &Arc<Store>,
    negotiated: &Negotiated,
    claim: Claim,
    grant: &mut Grant,
) -> Result<Option<Sid>, StoreError> {
    let is_kept = negotiated.session_expiry > 0;
    // What is asked of it now waits behind what it has not taken: nobody is to wait for that.
    if let State::Down(reason) = store.state() {
        let is_served = negotiated.clean_start && !is_kept;
        return if is_served { Ok(None) } else { Err(StoreError::Unavailable(reason)) };
    }
    let claimed = match take(shard, store, negotiated, claim, grant).await {
        Ok(Some(claimed)) => claimed,
        Ok(None) => return Ok(None),
        // Nothing of this session is kept: it may be had without the store.
        Err(error) if negotiated.clean_start && !is_kept => {
            tracing::debug!(%error, client = &*negotiated.client_id, "what is kept of a session could not be dropped");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let sid = claimed.sid;
    if claimed.record.is_none() {
        shard.borrow_mut().begins_anew(&negotiated.client_id, sid);
        if !is_kept {
            shard.borrow_mut().note(Op::DropSession { sid, epoch: grant.epoch.0 });
        }
        return Ok(is_kept.then_some(sid));
    }
    let came = shard.borrow_mut().take_in(&negotiated.client_id, claimed, grant.epoch, true);
    if let Some((slot, incarnation, version)) = came {
        known_everywhere(shard, version).await;
        if let Some(previous) = grant.previous.clone() {
            let elsewhere = shard.borrow().shared.elsewhere.clone();
            elsewhere.collect(previous, negotiated.client_id.clone(), grant.epoch).await;
        }
        keeping::load_all(shard, store, negotiated).await?;
        shard.borrow_mut().has_collected(slot, incarnation);
    }
    keeping::load_all(shard, store, negotiated).await?;
    shard.borrow_mut().has_loaded(&negotiated.client_id);
    Ok(None)
}

/// Claims the session in the store. `None` where another CONNECT of the client came first.
async fn take(
    shard: &Handle,
    store: &Store,
    negotiated: &Negotiated,
    mut claim: Claim,
    grant: &mut Grant,
) -> Result<Option<Claimed>, StoreError> {
    let mut is_clean = negotiated.clean_start;
    let mut fenced = StoreError::Full;
    for _ in 0..ATTEMPTS {
        let (step, submitted) = {
            let mut shard = shard.borrow_mut();
            let step = shard.begin_taking(negotiated, grant.epoch, is_clean);
            let Step::Claim(step) = step else { return Ok(None) };
            (step, shard.journal.when_submitted())
        };
        if let Some(submitted) = submitted {
            let _ = submitted.await; // what the store had no room for goes before; the worker is there as long as this is
        }
        match store.claim(step).await {
            Ok(claimed) => {
                let has_ended = claimed.record.as_ref().is_some_and(has_ended);
                if !has_ended {
                    return Ok(Some(claimed));
                }
                is_clean = true; // nobody was there to see it end
            }
            Err(StoreError::Fenced { stored }) => {
                fenced = StoreError::Fenced { stored };
                shard.borrow_mut().was_elsewhere(&negotiated.client_id, grant.epoch);
                claim.known = claim.known.max(Epoch(stored));
                let elsewhere = shard.borrow().shared.elsewhere.clone();
                let again = elsewhere.claim(claim.clone()).await.map_err(|_| fenced.clone())?;
                let previous = again.previous.or_else(|| grant.previous.take());
                *grant = Grant { epoch: again.epoch, previous };
            }
            Err(error) => return Err(error),
        }
    }
    Err(fenced)
}

fn has_ended(record: &store::SessionRecord) -> bool {
    record.ends_at().is_some_and(|at| at <= attach::wall_millis())
}

/// Waits until every peer routes to this node, or floods it, or `cluster.subscribe_timeout` is over.
pub(super) async fn known_everywhere(shard: &Handle, version: u64) {
    let (known_tx, known) = oneshot::channel();
    {
        let mut shard = shard.borrow_mut();
        let ticket = {
            let worker = shard.worker;
            shard.turn.wait(worker, Waiting::Arrived(known_tx))
        };
        if shard.shared.forward.when_live(version, ticket) {
            shard.turn.give_up(ticket);
            return;
        }
    }
    let _ = known.await; // a worker that stops waits for nobody
}

/// Takes a session whose owner is gone, unless its client is here or on its way. Says whether it is not that owner's any
/// more: one that comes back first goes on with it, and what is held for it must wait for that.
pub(super) async fn adopt(shard: Handle, head: SessionHead, done: oneshot::Sender<bool>) {
    let store = shard.borrow().shared.store.clone();
    let is_settled = match store {
        Some(store) => is_adopted(&shard, &store, &head).await,
        None => true,
    };
    let _ = done.send(is_settled); // who asked may have stopped
}

async fn is_adopted(shard: &Handle, store: &Store, head: &SessionHead) -> bool {
    let client_id: Arc<str> = (*head.client_id).into();
    let Some(record) = &head.record else { return true };
    let is_over = has_ended(record) && record.will.is_none();
    if is_over || !shard.borrow().lacks_session(&client_id) {
        return true;
    }
    match still(store, head).await {
        Still::Orphan => {}
        Still::Changed => return false,
        Still::Elsewhere => return true,
    }
    let elsewhere = shard.borrow().shared.elsewhere.clone();
    let claim = Claim {
        client_id: client_id.clone(),
        holder: holder_of(&records::identity(record.principal.clone()).principal),
        needs_registrar: false,
        is_orphan: true,
        clean_start: false,
        session_expiry: record.expiry,
        known: Epoch(head.epoch),
    };
    shard.borrow_mut().adopting.begin(&client_id);
    let granted = elsewhere.claim(claim).await.ok().map(|grant| grant.epoch);
    let is_settled = match granted {
        Some(epoch) => take_orphan(shard, store, &client_id, epoch, Epoch(head.epoch)).await,
        None => false, // a live node has it, and the store is to say so
    };
    let mut shard = shard.borrow_mut();
    let superseded = shard.adopting.end(&client_id, granted);
    if granted.is_some_and(|epoch| superseded > epoch) {
        // Its client came to another node before there was anything here that could be told.
        shard.superseded(&client_id, Loss { epoch: superseded, is_clean: false }, oneshot::channel().0);
    }
    is_settled
}

/// What the store says by now of a session that was a dead node's.
enum Still {
    Orphan,
    /// Its node is coming back, or the store does not answer.
    Changed,
    /// Its client has come to another node, and is not to be disturbed; or it has ended.
    Elsewhere,
}

async fn still(store: &Store, head: &SessionHead) -> Still {
    let Ok(page) = store.scan_sessions(head.sid.0.checked_sub(1).map(Sid), 1, false).await else {
        return Still::Changed;
    };
    match page.items.into_iter().next().filter(|now| now.sid == head.sid && now.node == head.node) {
        Some(now) if now.epoch == head.epoch => Still::Orphan,
        Some(_) => Still::Changed,
        None => Still::Elsewhere,
    }
}

async fn take_orphan(shard: &Handle, store: &Store, client_id: &Arc<str>, epoch: Epoch, before: Epoch) -> bool {
    if !shard.borrow().lacks_session(client_id) {
        return true;
    }
    let node = shard.borrow().shared.node.clone();
    let claim = store::Claim {
        client_id: (&**client_id).into(),
        epoch: epoch.0,
        node: (&*node).into(),
        is_clean: false,
        held: None,
    };
    let claimed = match store.claim(claim).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::debug!(%error, client = &**client_id, "a session is not adopted");
            return false;
        }
    };
    let came = {
        let mut shard = shard.borrow_mut();
        if !shard.lacks_session(client_id) {
            return true; // its client has come meanwhile, and claims it above this
        }
        if claimed.record.is_none() {
            shard.note(Op::DropSession { sid: claimed.sid, epoch: epoch.0 }); // it ended meanwhile
            return true;
        }
        shard.counters.inc(Metric::SessionAdopted);
        let came = shard.take_in(client_id, claimed, epoch, false);
        // The will is that of the connection it had: should its node come back and send it too, it is known as the same.
        if let Some(entry) = came.and_then(|(slot, ..)| shard.sessions.get_mut(slot as usize)) {
            entry.will_epoch = before;
        }
        came
    };
    if let Some((.., version)) = came {
        known_everywhere(shard, version).await;
    }
    true
}

impl Shard {
    /// Whether neither a session of this client is here nor one on its way.
    pub(super) fn lacks_session(&self, client_id: &str) -> bool {
        let entry = self.slot_of(client_id).and_then(|slot| self.sessions.get(slot as usize));
        entry.is_none_or(|entry| entry.is_departing) && !self.pending_claims.has(client_id)
    }

    /// From here on what this node writes for the session carries the new epoch, and comes behind the claim.
    fn begin_taking(&mut self, negotiated: &Negotiated, epoch: Epoch, is_clean: bool) -> Step {
        self.begin_turn();
        self.submit();
        let slot = self.slot_of(&negotiated.client_id);
        let now = self.turn.now;
        let entry = slot.and_then(|slot| self.sessions.get_mut(slot as usize)).filter(|entry| !entry.is_departing);
        let (mut is_clean, mut held) = (is_clean, None);
        if let Some(entry) = entry {
            if entry.epoch > epoch {
                return Step::Stale;
            }
            held = entry.sid().map(|_| entry.epoch.0);
            entry.epoch = epoch;
            let is_over = entry.session.expiry() == 0 || (entry.conn.is_none() && entry.session.is_over(now));
            is_clean |= entry.sid().is_some() && is_over;
        }
        Step::Claim(store::Claim {
            client_id: (&*negotiated.client_id).into(),
            epoch: epoch.0,
            node: (&*self.shared.node).into(),
            is_clean,
            held: held.filter(|_| !is_clean),
        })
    }

    /// The session was another node's since it was this one's: what is here of it is of before, and not to be gone on with,
    /// unless another CONNECT has come since that asked as of `epoch`.
    fn was_elsewhere(&mut self, client_id: &str, epoch: Epoch) {
        let slot = self.slot_of(client_id);
        let entry = slot.and_then(|slot| self.sessions.get(slot as usize)).filter(|entry| entry.epoch <= epoch);
        if let Some(sid) = entry.and_then(|entry| entry.sid()) {
            self.lost_to_another(sid);
        }
    }

    /// Nothing was kept, or it is dropped: what this node has of the session is not in the store.
    fn begins_anew(&mut self, client_id: &str, sid: Sid) {
        let Some(slot) = self.slot_of(client_id) else { return };
        let Some(entry) = self.sessions.get_mut(slot as usize) else { return };
        if entry.is_departing {
            return self.drop_moved(slot);
        }
        if let Some(old) = entry.sid().filter(|old| *old != sid) {
            entry.set_sid(None);
            entry.session.keep(false);
            self.by_sid.remove(&old);
        }
    }

    /// What was claimed is this node's: it is restored, unless it was here all the time. Answers its place where it came,
    /// and the version of the routes that has its subscriptions.
    pub(super) fn take_in(
        &mut self,
        client_id: &Arc<str>,
        claimed: Claimed,
        epoch: Epoch,
        is_connecting: bool,
    ) -> Option<(u32, u32, u64)> {
        self.begin_turn();
        if let Some(slot) = self.slot_of(client_id) {
            let entry = self.sessions.get_mut(slot as usize)?;
            if entry.sid() == Some(claimed.sid) && !entry.is_departing {
                return None;
            }
            if entry.conn.is_some() {
                self.say_and_drop(slot, mqtt::ReasonCode::SessionTakenOver);
            }
            if self.slot_of(client_id) == Some(slot) {
                self.drop_moved(slot);
            }
        }
        let Claimed { sid, record, queue, received } = claimed;
        self.submit();
        let last = self.journal.last();
        self.journal.moves.came(sid, last);
        let head = SessionHead {
            sid,
            client_id: (&**client_id).into(),
            epoch: epoch.0,
            node: (&*self.shared.node).into(),
            record,
            queue,
            received,
        };
        let (slot, version) = self.restore_session(head)?;
        let entry = self.sessions.get_mut(slot as usize)?;
        if is_connecting {
            let _ = entry.session.missing(); // what comes from now on keeps its body
        }
        let (after, incarnation) = (entry.session.kept().last_seq, entry.incarnation);
        self.arrived(slot, after, is_connecting);
        Some((slot, incarnation, version))
    }

    /// What a session has in its queue is loaded. A node that was killed while it collected may have left it as it came: what
    /// was brought on behind what came by itself.
    fn has_loaded(&mut self, client_id: &str) {
        self.begin_turn();
        let Some(slot) = self.slot_of(client_id) else { return };
        let is_away = self.sessions.get(slot as usize).is_some_and(|entry| entry.conn.is_none() && !entry.is_departing);
        if is_away {
            self.step(slot, |session, limits, _, out| session.arrange(0, limits, out));
        }
    }

    /// All that its previous owner had is here: from one publisher in its order, and once.
    pub(super) fn has_collected(&mut self, slot: u32, incarnation: u32) {
        self.begin_turn();
        if self.entry(slot, incarnation).is_none() {
            return; // another session may be in its place
        }
        let Some(arrival) = self.arrival_mut(slot) else { return };
        arrival.is_collecting = false;
        let after = arrival.after;
        self.step(slot, |session, limits, _, out| session.arrange(after, limits, out));
    }
}

impl Workers {
    /// Has this node take a session whose owner is gone. Completes when every node routes to it, or it is another's; false
    /// where it may still be that owner's.
    pub async fn adopt(&self, head: SessionHead) -> bool {
        let worker = self.worker_of(&head.client_id);
        let (done, is_done) = oneshot::channel();
        self.boxes.of(worker).post(Mail::Adopt(Box::new(head), done));
        is_done.await.unwrap_or(false) // a worker that is gone adopts nobody
    }
}
