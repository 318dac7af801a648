//! The store of a node: how it is opened, and what is taken from it before anybody connects. Never writes to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Commit, DiskSettings, SessionHead, Settings, Store, StoreError};

use super::Foundation;
use crate::config::{self, Config};
use crate::worker::Restored;

/// Sessions and messages read at a time.
const PAGE: usize = 1000;
/// How far back times go that are read from the store: ten years.
const PAST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The zero of the node's clock: so early that times before its start can be told.
pub(super) fn beginning_of_time() -> Instant {
    let now = Instant::now();
    now.checked_sub(PAST).unwrap_or(now)
}

/// Opens the store, if the configuration asks for one.
pub(super) fn open(config: &Config) -> anyhow::Result<Option<Arc<Store>>> {
    let persistence = &config.persistence;
    if persistence.backend == config::Backend::Memory {
        return Ok(None);
    }
    let disk = DiskSettings {
        reserve: persistence.disk.reserve,
        cache: persistence.disk.cache,
        journal: persistence.disk.journal,
        ..DiskSettings::new(config.node.data_dir.join("store"))
    };
    let commit = match persistence.commit {
        config::Commit::Group => Commit::Group,
        config::Commit::Every => Commit::Every,
        config::Commit::None => Commit::None,
    };
    let settings = Settings { commit, max_bytes: persistence.pending_bytes, ..Settings::default() };
    let backend = store::disk(&disk).map_err(|error| anyhow::anyhow!("persistence.backend: {error}"))?;
    Ok(Some(Arc::new(Store::embedded(backend, settings)?)))
}

/// What each worker has from the process before. Retained messages are in their store when this returns.
pub(super) async fn restore(base: &Foundation) -> anyhow::Result<Vec<Restored>> {
    let mut restored: Vec<Restored> = (0..base.workers.workers()).map(|_| Restored::default()).collect();
    let Some(store) = &base.store else { return Ok(restored) };
    let begun = Instant::now();
    sessions(base, store, &mut restored).await?;
    let retained = retained(base, store).await?;
    // Of a shared store every node would publish them: see `adopt`.
    let delayed = if store.caps().is_shared { 0 } else { delayed(store, &mut restored).await? };
    let sessions: usize = restored.iter().map(|one| one.sessions.len()).sum();
    let millis = begun.elapsed().as_millis();
    tracing::info!(sessions, retained, delayed, millis, "what the store kept is back");
    Ok(restored)
}

async fn sessions(base: &Foundation, store: &Store, restored: &mut [Restored]) -> Result<(), StoreError> {
    let is_shared = store.caps().is_shared;
    let mut after = None;
    loop {
        let page = store.scan_sessions(after, PAGE, true).await?;
        // Where all nodes share the store, what others had is theirs, or comes later: see `adopt`.
        let is_own = |head: &SessionHead| !is_shared || *head.node == *base.name;
        for head in page.items.into_iter().filter(is_own) {
            let worker = usize::from(base.workers.worker_of(&head.client_id));
            restored[worker].sessions.push(head);
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn retained(base: &Foundation, store: &Store) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let page = store.scan_retained(after, PAGE).await?;
        for kept in page.items {
            let Some(message) = kept.message else { continue };
            let mut message = Arc::unwrap_or_clone(message);
            (message.retain, message.expires_at) = (true, kept.expires_at.map(|at| base.time_of(at)));
            count += usize::from(base.retained.set(Arc::new(message)).is_ok());
        }
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

async fn delayed(store: &Store, restored: &mut [Restored]) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let page = store.scan_delayed(after, PAGE).await?;
        count += page.items.len();
        let workers = restored.len();
        for kept in page.items {
            restored[usize::from(kept.id.worker) % workers].delayed.push(kept);
        }
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

impl Foundation {
    /// A time of the wall clock on this node's.
    fn time_of(&self, at: store::UnixMillis) -> mqtt::Time {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall = super::wall_nanos() / 1_000_000;
        mqtt::Time(now.saturating_sub(wall.saturating_sub(at)).saturating_add(at.saturating_sub(wall)))
    }
}
