//! Gives this node all that an archive holds. An archive that was checked is kept until it is in the store: one that a
//! crash interrupts is finished at the next start. Never touches what is here: the node has to be empty and alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;
use store::archive::{Applied, ArchiveError, Checked, apply, check};
use store::{Sid, State, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::{Foundation, keep};
use crate::admin::{Import, Imported, Spool};
use crate::cluster::{Cluster, MemberState};
use crate::registry::Boxed;
use crate::retain::Retained;
use crate::worker::{Restored, Workers};

/// An archive that is coming in.
const PARTIAL: &str = "import.partial";
/// One that was checked, and is being applied.
const CHECKED: &str = "import.archive";
/// One that could not be finished at a start.
const FAILED: &str = "import.failed";
/// Sessions given to the workers at a time.
const PAGE: usize = 1000;

pub(super) struct Importer {
    store: Option<Arc<Store>>,
    workers: Workers,
    retained: Arc<Retained>,
    cluster: Option<Cluster>,
    node: String,
    directory: PathBuf,
    started: Instant,
    one: Arc<Semaphore>,
}

impl Importer {
    pub(super) fn new(base: &Foundation, cluster: Option<&Cluster>) -> Self {
        Self {
            store: base.store.clone(),
            workers: base.workers.clone(),
            retained: base.retained.clone(),
            cluster: cluster.cloned(),
            node: base.name.clone(),
            directory: base.data.path().to_owned(),
            started: base.started,
            one: Arc::new(Semaphore::new(1)),
        }
    }

    /// Why nothing can be imported here.
    async fn obstacle(&self) -> Result<Option<String>, StoreError> {
        let Some(store) = &self.store else {
            return Ok(Some("`persistence.backend = memory` keeps nothing: give this node a store".into()));
        };
        if store.state() != State::Ok {
            return Ok(Some("the store takes nothing now: see `brokerctl status`".into()));
        }
        let is_there = |state| matches!(state, MemberState::Up | MemberState::Joining | MemberState::Leaving);
        let members = self.cluster.as_ref().map(Cluster::members).unwrap_or_default();
        if let Some(other) = members.iter().find(|member| !member.is_self && is_there(member.state)) {
            // They would not know of the sessions, and give the same clients new ones.
            return Ok(Some(format!("`{}` is up: import into a node that is alone, then let others join", other.name)));
        }
        let sessions = self.workers.count().await.total;
        let kept = !store.scan_sessions(None, 1, false).await?.items.is_empty();
        let (retained, delayed) = (self.retained.counts().messages, self.workers.delayed());
        if sessions > 0 || kept || retained > 0 || delayed > 0 {
            return Ok(Some(format!(
                "this node is not empty: {sessions} sessions, {retained} retained and {delayed} delayed messages"
            )));
        }
        Ok(None)
    }

    async fn import(&self, archive: PathBuf) -> Result<Imported, ArchiveError> {
        let Some(store) = self.store.clone() else { return Ok(Imported::default()) };
        let path = archive.clone();
        let checked = blocking(move || check(&path)).await?;
        let path = self.directory.join(CHECKED);
        fs::rename(&archive, &path)?;
        File::open(&self.directory)?.sync_all()?;
        let applied = put(store.clone(), self.node.clone(), path.clone(), checked).await;
        fs::remove_file(&path)?;
        let applied = applied?;
        let imported = Imported { contents: applied.contents, skipped: applied.skipped };
        self.take_up(&store, applied).await?;
        tracing::info!(?imported, "an archive was imported");
        Ok(imported)
    }

    /// Has the rooms serve what the store has now.
    async fn take_up(&self, store: &Store, applied: Applied) -> Result<(), StoreError> {
        for kept in applied.retained {
            keep::retain(&self.retained, self.started, kept);
        }
        let none = || (0..self.workers.workers()).map(|_| Restored::default()).collect::<Vec<_>>();
        let sids: HashSet<Sid, foldhash::fast::RandomState> = applied.sids.into_iter().collect();
        let mut after = None;
        loop {
            let mut restored = none();
            let page = store.scan_sessions(after, PAGE, true).await?;
            for head in page.items.into_iter().filter(|head| sids.contains(&head.sid)) {
                restored[usize::from(self.workers.worker_of(&head.client_id))].sessions.push(head);
            }
            self.workers.take_up(restored).await;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // Last, for what is due is published at once, and all who subscribed are to have it.
        let mut restored = none();
        for kept in applied.delayed {
            let worker = usize::from(kept.id.worker) % restored.len();
            restored[worker].delayed.push(kept);
        }
        self.workers.take_up(restored).await;
        Ok(())
    }
}

impl Import for Importer {
    fn begin(&self) -> Option<Spool> {
        let permit = self.one.clone().try_acquire_owned().ok()?;
        Some(Spool { path: self.directory.join(PARTIAL), permit })
    }

    fn refusal(&self) -> Boxed<'_, Option<String>> {
        Box::pin(async { self.obstacle().await.unwrap_or_else(|error| Some(error.to_string())) })
    }

    fn take(&self, archive: PathBuf) -> Boxed<'_, Result<Imported, String>> {
        Box::pin(async move {
            if let Some(why) = self.refusal().await {
                return Err(why); // somebody came while the archive did
            }
            self.import(archive).await.map_err(|error| error.to_string())
        })
    }
}

/// Finishes what a crash interrupted, before anything is taken from the store.
pub(super) async fn finish(base: &Foundation) -> anyhow::Result<()> {
    let directory = base.data.path();
    let _ = fs::remove_file(directory.join(PARTIAL)); // it never came to its end
    let path = directory.join(CHECKED);
    let Some(store) = base.store.clone().filter(|_| path.exists()) else { return Ok(()) };
    match finish_one(store, base.name.clone(), path.clone()).await {
        Ok(applied) => {
            tracing::warn!(contents = ?applied.contents, "an import that was interrupted is finished");
            fs::remove_file(&path)?;
        }
        Err(error @ (ArchiveError::Store(_) | ArchiveError::Refused(_))) => {
            return Err(anyhow::anyhow!("`{}`, an import that was interrupted: {error}", path.display()));
        }
        Err(error) => {
            let aside = directory.join(FAILED);
            fs::rename(&path, &aside)?;
            tracing::error!(%error, aside = %aside.display(), "an import that was interrupted cannot be finished");
        }
    }
    Ok(())
}

async fn finish_one(store: Arc<Store>, node: String, path: PathBuf) -> Result<Applied, ArchiveError> {
    let archive = path.clone();
    let checked = blocking(move || check(&archive)).await?;
    put(store, node, path, checked).await
}

/// On a thread of its own: the archive is read meanwhile.
async fn put(store: Arc<Store>, node: String, path: PathBuf, checked: Checked) -> Result<Applied, ArchiveError> {
    let runtime = tokio::runtime::Handle::current();
    blocking(move || runtime.block_on(apply(&store, &node, Path::new(&path), &checked))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
