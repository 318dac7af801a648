//! The rows of one peer, as far as they are applied here. Only that peer's stream writes them. Never decides whether
//! the peer may be trusted to have told all: the lease does.

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use mqtt::topic;
use proto::peer::{Row, Rows};

use super::routes::{Head, digest};
use crate::router::Weight;

/// A stream that is behind for longer, without a row, is asked for everything.
const STUCK: Duration = Duration::from_secs(2);

/// A frame of rows that does not follow from what was applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRows {
    #[error("changes after version {after} where {applied} is applied")]
    Gap { after: u64, applied: u64 },
    #[error("a snapshot's middle without its start, or a change within a snapshot")]
    OutOfOrder,
    #[error("`{0}` is not a topic filter")]
    BadFilter(String),
}

/// Whether the head is to be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It is.
    #[default]
    Live,
    /// A snapshot was asked for: what is still on its way from before is passed over.
    Awaiting,
    /// A snapshot has begun.
    Filling,
}

/// The applied rows. The number beside a row is the snapshot that it was last seen in.
#[derive(Debug, Default)]
pub(super) struct Remote {
    head: Head,
    rows: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    mark: u32,
    phase: Phase,
    behind_since: Option<Instant>,
}

impl Remote {
    pub(super) const fn head(&self) -> Head {
        self.head
    }
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
    /// The version that is applied as a whole.
    pub(super) const fn applied(&self) -> Option<u64> {
        if matches!(self.phase, Phase::Live) { Some(self.head.version) } else { None }
    }
    /// What is here is not believed until a snapshot has ended.
    pub(super) const fn distrust(&mut self) {
        self.phase = Phase::Awaiting;
        self.behind_since = None;
    }
    /// Forgets everything; the index is the caller's to clear.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Applies a frame and tells `index` each filter that came or went, and each shared group's weight.
    pub(super) fn apply(&mut self, frame: Rows, mut index: impl FnMut(&str, Option<Weight>)) -> Result<(), BadRows> {
        if let Some(bad) = frame.rows.iter().find(|row| !topic::valid_filter(&row.filter)) {
            return Err(BadRows::BadFilter(bad.filter.chars().take(64).collect()));
        }
        self.behind_since = None;
        if self.phase == Phase::Awaiting && !(frame.snapshot && frame.first) {
            return Ok(());
        }
        if frame.snapshot { self.fill(frame, &mut index) } else { self.follow(frame, &mut index) }
    }

    fn fill(&mut self, frame: Rows, index: &mut impl FnMut(&str, Option<Weight>)) -> Result<(), BadRows> {
        if frame.first {
            self.phase = Phase::Filling;
            self.mark = self.mark.wrapping_add(1);
        } else if self.phase != Phase::Filling {
            return Err(BadRows::OutOfOrder);
        }
        for row in frame.rows {
            self.insert(row, index);
        }
        if frame.last {
            let (mark, hash) = (self.mark, &mut self.head.hash);
            self.rows.retain(|filter, seen| {
                let is_current = *seen == mark;
                if !is_current {
                    *hash = hash.wrapping_sub(digest(filter));
                    index(filter, None);
                }
                is_current
            });
            self.head.version = frame.version;
            self.phase = Phase::Live;
        }
        Ok(())
    }

    fn follow(&mut self, frame: Rows, index: &mut impl FnMut(&str, Option<Weight>)) -> Result<(), BadRows> {
        if self.phase == Phase::Filling {
            return Err(BadRows::OutOfOrder);
        }
        let end = frame.after.checked_add(frame.rows.len() as u64); // both are the peer's
        let is_next = frame.after == self.head.version && end == Some(frame.version);
        if !is_next {
            return Err(BadRows::Gap { after: frame.after, applied: self.head.version });
        }
        for row in frame.rows {
            if row.present {
                self.insert(row, index);
            } else if self.rows.remove(row.filter.as_str()).is_some() {
                self.head.hash = self.head.hash.wrapping_sub(digest(&row.filter));
                index(&row.filter, None);
            }
        }
        self.head.version = frame.version;
        Ok(())
    }

    fn insert(&mut self, row: Row, index: &mut impl FnMut(&str, Option<Weight>)) {
        let weight = Weight { online: row.online.min(row.total), total: row.total };
        match self.rows.entry(row.filter.into_boxed_str()) {
            Entry::Occupied(mut known) => {
                *known.get_mut() = self.mark;
                if topic::is_shared(known.key()) {
                    index(known.key(), Some(weight)); // its weight may be new
                }
            }
            Entry::Vacant(new) => {
                self.head.hash = self.head.hash.wrapping_add(digest(new.key()));
                index(new.key(), Some(weight));
                new.insert(self.mark);
            }
        }
    }

