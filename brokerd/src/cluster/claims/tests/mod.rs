//! Engines of several nodes in one process, over links that can be cut, in paused time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod grants;
mod history;
mod holders;
mod membership;
mod wills;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use tokio::time::Instant;

use super::*;
use crate::metrics::Metrics;
use crate::registry::{OwnedPage, WillPage};

const TIMEOUT: Duration = Duration::from_millis(500);

/// The sessions of a node: a claim that was granted is a session at once. The last are ids whose sessions are still to come.
#[derive(Default)]
struct Sessions(Mutex<BTreeMap<Arc<str>, Epoch>>, Mutex<BTreeMap<Arc<str>, Holder>>, Wills, Mutex<BTreeSet<Arc<str>>>);

/// Wills of the sessions, and what this node has sent of others.
#[derive(Default)]
struct Wills {
    own: Mutex<BTreeMap<Arc<str>, LastWill>>,
    sent: Mutex<Vec<Arc<str>>>,
}

impl Sessions {
    fn holder(&self, id: &str) -> Holder {
        self.1.lock().get(id).copied().unwrap_or_default()
    }
}

impl Owners for Sessions {
    fn superseded(&self, client_id: &Arc<str>, loss: Loss) -> Boxed<'_, ()> {
        self.0.lock().retain(|id, held| id != client_id || *held >= loss.epoch);
        Box::pin(std::future::ready(()))
    }
    fn owned(&self, cursor: u64, limit: usize) -> Boxed<'_, OwnedPage> {
        let from = usize::try_from(cursor).unwrap();
        let sessions = self.0.lock();
        let page: Vec<_> = sessions
            .iter()
            .skip(from)
            .take(limit)
            .map(|(id, epoch)| {
                let (client_id, holder) = (id.clone(), self.holder(id));
                Owned { client_id, epoch: *epoch, holder }
            })
            .collect();
        let next = (from + page.len() < sessions.len()).then_some(cursor + page.len() as u64);
        Box::pin(async move {
            tokio::task::yield_now().await;
            (page, next)
        })
    }
    fn wills(&self, cursor: u64, _: usize) -> Boxed<'_, WillPage> {
        // One a page.
        let wills: Vec<_> =
            self.2.own.lock().values().skip(usize::try_from(cursor).unwrap()).take(1).cloned().collect();
        let next = wills.first().map(|_| cursor + 1);
        Box::pin(std::future::ready((wills, next)))
    }
    fn send_will(&self, will: LastWill) {
        self.2.sent.lock().push(will.client_id);
    }
    fn is_awaited(&self, client_id: &Arc<str>) -> Boxed<'_, bool> {
        Box::pin(std::future::ready(self.3.lock().contains(client_id)))
    }
    fn owned_one(&self, client_id: &Arc<str>) -> Boxed<'_, Option<(Epoch, Holder)>> {
        let found = self.0.lock().get(client_id).map(|epoch| (*epoch, self.holder(client_id)));
        Box::pin(std::future::ready(found))
    }
}

/// Links between nodes of one process.
#[derive(Default)]
struct Net {
    nodes: Mutex<BTreeMap<String, Arc<Claims>>>,
    /// Directions that swallow what is sent.
    cut: Mutex<HashSet<(String, String)>>,
    /// State of the random delays; 0 is none.
    jitter: Mutex<u64>,
    /// Sizes of the pages that were announced to each node.
    pages: Mutex<Vec<(String, usize)>>,
}

impl Net {
    /// Up to 4 ms.
    async fn delay(&self) {
        let state = {
            let mut jitter = self.jitter.lock();
            *jitter = next_random(*jitter);
            *jitter
        };
        if state == 0 {
            return tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_micros((state >> 32) % 4_000)).await;
    }
}

const fn next_random(state: u64) -> u64 {
    let mut next = state;
    next ^= next << 13;
    next ^= next >> 7;
    next ^ (next << 17)
}

struct Links {
    net: Arc<Net>,
    from: String,
}

impl Peers for Links {
    fn request(&self, node: &str, body: Bytes, deadline: Duration) -> Boxed<'_, Result<Bytes, AskError>> {
        let to = node.to_owned();
        Box::pin(async move {
            self.net.delay().await;
            if let Ok(pb::Request { what: Some(request::What::Announce(page)), .. }) = pb::Request::decode(body.clone())
            {
                self.net.pages.lock().push((to.clone(), page.owned.len()));
            }
            let target = self.net.nodes.lock().get(&to).cloned();
            let is_cut = |a: &str, b: &str| self.net.cut.lock().contains(&(a.to_owned(), b.to_owned()));
            let answer = match target {
                Some(target) if !is_cut(&self.from, &to) => {
                    timeout(deadline, target.handle(&self.from, body)).await.ok()
                }
                _ => None,
            };
            self.net.delay().await;
            match answer.filter(|_| !is_cut(&to, &self.from)) {
                Some(answer) => Ok(answer),
                None => {
                    tokio::time::sleep(deadline).await;
                    Err(AskError::Silent(to))
                }
            }
        })
    }
}

struct Node {
    claims: Arc<Claims>,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
    clock: Arc<Clock>,
}

struct Sim {
    net: Arc<Net>,
    nodes: BTreeMap<&'static str, Node>,
}

