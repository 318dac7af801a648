//! What the store says of itself, as the wire and the metrics have it. Never asks it for anything that waits.

use proto::admin as wire;
use store::{Commit, SYNC_BOUNDS_MICROS, State, Stats, Store};

use super::keeping::Keeping;

impl Keeping {
    /// The state of the store.
    pub(super) fn state(&self) -> wire::Store {
        let Some(store) = &self.store else {
            return wire::Store { backend: "memory".into(), state: "ok".into(), ..wire::Store::default() };
        };
        let stats = store.stats();
        let (state, reason) = match &stats.state {
            State::Ok => ("ok", ""),
            State::Full => ("full", ""),
            State::Down(reason) => ("down", reason.as_str()),
        };
        wire::Store {
            backend: store.caps().name.into(),
            commit: commit(store).into(),
            state: state.into(),
            reason: reason.into(),
            pending_ops: stats.queued_ops,
            pending_bytes: stats.queued_bytes,
            commits: stats.commits,
            commit_mean_micros: stats.commit_micros_sum.checked_div(stats.commits).unwrap_or(0),
            commit_p99_micros: percentile(&stats, 99),
            disk_bytes: stats.backend.disk_bytes,
            quarantined: stats.backend.corrupt,
        }
    }

    /// What it has done, for `broker metrics`.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let Some(stats) = self.store.as_ref().map(|store| store.stats()) else { return Vec::new() };
        vec![
            ("store.commits", stats.commits),
            ("store.commits.microseconds", stats.commit_micros_sum),
            ("store.commits.retried", stats.retries),
            ("store.batches", stats.batches),
            ("store.batches.failed", stats.failed),
            ("store.batches.refused_full_queue", stats.refused),
            ("store.batches.refused_no_room", stats.full),
            ("store.changes", stats.ops),
            ("store.sessions.fenced", stats.fenced),
            ("store.records.quarantined", stats.backend.corrupt),
        ]
    }

    /// What it holds, for `broker stats`.
    pub(super) fn gauges(&self) -> Vec<(&'static str, u64)> {
        let Some(stats) = self.store.as_ref().map(|store| store.stats()) else { return Vec::new() };
        vec![
            ("store.pending.changes", stats.queued_ops),
            ("store.pending.bytes", stats.queued_bytes),
            ("store.disk.bytes", stats.backend.disk_bytes),
            ("store.messages.shared", stats.backend.shared_messages),
        ]
    }
}

fn commit(store: &Store) -> &'static str {
    match store.commit() {
        Commit::Group => "group",
        Commit::Every => "every",
        Commit::None => "none",
    }
}

/// The upper bound of the bucket in which this share of the commits ends; `u64::MAX` is above the last bound.
fn percentile(stats: &Stats, percent: u64) -> u64 {
    let total: u64 = stats.commit_micros.iter().sum();
    if total == 0 {
        return 0;
    }
    let wanted = (total * percent).div_ceil(100);
    let mut seen = 0;
    let bucket = stats.commit_micros.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    bucket.and_then(|bucket| SYNC_BOUNDS_MICROS.get(bucket)).copied().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_of_the_bucket_in_which_it_falls() {
        let mut stats = Stats::default();
        assert_eq!(percentile(&stats, 99), 0, "before the first commit");
        stats.commit_micros[0] = 99;
        stats.commit_micros[3] = 1;
        assert_eq!((percentile(&stats, 99), percentile(&stats, 100)), (250, 2_000));
        stats.commit_micros[SYNC_BOUNDS_MICROS.len()] = 100;
        assert_eq!(percentile(&stats, 99), u64::MAX);
    }
}
