//! The registrar of client ids: which node owns a session, by which epoch. Implements `registry::Elsewhere`. Never
//! touches a session or a socket, and takes no lock across the cluster: the higher epoch wins.
//!
//! The registrar of an id is the live node with the highest rendezvous hash. It grants epochs from the hybrid logical
//! clock, above every one it knows of for the id, and tells the previous owner. When the view changes, owners announce
//! their ids to the new registrars; until all have, a registrar without a row asks all before it says "none" (trap 5).

mod announcer;
mod claimant;
mod engine;
mod executor;
mod fetching;
mod moving;
mod registrar;
mod rows;
#[cfg(test)]
mod tests;
mod view;
mod wills;
pub(super) mod wire;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::claims::{self as pb, Done, Refused, reply, request};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

use self::announcer::News;
use self::engine::{Engine, Found};
use self::wills::Recent;
use self::wire::{from_wire, to_wire};
use super::AskError;
use crate::metrics::{Counters, Metric};
use crate::registry::{
    Boxed, Claim, Clock, Elsewhere, Epoch, Fetch, Fetched, Grant, Holder, LastWill, Loss, Owned, Owners, Refusal,
    Relayed,
};

/// Losers, or pages of them, that are told in the background at a time.
const MAX_BACKGROUND: usize = 1_024;
/// Ended sessions, and wills, that other nodes are still to be told of.
const MAX_NEWS: usize = 65_536;

/// The way to other nodes.
pub trait Peers: Send + Sync {
    /// Asks a node; there [`Claims::handle`] answers. Gives up after `deadline`.
    fn request(&self, node: &str, body: Bytes, deadline: Duration) -> Boxed<'_, Result<Bytes, AskError>>;
    /// Completes when a node has acknowledged what is in the queue for it now.
    fn drained(&self, _: &str) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What the registry of a clustered node needs to know.
#[derive(Debug)]
pub struct ClaimSettings {
    /// This node.
    pub node: String,
    /// `cluster.claim_timeout`.
    pub claim_timeout: Duration,
    /// `cluster.protocol`.
    pub protocol: u32,
    /// The node's clock.
    pub clock: Arc<Clock>,
    /// A block that nothing else counts in.
    pub counters: Arc<Counters>,
    /// `cluster.max_wills_bytes`.
    pub max_wills_bytes: usize,
}

/// This node's part in the registry: claimant, registrar and owner.
pub struct Claims {
    node: String,
    timeout: Duration,
    protocol: u32,
    clock: Arc<Clock>,
    /// Claims come from every worker: a block is for one thread at a time.
    counters: Mutex<Arc<Counters>>,
    peers: Arc<dyn Peers>,
    owners: OnceLock<Arc<dyn Owners>>,
    engine: Mutex<Engine>,
    news: mpsc::Sender<News>,
    /// Wills that came by here.
    seen_wills: Mutex<Recent>,
    /// A will may have fallen due.
    will_news: Arc<Notify>,
    background: Arc<Semaphore>,
    /// Where tasks of this room run, whoever calls.
    runtime: Handle,
    this: Weak<Self>,
}

impl Claims {
    /// Alone until [`Claims::on_view`] says otherwise. To be called on the runtime that is to run its tasks.
    #[must_use]
    pub fn new(settings: ClaimSettings, peers: Arc<dyn Peers>) -> Arc<Self> {
        let ClaimSettings { node, claim_timeout, protocol, clock, counters, max_wills_bytes } = settings;
        let (news, told) = mpsc::channel(MAX_NEWS);
        let claims = Arc::new_cyclic(|this| Self {
            engine: Mutex::new(Engine::new(node.clone(), clock.clone(), max_wills_bytes)),
            node,
            timeout: claim_timeout,
            protocol,
            clock,
            counters: Mutex::new(counters),
            peers,
            owners: OnceLock::new(),
            news,
            seen_wills: Mutex::new(Recent::new()),
            will_news: Arc::default(),
            background: Arc::new(Semaphore::new(MAX_BACKGROUND)),
            runtime: Handle::current(),
            this: this.clone(),
        });
        claims.runtime.spawn(announcer::tell_news(claims.this.clone(), told));
        claims.runtime.spawn(executor::run(claims.this.clone(), claims.will_news.clone()));
        claims
    }

    /// The workers are there. Until then this node owns nothing and announces nothing; only the first call counts.
    pub fn serve(&self, owners: Arc<dyn Owners>) {
        let _ = self.owners.set(owners);
    }

    /// The set of nodes that are up has changed; this node is one of them whether named or not.
    pub fn on_view(&self, live: Vec<String>) {
        let Some(claims) = self.this.upgrade() else { return };
        let unannounced = self.engine.lock().set_view(live);
        self.will_news.notify_one();
        for peer in unannounced {
            claims.spawn_announcer(peer, Duration::ZERO);
        }
    }

    /// Whether every live node has announced its ids for the current view: this node is in sync on the registry.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        self.engine.lock().is_complete()
    }

    /// The node that takes a session whose owner is gone.
    #[must_use]
    pub fn heir(&self, client_id: &str) -> String {
        self.engine.lock().view().registrar(client_id).to_owned()
    }

