//! The members as an operator sees them: states, routes, links. Changes nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Core;
use super::gossip::PublishedState;
use super::peer::Peer;
use super::standing::Sight;
use super::start::Cluster;
use super::{Link, Member, MemberState};

impl Cluster {
    /// The members as this node sees them, itself first, then by name.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let core = &self.shared.core;
        let (own, head) = (core.own.lock().clone(), core.routes.head());
        let mut members = vec![Member {
            name: core.parts.identity.node.clone(),
            generation: own.generation,
            state: match own.state {
                PublishedState::Joining => MemberState::Joining,
                PublishedState::Ready => MemberState::Up,
                PublishedState::Leaving => MemberState::Leaving,
            },
            address: own.address.to_string(),
            version: core.parts.version.clone(),
            secrets: core.parts.identity.ring().to_string(),
            is_self: true,
            routes: core.routes.len() as u64,
            route_version: (head.version, head.version),
            reason: own.trouble,
            since: own.since,
            link: None,
        }];
        members.extend(core.all_peers().iter().map(|peer| core.member(peer)));
        members
    }

    /// Members that are up and down, the longest silence of one that is not down in milliseconds, changes of routes that
    /// are known of and not applied, messages and bytes that wait for peers, client ids that this node is the registrar of,
    /// and keys of all nodes in the gossip: the figures of `broker stats`.
    #[must_use]
    pub fn figures(&self) -> Vec<(&'static str, u64)> {
        let members = self.members();
        let of = |state| members.iter().filter(|member| member.state == state).count() as u64;
        let live = || members.iter().filter(|member| member.state != MemberState::Down);
        let links = || live().filter_map(|member| member.link.as_ref());
        let silence = links().filter_map(|link| link.frame_age).max().unwrap_or_default();
        let lag = live().map(|member| member.route_version.1.saturating_sub(member.route_version.0)).max();
        let queues = || members.iter().filter_map(|member| member.link.as_ref());
        vec![
            ("cluster.members.up.count", of(MemberState::Up)),
            ("cluster.members.down.count", of(MemberState::Down)),
            ("cluster.claims.count", self.shared.claims.rows() as u64),
            ("cluster.gossip.keys.count", self.shared.gossip_keys.load(Ordering::Relaxed)),
            ("cluster.links.open.count", links().filter(|link| link.is_open).count() as u64),
            ("cluster.link.silence.milliseconds", u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)),
            ("cluster.routes.lag", lag.unwrap_or_default()),
            ("cluster.queue.messages", queues().map(|link| link.queued).sum()),
            ("cluster.queue.bytes", queues().map(|link| link.queued_bytes).sum()),
        ]
    }
}

impl Core {
    fn member(&self, peer: &Peer) -> Member {
        let standing = peer.standing.lock().clone();
        let (rows, head) = {
            let remote = peer.remote.lock();
            (remote.len() as u64, remote.head())
        };
        let (queued, queued_bytes) = self.hot.with_queue(peer.slot, |queue| queue.depth()).0;
        let heard = peer.heard.load(Ordering::Relaxed);
        let link = Link {
            is_open: standing.gone_since.is_none(),
            frame_age: (heard > 0).then(|| Duration::from_millis(self.time().0.saturating_sub(heard))),
            queued,
            queued_bytes,
            gossip: match standing.sight {
                Sight::Unseen => "unseen",
                Sight::Alive => "alive",
                Sight::Dead => "dead",
            },
        };
        Member {
            name: peer.name.to_string(),
            generation: standing.generation,
            state: standing.state(&peer.name),
            address: standing.address.to_string(),
            is_self: false,
            routes: rows,
            route_version: (head.version, head.version.max(standing.newest)),
            reason: standing.trouble,
            version: standing.version,
            secrets: standing.secrets,
            since: standing.reported.1,
            link: Some(link),
        }
    }
}
