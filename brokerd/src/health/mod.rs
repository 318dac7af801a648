//! What load balancers and Prometheus ask by HTTP: is the process alive, may it be given clients, what has it counted.
//! Never changes anything, and knows no client. No authentication: the operator decides who reaches its address.

mod prometheus;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::registry::Boxed;

/// A figure: its name, its value, and whether it only rises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// As `brokerctl broker metrics` and `broker stats` show it.
    pub name: &'static str,
    /// Now.
    pub value: u64,
    /// A counter: since the start. Else a gauge.
    pub is_counter: bool,
}

/// The node that is asked about.
pub trait Subject: Send + Sync {
    /// Why it is not to be given clients, if it is not.
    fn why_not_ready(&self) -> Option<String>;
    /// All its figures.
    fn figures(&self) -> Boxed<'_, Vec<Figure>>;
}

/// What is answered at present.
#[derive(Clone)]
enum Phase {
    /// Not ready, for this reason.
    Not(&'static str),
    /// Ready if the node says so.
    Serving(Arc<dyn Subject>),
}

type Shared = Arc<RwLock<Phase>>;

/// What is said before the node serves; nothing where nobody can ask. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sign(Option<Shared>);

impl Sign {
    /// Not ready, whatever else is so.
    pub fn is_not_ready(&self, why: &'static str) {
        if let Some(phase) = &self.0 {
            *phase.write() = Phase::Not(why);
        }
    }
}

/// The endpoint. Dropping it closes it.
pub struct Health {
    address: SocketAddr,
    phase: Shared,
    task: JoinHandle<()>,
}

impl Health {
    /// Binds `health.listen` and answers `starting`.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let phase = Arc::new(RwLock::new(Phase::Not("starting")));
        let task = tokio::spawn(serve::run(listener, phase.clone()));
        Ok(Self { address, phase, task })
    }

    /// Where it is, with the real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Not ready, whatever else is so.
    pub fn is_not_ready(&self, why: &'static str) {
        self.sign().is_not_ready(why);
    }

    /// For those who have something to say before the node serves.
    #[must_use]
    pub fn sign(&self) -> Sign {
        Sign(Some(self.phase.clone()))
    }

    /// From now on the node itself says whether it is.
    pub fn serves(&self, subject: Arc<dyn Subject>) {
        *self.phase.write() = Phase::Serving(subject);
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.task.abort();
    }
}
