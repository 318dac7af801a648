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

/// Bytes that a filter takes on the wire besides its own.
const OVERHEAD: usize = 6;

type Sorted = Arc<Vec<Arc<str>>>;

/// The copy.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<Option<Copy>>);

/// Whose it is, when it was taken, and what it is.
type Copy = (String, Instant, Sorted);

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
        let local = local.clone();
        self.page_of("", move || local.filters(), after, limit).await
    }

    /// The same of what somebody else has.
    pub(super) async fn page_of(
        &self,
        whose: &str,
        gather: impl FnOnce() -> Vec<Arc<str>> + Send + 'static,
        after: Option<&str>,
        limit: usize,
    ) -> TopicPage {
        let kept = after.and_then(|_| self.kept(whose));
        let sorted = match kept {
            Some(sorted) => sorted,
            None => self.copy(whose, gather).await,
        };
        let page = cut(&sorted, after, limit);
        if page.next.is_none() {
            *self.0.lock() = None;
        }
        page
    }

    fn kept(&self, whose: &str) -> Option<Sorted> {
        let mut kept = self.0.lock();
        if kept.as_ref().is_some_and(|(_, taken, _)| taken.elapsed() > FRESH) {
            *kept = None;
        }
        kept.as_ref().filter(|(of, ..)| of == whose).map(|(.., sorted)| sorted.clone())
    }

    async fn copy(&self, whose: &str, gather: impl FnOnce() -> Vec<Arc<str>> + Send + 'static) -> Sorted {
        let sort = move || {
            let mut filters = gather();
            filters.sort_unstable();
            Arc::new(filters)
        };
        // Joining fails only where the runtime shuts down.
        let sorted = tokio::task::spawn_blocking(sort).await.unwrap_or_default();
        *self.0.lock() = Some((whose.to_owned(), Instant::now(), sorted.clone()));
        sorted
    }
}

fn cut(sorted: &[Arc<str>], after: Option<&str>, limit: usize) -> TopicPage {
    let start = after.map_or(0, |after| sorted.partition_point(|filter| **filter <= *after));
    let mut bytes = 0;
    let mut rows: Vec<String> = Vec::new();
    for filter in sorted[start..].iter().take(limit) {
        bytes += filter.len() + OVERHEAD;
        if bytes > BYTES && !rows.is_empty() {
            break;
        }
        rows.push(filter.to_string());
    }
    let is_last = start + rows.len() >= sorted.len();
    let next = if is_last { None } else { rows.last().cloned() };
    TopicPage { rows, next, total: sorted.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_up_to_all_filters_and_none_is_too_long() {
        let sorted: Vec<Arc<str>> = (0..12).map(|number| format!("{number:02}{}", "x".repeat(60_000)).into()).collect();
        let mut after = None;
        let mut listed: Vec<String> = Vec::new();
        loop {
            let page = cut(&sorted, after.as_deref(), 500);
            assert!(page.rows.iter().map(String::len).sum::<usize>() <= BYTES, "a page is too long");
            assert_eq!(page.total, 12);
            listed.extend(page.rows);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert!(sorted.iter().map(|filter| &**filter).eq(&listed), "{} of 12 filters", listed.len());
    }

    #[test]
    fn a_page_goes_on_where_its_filter_was_even_if_that_one_is_gone() {
        let sorted: Vec<Arc<str>> = ["a", "c"].map(Arc::from).into();
        assert_eq!(cut(&sorted, Some("b"), 9).rows, ["c"]);
        let past_the_end = cut(&sorted, Some("d"), 9);
        assert!(past_the_end.rows.is_empty() && past_the_end.next.is_none());
    }
}
