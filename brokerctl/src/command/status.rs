//! `brokerctl status`: is this node up.

use std::io::Write;

use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{NodeInfo, Nothing};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{json, printable};

/// Whether the node is up
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  brokerctl status && echo up")]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let info = info(session).await?;
        render(&info, session.global.output, session.out)
    }
}

/// The node that is asked about itself.
pub(super) async fn info(session: &Session<'_>) -> Result<NodeInfo, Failure> {
    let mut api = Api::connect(&session.global).await?;
    let mut gathered = api.ask_all(Scope::Here, Question::Node(Nothing {})).await?;
    match gathered.answers.pop() {
        Some((_, Answer::Node(info))) => Ok(info),
        Some(_) => Err(unexpected()),
        None => Err(gathered.complete().err().unwrap_or_else(unexpected)),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    node: &'a str,
    version: &'a str,
    status: &'a str,
    generation: u64,
    uptime: u64,
}

fn render(info: &NodeInfo, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let NodeInfo { name: node, version, state: status, generation, .. } = info;
    if format == Format::Json {
        return json(out, &Document { node, version, status, generation: *generation, uptime: uptime(info) });
    }
    Ok(writeln!(out, "Node '{}' {} is {}", printable(node), printable(version), printable(status))?)
}

/// Seconds since the start.
pub(super) const fn uptime(info: &NodeInfo) -> u64 {
    info.now.saturating_sub(info.started_at) / 1000
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    pub(crate) fn node() -> NodeInfo {
        NodeInfo {
            name: "n1".into(),
            version: "0.1.0".into(),
            generation: 7,
            state: "started".into(),
            started_at: 1_684_736_435_155,
            now: 1_684_740_978_155,
        }
    }

    #[test]
    fn status_prints_the_line_of_emqx_ctl() {
        let mut out = Vec::new();
        render(&node(), Format::Table, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "Node 'n1' 0.1.0 is started\n");
    }

    #[test]
    fn status_is_one_json_object() {
        let mut out = Vec::new();
        render(&node(), Format::Json, &mut out).unwrap();
        let expected = r#"{
  "node": "n1",
  "version": "0.1.0",
  "status": "started",
  "generation": 7,
  "uptime": 4543
}
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
