//! Lists: rows printed as they come. Holds as many as are sorted; never a whole long list.

use std::io::Write;

use proto::admin::NodeAnswer;
use proto::admin::node_question::Question;
use serde::Serialize;

use crate::Session;
use crate::api::{Answers, Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::table;

/// Rows on a terminal, where nothing else is said.
const SCREEN: u64 = 100;
/// Lists of up to so many rows are sorted, by node and name, before they are printed.
const SORTED: usize = 10_000;

/// A line of a list.
pub(crate) trait Row: Serialize + Sized {
    /// What a list of nothing says.
    const NONE: &'static str;
    /// The columns of the table.
    const COLUMNS: &'static [&'static str];
    /// The rows of a page.
    fn of(node: &str, answer: NodeAnswer) -> Vec<Self>;
    /// The cells of its table line.
    fn cells(&self) -> Vec<String>;
    /// What it is sorted by.
    fn key(&self) -> [&str; 3];
    /// Whether a page without rows is about something that exists all the same.
    fn exists(_: &NodeAnswer) -> bool {
        false
    }
}

/// Asks for a list and prints it.
pub(crate) async fn list<R: Row>(session: &mut Session<'_>, question: Question) -> Result<(), Failure> {
    print::<R>(session, question, None).await
}

/// Asks for the rows of one thing and prints them; it is a failure, worded `missing`, if the thing does not exist.
pub(crate) async fn show<R: Row>(
    session: &mut Session<'_>,
    question: Question,
    missing: String,
) -> Result<(), Failure> {
    print::<R>(session, question, Some(missing)).await
}

async fn print<R: Row>(session: &mut Session<'_>, question: Question, missing: Option<String>) -> Result<(), Failure> {
    let limit = limit(session);
    let mut api = Api::connect(&session.global).await?;
    let mut answers = api.ask(Scope::Cluster, question, limit).await?;
    let header = !session.global.no_headers;
    let mut sink = match session.global.output {
        Format::Table => Sink::Table(table::Writer::new(&mut *session.out, R::COLUMNS, header)),
        Format::Json => Sink::Json { out: &mut *session.out, is_first: true },
    };
    let mut listing = Listing::default();
    let listed = listing.run::<R>(&mut answers, &mut sink, limit).await;
    if let (true, false, Some(missing)) = (listed.is_ok(), listing.exists, missing) {
        return answers.complete().and(Err(Failure::NotFound(missing)));
    }
    // Also after a failure: what was printed is then still one document.
    sink.finish()?;
    listed?;
    listing.tell::<R>(session.err)?;
    answers.complete()
}

/// 0 is all.
fn limit(session: &Session<'_>) -> u64 {
    session.global.limit.unwrap_or(if session.is_terminal { SCREEN } else { 0 })
}

/// How many rows there are and how many were printed.
#[derive(Debug, Default)]
struct Listing {
    total: u64,
    seen: u64,
    printed: u64,
    exists: bool,
}

impl Listing {
    fn page<R: Row>(&mut self, node: &str, answer: NodeAnswer) -> Vec<R> {
        self.total += answer.total;
        self.exists |= R::exists(&answer);
        let rows = R::of(node, answer);
        self.exists |= !rows.is_empty();
        self.seen += rows.len() as u64;
        rows
    }

    /// Prints what comes, up to `limit` rows (0 is all): sorted, or as it comes once it is too long for that.
    async fn run<R: Row>(&mut self, answers: &mut Answers, sink: &mut Sink<'_>, limit: u64) -> Result<(), Failure> {
        let is_short = (1..=SORTED as u64).contains(&limit);
        let wanted = if is_short { usize::try_from(limit).unwrap_or(SORTED) } else { SORTED };
        let mut rows: Vec<R> = Vec::new();
        let mut is_streaming = false;
        let ended = loop {
            match answers.next().await {
                Ok(Some((node, answer))) => rows.extend(self.page::<R>(&node, answer)),
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
            if is_short && rows.len() > 2 * wanted {
                sort(&mut rows);
                rows.truncate(wanted);
            } else if !is_short && (is_streaming || rows.len() > wanted) {
                is_streaming = true;
                self.print(rows.drain(..), sink, limit)?;
            }
        };
        sort(&mut rows);
        self.print(rows.drain(..), sink, limit)?;
        ended
    }

    fn print<R: Row>(&mut self, rows: impl Iterator<Item = R>, sink: &mut Sink<'_>, limit: u64) -> Result<(), Failure> {
        for row in rows {
            if limit > 0 && self.printed == limit {
                break;
            }
            sink.push(&row)?;
            self.printed += 1;
        }
        Ok(())
    }

    /// Says on stderr what stdout does not show.
    fn tell<R: Row>(&self, err: &mut dyn Write) -> Result<(), Failure> {
        let more = self.total.max(self.seen).saturating_sub(self.printed);
        if more > 0 {
            writeln!(err, "{more} more: --limit 0 lists all")?;
        } else if self.printed == 0 {
            writeln!(err, "{}", R::NONE)?;
        }
        Ok(())
    }
}

fn sort<R: Row>(rows: &mut [R]) {
    rows.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
}

enum Sink<'a> {
    Table(table::Writer<'a>),
    Json { out: &'a mut dyn Write, is_first: bool },
}

impl Sink<'_> {
    fn push<R: Row>(&mut self, row: &R) -> Result<(), Failure> {
        match self {
            Self::Table(table) => table.push(row.cells()),
            Self::Json { out, is_first } => {
                out.write_all(if std::mem::take(is_first) { b"[\n" } else { b",\n" })?;
                Ok(serde_json::to_writer(out, row)?)
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Table(mut table) => table.flush(),
            Self::Json { out, is_first } => Ok(out.write_all(if is_first { b"[]\n" } else { b"\n]\n" })?),
        }
    }
}

/// Rows as the golden tests compare them.
#[cfg(test)]
pub(crate) fn render<R: Row>(rows: &[R], format: Format) -> String {
    let mut out = Vec::new();
    let mut sink = match format {
        Format::Table => Sink::Table(table::Writer::new(&mut out, R::COLUMNS, true)),
        Format::Json => Sink::Json { out: &mut out, is_first: true },
    };
    let pushed: Result<(), Failure> = rows.iter().try_for_each(|row| sink.push(row));
    assert!(pushed.and(sink.finish()).is_ok(), "a vector takes everything");
    String::from_utf8(out).unwrap_or_default()
}
