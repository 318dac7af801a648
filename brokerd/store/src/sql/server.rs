//! What a kind of server has to be able to do. Never what is said to it.

use async_trait::async_trait;

use super::statement::{Reply, Statement};
use crate::error::StoreError;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is gone, or could not be made.
    Lost(String),
    /// The server said nothing in time, or that it cannot now.
    Late(String),
    /// The server said no.
    Failed(String),
    /// The session is at this epoch.
    Fenced(u64),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Lost(reason) | Fault::Late(reason) | Fault::Failed(reason) => Self::Unavailable(reason),
            Fault::Fenced(stored) => Self::Fenced { stored },
        }
    }
}

impl Fault {
    /// What it is to who opens the store: what may be otherwise later is waited for.
    pub(crate) fn at_start(self, server: &str, address: &str) -> StoreError {
        match self {
            Self::Lost(reason) | Self::Late(reason) => {
                StoreError::Unavailable(format!("{server} at {address}: {reason}"))
            }
            Self::Failed(reason) => StoreError::Open(address.to_owned(), reason),
            Self::Fenced(stored) => StoreError::Fenced { stored },
        }
    }
}

/// A kind of server.
#[async_trait]
pub(crate) trait Server: std::fmt::Debug + Send + Sync + 'static {
    /// A connection.
    type Link: Link;
    /// Its name in the configuration.
    const NAME: &'static str;
    /// Waits until no other node makes tables.
    const LOCK: &'static str;
    /// Lets the next one.
    const UNLOCK: &'static str;
    /// Makes the tables, where they are not there.
    const TABLES: &'static [&'static str];

    /// Connects, as it is configured.
    async fn connect(&self) -> Result<Self::Link, Fault>;
}

/// A connection.
#[async_trait]
pub(crate) trait Link: std::fmt::Debug + Send + 'static {
    /// Carries statements out in their order, without waiting for the answer to one before the next is sent. After an
    /// error none of them counts, and the connection is not to be used again.
    async fn run(&mut self, statements: &[Statement]) -> Result<Vec<Reply>, Fault>;

    /// Whether the server is known to have gone.
    fn is_gone(&self) -> bool {
        false
    }
}
