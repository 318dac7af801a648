//! Sessions and delayed messages in a store that all nodes share whose node is gone: each is taken by one that lives.
//! Decides when to look, never who may have a session: the registrar and the store do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use store::{SessionHead, Store, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::keep;
use super::pulse::{self, Pulse};
use crate::cluster::{Cluster, MemberState};
use crate::registry::delaying;
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
        let own = self.cluster.members().into_iter().find(|member| member.is_self).map(|member| member.name);
        let own = own.unwrap_or_default();
        // Side by side: a node that has much to take is not silent meanwhile.
        let both = async { tokio::join!(self.watch(&own), pulse::beat(&self.store, &own)) };
        let _ = stop.run_until_cancelled(both).await;
    }

    async fn watch(&self, own: &str) {
        let begun = tokio::time::Instant::now();
        let mut pulse = Pulse::default();
        let (mut looks, mut done) = (self.cluster.looks(), None);
        while looks.changed().await.is_ok() {
            if let Err(error) = pulse.look(&self.store).await {
                tracing::debug!(%error, "no signs of life in the store");
                continue;
            }
            let live = self.live();
            let dead: BTreeSet<String> = self.gone(&live).into_iter().filter(|node| pulse.is_silent(node)).collect();
            let is_patient = begun.elapsed() >= self.patience;
            // Also who came changes what falls to whom: what another began to take may be left.
            let now = (live, dead, is_patient);
            let claims = self.cluster.claims();
            let is_left = now.1.iter().any(|node| !claims.has_adopted(node));
            if is_left || done.as_ref() != Some(&now) {
                done = match self.pass((own, &now.0), &now.1, is_patient, &pulse).await {
                    Ok(()) => Some(now),
                    Err(error) => {
                        tracing::warn!(%error, "sessions of nodes that are gone cannot be taken yet");
                        tokio::time::sleep(PAUSE).await;
                        None
                    }
                };
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

    /// Takes what falls to this node of the sessions whose node is dead; of one that was never seen once it was
    /// waited for.
    async fn pass(
        &self,
        (own, live): (&str, &BTreeSet<String>),
        dead: &BTreeSet<String>,
        is_patient: bool,
        pulse: &Pulse,
    ) -> Result<(), StoreError> {
        let claims = self.cluster.claims();
        let is_ours = |head: &SessionHead| {
            let is_unknown = || is_patient && !live.contains(&*head.node) && pulse.is_silent(&head.node);
            let is_orphan = dead.contains(&*head.node) || is_unknown();
            is_orphan && claims.heir(&head.client_id) == own
        };
        let (mut after, mut taking, mut count) = (None, JoinSet::new(), 0_u64);
        let mut are_settled = true;
        loop {
            let page = self.store.scan_sessions(after, PAGE, false).await?;
            for head in page.items.into_iter().filter(is_ours) {
                if head.record.is_none() {
                    keep::drop_session(&self.store, &head); // claimed and never saved: nobody was told of it
                    continue;
                }
                let workers = self.workers.clone();
                taking.spawn(async move { workers.adopt(head).await });
                count += 1;
                if taking.len() >= AT_A_TIME {
                    are_settled &= matches!(taking.join_next().await, Some(Ok(true)));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        while let Some(is_settled) = taking.join_next().await {
            are_settled &= matches!(is_settled, Ok(true));
        }
        let alive = pulse.names().filter(|node| !dead.contains(*node) && !pulse.is_silent(node));
        let alive = alive.chain(live.iter().map(String::as_str)).map(delaying).collect();
        let delayed = if is_patient || !dead.is_empty() { self.take_delayed(own, &alive).await? } else { 0 };
        if count > 0 || delayed > 0 {
            tracing::info!(sessions = count, delayed, "took what nodes that are gone had");
        }
        // One that is back goes on with what it had: what is held for that waits for it.
        if are_settled && self.live() == *live {
            dead.iter().for_each(|node| claims.set_adopted(node));
        }
        Ok(())
    }

    /// The delayed messages of nodes that are not alive, as far as they fall to this node. They keep their identity: should
    /// their node come back, each is published once all the same.
    async fn take_delayed(&self, own: &str, alive: &BTreeSet<u64>) -> Result<u64, StoreError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.store.scan_delayed(after, PAGE).await?;
            for kept in page.items {
                let heir = self.cluster.claims().heir(&format!("{:x}/{:x}", kept.id.origin, kept.id.sequence));
                if !alive.contains(&kept.id.origin) && heir == own {
                    self.workers.adopt_delayed(kept);
                    count += 1;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(count);
            }
        }
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
