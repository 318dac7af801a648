//! What a node does now and then: keeps its clock's high-water mark, removes retained messages that have expired and
//! forgets deletions that are old.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt::Time;
use tokio_util::sync::CancellationToken;

use super::Foundation;
use crate::cluster::Cluster;
use crate::datadir::{self, DataDir};
use crate::registry::Clock;
use crate::retain::{Change, Keeper, Retained};

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(5);

/// What it looks after.
pub(super) struct Upkeep {
    data: Arc<DataDir>,
    clock: Arc<Clock>,
    retained: Arc<Retained>,
    keeper: Option<Arc<dyn Keeper>>,
    cluster: Option<Cluster>,
    started: Instant,
}

impl Upkeep {
    pub(super) fn new(base: &Foundation, cluster: Option<Cluster>) -> Self {
        let (data, clock, retained) = (base.data.clone(), base.clock.clone(), base.retained.clone());
        Self { data, clock, retained, keeper: base.shelf(), cluster, started: base.started }
    }

    fn round(&self) -> Result<(), datadir::Error> {
        let now = Time(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let keep = |changes: Vec<Change>| {
            if let Some(keeper) = &self.keeper {
                keeper.keep(changes, Box::new(|_| ())); // what is not kept is tried again by the next process
            }
        };
        self.retained.expire(now, self.clock.now(), keep);
        self.retained.forget_deletions(self.clock.now(), keep);
        if let (Some(cluster), Some(_)) = (&self.cluster, &self.keeper) {
            self.data.save_retained(cluster.retained_since(), self.retained.horizon())?;
        }
        self.data.save_high_water(self.clock.high_water())
    }
}

/// Runs until `stop`, and once more then.
pub(super) async fn run(upkeep: Upkeep, stop: CancellationToken) {
    let upkeep = Arc::new(upkeep);
    let mut is_stopping = false;
    while !is_stopping {
        is_stopping = tokio::time::timeout(PERIOD, stop.cancelled()).await.is_ok();
        let upkeep = upkeep.clone();
        match tokio::task::spawn_blocking(move || upkeep.round()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the clock's high-water mark is not persisted"),
            Err(error) => tracing::error!(%error, "upkeep failed"),
        }
    }
}
