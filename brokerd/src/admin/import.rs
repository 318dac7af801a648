//! Takes an archive in: writes it into a file, and hands that on. Never looks into it, and leaves nothing behind where
//! it does not come to its end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::admin::{ImportReply, Piece};
use tokio::task::spawn_blocking;
use tonic::{Status, Streaming};

use super::export::contents;
use crate::registry::Boxed;

/// Who can give this node what an archive holds.
pub trait Import: Send + Sync {
    /// Where the archive is to be written, and `None` where another import is under way. It is over when this is
    /// dropped.
    fn begin(&self) -> Option<Spool>;
    /// Why none can be taken now.
    fn refusal(&self) -> Boxed<'_, Option<String>>;
    /// Checks it and gives the node all of it, or nothing.
    fn take(&self, archive: PathBuf) -> Boxed<'_, Result<Imported, String>>;
}

/// The place for the archive of the one import that is under way.
#[derive(Debug)]
pub struct Spool {
    /// The file.
    pub path: PathBuf,
    /// Held meanwhile.
    pub permit: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // it has been taken, or is no use
    }
}

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How much.
    pub contents: store::archive::Contents,
    /// Sessions that were left out, for their clients have newer ones.
    pub skipped: u64,
}

pub(super) async fn import(to: &Arc<dyn Import>, mut pieces: Streaming<Piece>) -> Result<ImportReply, Status> {
    let spool = to.begin().ok_or_else(|| Status::failed_precondition("another import is under way"))?;
    if let Some(why) = to.refusal().await {
        return Err(Status::failed_precondition(why));
    }
    let failed = |error: io::Error| Status::aborted(format!("cannot write `{}`: {error}", spool.path.display()));
    let mut file = create(&spool.path).map_err(failed)?;
    while let Some(Piece { bytes }) = pieces.message().await? {
        file = blocking(move || file.write_all(&bytes).map(|()| file)).await.map_err(failed)?;
    }
    blocking(move || file.sync_all()).await.map_err(failed)?;
    let imported = to.take(spool.path.clone()).await.map_err(Status::invalid_argument)?;
    Ok(ImportReply { contents: Some(contents(imported.contents)), skipped: imported.skipped })
}

/// It holds what clients said: nobody else's to read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
