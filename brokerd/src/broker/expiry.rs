//! Sessions and messages whose time came while no node had them, in a store that all nodes share: one node removes them.
//! Never a session that has a connection, and never before the node that has it did so itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::metrics::{Counters, Metric};

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(5);
/// A node ends its own sessions by its timers. What is over for so long is nobody's.
const GRACE: Duration = Duration::from_secs(30);
/// Sessions, and messages, in one step.
const STEP: usize = 1000;
/// By its hash the nodes agree which of them does it. No client id begins so.
const DUTY: &str = "\0expiry";

pub(super) struct Expirer {
    pub(super) store: Arc<Store>,
    /// A node without a cluster is the one.
    pub(super) cluster: Option<Cluster>,
    pub(super) node: String,
    pub(super) counters: Arc<Counters>,
}

impl Expirer {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        while tokio::time::timeout(PERIOD, stop.cancelled()).await.is_err() {
            let is_ours = self.cluster.as_ref().is_none_or(|cluster| cluster.claims().heir(DUTY) == self.node);
            if !is_ours {
                continue;
            }
            if let Some(Err(error)) = stop.run_until_cancelled(self.round()).await {
                tracing::debug!(%error, "what has expired in the store cannot be removed yet");
            }
        }
    }

    /// Removes all that had its time.
    async fn round(&self) -> Result<(), StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.saturating_sub(GRACE).as_millis()).unwrap_or_default();
        loop {
            let expired = self.store.expire(now, STEP).await?;
            self.counters.add(Metric::StoreSessionsExpired, expired.sessions.len() as u64);
            self.counters.add(Metric::StoreMessagesExpired, expired.messages.len() as u64);
            if expired.is_round {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use store::{Batch, Claim, Op, SessionRecord};

    use super::*;
    use crate::metrics::Metrics;

    /// A session of a node that never comes back; since when (seconds ago) its client is gone.
    async fn leave(store: &Store, client_id: &str, expiry: u32, gone_for: u64) {
        let claim = Claim { client_id: client_id.into(), epoch: 1, node: "gone".into(), is_clean: false, held: None };
        let sid = store.claim(claim).await.unwrap().sid;
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let record = SessionRecord {
            client_id: client_id.into(),
            version: mqtt::Version::V5,
            expiry,
            detached_at: (gone_for > 0).then(|| now - gone_for * 1000),
            principal: None,
            subscriptions: Vec::new(),
            will: None,
            next_seq: 1,
            first_serial: 1,
            serials: 0,
        };
        let ops = vec![Op::SaveSession { sid, epoch: 1, record: Box::new(record) }];
        store.submit(Batch { ops, done: Box::new(|result| drop(result.unwrap())) }).ok().unwrap();
        store.flush().await.unwrap();
    }

    #[tokio::test]
    async fn trap_17_sessions_of_nodes_that_never_come_back_end_and_no_others() {
        let here = tokio::runtime::Handle::current();
        let store = Arc::new(Store::remote(store::shared_memory(), store::Settings::default(), &here));
        for (client_id, expiry, gone_for) in [
            ("over", 60, 100),
            ("its-node-may-end-it-yet", 60, 70),
            ("goes-on", 3_600, 100),
            ("never-ends", u32::MAX, 1_000_000),
            ("connected", 1, 0),
        ] {
            leave(&store, client_id, expiry, gone_for).await;
        }
        for number in 0..2_500 {
            leave(&store, &format!("old-{number}"), 1, 1_000).await;
        }
        let counters = Metrics::default().block();
        let expirer = Expirer { store: store.clone(), cluster: None, node: "n".into(), counters: counters.clone() };
        expirer.round().await.unwrap();
        let mut left = Vec::new();
        let mut after = None;
        loop {
            let page = store.scan_sessions(after, 1000, false).await.unwrap();
            left.extend(page.items.into_iter().map(|head| head.client_id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        left.sort();
        assert_eq!(left, ["connected", "goes-on", "its-node-may-end-it-yet", "never-ends"]);
        assert_eq!(counters.get(Metric::StoreSessionsExpired), 2_501);
    }
}
