//! This node's own route rows: the set, its version, its digest, and the log of its changes. The only writer of these
//! rows in the cluster. Never sends anything: each peer's `Feed` reads from it.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use proto::peer::{Pull, Row, Rows};
use tokio::sync::watch;

use crate::router::Weight;

/// Bytes of log that are kept: a peer that is further behind gets a snapshot.
pub(super) const LOG_BYTES: usize = 64 << 20;
/// Rows of a frame.
const FRAME_ROWS: usize = 2_048;
/// Bytes of filters of a frame.
const FRAME_BYTES: usize = 192 << 10;
/// What a log entry costs beside its filter.
const ENTRY: usize = 32;

/// Version and digest of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: u64,
    pub(super) hash: u128,
}

/// What a row adds to the digest of its table: a sum, so that order does not matter.
pub(super) fn digest(filter: &str) -> u128 {
    let whole = ring::digest::digest(&ring::digest::SHA256, filter.as_bytes());
    whole.as_ref().first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// The set and its log. Versions count changes, so the log's entries have the versions up to `head.version`.
#[derive(Debug)]
pub(super) struct OwnTable {
    head: Head,
    rows: BTreeSet<Arc<str>>,
    /// Of the shared groups among the rows.
    weights: HashMap<Arc<str>, Weight, foldhash::fast::RandomState>,
    log: VecDeque<(Arc<str>, bool)>,
    log_bytes: usize,
    log_limit: usize,
}

impl OwnTable {
    pub(super) fn new(log_limit: usize) -> Self {
        let (rows, weights, log) = (BTreeSet::new(), HashMap::default(), VecDeque::new());
        Self { head: Head::default(), rows, weights, log, log_bytes: 0, log_limit }
    }

    pub(super) const fn head(&self) -> Head {
        self.head
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes a change and answers its version.
    pub(super) fn change(&mut self, filter: &Arc<str>, present: bool, digest: u128) -> u64 {
        if present && self.rows.insert(filter.clone()) {
            self.head.hash = self.head.hash.wrapping_add(digest);
        } else if !present && self.rows.remove(filter) {
            self.head.hash = self.head.hash.wrapping_sub(digest);
        }
        self.head.version += 1;
        self.log_bytes += ENTRY + filter.len();
        self.log.push_back((filter.clone(), present));
        while self.log_bytes > self.log_limit {
            let Some((oldest, _)) = self.log.pop_front() else { break };
            self.log_bytes -= ENTRY + oldest.len();
        }
        self.head.version
    }

    /// The changes after a version, as many as fit a frame; `None` where the log does not go back so far.
    fn changes(&self, after: u64) -> Option<Vec<Row>> {
        let behind = usize::try_from(self.head.version.checked_sub(after)?).ok()?;
        let start = self.log.len().checked_sub(behind)?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (filter, present) in self.log.range(start..) {
            if rows.len() == FRAME_ROWS || bytes > FRAME_BYTES {
                break;
            }
            bytes += filter.len();
            rows.push(self.row(filter, *present));
        }
        Some(rows)
    }

    /// Writes the weight of a shared group: a change of its row, also where the row stays.
    pub(super) fn change_group(&mut self, group: &Arc<str>, weight: Weight, digest: u128) -> u64 {
        if weight.total > 0 {
            self.weights.insert(group.clone(), weight);
        } else {
            self.weights.remove(group);
        }
        self.change(group, weight.total > 0, digest)
    }

    /// A row as it is sent: with the weight of now, be the change older.
    fn row(&self, filter: &Arc<str>, present: bool) -> Row {
        let Weight { online, total } = self.weights.get(filter).copied().unwrap_or_default();
        Row { filter: filter.to_string(), present, online, total, ..Row::default() }
    }

    /// The rows after a filter in the order of the set, as many as fit a frame; and whether more may follow.
    fn page(&self, after: Option<&Arc<str>>) -> (Vec<Arc<str>>, bool) {
        let from = after.map_or(Bound::Unbounded, |filter| Bound::Excluded(filter.clone()));
        let (mut page, mut bytes) = (Vec::new(), 0);
        for filter in self.rows.range((from, Bound::Unbounded)) {
            if page.len() == FRAME_ROWS || bytes > FRAME_BYTES {
                return (page, true);
            }
            bytes += filter.len();
            page.push(filter.clone());
        }
        (page, false)
    }
}

/// The table, shared by the workers that write it and the feeds that read it.
#[derive(Debug)]
pub(super) struct Routes {
    table: Mutex<OwnTable>,
    version_tx: watch::Sender<u64>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { table: Mutex::new(OwnTable::new(LOG_BYTES)), version_tx: watch::Sender::new(0) }
    }

    /// Writes a change and wakes the feeds.
    pub(super) fn change(&self, filter: &Arc<str>, present: bool) -> u64 {
        let digest = digest(filter);
        let version = self.table.lock().change(filter, present, digest);
        self.version_tx.send_replace(version);
        version
    }

    /// Writes a group's weight and wakes the feeds.
    pub(super) fn change_group(&self, group: &Arc<str>, weight: Weight) -> u64 {
        let digest = digest(group);
        let version = self.table.lock().change_group(group, weight, digest);
        self.version_tx.send_replace(version);
        version
    }

    pub(super) fn head(&self) -> Head {
        self.table.lock().head()
    }

    pub(super) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// All rows. Copies the table.
    pub(super) fn all(&self) -> Vec<Arc<str>> {
        self.table.lock().rows.iter().cloned().collect()
    }

    /// Whether a row is announced.
    pub(super) fn has(&self, filter: &Arc<str>) -> bool {
        self.table.lock().rows.contains(filter)
    }

    /// Tells of changes.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version_tx.subscribe()
    }

    pub(super) fn feed(&self, pull: &Pull, generation: u64) -> Feed {
        Feed::new(pull, generation, &self.table.lock())
    }

    /// The next frame of a feed; the lock is held for one frame only.
    pub(super) fn next(&self, feed: &mut Feed) -> Option<Rows> {
        feed.next(&self.table.lock())
    }
}

