//! Joining a cluster and leaving it on a running node. Never restarts anything that serves clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::peer::{Link, member_row::State as Told, refused::Reason};
use tokio::net::UdpSocket;

use super::gossip::PublishedState;
use super::handshake::{self, HandshakeError};
use super::start::{Cluster, Membership};
use super::{JoinError, MemberState};

/// A join takes at most so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// A leave is told so long at most, beside two rounds of gossip.
const FAREWELL: Duration = Duration::from_secs(2);

impl Cluster {
    /// Joins the cluster of a seed, and remembers the seed.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(&self, seed: &str) -> Result<(), JoinError> {
        let shared = &self.shared;
        let unreachable = |why: String| JoinError::Unreachable { seed: seed.to_owned(), why };
        let address = self.probe(seed).await?;
        let mut membership = shared.membership.lock().await;
        let seeds = match membership.as_mut() {
            Some(membership) => {
                if !membership.seeds.iter().any(|known| known == seed) {
                    membership.seeds.push(seed.to_owned());
                }
                membership.gossip.set_seeds(membership.seeds.clone());
                membership.gossip.contact(address).await;
                membership.seeds.clone()
            }
            None => {
                let begun = self.begin_again(seed).await.map_err(unreachable)?;
                begun.gossip.contact(address).await;
                *membership = Some(begun);
                vec![seed.to_owned()]
            }
        };
        drop(membership);
        (shared.remember_seeds)(&seeds);
        self.wait_until_up().await
    }

    /// After a leave: another generation, so that nobody mistakes this node for the one that left.
    async fn begin_again(&self, seed: &str) -> Result<Membership, String> {
        let socket = UdpSocket::bind(self.shared.bound).await.map_err(|error| error.to_string())?;
        let generation = (self.shared.next_generation)();
        let own = &self.shared.core.own;
        let floor = own.lock().generation + 1;
        own.lock().generation = generation.max(floor);
        let begun = self.shared.begin(socket, vec![seed.to_owned()], &[]).await.map_err(|error| error.to_string())?;
        own.lock().has_left = false;
        Ok(begun)
    }

    /// Asks the seed whether it would let this node in.
    async fn probe(&self, seed: &str) -> Result<SocketAddr, JoinError> {
        let unreachable = |why: String| JoinError::Unreachable { seed: seed.to_owned(), why };
        let addresses = tokio::net::lookup_host(seed).await.map_err(|error| unreachable(error.to_string()))?;
        let mut last = unreachable("it has no address".to_owned());
        for address in addresses {
            match handshake::dial(&self.shared.core, address, Link::Probe, 0).await {
                Ok(_) => return Ok(address),
                Err(error) => last = self.refusal(seed, error),
            }
        }
        Err(last)
    }

    fn refusal(&self, seed: &str, error: HandshakeError) -> JoinError {
        let seed = seed.to_owned();
        match error {
            HandshakeError::BadProof => JoinError::SecretRefused { seed },
            HandshakeError::Refused(refused) => match refused.reason() {
                Reason::Secret => JoinError::SecretRefused { seed },
                Reason::Cluster => {
                    let ours = self.shared.core.parts.identity.cluster.clone();
                    JoinError::AnotherCluster { seed, theirs: refused.cluster, ours }
                }
                _ => JoinError::Unreachable { seed, why: refused.text },
            },
            error => JoinError::Unreachable { seed, why: error.to_string() },
        }
    }

    /// Until every peer says that this node is up.
    async fn wait_until_up(&self) -> Result<(), JoinError> {
        let began = Instant::now();
        let mut looked_rx = self.shared.looked_tx.subscribe();
        loop {
            let waiting = self.not_yet();
            if waiting.as_ref().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            if tokio::time::timeout(left, looked_rx.changed()).await.is_err() || left.is_zero() {
                let waiting_for = waiting.map_or_else(|| "any member".to_owned(), |names| names.join("`, `"));
                return Err(JoinError::Slow { waiting_for, seconds: PATIENCE.as_secs() });
            }
        }
    }

    /// The peers in whose view this node is not up; `None` without peers.
    fn not_yet(&self) -> Option<Vec<String>> {
        let core = &self.shared.core;
        let generation = core.generation();
        let mut names = None;
        for peer in core.all_peers() {
            let standing = peer.standing.lock();
            if matches!(standing.state(&peer.name), MemberState::Down | MemberState::Leaving) {
                continue;
            }
            let names = names.get_or_insert_with(Vec::new);
            if standing.told(&core.parts.identity.node, generation) != Some(Told::Up) {
                names.push(peer.name.to_string());
            }
        }
        names
    }

    /// Leaves the cluster: says so, waits until the peers have heard it, and goes on alone.
    pub async fn leave(&self) {
        let shared = &self.shared;
        let mut membership = shared.membership.lock().await;
        let Some(mut left) = membership.take() else { return };
        shared.claims.take_wills_along().await;
        shared.core.own.lock().state = PublishedState::Leaving;
        shared.core.changed.notify_one();
        let mut looked_rx = shared.looked_tx.subscribe();
        let heard = async { while !self.is_unlinked() && looked_rx.changed().await.is_ok() {} };
        tokio::time::timeout(FAREWELL, heard).await.ok();
        tokio::time::sleep(shared.core.parts.settings.gossip_interval * 2).await;
        left.gossip.withdraw().await;
        left.tasks.shutdown().await;
        // The task that watched it is gone, so this is the last handle.
        if let Ok(gossip) = Arc::try_unwrap(left.gossip) {
            gossip.shutdown().await;
        }
        {
            let mut own = shared.core.own.lock();
            own.has_left = true;
            own.state = PublishedState::Ready;
            own.trouble.clear();
        }
        for peer in shared.core.all_peers() {
            shared.core.forget(&peer);
        }
        shared.claims.forget_wills();
        shared.claims.on_view(vec![shared.core.parts.identity.node.clone()]);
        (shared.remember_seeds)(&[]);
    }

    /// Every peer has let go of this node.
    fn is_unlinked(&self) -> bool {
        self.shared.core.all_peers().iter().all(|peer| peer.standing.lock().gone_since.is_some())
    }
}
