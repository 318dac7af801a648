//! What this node knows of one other member, and what follows from it: down, leaving, up. Pure: the time is passed in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto::peer::{MemberRow, member_row::State as Told};

use super::MemberState;
use super::gossip::PublishedState;

/// What gossip says of the known generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nothing yet: the member came by a stream.
    #[default]
    Unseen,
    Alive,
    Dead,
}

/// One other member.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) generation: u64,
    pub(super) address: SocketAddr,
    pub(super) version: String,
    /// The ids of its secrets, the one in use first, as it says by gossip.
    pub(super) secrets: String,
    pub(super) sight: Sight,
    pub(super) published: Option<PublishedState>,
    /// A hello of this generation came, either way.
    pub(super) is_proven: bool,
    /// Since when this node has no pair of links to it; `None` while it has.
    pub(super) gone_since: Option<Instant>,
    /// Since when its address refuses connections: nobody listens there; `None` after any other answer, or none.
    pub(super) refused_since: Option<Instant>,
    pub(super) down_since: Option<Instant>,
    /// This node had all its rows once.
    pub(super) was_synced: bool,
    /// The newest version of its rows that is known of.
    pub(super) newest: u64,
    /// The members that it told of, itself included.
    pub(super) list: Vec<MemberRow>,
    /// What is wrong, in words.
    pub(super) trouble: String,
    /// As last reported, and since when in milliseconds since 1970.
    pub(super) reported: (MemberState, u64),
}

impl Standing {
    pub(super) fn new(generation: u64, address: SocketAddr, now: Instant) -> Self {
        Self {
            generation,
            address,
            version: String::new(),
            secrets: String::new(),
            sight: Sight::Unseen,
            published: None,
            is_proven: false,
            gone_since: Some(now),
            refused_since: None,
            down_since: None,
            was_synced: false,
            newest: 0,
            list: Vec::new(),
            trouble: String::new(),
            reported: (MemberState::Joining, 0),
        }
    }

    /// What gossip says of this generation. Its detector takes a member for dead until it has heard of it twice: who was never
    /// seen alive has not died (it is down after `down_after` all the same).
    pub(super) fn see(&mut self, is_alive: bool) {
        if is_alive {
            self.sight = Sight::Alive;
        } else if self.sight == Sight::Alive {
            self.sight = Sight::Dead;
        }
    }

    /// Down: the stream is gone, and gossip says dead; or its process is gone, for its kernel has refused connections for
    /// `refused_after`; or the stream is gone for `down_after` (cluster-traps 12).
    pub(super) fn is_lost(&self, now: Instant, refused_after: Duration, down_after: Duration) -> bool {
        let is_over =
            |since: Option<Instant>, most| since.is_some_and(|since| now.saturating_duration_since(since) >= most);
        self.gone_since.is_some()
            && (self.sight == Sight::Dead
                || is_over(self.refused_since, refused_after)
                || is_over(self.gone_since, down_after))
    }

    /// It said that it leaves.
    pub(super) fn is_leaving(&self, name: &str) -> bool {
        let told = self.told(name, self.generation);
        self.published == Some(PublishedState::Leaving) || told == Some(Told::Leaving)
    }

    /// What its own list says of a member of a generation.
    pub(super) fn told(&self, name: &str, generation: u64) -> Option<Told> {
        let row = self.list.iter().find(|row| row.node == name && row.generation == generation)?;
        Told::try_from(row.state).ok()
    }

    /// Its state, as `cluster status` shows it.
    pub(super) fn state(&self, name: &str) -> MemberState {
        let says_ready = match self.told(name, self.generation) {
            Some(told) => told == Told::Up,
            None => self.published.is_none_or(|published| published == PublishedState::Ready),
        };
        if self.down_since.is_some() {
            MemberState::Down
        } else if self.is_leaving(name) {
            MemberState::Leaving
        } else if self.is_proven && self.was_synced && says_ready {
            MemberState::Up
        } else {
            MemberState::Joining
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED_AFTER: Duration = Duration::from_secs(2);
    const DOWN_AFTER: Duration = Duration::from_secs(5);

    fn is_lost(peer: &Standing, now: Instant) -> bool {
        peer.is_lost(now, REFUSED_AFTER, DOWN_AFTER)
    }

    fn standing(now: Instant) -> Standing {
        let mut standing = Standing::new(1, SocketAddr::from(([127, 0, 0, 1], 1)), now);
        standing.is_proven = true;
        standing.was_synced = true;
        standing
    }

    #[test]
    fn trap_12_down_is_gone_and_dead_in_gossip_or_refused_or_gone_for_long_and_nothing_less() {
        let now = Instant::now();
        let mut peer = standing(now);
        assert!(!is_lost(&peer, now + REFUSED_AFTER), "gone for a moment");
        assert!(is_lost(&peer, now + DOWN_AFTER), "gone for long, whatever gossip says");
        peer.refused_since = Some(now);
        assert!(!is_lost(&peer, now + REFUSED_AFTER / 2), "it may be starting again");
        assert!(is_lost(&peer, now + REFUSED_AFTER), "nobody listens there");
        peer.refused_since = None;
        peer.sight = Sight::Dead;
        assert!(is_lost(&peer, now), "gone and dead");
        peer.gone_since = None;
        peer.refused_since = Some(now);
        assert!(!is_lost(&peer, now + DOWN_AFTER * 9), "gossip is wrong: its streams are there");
    }

    #[test]
    fn who_was_never_seen_alive_has_not_died() {
        let now = Instant::now();
        let mut peer = standing(now);
        peer.see(false);
        assert!(!is_lost(&peer, now), "it is new to the detector");
        assert!(is_lost(&peer, now + DOWN_AFTER));
        peer.see(true);
        assert!(!is_lost(&peer, now));
        peer.see(false);
        assert!(is_lost(&peer, now));
    }

    #[test]
    fn a_member_is_up_once_in_sync_and_once_it_says_so_itself() {
        let mut peer = standing(Instant::now());
        peer.published = Some(PublishedState::Joining);
        assert_eq!(peer.state("b"), MemberState::Joining);
        let row =
            |state: Told| MemberRow { node: "b".into(), generation: 1, state: state.into(), ..MemberRow::default() };
        peer.list = vec![row(Told::Up)];
        assert_eq!(peer.state("b"), MemberState::Up, "its own word is newer than gossip");
        peer.was_synced = false;
        assert_eq!(peer.state("b"), MemberState::Joining);
        peer.list = vec![row(Told::Leaving)];
        assert_eq!(peer.state("b"), MemberState::Leaving);
        peer.down_since = Some(Instant::now());
        assert_eq!(peer.state("b"), MemberState::Down);
    }
}
