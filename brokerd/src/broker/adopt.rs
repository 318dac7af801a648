//! Sessions in a store that all nodes share whose node is gone: each is taken by one that lives. Decides when to look,
//! never who may have a session: the registrar and the store do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use store::{SessionHead, Store, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, MemberState};
use crate::worker::Workers;

/// Sessions read at a time.
const PAGE: usize = 1000;
/// Sessions that are being taken at a time.
const AT_A_TIME: usize = 64;
/// Between two attempts at a store that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Adopter {
    pub(super) store: Arc<Store>,
    pub(super) cluster: Cluster,
    pub(super) workers: Workers,
    /// `cluster.down_after`: how long a node is waited for that was never seen.
    pub(super) patience: Duration,
}

impl Adopter {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&self) {
        let begun = tokio::time::Instant::now();
        let (mut looks, mut seen) = (self.cluster.looks(), BTreeSet::new());
        let (mut is_due, mut was_patient) = (false, false);
        while looks.changed().await.is_ok() {
            let live = self.live();
            // Also who came changes what falls to whom: what another began to take may be left.
            is_due |= live != seen;
            seen = live;
            let is_patient = begun.elapsed() >= self.patience;
            is_due |= is_patient && !was_patient;
            was_patient = is_patient;
            let claims = self.cluster.claims();
            let is_left = |node: &Arc<str>| !seen.contains(&**node) && !claims.has_adopted(node);
            is_due |= self.cluster.orphaned().iter().any(is_left);
            if is_due {
                match self.pass(&seen, is_patient).await {
                    Ok(()) => is_due = self.live() != seen,
                    Err(error) => {
                        tracing::warn!(%error, "sessions of nodes that are gone cannot be taken yet");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            self.release().await;
        }
    }

    /// The nodes whose sessions are theirs.
    fn live(&self) -> BTreeSet<String> {
        let members = self.cluster.members().into_iter();
        let is_live = |state| matches!(state, MemberState::Up | MemberState::Joining);
        members.filter(|member| member.is_self || is_live(member.state)).map(|member| member.name).collect()
    }

    /// Takes what falls to this node of the sessions whose node is down; of one that was never seen once it was
    /// waited for.
    async fn pass(&self, live: &BTreeSet<String>, is_patient: bool) -> Result<(), StoreError> {
        let down: BTreeSet<String> = self.gone(live);
        let claims = self.cluster.claims();
        let own = self.cluster.members().into_iter().find(|member| member.is_self).map(|member| member.name);
        let own = own.unwrap_or_default();
        let is_ours = |head: &SessionHead| {
            let is_orphan = down.contains(&*head.node) || (is_patient && !live.contains(&*head.node));
            is_orphan && head.record.is_some() && claims.heir(&head.client_id) == own
        };
        let (mut after, mut taking, mut count) = (None, JoinSet::new(), 0_u64);
        loop {
            let page = self.store.scan_sessions(after, PAGE, false).await?;
            for head in page.items.into_iter().filter(is_ours) {
                let workers = self.workers.clone();
                taking.spawn(async move { workers.adopt(head).await });
                count += 1;
                if taking.len() >= AT_A_TIME {
                    taking.join_next().await;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        while taking.join_next().await.is_some() {}
        if count > 0 {
            tracing::info!(sessions = count, "took sessions of nodes that are gone");
        }
        if self.live() == *live {
            down.iter().for_each(|node| claims.set_adopted(node));
        }
        Ok(())
    }

    fn gone(&self, live: &BTreeSet<String>) -> BTreeSet<String> {
        let down = self.cluster.members().into_iter().filter(|member| !live.contains(&member.name));
        let orphaned = self.cluster.orphaned().into_iter().map(|node| node.to_string());
        down.map(|member| member.name).chain(orphaned.filter(|node| !live.contains(node))).collect()
    }

    /// What was published for sessions of a node that is gone goes to where they are, once all of them are somewhere.
    async fn release(&self) {
        let up: BTreeSet<String> = {
            let members = self.cluster.members().into_iter();
            members.filter(|member| member.state == MemberState::Up).map(|member| member.name).collect()
        };
        for node in self.cluster.orphaned() {
            if up.contains(&*node) || self.cluster.claims().all_have_adopted(&node).await {
                self.cluster.rematch(&node).await;
            }
        }
    }
}