/// How far one peer has been sent this node's rows.
#[derive(Debug)]
pub(super) enum Feed {
    /// All rows, in the order of the set. Those that change meanwhile are put right by the changes after `end`, which
    /// is the version at the snapshot's start.
    Snapshot { end: u64, after: Option<Arc<str>> },
    /// Changes after this version.
    Live(u64),
}

impl Feed {
    fn new(pull: &Pull, generation: u64, table: &OwnTable) -> Self {
        let can_replay = !pull.snapshot && pull.generation == generation && table.changes(pull.version).is_some();
        if can_replay { Self::Live(pull.version) } else { Self::snapshot(table) }
    }

    const fn snapshot(table: &OwnTable) -> Self {
        Self::Snapshot { end: table.head.version, after: None }
    }

    fn next(&mut self, table: &OwnTable) -> Option<Rows> {
        if let Self::Live(after) = *self {
            if after == table.head.version {
                return None;
            }
            if let Some(rows) = table.changes(after) {
                let version = after + rows.len() as u64;
                *self = Self::Live(version);
                return Some(Rows { after, version, rows, ..Rows::default() });
            }
            *self = Self::snapshot(table);
        }
        let Self::Snapshot { end, after } = self else {
            return None;
        };
        let (end, first) = (*end, after.is_none());
        let (page, more) = table.page(after.as_ref());
        let rows = page.iter().map(|filter| table.row(filter, true)).collect();
        *self = match page.last() {
            Some(last) if more => Self::Snapshot { end, after: Some(last.clone()) },
            _ => Self::Live(end),
        };
        Some(Rows { snapshot: true, first, last: !more, after: 0, version: end, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::super::remote::Remote;
    use super::*;

    fn write(table: &mut OwnTable, filter: &str, present: bool) {
        table.change(&filter.into(), present, digest(filter));
    }
    fn pull(version: u64, snapshot: bool) -> Pull {
        Pull { generation: 1, version, snapshot }
    }
    fn drain(feed: &mut Feed, table: &OwnTable, remote: &mut Remote) {
        while let Some(rows) = feed.next(table) {
            remote.apply(rows, |_, _| ()).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn a_peer_that_is_a_little_behind_gets_the_changes_and_one_beyond_the_log_a_snapshot() {
        let mut table = OwnTable::new(3 * (ENTRY + 1));
        for filter in ["a", "b", "c", "d"] {
            write(&mut table, filter, true);
        }
        assert!(matches!(Feed::new(&pull(1, false), 1, &table), Feed::Live(1)));
        assert!(matches!(Feed::new(&pull(0, false), 1, &table), Feed::Snapshot { .. }));
        assert!(matches!(Feed::new(&pull(1, true), 1, &table), Feed::Snapshot { .. }));
        assert!(matches!(Feed::new(&pull(1, false), 2, &table), Feed::Snapshot { .. }), "another generation");
        assert!(matches!(Feed::new(&pull(9, false), 1, &table), Feed::Snapshot { .. }), "from the future");
    }

    #[test]
    fn a_snapshot_of_a_table_that_changes_under_it_ends_in_the_same_set() {
        let mut table = OwnTable::new(LOG_BYTES);
        for i in 0..5_000 {
            write(&mut table, &format!("t/{i:05}"), true);
        }
        let (mut remote, mut feed) = (Remote::default(), Feed::new(&pull(0, true), 1, &table));
        remote.apply(feed.next(&table).unwrap_or_default(), |_, _| ()).ok();
        write(&mut table, "t/00001", false); // sent already
        write(&mut table, "t/04999", false); // not sent yet
        write(&mut table, "t/00002", false);
        write(&mut table, "t/00002", true);
        write(&mut table, "t/99999", true);
        drain(&mut feed, &table, &mut remote);
        assert_eq!(remote.head(), table.head());
        assert_eq!(remote.len(), 4_999);
        assert_eq!(remote.len(), table.len());
    }

    #[test]
    fn the_digest_is_of_the_set_and_not_of_its_history() {
        let (mut one, mut other) = (OwnTable::new(LOG_BYTES), OwnTable::new(LOG_BYTES));
        for filter in ["a", "b"] {
            write(&mut one, filter, true);
        }
        for (filter, present) in [("c", true), ("b", true), ("c", false), ("a", true)] {
            write(&mut other, filter, present);
        }
        assert_eq!(one.head().hash, other.head().hash);
        write(&mut other, "a", false);
        assert_ne!(one.head().hash, other.head().hash);
    }

    #[test]
    fn a_feed_that_falls_off_the_log_starts_a_snapshot_and_removes_what_is_gone() {
        let mut table = OwnTable::new(2 * (ENTRY + 1));
        let (mut remote, mut feed) = (Remote::default(), Feed::new(&pull(0, false), 1, &table));
        write(&mut table, "a", true);
        drain(&mut feed, &table, &mut remote);
        for (filter, present) in [("a", false), ("b", true), ("c", true), ("d", true)] {
            write(&mut table, filter, present);
        }
        drain(&mut feed, &table, &mut remote);
        assert_eq!(remote.head(), table.head());
        assert_eq!(remote.len(), 3);
    }
}
