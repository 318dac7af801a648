//! `cluster.seeds`, and those that were learned by `brokerctl cluster join`: `HOST:PORT`, resolved as the system does.
//! Never drops a seed that does not resolve.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{DEADLINE, Discovery, Found, MOST, in_time};
use crate::registry::Boxed;

/// Heals a cluster whose halves forgot each other.
const PERIOD: Duration = Duration::from_secs(60);

/// The static way.
#[derive(Debug)]
pub struct Seeds(watch::Receiver<Vec<String>>);

impl Seeds {
    /// A change of the list is looked at, at once.
    #[must_use]
    pub const fn new(seeds: watch::Receiver<Vec<String>>) -> Self {
        Self(seeds)
    }

    async fn resolve_all(&mut self) -> Found {
        let seeds = self.0.borrow_and_update().clone();
        let mut lookups = JoinSet::new();
        for (at, seed) in seeds.into_iter().enumerate() {
            lookups.spawn(async move { (at, resolve(&seed).await) });
        }
        let mut resolved = lookups.join_all().await;
        // Their order is that of the list, so that a trouble that stays is told in the same words.
        resolved.sort_by_key(|(at, _)| *at);
        let (mut addresses, mut troubles) = (Vec::new(), Vec::new());
        for (_, one) in resolved {
            match one {
                Ok(found) => addresses.extend(found),
                Err(why) => troubles.push(why),
            }
        }
        addresses.truncate(MOST);
        Found { addresses, trouble: (!troubles.is_empty()).then(|| troubles.join("; ")) }
    }
}

async fn resolve(seed: &str) -> Result<Vec<SocketAddr>, String> {
    let lookup = async { tokio::net::lookup_host(seed).await.map_err(|error| error.to_string()) };
    match in_time(DEADLINE, lookup).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(why) => Err(format!("`{seed}` does not resolve: {why}")),
    }
}

impl Discovery for Seeds {
    fn name(&self) -> &'static str {
        "seeds"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    fn look(&mut self) -> Boxed<'_, Found> {
        Box::pin(self.resolve_all())
    }

    fn prompted(&mut self) -> Boxed<'_, ()> {
        Box::pin(async {
            if self.0.changed().await.is_err() {
                std::future::pending().await // nobody changes them any more
            }
        })
    }
}
