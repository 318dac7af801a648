//! The stores that are SQL servers: one set of rules, one schema, two kinds of server that differ in their words. Never
//! holds what the server does not have: another node may change it at any time.

mod apply;
mod backend;
mod claim;
mod claims;
mod expire;
mod lanes;
mod maintain;
mod plan;
mod read;
mod schema;
pub(crate) mod server;
mod settings;
pub(crate) mod statement;
#[cfg(test)]
mod tests;
mod write;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use lanes::Lanes;
use maintain::Rounds;
use server::{Fault, Server};
use statement::{Reply, Row};

pub use settings::{ServerSettings, Tls};

/// The rules, over one kind of server.
#[derive(Debug)]
pub(crate) struct Sql<S: Server> {
    lanes: Lanes<S>,
    /// Whose changes these are, once it has said so.
    node: OnceLock<Box<str>>,
    /// How old messages are that are removed once nothing names them.
    age: Duration,
    rounds: Mutex<Rounds>,
    /// Whether there may be rows of sessions that are gone.
    has_garbage: AtomicBool,
    /// Messages that entries name, as counted last, and those added since.
    shared: AtomicU64,
    corrupt: AtomicU64,
}

impl<S: Server> Sql<S> {
    /// Connects, and makes the tables where there are none.
    pub(crate) async fn open(server: S, settings: &ServerSettings) -> Result<Self, Fault> {
        let sql = Self {
            lanes: Lanes::new(server, settings.readers, settings.timeout),
            node: OnceLock::new(),
            age: settings.age,
            rounds: Mutex::default(),
            has_garbage: AtomicBool::new(true),
            shared: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
        };
        sql.make_tables().await?;
        sql.count_messages().await?;
        Ok(sql)
    }

    /// A record could not be read: it is counted, said, and left out.
    fn suspect(&self, table: &str, row: &Row) {
        self.corrupt.fetch_add(1, Relaxed);
        tracing::error!(table, key = row.int(0), "a record cannot be read and is left out");
    }
}

/// The rows of the `at`th answer.
fn rows(replies: &mut [Reply], at: usize) -> Vec<Row> {
    replies.get_mut(at).map(|reply| std::mem::take(&mut reply.rows)).unwrap_or_default()
}
