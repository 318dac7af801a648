//! What the cluster needs of the rest of the node: seeds, generations, the data directory. Decides nothing itself.

use std::sync::Arc;

use super::{Foundation, VERSION, wall_nanos};
use crate::cluster::{Cluster, Inputs, RetainedParts, StartError};
use crate::config::Config;
use crate::datadir::{self, DataDir};

/// Starts the cluster of a node that has a secret. `has_retained`: an earlier life of it retained what it has.
pub(super) async fn start(config: &Config, base: &Foundation, has_retained: bool) -> Result<Cluster, StartError> {
    let mut seeds = config.cluster.seeds.clone();
    seeds.extend(base.data.seeds().into_iter().filter(|seed| !config.cluster.seeds.contains(seed)));
    let [for_generation, for_seeds, for_peers] = std::array::from_fn(|_| base.data.clone());
    let cluster = Cluster::start(Inputs {
        settings: config.cluster.clone(),
        node: base.name.clone(),
        generation: base.generation,
        next_generation: Arc::new(move || next_generation(&for_generation)),
        seeds,
        remember_seeds: Arc::new(move |seeds| remember(&for_seeds, seeds)),
        peers: base.data.peers(),
        remember_peers: Arc::new(move |peers| said(for_peers.remember_peers(peers))),
        started: base.started,
        clock: base.clock.clone(),
        index: base.index.clone(),
        retained: retained(base, has_retained),
        mailboxes: base.workers.mailboxes(),
        metrics: base.metrics.clone(),
        max_packet_size: config.mqtt.max_packet_size,
        version: VERSION.to_owned(),
        alarms: base.alarms.clone(),
        sessions_move: base.store.as_ref().is_some_and(|store| store.caps().is_shared),
    })
    .await?;
    cluster.claims().serve(Arc::new(base.workers.clone()));
    Ok(cluster)
}

fn retained(base: &Foundation, has_retained: bool) -> RetainedParts {
    let ended = base.store.as_ref().filter(|_| has_retained).map(|_| base.data.high_water());
    let marks = base.data.retained().filter(|_| ended.is_some());
    let (since, horizon) = marks.unwrap_or_else(|| (base.clock.now(), 0));
    base.retained.raise_horizon(horizon);
    RetainedParts { store: base.retained.clone(), keeper: base.shelf(), since, ended }
}

fn next_generation(data: &DataDir) -> u64 {
    data.next_generation(wall_nanos()).unwrap_or_else(|error| {
        tracing::error!(%error, "the generation is not persisted");
        wall_nanos()
    })
}

fn remember(data: &DataDir, seeds: &[String]) {
    said(match seeds {
        [] => data.forget_cluster(),
        seeds => seeds.iter().try_for_each(|seed| data.remember_seed(seed)),
    });
}

fn said(kept: Result<(), datadir::Error>) {
    if let Err(error) = kept {
        tracing::error!(%error, "where other nodes are is not persisted");
    }
}
