//! What the management API and the registry ask of the workers. A question runs on the worker, in one turn, and is
//! bounded in rows; it changes nothing but where it says so.

use std::sync::Arc;

use mqtt::Version;
use store::Store;
use tokio::sync::oneshot;

use super::attach::wall_millis;
use super::claims::holder_of;
use super::mailbox::Mail;
use super::shard::{Entry, Shard};
use super::start::Workers;
use super::view::{ClientView, Count, Last, SubscriptionView};
use crate::listener::Connected;
use crate::metrics::Metric;
use crate::registry::{Epoch, Holder, Owned, OwnedPage};

/// A page of rows and where the next one starts. Each worker answers from one turn of its own, in no order.
pub type Page<T> = (Vec<T>, Option<Cursor>);

/// Where a listing goes on: the worker, and the place among its sessions. A session that stays is listed once; one that
/// comes or goes while pages are read may or may not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Worker number.
    pub worker: u16,
    /// The first place not yet looked at.
    pub place: u32,
}

impl Workers {
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        worker: u16,
        question: impl FnOnce(&mut Shard) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer_tx, answer) = oneshot::channel();
        let ask = move |shard: &mut Shard| drop(answer_tx.send(question(shard)));
        self.boxes.of(worker).post(Mail::Ask(Box::new(ask)));
        answer.await.ok()
    }

    /// A page of clients, at most `limit` rows.
    pub async fn clients(&self, from: Option<Cursor>, limit: usize) -> Page<ClientView> {
        self.page(from, limit, |entry, store, rows| rows.push(client_view(entry, store))).await
    }

    /// A page of subscriptions: whole clients, of at most `limit` clients.
    pub async fn subscriptions(&self, from: Option<Cursor>, limit: usize) -> Page<SubscriptionView> {
        self.page(from, limit, |entry, _, rows| rows.extend(subscription_views(entry))).await
    }

    /// Rows of one worker's next `limit` clients. Worker numbers that do not exist (a cursor comes from outside) have
    /// no rows.
    pub(super) async fn page<T: Send + 'static>(
        &self,
        from: Option<Cursor>,
        limit: usize,
        rows_of: fn(&Entry, Option<&Store>, &mut Vec<T>),
    ) -> Page<T> {
        let Cursor { worker, place } = from.unwrap_or_default();
        if usize::from(worker) >= self.boxes.iter().len() {
            return (Vec::new(), None);
        }
        let question = move |shard: &mut Shard| {
            let mut rows = Vec::new();
            let store = shard.shared.store.as_deref();
            let next = shard.walk(place, limit, |_, entry| rows_of(entry, store, &mut rows));
            (rows, next)
        };
        let (rows, next) = self.ask(worker, question).await.unwrap_or_default();
        let next_worker = || (usize::from(worker) + 1 < self.boxes.iter().len()).then_some(worker + 1);
        let next = match next {
            Some(place) => Some(Cursor { worker, place }),
            None => next_worker().map(|worker| Cursor { worker, place: 0 }),
        };
        (rows, next)
    }

    /// One client.
    pub async fn client(&self, client_id: &str) -> Option<ClientView> {
        let view = |shard: &mut Shard, slot: u32| {
            shard.sessions.get(slot as usize).map(|entry| client_view(entry, shard.shared.store.as_deref()))
        };
        self.on_session(client_id, view).await?
    }

    /// The subscriptions of one client; `None` if there is no such client.
    pub async fn subscriptions_of(&self, client_id: &str) -> Option<Vec<SubscriptionView>> {
        let views = |shard: &mut Shard, slot: u32| {
            shard.sessions.get(slot as usize).map(|entry| subscription_views(entry).collect())
        };
        self.on_session(client_id, views).await?
    }

    /// How many sessions there are.
    pub async fn count(&self) -> Count {
        let mut count = Count::default();
        for worker in 0..self.boxes.iter().len() {
            let worker = u16::try_from(worker).unwrap_or(0);
            let of_worker = self.ask(worker, |shard| (shard.sessions.len() as u64, shard.offline as u64)).await;
            let (total, offline) = of_worker.unwrap_or_default();
            count.total += total;
            count.connected += total.saturating_sub(offline);
        }
        count
    }

    /// Ends a session (5.0: DISCONNECT 0x98). Answers whether there was one.
    pub async fn kick(&self, client_id: &str) -> bool {
        let kick = |shard: &mut Shard, slot: u32| {
            shard.begin_turn();
            shard.say_and_drop(slot, mqtt::ReasonCode::AdministrativeAction);
            shard.end(slot, Metric::SessionDiscarded);
        };
        self.on_session(client_id, kick).await.is_some()
    }

    async fn on_session<T: Send + 'static>(
        &self,
        client_id: &str,
        question: impl FnOnce(&mut Shard, u32) -> T + Send + 'static,
    ) -> Option<T> {
        let worker = self.boxes.worker_of(client_id);
        let client_id: Arc<str> = client_id.into();
        let question = move |shard: &mut Shard| {
            let slot = shard.slot_of(&client_id)?;
            Some(question(shard, slot))
        };
        self.ask(worker, question).await?
    }

    /// By which epoch and for whom a session is here.
    pub(super) async fn session_owned(&self, client_id: &str) -> Option<(Epoch, Holder)> {
        let owned = |shard: &mut Shard, slot: u32| {
            let entry = shard.sessions.get(slot as usize)?;
            Some((entry.epoch, holder_of(&entry.identity.principal)))
        };
        self.on_session(client_id, owned).await?
    }

    /// What this node owns; the cursor is a [`Cursor`] as one number.
    pub(super) async fn owned_page(&self, cursor: u64, limit: usize) -> OwnedPage {
        let worker = u16::try_from(cursor >> 32).unwrap_or(u16::MAX);
        let place = u32::try_from(cursor & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let to_cursor = |worker: u64, place: u64| worker << 32 | place;
        let workers = self.boxes.iter().len();
        if usize::from(worker) >= workers {
            let (rows, next) = self.exclusives.page(place as usize, limit);
            return (rows, next.map(|next| to_cursor(workers as u64, next as u64)));
        }
        let row = |entry: &Entry, _: Option<&Store>, rows: &mut Vec<_>| {
            let holder = holder_of(&entry.identity.principal);
            rows.push(Owned { client_id: entry.session.client_id().clone(), epoch: entry.epoch, holder });
        };
        let (rows, next) = self.page(Some(Cursor { worker, place }), limit, row).await;
        // Behind the last worker's sessions come the exclusive subscriptions of all.
        let next = next.map_or((workers as u64, 0), |next| (next.worker.into(), next.place.into()));
        (rows, Some(to_cursor(next.0, next.1)))
    }
}

