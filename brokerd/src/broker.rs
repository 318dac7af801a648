//! The composition root: builds the rooms in order, wires them, and ends them in order. Decides nothing itself.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::config::Config;
use crate::datadir::DataDir;
use crate::listener::{self, Listener};
use crate::metrics::Metrics;
use crate::registry::{Clock, OnlyHere};
use crate::retain::{self, Retained};
use crate::router::{Alone, Index};
use crate::worker::{Parts, Workers};

/// A running node.
pub struct Broker {
    /// Its listeners.
    pub listeners: Vec<Arc<Listener>>,
    workers: Workers,
    accepting: CancellationToken,
    tasks: TaskTracker,
}

impl Broker {
    /// Starts a node on the current runtime, which is its control runtime.
    ///
    /// # Errors
    /// With the key of what cannot be had.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let data = DataDir::open(&config.node.data_dir)?;
        let generation = data.next_generation(wall_nanos())?;
        let bound = listener::bind_all(&config.listeners)?;
        let metrics = Metrics::default();
        let index = Arc::new(Index::default());
        let retained = Arc::new(Retained::new(retain::Limits {
            max_messages: config.persistence.max_retained,
            max_bytes: config.persistence.max_retained_bytes,
        }));
        let clock = Arc::new(Clock::new(data.high_water(), config.cluster.max_clock_skew));
        let workers = Workers::new(&config.node);
        workers.start(
            config,
            Parts {
                index,
                retained,
                forward: Arc::new(Alone),
                elsewhere: Arc::new(OnlyHere::new(clock)),
                access: Access,
                metrics,
                origin: generation,
            },
        )?;
        let (tasks, accepting) = (TaskTracker::new(), CancellationToken::new());
        let listeners = bound.iter().map(|bound| bound.listener().clone()).collect();
        for bound in bound {
            bound.listen(workers.clone(), &tasks, accepting.clone())?;
        }
        Ok(Self { listeners, workers, accepting, tasks })
    }

    /// Stops in phases: no new clients, good-bye to those who are here, then the rest.
    pub async fn stop(self) {
        self.accepting.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.workers.stop().await;
    }
}

fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
