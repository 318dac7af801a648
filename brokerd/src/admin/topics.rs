//! The filters of this node in order, a page at a time. Owns one sorted copy while a listing runs, so that a million
//! filters are sorted once and not once a page; never more than one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::local::Local;
use super::page::BYTES;

/// A copy older than this is not used again.
const FRESH: Duration = Duration::from_secs(30);

type Sorted = Arc<Vec<Arc<str>>>;

/// The copy.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<Option<(Instant, Sorted)>>);

/// One page.
#[derive(Debug)]
pub(super) struct TopicPage {
    pub(super) rows: Vec<String>,
    /// After which filter the next page starts; `None` if this is the last.
    pub(super) next: Option<String>,
    pub(super) total: usize,
}

impl Topics {
    /// The filters after `after`. Listings that run side by side share the copy: a page starts by name, not by place.
    pub(super) async fn page(&self, local: &Arc<dyn Local>, after: Option<&str>, limit: usize) -> TopicPage {
        let kept = after.and_then(|_| self.kept());
        let sorted = match kept {
            Some(sorted) => sorted,
            None => self.copy(local).await,
        };
        let start = after.map_or(0, |after| sorted.partition_point(|filter| **filter <= *after));
        let mut bytes = 0;
        let fits = |filter: &&Arc<str>| {
            bytes += filter.len() + 8;
            bytes <= BYTES || bytes == filter.len() + 8
        };
        let rows: Vec<String> = sorted[start..]
            .iter()
            .take(limit)
            .take_while(fits)
            .map(|row| row.to_string())
            .collect();
        let is_last = start + rows.len() >= sorted.len();
        if is_last {
            *self.0.lock() = None;
        }
        let next = if is_last { None } else { rows.last().cloned() };
        TopicPage {
            rows,
            next,
            total: sorted.len(),
        }
    }

    fn kept(&self) -> Option<Sorted> {
        let mut kept = self.0.lock();
        if kept.as_ref().is_some_and(|(taken, _)| taken.elapsed() > FRESH) {
            *kept = None;
        }
        kept.as_ref().map(|(_, sorted)| sorted.clone())
    }

    async fn copy(&self, local: &Arc<dyn Local>) -> Sorted {
        let local = local.clone();
        let sort = move || {
            let mut filters = local.filters();
            filters.sort_unstable();
            Arc::new(filters)
        };
        // Joining fails only where the runtime shuts down.
        let sorted = tokio::task::spawn_blocking(sort).await.unwrap_or_default();
        *self.0.lock() = Some((Instant::now(), sorted.clone()));
        sorted
    }
}
