//! What a node does now and then: keeps its clock's high-water mark, removes retained messages that have expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt::Time;
use tokio_util::sync::CancellationToken;

use crate::datadir::DataDir;
use crate::registry::Clock;
use crate::retain::Retained;

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(5);

/// Runs until `stop`, and once more then.
pub(super) async fn run(
    data: Arc<DataDir>,
    clock: Arc<Clock>,
    retained: Arc<Retained>,
    started: Instant,
    stop: CancellationToken,
) {
    let mut is_stopping = false;
    while !is_stopping {
        is_stopping = tokio::time::timeout(PERIOD, stop.cancelled()).await.is_ok();
        let (data, clock, retained) = (data.clone(), clock.clone(), retained.clone());
        let round = tokio::task::spawn_blocking(move || {
            retained.expire(Time(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)));
            data.save_high_water(clock.high_water())
        });
        match round.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the clock's high-water mark is not persisted"),
            Err(error) => tracing::error!(%error, "upkeep failed"),
        }
    }
}
