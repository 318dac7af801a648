//! Resolves the seeds again and again and gossips with what they resolve to. Never remembers an address: names move.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatHandle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::member::Members;

/// Between two rounds while this node knows nobody.
pub(super) const ALONE: Duration = Duration::from_secs(2);
/// Between two rounds once it does: heals a cluster whose halves forgot each other.
const JOINED: Duration = Duration::from_secs(60);
/// A resolver that is silent does not hold up the other seeds for longer.
const RESOLVE: Duration = Duration::from_secs(5);
/// Addresses taken of one name.
const MAX_ADDRESSES: usize = 65;

pub(super) struct Seeds {
    pub(super) chitchat: Arc<ChitchatHandle>,
    pub(super) seeds: watch::Receiver<Vec<String>>,
    pub(super) members: watch::Receiver<Members>,
    pub(super) own_name: String,
    pub(super) alone: Duration,
}

impl Seeds {
    /// Ends when gossip does.
    pub(super) async fn run(mut self) {
        loop {
            let seeds = self.seeds.borrow_and_update().clone();
            for seed in seeds {
                self.contact(&seed).await;
            }
            let is_joined = knows_others(&self.members.borrow_and_update(), &self.own_name);
            let pause = if is_joined { JOINED } else { self.alone };
            let has_lost_all = async {
                if !is_joined {
                    return std::future::pending().await;
                }
                self.members.wait_for(|members| !knows_others(members, &self.own_name)).await.is_ok()
            };
            let goes_on = tokio::select! {
                () = sleep(pause) => true,
                changed = self.seeds.changed() => changed.is_ok(),
                goes_on = has_lost_all => goes_on,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn contact(&self, seed: &str) {
        let own = self.chitchat.chitchat_id().gossip_advertise_addr;
        let resolved: Vec<SocketAddr> = match timeout(RESOLVE, tokio::net::lookup_host(seed)).await {
            Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES).collect(),
            Ok(Err(error)) => return tracing::warn!(seed, %error, "the seed does not resolve"),
            Err(_) => return tracing::warn!(seed, "the resolver does not answer"),
        };
        for address in resolved.into_iter().filter(|address| *address != own) {
            // Fails only when chitchat's task has ended, which `Gossip::failed` reports.
            let _ = self.chitchat.gossip(address);
        }
    }
}

fn knows_others(members: &Members, own_name: &str) -> bool {
    members.values().any(|member| member.alive && member.name != own_name)
}