    /// This node has those sessions of a node that is gone which fall to it, and every node routes to them.
    pub fn set_adopted(&self, node: &str) {
        let mut engine = self.engine.lock();
        if !engine.view().contains(node) {
            engine.adopted.insert(node.to_owned());
        }
    }

    /// Whether [`Claims::set_adopted`] was said of a node since the live nodes changed last.
    #[must_use]
    pub fn has_adopted(&self, node: &str) -> bool {
        self.engine.lock().adopted.contains(node)
    }

    /// The workers, once they are there.
    pub(super) fn owners(&self) -> Option<Arc<dyn Owners>> {
        self.owners.get().cloned()
    }

    /// How many rows this node holds as a registrar.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.engine.lock().rows.len()
    }

    /// Answers a request of another node, whose name is that of the authenticated link. Any bytes will do.
    pub async fn handle(&self, from: &str, body: Bytes) -> Bytes {
        let Some(claims) = self.this.upgrade() else {
            return Bytes::new();
        };
        let what = match self.read(body) {
            Ok(request::What::Entrust(entrust)) => self.on_entrust(from, entrust),
            Ok(what) => Ok(claims.carry_out(from, what).await),
            Err(reason) => Err(reason),
        };
        let what = match what {
            Ok(what) => what,
            Err(reason) => {
                tracing::warn!(node = from, reason, "refused a request about client ids");
                reply::What::Refused(Refused { reason })
            }
        };
        self.reply(what)
    }

    async fn carry_out(self: &Arc<Self>, from: &str, what: request::What) -> reply::What {
        let done = reply::What::Done(Done { held: 0 });
        match what {
            request::What::Claim(claim) => self.on_claim(from, claim).await,
            request::What::Lookup(pb::Lookup { client_id }) => {
                let (Found { owner, epoch, holder }, claiming) = self.find(Arc::from(client_id)).await;
                reply::What::Found(pb::Found { owner, epoch: epoch.0, holder: holder.0, claiming })
            }
            request::What::Superseded(pb::Superseded { client_id, epoch, clean }) => {
                let loss = Loss { epoch: Epoch(epoch), is_clean: clean };
                let held = self.supersede_here(&Arc::from(client_id), loss).await;
                reply::What::Done(Done { held: held.0 })
            }
            request::What::Announce(pb::Announce { owned }) => {
                let owned = from_wire(owned);
                self.note_own(&owned).await;
                let (stale, lost) = self.engine.lock().announced_by(from, owned);
                self.tell_all(lost).await;
                let instance = self.engine.lock().instance;
                reply::What::Announced(pb::Announced { stale: to_wire(stale), instance })
            }
            request::What::AnnounceDone(announced) => self.on_announce_done(from, &announced),
            request::What::Release(pb::Release { owned }) => {
                self.release_here(from_wire(owned));
                done
            }
            request::What::Relay(relay) => self.on_relay(relay).await,
            request::What::LetGo(pb::LetGo { client_id, epoch }) => {
                self.on_let_go(&Arc::from(client_id), Epoch(epoch)).await;
                done
            }
            request::What::Fetch(fetch) => self.on_fetch(fetch).await,
            request::What::Take(take) => self.on_take(from, take).await,
            request::What::Adopted(pb::Adopted { node }) => {
                let held = u64::from(self.engine.lock().adopted.contains(&node));
                reply::What::Done(Done { held })
            }
            request::What::Drain(pb::Drain { node }) => {
                self.on_drain(&node).await;
                done
            }
            request::What::Entrust(_) => done, // see `handle`
        }
    }

    async fn on_claim(self: &Arc<Self>, from: &str, claim: pb::Claim) -> reply::What {
        let view = self.engine.lock().view();
        let registrar = view.registrar(&claim.client_id);
        if registrar != self.node && !claim.redirected {
            return reply::What::Redirect(pb::Redirect { registrar: registrar.to_owned() });
        }
        let patience = Duration::from_millis(u64::from(claim.patience_ms)).min(self.timeout);
        let claim = Claim {
            client_id: Arc::from(claim.client_id),
            clean_start: claim.clean_start,
            session_expiry: claim.session_expiry,
            holder: Holder(claim.holder),
            needs_registrar: true,
            is_orphan: claim.orphan,
            known: Epoch(claim.known),
        };
        match self.grant(from, &claim, patience).await {
            Some(Grant { epoch, previous }) => {
                reply::What::Granted(pb::Granted { epoch: epoch.0, previous: previous.unwrap_or_default() })
            }
            None => reply::What::Held(pb::Held {}),
        }
    }

    fn on_announce_done(self: &Arc<Self>, from: &str, announced: &pb::AnnounceDone) -> reply::What {
        let (is_needed, is_done) = {
            let mut engine = self.engine.lock();
            let is_new = engine.meet(from, announced.instance);
            let is_for_us = announced.to == engine.instance;
            let is_lost = is_for_us && engine.done_by(from, announced.view, announced.wanted);
            engine.wills.began_anew(from, announced.instance);
            (is_new || is_lost, is_for_us.then(|| engine.is_complete()))
        };
        self.will_news.notify_one();
        if is_needed {
            self.spawn_announcer(from.to_owned(), Duration::ZERO);
        }
        match is_done {
            None => {
                return reply::What::Refused(Refused { reason: "this node has started anew".to_owned() });
            }
            Some(true) => self.spawn_sweep(),
            Some(false) => {}
        }
        reply::What::Done(Done { held: 0 })
    }

    /// The highest that this node knows for an id: of its own sessions and its rows; and whether it claims the id.
    /// Without an owner nothing is known.
    async fn find(&self, client_id: Arc<str>) -> (Found, bool) {
        // In this order: a claim that ends meanwhile is a session by then.
        let is_claiming = self.is_claiming(&client_id).await;
        let here = self.found_here(&client_id).await;
        let row = self.engine.lock().found(&client_id);
        let found = here.into_iter().chain(row).max_by_key(|found| found.epoch);
        let nothing = || Found { owner: String::new(), epoch: Epoch(0), holder: Holder::default() };
        (found.unwrap_or_else(nothing), is_claiming)
    }

    /// Whether an id is on its way to this node: it is claimed, or its session is not there yet.
    async fn is_claiming(&self, client_id: &Arc<str>) -> bool {
        if self.engine.lock().is_claiming(client_id) {
            return true;
        }
        let Some(owners) = self.owners.get() else { return false };
        timeout(self.timeout, owners.is_awaited(client_id)).await.unwrap_or(true)
    }

    /// What this node itself has of an id.
    async fn found_here(&self, client_id: &Arc<str>) -> Option<Found> {
        let owners = self.owners.get()?;
        let (epoch, holder) = timeout(self.timeout, owners.owned_one(client_id)).await.ok()??;
        Some(Found { owner: self.node.clone(), epoch, holder })
    }

    /// What this node has itself of announced ids, of which its registrar does not know: sessions that were on its disk.
    async fn note_own(&self, announced: &[Owned]) {
        for Owned { client_id, .. } in announced {
            self.note_one(client_id).await;
        }
    }

    async fn note_one(&self, client_id: &Arc<str>) {
        let is_known = self.engine.lock().found(client_id).is_some();
        if !is_known && let Some(found) = self.found_here(client_id).await {
            self.engine.lock().note_own(client_id, &found);
        }
    }

    fn release_here(&self, owned: Vec<Owned>) {
        let mut engine = self.engine.lock();
        for Owned { client_id, epoch, .. } in owned {
            engine.rows.release(&client_id, epoch);
        }
    }

    fn count(&self, metric: Metric) {
        self.counters.lock().inc(metric);
    }
}

