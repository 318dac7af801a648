//! Sessions without a connection that a node which leaves hands to others, and takes from those. Never decides which go
//! where: who has this node leave does.

use std::sync::Arc;

use store::Store;
use tokio::sync::oneshot;

use super::claims::holder_of;
use super::mailbox::Mail;
use super::query::{Cursor, Page};
use super::shard::{Entry, Handle, Shard};
use super::start::Workers;
use super::taking::Taking;
use crate::registry::{Claim, Loss, Owned};

/// Takes a session of a node that leaves.
pub(super) async fn take(shard: Handle, owned: Owned, session_expiry: u32, from: String, done: oneshot::Sender<bool>) {
    let _ = done.send(take_one(&shard, owned, session_expiry, from).await); // who asked may have given up
}

async fn take_one(shard: &Handle, owned: Owned, session_expiry: u32, from: String) -> bool {
    let Owned { client_id, epoch, holder } = owned;
    if !shard.borrow().lacks_session(&client_id) {
        return false;
    }
    let (elsewhere, store) = {
        let shard = shard.borrow();
        (shard.shared.elsewhere.clone(), shard.shared.store.clone())
    };
    let claim = Claim {
        client_id: client_id.clone(),
        holder,
        needs_registrar: true,
        is_orphan: false,
        clean_start: false,
        session_expiry,
        known: epoch,
    };
    shard.borrow_mut().pending_claims.begin(&client_id);
    let ticket = shard.borrow_mut().takeovers.claims(&client_id);
    let grant = elsewhere.claim(claim).await.ok();
    shard.borrow_mut().takeovers.claimed(&client_id, ticket);
    if let Some(grant) = &grant {
        let taking = Taking { shard: shard.clone(), store, client_id: client_id.clone(), epoch: grant.epoch };
        taking.run(Some(grant.previous.as_deref().unwrap_or(&from))).await;
    }
    let mut shard = shard.borrow_mut();
    let superseded = shard.pending_claims.end(&client_id, grant.as_ref().map(|grant| grant.epoch));
    let Some(grant) = grant else { return false };
    if superseded > grant.epoch {
        shard.superseded(&client_id, Loss { epoch: superseded, is_clean: false }, oneshot::channel().0);
        return false;
    }
    let slot = shard.slot_of(&client_id);
    match slot {
        Some(slot) => shard.unload(slot),
        None => elsewhere.release(&client_id, grant.epoch),
    }
    slot.is_some()
}

impl Workers {
    /// Hands a session that has no connection to another node, for this one leaves: that node takes it over, with its
    /// subscriptions, its queue, what is in flight, its QoS 2 identifiers, its will and its expiry, and it ends here.
    /// Answers whether the other node has it; if not it stays. Takes at most some 10 s; many may be given at a time.
    /// A session whose client has a connection is left alone: the client takes it along when it is sent elsewhere.
    pub async fn give(&self, client_id: &Arc<str>, to: &str) -> bool {
        let worker = self.boxes.worker_of(client_id);
        let id = client_id.clone();
        let offline = move |shard: &mut Shard| {
            let slot = shard.slot_of(&id)?;
            let entry = shard.sessions.get(slot as usize)?;
            let is_free = entry.conn.is_none() && !entry.is_departing && !shard.pending_claims.has(&id);
            let holder = holder_of(&entry.identity.principal);
            let owned = Owned { client_id: id, epoch: entry.epoch, holder };
            is_free.then(|| (owned, entry.session.expiry(), shard.shared.elsewhere.clone()))
        };
        match self.ask(worker, offline).await.flatten() {
            Some((owned, session_expiry, elsewhere)) => elsewhere.give(owned, session_expiry, to.to_owned()).await,
            None => false,
        }
    }

    /// The client ids of sessions without a connection, a page at a time: what is to be [given](Self::give).
    pub async fn offline(&self, from: Option<Cursor>, limit: usize) -> Page<Arc<str>> {
        let row = |entry: &Entry, _: Option<&Store>, rows: &mut Vec<_>| {
            if entry.conn.is_none() && !entry.is_departing {
                rows.push(entry.session.client_id().clone());
            }
        };
        self.page(from, limit, row).await
    }

    /// See [`crate::registry::Owners::taken`].
    pub(super) async fn take_given(&self, owned: Owned, session_expiry: u32, from: String) -> bool {
        let worker = self.boxes.worker_of(&owned.client_id);
        let (done, is_done) = oneshot::channel();
        self.boxes.of(worker).post(Mail::Take(Box::new(owned), session_expiry, from, done));
        is_done.await.unwrap_or(false) // a worker that is gone takes nothing
    }
}