impl Shard {
    /// Looks at `limit` sessions from `place` on. Answers the place to go on from, if there are more.
    pub(super) fn walk(&self, place: u32, limit: usize, mut look: impl FnMut(u32, &Entry)) -> Option<u32> {
        let mut seen = 0;
        for at in place as usize..self.sessions.capacity() {
            if seen == limit.max(1) {
                return u32::try_from(at).ok();
            }
            if let Some(entry) = self.sessions.get(at) {
                look(u32::try_from(at).unwrap_or(u32::MAX), entry);
                seen += 1;
            }
        }
        None
    }
}

fn client_view(entry: &Entry, store: Option<&Store>) -> ClientView {
    let Entry { session, history, conn, .. } = entry;
    let (in_flight, awaiting_release, queued, queued_bytes) = session.depths();
    let (connected, last) = (conn.as_ref().map(|conn| &conn.connected), history.last());
    let (connected_at, disconnected_at) = match connected {
        Some(_) => (history.since, 0),
        None => (last.map_or(0, |last| last.connected_at), history.since),
    };
    let ends_at = (connected.is_none() && session.expiry() != u32::MAX)
        .then(|| disconnected_at.saturating_add(u64::from(session.expiry()) * 1000));
    let keepalive = session.connection().map(|connection| connection.keep_alive);
    ClientView {
        client_id: session.client_id().clone(),
        username: entry.username().map(Into::into),
        peername: connected.map(Connected::peername).or_else(|| last.map(Last::peername)).unwrap_or_default(),
        listener: connected.map(Connected::listener).or_else(|| last.map(Last::listener)).unwrap_or_default(),
        protocol_level: match session.version() {
            Version::V31 => 3,
            Version::V311 => 4,
            Version::V5 => 5,
        },
        clean_start: entry.clean_start,
        keepalive: keepalive.or_else(|| last.map(|last| last.keep_alive)).unwrap_or_default(),
        session_expiry_interval: session.expiry(),
        subscriptions: session.subscriptions().len() as u64,
        inflight: in_flight as u64,
        awaiting_rel: awaiting_release as u64,
        delivered_msgs: history.delivered,
        enqueued_msgs: queued as u64,
        enqueued_bytes: queued_bytes as u64,
        dropped_msgs: history.dropped,
        received_msgs: history.received,
        connected: connected.is_some(),
        created_at: history.created_at,
        connected_at,
        disconnected_at,
        epoch: entry.epoch.0,
        kept: entry.sid().and(store).map_or("memory", |store| store.caps().name),
        expires_in: ends_at.map(|at| at.saturating_sub(wall_millis()).div_ceil(1000)),
    }
}

fn subscription_views(entry: &Entry) -> impl Iterator<Item = SubscriptionView> + '_ {
    entry.session.subscriptions().map(|granted| SubscriptionView {
        client_id: entry.session.client_id().clone(),
        filter: granted.filter.clone(),
        qos: granted.options.qos as u8,
        no_local: granted.options.no_local,
        retain_handling: granted.options.retain_handling as u8,
        retain_as_published: granted.options.retain_as_published,
        subscription_id: granted.id,
    })
}
