//! What of the cluster is an alarm: a member that is down, a partition, a clock, a node that serves alone. Pure but for
//! the reading of what is known; who collects alarms is `alarms`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::MemberState;
use super::core::Core;
use super::standing::{Sight, Standing};
use crate::alarms::Found;

/// One other member, as it stands.
pub(super) struct Seen<'a> {
    pub(super) name: &'a str,
    pub(super) standing: &'a Standing,
    pub(super) is_ahead: bool,
}

impl Core {
    /// Tells the board what is wrong now.
    pub(super) fn report_alarms(&self, now: Instant) {
        let own = self.own.lock().clone();
        let peers = self.all_peers();
        let standings: Vec<Standing> = peers.iter().map(|peer| peer.standing.lock().clone()).collect();
        let seen: Vec<Seen<'_>> = peers
            .iter()
            .zip(&standings)
            .map(|(peer, standing)| Seen {
                name: &peer.name,
                standing,
                is_ahead: peer.is_ahead.load(Ordering::Relaxed),
            })
            .collect();
        let settings = &self.parts.settings;
        let mut found = found(&seen, settings.peer_timeout, settings.down_after);
        if !own.trouble.is_empty() {
            found.push(alarm("alone", &self.parts.identity.node, own.trouble, Duration::ZERO));
        }
        self.parts.alarms.report("cluster", found, now);
    }
}

/// `silence`: a link may be down so long for no more than its being opened again. `dispute`: the lists of two members
/// may differ so long, while one of them finds out.
fn found(peers: &[Seen<'_>], silence: Duration, dispute: Duration) -> Vec<Found> {
    let mut found = Vec::new();
    let is_here = |seen: &&Seen<'_>| seen.standing.state(seen.name) == MemberState::Up;
    for Seen { name, standing, is_ahead } in peers {
        let state = standing.state(name);
        if state == MemberState::Leaving {
            continue;
        }
        if state == MemberState::Down {
            let why = if standing.trouble.is_empty() { "it is silent" } else { &standing.trouble };
            found.push(alarm("member_down", name, format!("`{name}` is down: {why}"), Duration::ZERO));
        }
        if *is_ahead {
            found.push(alarm("clock", name, format!("the clock of `{name}`: {}", standing.trouble), Duration::ZERO));
        }
        if standing.gone_since.is_some() {
            if standing.sight == Sight::Alive {
                let what = format!("`{name}` is alive, says gossip, but no link to it: {}", standing.trouble);
                found.push(alarm("partition", name, what, silence));
            }
            continue;
        }
        if standing.list.is_empty() {
            continue; // it has told of nobody yet
        }
        for other in peers.iter().filter(is_here).filter(|other| other.name != *name) {
            if standing.told(other.name, other.standing.generation).is_none() {
                let what = format!("`{name}` does not see `{}`, which this node sees", other.name);
                found.push(alarm("partition", &format!("{name}-{}", other.name), what, dispute));
            }
        }
    }
    found
}

fn alarm(name: &'static str, subject: &str, what: String, patience: Duration) -> Found {
    Found { name, subject: subject.to_owned(), what, patience }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proto::peer::{MemberRow, member_row::State as Told};

    use super::*;

    fn up(list: &[&str]) -> Standing {
        let mut standing = Standing::new(1, SocketAddr::from(([127, 0, 0, 1], 1)), Instant::now());
        standing.is_proven = true;
        standing.was_synced = true;
        standing.gone_since = None;
        standing.sight = Sight::Alive;
        let row = |name: &&str| MemberRow {
            node: (*name).to_owned(),
            generation: 1,
            state: Told::Up.into(),
            ..MemberRow::default()
        };
        standing.list = list.iter().map(row).collect();
        standing
    }

    fn names(peers: &[(&str, Standing)]) -> Vec<(&'static str, String)> {
        let seen: Vec<Seen<'_>> =
            peers.iter().map(|(name, standing)| Seen { name, standing, is_ahead: false }).collect();
        let found = found(&seen, Duration::from_secs(2), Duration::from_secs(5));
        found.into_iter().map(|found| (found.name, found.subject)).collect()
    }

    #[test]
    fn members_that_see_each_other_are_no_alarm() {
        assert!(names(&[("b", up(&["a", "b", "c"])), ("c", up(&["a", "b", "c"]))]).is_empty());
        assert!(names(&[("b", up(&["a", "b", "c"])), ("c", up(&[]))]).is_empty(), "c has told of nobody yet");
    }

    #[test]
    fn a_member_that_gossip_shows_alive_and_no_link_reaches_is_a_partition() {
        let mut cut = up(&["a", "c"]);
        cut.gone_since = Some(Instant::now());
        assert_eq!(names(&[("c", cut.clone())]), [("partition", "c".to_owned())]);
        cut.sight = Sight::Dead;
        assert!(names(&[("c", cut.clone())]).is_empty(), "it is about to be called down");
        cut.down_since = Some(Instant::now());
        assert_eq!(names(&[("c", cut)]), [("member_down", "c".to_owned())]);
    }

    #[test]
    fn members_that_see_different_sets_are_a_partition() {
        let peers = [("b", up(&["a", "b"])), ("c", up(&["a", "b", "c"]))];
        assert_eq!(names(&peers), [("partition", "b-c".to_owned())], "b does not see c, which sees it");
        let mut left = up(&["a", "b", "c"]);
        left.list[2].state = Told::Leaving.into();
        assert!(names(&[("b", up(&["a", "b"])), ("c", left)]).is_empty(), "c leaves");
    }
}
