//! Signs of life in the store that all nodes share. A node that its peers cannot reach, but that still writes, is not
//! dead: its sessions are its own. Compares no clocks of two nodes: what counts is whether the sign changes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{Batch, Op, Stamp, Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior};

/// Between two signs.
const BEAT: Duration = Duration::from_secs(1);
/// A node without a new one for so long writes no more.
const SILENCE: Duration = Duration::from_millis(2_500);
/// Where they are: among the retained messages that were deleted, under names that no client can publish to, for they
/// have a wildcard.
const TOPICS: &str = "+/node/";
/// Signs read at a time: more than a cluster has nodes.
const PAGE: usize = 256;

/// Gives this node's signs, for as long as it is polled. A store that fails makes this node silent, which it is then.
pub(super) async fn beat(store: &Store, node: &str) {
    let topic: Box<str> = format!("{TOPICS}{node}").into();
    let mut interval = tokio::time::interval(BEAT);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = Stamp { hlc: u64::try_from(since.as_micros()).unwrap_or(u64::MAX), node: 0 };
        let op = Op::PutRetained { topic: topic.clone(), stamp, message: None, expires_at: None };
        let _ = store.submit(Batch { ops: vec![op], done: Box::new(|_| ()) });
    }
}

/// The signs of all nodes, as this one has seen them.
#[derive(Default)]
pub(super) struct Pulse {
    seen: BTreeMap<String, (Stamp, Instant)>,
    last: Option<Instant>,
}

impl Pulse {
    /// Looks for signs, where it is time to.
    pub(super) async fn look(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.last.is_some_and(|last| last.elapsed() < BEAT) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let page = store.scan_retained(Some(TOPICS.into()), PAGE).await?;
        let now = Instant::now();
        for sign in page.items {
            let Some(node) = sign.topic.strip_prefix(TOPICS) else { break };
            let known = self.seen.entry(node.to_owned()).or_insert((sign.stamp, now));
            if known.0 != sign.stamp {
                *known = (sign.stamp, now);
            }
        }
        Ok(())
    }

    /// The nodes that have given a sign.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.seen.keys().map(String::as_str)
    }

    /// Whether a node writes no more. One that never gave a sign does not.
    pub(super) fn is_silent(&self, node: &str) -> bool {
        self.seen.get(node).is_none_or(|(_, since)| since.elapsed() >= SILENCE)
    }
}
