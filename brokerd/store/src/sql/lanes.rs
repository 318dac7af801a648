//! The connections: one for changes, a few for reads, made when they are needed and again when they are lost. Never
//! waits for a server longer than the timeout, and never gives a connection on in the midst of a transaction.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};

use super::server::{Fault, Link, Server};
use super::statement::{Reply, Statement};

#[derive(Debug)]
pub(super) struct Lanes<S: Server> {
    server: S,
    timeout: Duration,
    writer: tokio::sync::Mutex<Option<S::Link>>,
    idle: Mutex<Vec<S::Link>>,
    readers: Semaphore,
}

/// A connection for a while. Dropped without [`Lane::done`], the connection is closed, which ends its transaction.
#[derive(Debug)]
pub(super) struct Lane<'a, S: Server> {
    lanes: &'a Lanes<S>,
    link: Option<S::Link>,
    place: Place<'a, S::Link>,
    is_broken: bool,
}

#[derive(Debug)]
enum Place<'a, L> {
    Writer(MutexGuard<'a, Option<L>>),
    Reader(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>),
}

impl<S: Server> Lanes<S> {
    pub(super) fn new(server: S, readers: usize, timeout: Duration) -> Self {
        let (writer, idle) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { server, timeout, writer, idle, readers: Semaphore::new(readers.max(1)) }
    }

    pub(super) async fn writer(&self) -> Lane<'_, S> {
        let mut slot = self.writer.lock().await;
        let link = slot.take().filter(|link| !link.is_gone());
        Lane { lanes: self, link, place: Place::Writer(slot), is_broken: false }
    }

    pub(super) async fn reader(&self) -> Result<Lane<'_, S>, Fault> {
        let waited = tokio::time::timeout(self.timeout, self.readers.acquire()).await;
        let Ok(Ok(permit)) = waited else { return Err(Fault::Late("all connections for reads are busy".into())) };
        let link = self.idle.lock().pop().filter(|link| !link.is_gone());
        Ok(Lane { lanes: self, link, place: Place::Reader(permit), is_broken: false })
    }
}

impl<S: Server> Lane<'_, S> {
    /// Carries statements out; all of it counts, or nothing.
    pub(super) async fn run(&mut self, statements: &[Statement]) -> Result<Vec<Reply>, Fault> {
        if self.is_broken {
            return Err(Fault::Lost("the connection was lost".into()));
        }
        self.is_broken = true; // also where this future is dropped before it is done
        let link = self.link.take();
        let answered = async {
            let mut link = match link {
                Some(link) => link,
                None => self.lanes.server.connect().await?,
            };
            let replies = link.run(statements).await?;
            Ok((link, replies))
        };
        let late = |_| Fault::Late(format!("no answer in {} ms", self.lanes.timeout.as_millis()));
        let (link, replies) = tokio::time::timeout(self.lanes.timeout, answered).await.map_err(late)??;
        (self.link, self.is_broken) = (Some(link), false);
        Ok(replies)
    }

    /// Carries out one statement.
    pub(super) async fn one(&mut self, statement: Statement) -> Result<Reply, Fault> {
        self.run(&[statement]).await.map(|mut replies| replies.pop().unwrap_or_default())
    }

    /// The next one may have the connection.
    pub(super) fn done(mut self) {
        match &mut self.place {
            Place::Writer(slot) => **slot = self.link.take(),
            Place::Reader(_) => self.lanes.idle.lock().extend(self.link.take()),
        }
    }
}

/// Again, where the connection was lost: it may have been long before.
pub(super) async fn twice<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    match attempt().await {
        Err(Fault::Lost(_)) => attempt().await,
        other => other,
    }
}