impl Elsewhere for Claims {
    fn claim(&self, claim: Claim) -> Boxed<'_, Result<Grant, Refusal>> {
        let Some(claims) = self.this.upgrade() else {
            return Box::pin(std::future::ready(self.own_grant(&claim)));
        };
        Box::pin(claims.claim_here(claim))
    }

    fn release(&self, client_id: &Arc<str>, epoch: Epoch) {
        // Full: the row stays until the id is claimed again.
        let (client_id, holder) = (client_id.clone(), Holder::default());
        let _ = self.news.try_send(News::Released(Owned { client_id, epoch, holder }));
    }

    fn entrust(&self, will: LastWill) -> Boxed<'_, ()> {
        match self.this.upgrade() {
            Some(claims) => Box::pin(claims.entrust_now(will)),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn will_waits(&self, will: LastWill) {
        let _ = self.news.try_send(News::Waits(will)); // full: its delay counts from the death of this node, if that dies
    }

    fn withdraw(&self, client_id: &Arc<str>, epoch: Epoch) {
        let (client_id, holder) = (client_id.clone(), Holder::default());
        if self.news.try_send(News::Withdrawn(Owned { client_id, epoch, holder })).is_err() {
            tracing::warn!("too many wills that end: other nodes may send some of them when this one is down");
        }
    }

    fn is_first_copy(&self, id: mqtt::MessageId) -> bool {
        self.is_first(id)
    }

    fn relay(&self, relayed: Relayed) -> Boxed<'_, bool> {
        match self.this.upgrade() {
            Some(claims) => Box::pin(claims.relay_to_owner(relayed)),
            None => Box::pin(std::future::ready(false)),
        }
    }

    fn collect(&self, previous: String, client_id: Arc<str>, epoch: Epoch) -> Boxed<'_, ()> {
        Box::pin(self.collect_from(previous, client_id, epoch))
    }

    fn fetch(&self, from: String, fetch: Fetch) -> Boxed<'_, Option<Fetched>> {
        Box::pin(self.fetch_from(from, fetch))
    }

    fn others(&self) -> Vec<String> {
        self.engine.lock().others().map(str::to_owned).collect()
    }

    fn give(&self, owned: Owned, session_expiry: u32, to: String) -> Boxed<'_, bool> {
        Box::pin(self.give_to(owned, session_expiry, to))
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.will_news.notify_one(); // the task that waits for it ends
    }
}
