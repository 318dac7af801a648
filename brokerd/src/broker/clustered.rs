//! The parts of a node that is one of a cluster, wired: links, gossip and claims. Decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use super::{Foundation, VERSION, wall_nanos};
use crate::cluster::claims::{ClaimSettings, Claims};
use crate::cluster::{Cluster, Inputs, MemberState};
use crate::config::Config;

/// Between two looks at whether the registry is in sync, at the start.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The cluster room and the registry on top of it.
pub(super) struct Clustered {
    pub(super) cluster: Cluster,
    pub(super) claims: Arc<Claims>,
}

impl Clustered {
    pub(super) async fn start(config: &Config, base: &Foundation) -> anyhow::Result<Self> {
        let mut seeds = config.cluster.seeds.clone();
        seeds.extend(base.data.seeds().into_iter().filter(|seed| !config.cluster.seeds.contains(seed)));
        let (for_generation, for_seeds) = (base.data.clone(), base.data.clone());
        let cluster = Cluster::start(Inputs {
            settings: config.cluster.clone(),
            node: base.name.clone(),
            generation: base.generation,
            next_generation: Arc::new(move || next_generation(&for_generation)),
            seeds,
            remember_seeds: Arc::new(move |seeds| remember(&for_seeds, seeds)),
            started: base.started,
            clock: base.clock.clone(),
            index: base.index.clone(),
            mailboxes: base.workers.mailboxes(),
            metrics: base.metrics.clone(),
            max_packet_size: config.mqtt.max_packet_size,
            version: VERSION.to_owned(),
        })
        .await?;
        let settings = ClaimSettings {
            node: base.name.clone(),
            claim_timeout: config.cluster.claim_timeout,
            clock: base.clock.clone(),
            counters: base.metrics.block(),
        };
        let claims = Claims::new(settings, Arc::new(cluster.clone()));
        claims.serve(Arc::new(base.workers.clone()));
        cluster.answer_claims_with(claims.clone());
        tokio::spawn(follow_members(cluster.clone(), claims.clone()));
        Ok(Self { cluster, claims })
    }

    /// Completes when the node may serve: its routes are in sync with every member's, and so is its registry, unless a
    /// member keeps that waiting for `patience`; ids are then looked up at every member, as always while out of sync.
    pub(super) async fn ready(&self, patience: Duration) {
        self.cluster.ready().await;
        let in_sync = async {
            while !self.claims.is_in_sync() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(patience, in_sync).await.is_err() {
            tracing::warn!("not every member has announced its client ids; serving all the same");
        }
    }
}

/// Tells the registry who is up, at every change, until the cluster stops.
async fn follow_members(cluster: Cluster, claims: Arc<Claims>) {
    let mut looks = cluster.looks();
    let mut before = Vec::new();
    while looks.changed().await.is_ok() {
        let is_up = |state| matches!(state, MemberState::Up | MemberState::Joining);
        let members = cluster.members().into_iter().filter(|member| member.is_self || is_up(member.state));
        let live: Vec<String> = members.map(|member| member.name).collect();
        if live != before {
            claims.on_view(live.clone());
            before = live;
        }
    }
}

fn next_generation(data: &crate::datadir::DataDir) -> u64 {
    data.next_generation(wall_nanos()).unwrap_or_else(|error| {
        tracing::error!(%error, "the generation is not persisted");
        wall_nanos()
    })
}

fn remember(data: &crate::datadir::DataDir, seeds: &[String]) {
    let kept = if seeds.is_empty() {
        data.forget_seeds()
    } else {
        seeds.iter().try_for_each(|seed| data.remember_seed(seed))
    };
    if let Err(error) = kept {
        tracing::error!(%error, "the seeds are not persisted");
    }
}