impl Sim {
    async fn of(names: &[&'static str]) -> Self {
        let mut sim = Self { net: Arc::default(), nodes: BTreeMap::new() };
        for name in names {
            sim.add(name, Duration::ZERO);
        }
        sim.all_see(names);
        sim.settled().await;
        sim
    }

    /// A node whose clock has heard of a stamp that is so far ahead.
    fn add(&mut self, name: &'static str, ahead: Duration) {
        let high_water = if ahead.is_zero() { 0 } else { wall() + u64::try_from(ahead.as_micros()).unwrap() };
        let clock = Arc::new(Clock::new(high_water, Duration::from_secs(60)));
        let counters = Metrics::default().block();
        let settings = ClaimSettings {
            node: name.to_owned(),
            claim_timeout: TIMEOUT,
            clock: clock.clone(),
            counters: counters.clone(),
            protocol: crate::cluster::versions::NEWEST,
            max_wills_bytes: 1 << 20,
        };
        let links = Links { net: self.net.clone(), from: name.to_owned() };
        let claims = Claims::new(settings, Arc::new(links));
        let sessions = Arc::new(Sessions::default());
        claims.serve(sessions.clone());
        self.net.nodes.lock().insert(name.to_owned(), claims.clone());
        self.nodes.insert(name, Node { claims, sessions, counters, clock });
    }

    fn kill(&mut self, name: &str) {
        self.net.nodes.lock().remove(name);
        self.nodes.remove(name);
    }

    fn all_see(&self, names: &[&str]) {
        for node in self.nodes.values() {
            node.claims.on_view(names.iter().map(ToString::to_string).collect());
        }
    }

    fn cut_off(&self, name: &str) {
        for other in self.nodes.keys().filter(|other| **other != name) {
            let mut cut = self.net.cut.lock();
            cut.insert((name.to_owned(), (*other).to_owned()));
            cut.insert(((*other).to_owned(), name.to_owned()));
        }
    }

    /// Lets all that is under way end: time is paused, and passes only when nothing else can happen.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_secs(15)).await;
    }

    async fn claim_knowing(&self, name: &str, id: &str, known: Epoch) -> Grant {
        self.claim_as(name, id, Holder::default(), known).await.unwrap()
    }

    /// A claim that needs its registrar where there is a holder.
    async fn claim_for(&self, name: &str, id: &str, holder: &str) -> Result<Grant, Refusal> {
        self.claim_as(name, id, Holder::of(holder), Epoch(0)).await
    }

    /// For a session whose node is gone: the claim alone.
    async fn claim_orphan(&self, name: &str, id: &str, known: Epoch) -> Result<Grant, Refusal> {
        let claim = Claim {
            client_id: id.into(),
            holder: Holder::default(),
            needs_registrar: false,
            is_orphan: true,
            clean_start: false,
            session_expiry: 60,
            known,
        };
        self.nodes[name].claims.claim(claim).await
    }

    async fn claim_as(&self, name: &str, id: &str, holder: Holder, known: Epoch) -> Result<Grant, Refusal> {
        let node = &self.nodes[name];
        let (client_id, needs_registrar): (Arc<str>, _) = (Arc::from(id), holder != Holder::default());
        let claim = Claim {
            client_id: client_id.clone(),
            holder,
            needs_registrar,
            is_orphan: false,
            clean_start: false,
            session_expiry: 60,
            known,
        };
        let grant = node.claims.claim(claim).await?;
        node.sessions.1.lock().insert(client_id.clone(), holder);
        node.sessions.0.lock().insert(client_id, grant.epoch);
        Ok(grant)
    }

    /// The session of an id ends where it is.
    fn end(&self, name: &str, id: &str) {
        let node = &self.nodes[name];
        let client_id: Arc<str> = Arc::from(id);
        let epoch = node.sessions.0.lock().remove(&client_id).unwrap();
        node.claims.release(&client_id, epoch);
    }

    async fn claim(&self, name: &str, id: &str) -> Grant {
        self.claim_knowing(name, id, Epoch(0)).await
    }

    fn owners(&self, id: &str) -> Vec<(&str, Epoch)> {
        let held = |(name, node): (&&'static str, &Node)| Some((*name, *node.sessions.0.lock().get(id)?));
        self.nodes.iter().filter_map(held).collect()
    }

    fn row(&self, registrar: &str, id: &str) -> Option<Found> {
        self.nodes[registrar].claims.engine.lock().found(id)
    }

    fn is_complete(&self) -> bool {
        self.nodes.values().all(|node| node.claims.engine.lock().is_complete())
    }

    fn timed_out(&self) -> u64 {
        self.nodes.values().map(|node| node.counters.get(Metric::ClaimsTimedOut)).sum()
    }
}

fn wall() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// An id whose registrar among `names` is this one, and among `then` that one.
fn id_of(names: &[&str], registrar: &str, then: &[&str], next: &str) -> String {
    let view = |names: &[&str]| view::View::new(names.iter().map(ToString::to_string).collect());
    let (first, second) = (view(names), view(then));
    let is_it = |id: &String| first.registrar(id) == registrar && second.registrar(id) == next;
    (0..).map(|n| format!("id-{n}")).find(is_it).unwrap()
}
