//! Which node and which epoch owns a client id. Never touches a socket or a session, and never imports `cluster`:
//! it owns the trait `Elsewhere`, which `cluster` implements.

use std::pin::Pin;
use std::sync::Arc;

/// Fences the owners of a client id: the higher one wins. A hybrid logical clock's stamp, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// What a CONNECT asks of the registrar of its client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub client_id: Arc<str>,
    /// Whether the session is to start empty.
    pub clean_start: bool,
    /// Session expiry in seconds, as granted.
    pub session_expiry: u32,
    /// The highest epoch that the claimant knows of for this id; 0 is none.
    pub known: Epoch,
}

/// The registrar's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Above every epoch known for the id.
    pub epoch: Epoch,
    /// The node that owned it before, where that is another live one. It was told that it lost.
    pub previous: Option<String>,
}

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Ids with their epochs, and where the next page begins; `None` after the last.
pub type OwnedPage = (Vec<(Arc<str>, Epoch)>, Option<u64>);

/// What the workers need of the cluster's registry. A single node plugs [`OnlyHere`] in.
pub trait Elsewhere: Send + Sync {
    /// Claims an id. Always answers within `cluster.claim_timeout`: a registrar that is silent is done without, and
    /// the grant is this node's own.
    fn claim(&self, claim: Claim) -> Boxed<'_, Grant>;
    /// The session of the id ended on this node, at this epoch: its row goes.
    fn release(&self, client_id: &Arc<str>, epoch: Epoch);
}

/// The owner's side: what the cluster asks of this node's sessions. The workers implement it.
pub trait Owners: Send + Sync {
    /// Another node owns the id from `epoch` on: a session here with a lower epoch is closed (5.0: DISCONNECT 0x8E)
    /// and dropped, its will sent by the rules of a takeover.
    /// May come while a claim of the id is under way here, or granted and its session not yet made: a session that is
    /// then made with a lower epoch has lost already.
    fn superseded(&self, client_id: &Arc<str>, epoch: Epoch);
    /// All ids with a session here, with their epochs: for announcing them to new registrars. Pages of at most
    /// `limit`, a worker at a time, `cursor` from 0 until `None` comes back.
    fn owned(&self, cursor: u64, limit: usize) -> Boxed<'_, OwnedPage>;
    /// The epoch at which an id is owned here, if it is.
    fn epoch_of(&self, client_id: &Arc<str>) -> Boxed<'_, Option<Epoch>>;
}

pub mod hlc;

pub use hlc::Clock;

/// The registry of a node that is alone: every claim is granted here.
#[derive(Debug)]
pub struct OnlyHere {
    clock: Arc<Clock>,
}

impl OnlyHere {
    /// Grants from this clock.
    #[must_use]
    pub const fn new(clock: Arc<Clock>) -> Self {
        Self { clock }
    }
}

impl Elsewhere for OnlyHere {
    fn claim(&self, claim: Claim) -> Boxed<'_, Grant> {
        let epoch = Epoch(self.clock.above(claim.known.0));
        Box::pin(std::future::ready(Grant { epoch, previous: None }))
    }
    fn release(&self, _: &Arc<str>, _: Epoch) {}
}
