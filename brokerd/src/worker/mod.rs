//! The threads that own connections and sessions. Never waits for a store, a peer or another worker.

pub mod view;

use std::sync::Arc;

use view::{ClientView, Count, SubscriptionView};

/// A page of rows and where the next one starts. Each worker answers from one turn of its own, sorted by client id
/// within the worker.
pub type Page<T> = (Vec<T>, Option<Cursor>);

/// Where a listing goes on: the worker, and the client id after which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Worker number.
    pub worker: u16,
    /// The last client id listed.
    pub after: Arc<str>,
}

/// The workers, seen from outside. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workers;

impl Workers {
    /// A page of clients, at most `limit` rows.
    pub async fn clients(&self, _from: Option<Cursor>, _limit: usize) -> Page<ClientView> {
        (Vec::new(), None)
    }
    /// One client.
    pub async fn client(&self, _client_id: &str) -> Option<ClientView> {
        None
    }
    /// A page of subscriptions: whole clients, at least `limit` rows if there are so many.
    pub async fn subscriptions(&self, _from: Option<Cursor>, _limit: usize) -> Page<SubscriptionView> {
        (Vec::new(), None)
    }
    /// The subscriptions of one client; `None` if there is no such client.
    pub async fn subscriptions_of(&self, _client_id: &str) -> Option<Vec<SubscriptionView>> {
        None
    }
    /// How many.
    pub async fn count(&self) -> Count {
        Count::default()
    }
    /// Ends a session (5.0: DISCONNECT 0x98). Answers whether there was one.
    pub async fn kick(&self, _client_id: &str) -> bool {
        false
    }
}
