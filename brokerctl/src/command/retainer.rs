//! `brokerctl retainer`: what is retained, and its removal.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Cleaned, ListQuestion, NodeAnswer, Nothing};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::list::{self, Row};
use crate::output::json;
use crate::table;

/// Retained messages: info, topics, clean
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl retainer info
  brokerctl retainer topics 'plant/+/temp'
  brokerctl retainer clean 'plant/#'")]
pub(crate) enum Retainer {
    /// How much is retained, and how much may be, by node
    #[command(after_help = "Example:
  brokerctl -o json retainer info")]
    Info,
    /// The topics of what is retained
    #[command(after_help = "Examples:
  brokerctl retainer topics --limit 0
  brokerctl -o json retainer topics 'plant/+/temp'")]
    Topics {
        /// Only topics that match this filter [default: all]
        filter: Option<String>,
    },
    /// Remove what is retained, on every node and from its store
    #[command(after_help = "Examples:
  brokerctl retainer clean 'plant/#'
  brokerctl retainer clean")]
    Clean {
        /// Only what matches this filter [default: all]
        filter: Option<String>,
    },
}

impl Retainer {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Info => info(session).await,
            Self::Topics { filter } => {
                let list = ListQuestion { only: filter, ..ListQuestion::default() };
                list::list::<TopicRow>(session, Question::Retained(list)).await
            }
            Self::Clean { filter } => clean(session, filter).await,
        }
    }
}

#[derive(Debug, Serialize)]
struct InfoRow {
    node: String,
    messages: u64,
    bytes: u64,
    max_messages: u64,
    max_bytes: u64,
    refused: u64,
}

async fn info(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let gathered = api.ask_all(Scope::Cluster, Question::Retainer(Nothing {})).await?;
    let mut rows = Vec::new();
    for (node, answer) in &gathered.answers {
        let Answer::Retainer(of) = answer else { return Err(unexpected()) };
        rows.push(InfoRow {
            node: node.clone(),
            messages: of.messages,
            bytes: of.bytes,
            max_messages: of.max_messages,
            max_bytes: of.max_bytes,
            refused: of.refused,
        });
    }
    render_info(&rows, session.global.output, !session.global.no_headers, session.out)?;
    gathered.complete()
}

fn render_info(rows: &[InfoRow], format: Format, has_header: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if format == Format::Json {
        return json(out, &rows);
    }
    let columns = &["NODE", "MESSAGES", "BYTES", "MAX_MESSAGES", "MAX_BYTES", "REFUSED"];
    let mut table = table::Writer::new(out, columns, has_header);
    for row in rows {
        let numbers = [row.messages, row.bytes, row.max_messages, row.max_bytes, row.refused];
        table.push(std::iter::once(row.node.clone()).chain(numbers.map(|number| number.to_string())).collect())?;
    }
    table.flush()
}

#[derive(Debug, Serialize)]
struct TopicRow {
    topic: String,
    node: String,
}

impl Row for TopicRow {
    const NONE: &'static str = "Nothing is retained.";
    const COLUMNS: &'static [&'static str] = &["TOPIC", "NODE"];

    fn of(node: &str, answer: NodeAnswer) -> Vec<Self> {
        let Some(Answer::Topics(topics)) = answer.answer else {
            return Vec::new();
        };
        topics.rows.into_iter().map(|topic| Self { topic, node: node.to_owned() }).collect()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.topic.clone(), self.node.clone()]
    }

    fn key(&self) -> [&str; 3] {
        [&self.node, &self.topic, ""]
    }
}

#[derive(Debug, Default, Serialize)]
struct CleanedDocument {
    removed: u64,
    nodes: BTreeMap<String, u64>,
}

async fn clean(session: &mut Session<'_>, filter: Option<String>) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let list = ListQuestion { only: filter, ..ListQuestion::default() };
    let gathered = api.ask_all(Scope::Cluster, Question::RetainerClean(list)).await?;
    let mut document = CleanedDocument::default();
    let mut trouble = Vec::new();
    for (node, answer) in &gathered.answers {
        let Answer::Cleaned(Cleaned { messages, error }) = answer else { return Err(unexpected()) };
        document.removed += messages;
        *document.nodes.entry(node.clone()).or_default() += messages;
        if !error.is_empty() {
            trouble.push(format!("`{node}`: {error}"));
        }
    }
    match session.global.output {
        Format::Json => json(session.out, &document)?,
        Format::Table => writeln!(session.out, "removed {} retained messages", document.removed)?,
    }
    if !trouble.is_empty() {
        return Err(Failure::Failed(trouble.join("; ")));
    }
    gathered.complete()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn info_is_a_line_for_each_node() {
        let of = |node: &str| InfoRow {
            node: node.into(),
            messages: 3,
            bytes: 700,
            max_messages: 1_000_000,
            max_bytes: 1_073_741_824,
            refused: 0,
        };
        let mut out = Vec::new();
        render_info(&[of("n1"), of("n2")], Format::Table, true, &mut out).unwrap();
        let expected = "\
NODE  MESSAGES  BYTES  MAX_MESSAGES  MAX_BYTES   REFUSED
n1    3         700    1000000       1073741824  0
n2    3         700    1000000       1073741824  0
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
