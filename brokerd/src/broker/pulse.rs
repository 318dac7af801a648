//! Signs of life in the store that all nodes share. A node that its peers cannot reach, but that still writes, is not
//! dead: its sessions are its own. Compares no clocks of two nodes: what counts is whether the sign changes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{Batch, Op, Stamp, Store, StoreError};
use tokio::time::Instant;

/// Between two signs.
const BEAT: Duration = Duration::from_secs(1);
/// A node without a new one for so long writes no more.
const SILENCE: Duration = Duration::from_millis(2_500);
/// Where they are: among the retained messages that were deleted, under names that no client can publish to, for they
/// have a wildcard.
const TOPICS: &str = "+/node/";
/// Signs read at a time: more than a cluster has nodes.
const PAGE: usize = 256;

/// This node's signs, and those of the others.
pub(super) struct Pulse {
    topic: Box<str>,
    beats: BTreeMap<String, (Stamp, Instant)>,
    last: Option<Instant>,
}

impl Pulse {
    pub(super) fn new(node: &str) -> Self {
        Self { topic: format!("{TOPICS}{node}").into(), beats: BTreeMap::new(), last: None }
    }

    /// Gives a sign and looks for those of others, where it is time to.
    pub(super) async fn beat(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.last.is_some_and(|last| last.elapsed() < BEAT) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = Stamp { hlc: u64::try_from(since.as_micros()).unwrap_or(u64::MAX), node: 0 };
        let op = Op::PutRetained { topic: self.topic.clone(), stamp, message: None, expires_at: None };
        // Where it fails this node is silent, which it is.
        let _ = store.submit(Batch { ops: vec![op], done: Box::new(|_| ()) });
        let page = store.scan_retained(Some(TOPICS.into()), PAGE).await?;
        let now = Instant::now();
        for sign in page.items {
            let Some(node) = sign.topic.strip_prefix(TOPICS) else { break };
            let known = self.beats.entry(node.to_owned()).or_insert((sign.stamp, now));
            if known.0 != sign.stamp {
                *known = (sign.stamp, now);
            }
        }
        Ok(())
    }

    /// Whether a node writes no more. One that never gave a sign does not.
    pub(super) fn is_silent(&self, node: &str) -> bool {
        self.beats.get(node).is_none_or(|(_, since)| since.elapsed() >= SILENCE)
    }
}
