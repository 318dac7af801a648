//! Asks the ways of discovery again and again, and has gossip contact what they find. Owns the pace, the counters and the
//! log of it; a way that fails is asked again, and never ends anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Discovery, Found};
use crate::metrics::{Counters, Metric, Metrics};

/// Between two looks while this node knows nobody, at most.
const ALONE: Duration = Duration::from_secs(2);
/// For all ways to say that this node leaves.
const FAREWELL: Duration = Duration::from_secs(3);

/// What the search needs.
pub(in crate::cluster) struct Plan {
    pub(in crate::cluster) ways: Vec<Box<dyn Discovery>>,
    /// This node's own address is not contacted.
    pub(in crate::cluster) own: SocketAddr,
    /// Gossips with an address.
    pub(in crate::cluster) contact: Arc<dyn Fn(SocketAddr) + Send + Sync>,
    /// Whether this node knows another that lives.
    pub(in crate::cluster) is_joined: watch::Receiver<bool>,
    /// `cluster.gossip_interval`
    pub(in crate::cluster) interval: Duration,
    pub(in crate::cluster) metrics: Metrics,
}

/// What one way has shown last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    Unasked,
    /// An empty list.
    Nobody,
    Itself,
    Others,
    /// Nobody, for this reason.
    Trouble(String),
}

/// By way.
type Sights = Vec<(&'static str, Sight)>;

/// What can be said to an operator of a node that has found nobody.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Outlook(watch::Receiver<Sights>);

/// The tasks, one a way. Dropped, they end.
pub(in crate::cluster) struct Search {
    outlook: Outlook,
    leaving: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Search {
    /// Starts on the current runtime.
    pub(in crate::cluster) fn start(plan: Plan) -> Self {
        let names = plan.ways.iter().map(|way| (way.name(), Sight::Unasked)).collect();
        let (sights, outlook) = watch::channel(names);
        let (sights, leaving, mut tasks) = (Arc::new(sights), CancellationToken::new(), JoinSet::new());
        for (at, way) in plan.ways.into_iter().enumerate() {
            let one = One {
                alone: ALONE.min(plan.interval * 4).min(way.period()),
                way,
                own: plan.own,
                contact: plan.contact.clone(),
                is_joined: plan.is_joined.clone(),
                counters: plan.metrics.block(), // one each: a block has one writer
                sights: (at, sights.clone()),
                leaving: leaving.clone(),
                failures: 0,
                said: None,
            };
            tasks.spawn(one.run());
        }
        Self { outlook: Outlook(outlook), leaving, _tasks: tasks }
    }

    pub(in crate::cluster) fn outlook(&self) -> Outlook {
        self.outlook.clone()
    }

    /// Looks no more, and has every way forget this node.
    pub(in crate::cluster) async fn withdraw(&self) {
        self.leaving.cancel();
        let mut sights = self.outlook.0.clone();
        // Their channel closes when the last task has ended.
        let _ = timeout(FAREWELL, sights.wait_for(|_| false)).await;
    }
}

impl Outlook {
    /// Of a node without any way to find others.
    #[cfg(test)]
    pub(in crate::cluster) fn unknown() -> Self {
        Self(watch::channel(vec![("seeds", Sight::Unasked)]).1)
    }

    /// Why this node is alone, unless it is what was looked up: this node and no other.
    pub(in crate::cluster) fn alarm(&self) -> Option<String> {
        let sights = self.0.borrow();
        let troubles: Vec<String> = sights
            .iter()
            .filter_map(
                |(way, sight)| if let Sight::Trouble(why) = sight { Some(format!("{way}: {why}")) } else { None },
            )
            .collect();
        let is_expected = sights.iter().all(|(_, sight)| matches!(sight, Sight::Itself | Sight::Nobody));
        if is_expected {
            return None;
        }
        let why = if troubles.is_empty() { String::new() } else { format!(" ({})", troubles.join("; ")) };
        Some(format!("no seed answers{why}: this node serves alone, and keeps trying"))
    }
}

/// One way.
struct One {
    way: Box<dyn Discovery>,
    own: SocketAddr,
    contact: Arc<dyn Fn(SocketAddr) + Send + Sync>,
    is_joined: watch::Receiver<bool>,
    alone: Duration,
    counters: Arc<Counters>,
    sights: (usize, Arc<watch::Sender<Sights>>),
    leaving: CancellationToken,
    /// Looks in a row that found nothing, and why is known.
    failures: u32,
    /// The trouble that the log knows of.
    said: Option<String>,
}

impl One {
    async fn run(mut self) {
        let leaving = self.leaving.clone();
        tokio::select! {
            () = self.search() => {}
            () = leaving.cancelled() => {}
        }
        if leaving.is_cancelled() {
            self.way.withdraw().await;
        }
    }

    /// Ends when gossip does.
    async fn search(&mut self) {
        loop {
            let found = self.way.look().await;
            self.note(&found);
            for address in found.addresses.into_iter().filter(|address| *address != self.own) {
                (self.contact)(address);
            }
            let is_joined = *self.is_joined.borrow_and_update();
            let pause = self.pause(is_joined);
            let has_lost_all = async {
                if !is_joined {
                    return std::future::pending().await;
                }
                self.is_joined.wait_for(|is_joined| !is_joined).await.is_ok()
            };
            let goes_on = tokio::select! {
                () = sleep(pause) => true,
                () = self.way.prompted() => true,
                goes_on = has_lost_all => goes_on,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Soon while alone, by its period once there are others; after failures longer and longer, up to the period.
    fn pause(&self, is_joined: bool) -> Duration {
        match self.failures {
            0 if is_joined => self.way.period(),
            0 => self.alone,
            failures => self.alone.saturating_mul(1 << (failures - 1).min(16)).min(self.way.period()),
        }
    }

    /// Counts it, says what is new of it, and lets the overseer know.
    fn note(&mut self, found: &Found) {
        let (way, has_found) = (self.way.name(), !found.addresses.is_empty());
        self.counters.add(Metric::DiscoveryLooks, 1);
        if found.trouble.is_some() {
            self.counters.add(Metric::DiscoveryFailures, 1);
        }
        self.failures = if found.trouble.is_some() && !has_found { self.failures.saturating_add(1) } else { 0 };
        if found.trouble != self.said {
            match &found.trouble {
                Some(why) => tracing::warn!(way, why, "looking for peers has failed: it is tried again"),
                None => tracing::info!(way, "looking for peers succeeds again"),
            }
            self.said.clone_from(&found.trouble);
        }
        let sight = match &found.trouble {
            _ if found.addresses.iter().any(|address| *address != self.own) => Sight::Others,
            Some(why) => Sight::Trouble(why.clone()),
            None if has_found => Sight::Itself,
            None => Sight::Nobody,
        };
        let (at, sights) = &self.sights;
        sights.send_if_modified(|sights| {
            let Some(known) = sights.get_mut(*at).map(|(_, known)| known) else { return false };
            let is_new = *known != sight;
            *known = sight;
            is_new
        });
    }
}
