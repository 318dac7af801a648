//! Pages of bounded size: where one starts, and how many rows fit. Never reads a row's content.

use prost::Message;
use proto::admin::{ListQuestion, PageCursor};

use crate::worker::Cursor;

/// Rows of a page at most, whatever was asked.
pub(super) const ROWS: usize = 500;
/// Encoded bytes of a page at most, but for a single row that is longer.
pub(super) const BYTES: usize = 256 * 1024;
/// No session has more subscriptions than this.
const MAX_SKIP: u32 = 1 << 24;

/// A page that was asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) cursor: PageCursor,
    pub(super) rows: usize,
}

impl Wanted {
    /// Reads a question; `None` where its cursor is none of ours.
    pub(super) fn of(question: &ListQuestion) -> Option<Self> {
        let cursor = PageCursor::decode(question.cursor.as_slice()).ok()?;
        if cursor.skip > MAX_SKIP {
            return None;
        }
        let rows = usize::try_from(question.limit).unwrap_or(ROWS).clamp(1, ROWS);
        Some(Self { cursor, rows })
    }

    /// Rows of this page that earlier answers held.
    pub(super) const fn skip(&self) -> usize {
        self.cursor.skip as usize
    }

    /// The workers' own cursor.
    pub(super) fn from(&self) -> Option<Cursor> {
        let worker = u16::try_from(self.cursor.worker).ok()?;
        Some(Cursor { worker, place: self.cursor.place })
    }

    /// Keeps what fits of the rows that the workers gave, and says where the next page starts: within these rows if
    /// some did not fit, else where the workers said.
    pub(super) fn cut<R: Message>(&self, rows: Vec<R>, following: Option<Cursor>) -> (Vec<R>, Vec<u8>) {
        let given = rows.len();
        let kept = fitting(rows.into_iter().skip(self.skip()));
        let listed = self.skip() + kept.len();
        let next = if listed < given {
            PageCursor { skip: u32::try_from(listed).unwrap_or(MAX_SKIP), ..self.cursor.clone() }
        } else {
            let Some(following) = following else {
                return (kept, Vec::new());
            };
            PageCursor { worker: following.worker.into(), place: following.place, ..PageCursor::default() }
        };
        (kept, next.encode_to_vec())
    }
}

/// The rows that fit a page, and one at least.
pub(super) fn fitting<R: Message>(rows: impl Iterator<Item = R>) -> Vec<R> {
    let mut bytes = 0;
    let mut kept = Vec::new();
    for row in rows {
        bytes += row.encoded_len();
        if bytes > BYTES && !kept.is_empty() {
            break;
        }
        kept.push(row);
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proto::admin::Subscription;

    use super::*;

    fn row(bytes: usize) -> Subscription {
        Subscription { topic: "t".repeat(bytes), ..Subscription::default() }
    }

    fn wanted(cursor: Vec<u8>) -> Wanted {
        Wanted::of(&ListQuestion { cursor, limit: 9, ..ListQuestion::default() }).unwrap()
    }

    #[test]
    fn rows_that_do_not_fit_a_page_start_the_next_one() {
        let rows = || vec![row(100_000), row(100_000), row(100_000), row(5)];
        let (first, next) = wanted(Vec::new()).cut(rows(), None);
        assert_eq!(first.len(), 2);
        let second = wanted(next);
        assert_eq!(second.from(), Some(Cursor::default()));
        let (rest, next) = second.cut(rows(), None);
        assert_eq!(rest.iter().map(|row| row.topic.len()).collect::<Vec<_>>(), [100_000, 5]);
        assert!(next.is_empty(), "there is nothing more");
    }

    #[test]
    fn a_row_larger_than_a_page_is_a_page() {
        let (kept, next) = wanted(Vec::new()).cut(vec![row(BYTES + 1), row(1)], None);
        assert_eq!(kept.len(), 1);
        assert!(!next.is_empty());
    }

    #[test]
    fn the_workers_cursor_comes_back_to_them() {
        let cursor = Cursor { worker: 3, place: 7 };
        let (_, next) = wanted(Vec::new()).cut(vec![row(1)], Some(cursor));
        assert_eq!(wanted(next).from(), Some(cursor));
    }

    #[test]
    fn a_cursor_of_junk_is_refused() {
        let question = |cursor: &[u8]| ListQuestion { cursor: cursor.to_vec(), ..ListQuestion::default() };
        assert!(Wanted::of(&question(b"\xff\xff\xff")).is_none());
        let far = PageCursor { skip: u32::MAX, ..PageCursor::default() };
        assert!(Wanted::of(&question(&far.encode_to_vec())).is_none());
    }
}