    /// Compares with the owner's head, from a lease answer or from gossip: whether a snapshot is needed, because the
    /// set differs at the same version, or the stream is stuck.
    pub(super) fn needs_snapshot(&mut self, theirs: Head, now: Instant) -> bool {
        if self.phase != Phase::Live || theirs.version < self.head.version {
            return false;
        }
        if theirs.version == self.head.version {
            self.behind_since = None;
            return theirs.hash != self.head.hash;
        }
        let since = *self.behind_since.get_or_insert(now);
        now.saturating_duration_since(since) > STUCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(filters: &[(&str, bool)]) -> Vec<Row> {
        let row = |(filter, present): &(&str, bool)| Row {
            filter: (*filter).to_owned(),
            present: *present,
            ..Row::default()
        };
        filters.iter().map(row).collect()
    }
    fn changes(after: u64, filters: &[(&str, bool)]) -> Rows {
        Rows { after, version: after + filters.len() as u64, rows: rows(filters), ..Rows::default() }
    }
    fn snapshot(first: bool, last: bool, version: u64, filters: &[(&str, bool)]) -> Rows {
        Rows { snapshot: true, first, last, version, rows: rows(filters), ..Rows::default() }
    }

    #[test]
    fn a_snapshot_replaces_and_nothing_counts_as_applied_until_it_ends() {
        let mut remote = Remote::default();
        let mut seen = Vec::new();
        assert_eq!(remote.apply(changes(0, &[("a", true), ("b", true)]), |_, _| ()), Ok(()));
        assert_eq!(remote.apply(snapshot(true, false, 9, &[("b", true)]), |_, _| ()), Ok(()));
        assert_eq!(remote.applied(), None);
        assert_eq!(remote.apply(changes(2, &[("x", true)]), |_, _| ()), Err(BadRows::OutOfOrder));
        let end = snapshot(false, true, 9, &[("c", true)]);
        assert_eq!(remote.apply(end, |filter, row| seen.push((filter.to_owned(), row.is_some()))), Ok(()));
        assert_eq!(seen, [("c".to_owned(), true), ("a".to_owned(), false)]);
        assert_eq!(remote.applied(), Some(9));
        assert_eq!(remote.head().hash, digest("b").wrapping_add(digest("c")));
    }

    #[test]
    fn changes_that_do_not_follow_are_refused_and_change_nothing() {
        let mut remote = Remote::default();
        assert_eq!(remote.apply(changes(1, &[("a", true)]), |_, _| ()), Err(BadRows::Gap { after: 1, applied: 0 }));
        assert_eq!(remote.apply(snapshot(false, true, 1, &[]), |_, _| ()), Err(BadRows::OutOfOrder));
        let beyond = Rows { after: u64::MAX, version: 1, rows: rows(&[("a", true), ("b", true)]), ..Rows::default() };
        assert_eq!(remote.apply(beyond, |_, _| ()), Err(BadRows::Gap { after: u64::MAX, applied: 0 }));
        assert!(remote.apply(changes(0, &[("a", true), ("a#", true)]), |_, _| ()).is_err());
        assert_eq!((remote.len(), remote.head()), (0, Head::default()));
    }

    #[test]
    fn a_differing_digest_or_a_stuck_stream_asks_for_a_snapshot() {
        let mut remote = Remote::default();
        let now = Instant::now();
        assert_eq!(remote.apply(changes(0, &[("a", true)]), |_, _| ()), Ok(()));
        let same = remote.head();
        assert!(!remote.needs_snapshot(same, now));
        assert!(remote.needs_snapshot(Head { hash: 1, ..same }, now));
        let ahead = Head { version: 5, hash: 1 };
        assert!(!remote.needs_snapshot(ahead, now));
        assert!(!remote.needs_snapshot(ahead, now + STUCK));
        assert!(remote.needs_snapshot(ahead, now + STUCK * 2));
        remote.distrust();
        assert!(!remote.needs_snapshot(ahead, now + STUCK * 3), "one is on its way");
        assert_eq!(remote.apply(changes(1, &[("b", true)]), |_, _| ()), Ok(()), "sent before the question arrived");
        assert_eq!((remote.len(), remote.applied()), (1, None));
    }
}
