//! What load balancers and alarms are told of the whole node: its drain, its cluster, its store. Converts, and decides
//! only whether the node is ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{State, Store};
use tokio_util::sync::CancellationToken;

use crate::admin::ThisNode;
use crate::alarms::{Board, Found};
use crate::cluster::MemberState;
use crate::drain::Drain;
use crate::health::{Figure, Subject};
use crate::registry::Boxed;

/// Between two looks at the store.
const LOOK: Duration = Duration::from_secs(1);

/// The node, as `health` asks about it.
pub(super) struct Watched {
    pub(super) this_node: Arc<ThisNode>,
    pub(super) drain: Drain,
    pub(super) store: Option<Arc<Store>>,
}

impl Subject for Watched {
    fn why_not_ready(&self) -> Option<String> {
        if let Some(why) = self.drain.why_not_ready() {
            return Some(why.to_owned());
        }
        match self.this_node.own_state() {
            MemberState::Joining => return Some("joining".to_owned()),
            MemberState::Leaving => return Some("leaving".to_owned()),
            MemberState::Up | MemberState::Down => {}
        }
        match self.store.as_ref()?.stats().state {
            State::Down(why) => Some(format!("store down: {why}")),
            State::Ok | State::Full => None,
        }
    }

    fn figures(&self) -> Boxed<'_, Vec<Figure>> {
        Box::pin(async {
            let figure = |is_counter| move |(name, value)| Figure { name, value, is_counter };
            let gauges = self.this_node.stats().await;
            let counters = self.this_node.metrics().into_iter().map(figure(true));
            counters.chain(gauges.into_iter().map(figure(false))).collect()
        })
    }
}

/// Tells the board of the store's state, until `stop`.
pub(super) async fn store(store: Arc<Store>, alarms: Arc<Board>, stop: CancellationToken) {
    while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
        let name = store.caps().name;
        let alarm = |kind, what| Found { name: kind, subject: name.to_owned(), what, patience: Duration::ZERO };
        let found = match store.stats().state {
            State::Ok => Vec::new(),
            State::Full => vec![alarm("store_full", format!("the store {name} has no room"))],
            State::Down(why) => vec![alarm("store_down", format!("the store {name} is down: {why}"))],
        };
        alarms.report("store", found, Instant::now());
    }
}
