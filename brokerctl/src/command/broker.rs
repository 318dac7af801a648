//! `brokerctl broker`: version and uptime of a node, gauges and counters of the cluster.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{NodeInfo, Nothing};
use serde::Serialize;

use super::status::{info, uptime};
use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{json, pairs};
use crate::time;

/// Version and uptime of the node, or figures of the cluster
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brokerctl broker
  brokerctl broker stats
  brokerctl -o json broker metrics --node n1")]
pub(crate) struct Broker {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What there is now: sessions, subscriptions, retained messages; added up over the nodes
    #[command(after_help = "Example:
  brokerctl broker stats --node n1")]
    Stats,
    /// What happened since the start: packets, messages, drops by reason; added up over the nodes
    #[command(after_help = "Example:
  brokerctl broker metrics | grep dropped")]
    Metrics,
}

impl Broker {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let question = match self.what {
            None => return render(&info(session).await?, session.global.output, session.out),
            Some(What::Stats) => Question::Stats(Nothing {}),
            Some(What::Metrics) => Question::Metrics(Nothing {}),
        };
        let mut api = Api::connect(&session.global).await?;
        let gathered = api.ask_all(Scope::Cluster, question).await?;
        let sums = sums(gathered.answers.iter().map(|(_, answer)| answer))?;
        render_numbers(&sums, session.global.output, session.out)?;
        gathered.complete()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    node: &'a str,
    sysdescr: &'a str,
    version: &'a str,
    datetime: String,
    uptime: u64,
    generation: u64,
}

const SYSDESCR: &str = "brokerd";

fn render(info: &NodeInfo, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let datetime = time::rfc3339(info.now);
    if format == Format::Json {
        let NodeInfo { name: node, version, generation, .. } = info;
        let (sysdescr, generation) = (SYSDESCR, *generation);
        return json(out, &Document { node, sysdescr, version, datetime, uptime: uptime(info), generation });
    }
    let lines = [
        ("sysdescr", SYSDESCR.to_owned()),
        ("version", info.version.clone()),
        ("datetime", datetime),
        ("uptime", time::uptime(uptime(info))),
        ("node", info.name.clone()),
    ];
    pairs(out, lines)
}

/// Adds the nodes up, name by name; a node of another version may have other names.
fn sums<'a>(answers: impl Iterator<Item = &'a Answer>) -> Result<BTreeMap<String, u64>, Failure> {
    let mut sums = BTreeMap::new();
    for answer in answers {
        let Answer::Numbers(numbers) = answer else {
            return Err(unexpected());
        };
        for number in &numbers.numbers {
            let sum: &mut u64 = sums.entry(number.name.clone()).or_default();
            *sum = sum.saturating_add(number.value);
        }
    }
    Ok(sums)
}

fn render_numbers(sums: &BTreeMap<String, u64>, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        Format::Json => json(out, sums),
        Format::Table => pairs(out, sums.iter().map(|(name, value)| (name.as_str(), value.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proto::admin::{Number, Numbers};

    use super::super::status::tests::node;
    use super::*;

    #[test]
    fn broker_prints_the_lines_of_emqx_ctl() {
        let mut out = Vec::new();
        render(&node(), Format::Table, &mut out).unwrap();
        let expected = "sysdescr : brokerd
version  : 0.1.0
datetime : 2023-05-22T07:36:18.155Z
uptime   : 1 hours, 15 minutes, 43 seconds
node     : n1
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn broker_is_one_json_object() {
        let mut out = Vec::new();
        render(&node(), Format::Json, &mut out).unwrap();
        let expected = r#"{
  "node": "n1",
  "sysdescr": "brokerd",
  "version": "0.1.0",
  "datetime": "2023-05-22T07:36:18.155Z",
  "uptime": 4543,
  "generation": 7
}
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn figures_are_added_up_over_the_nodes_and_sorted_by_name() {
        let numbers = |pairs: &[(&str, u64)]| {
            let number = |(name, value): &(&str, u64)| Number { name: (*name).into(), value: *value };
            Answer::Numbers(Numbers { numbers: pairs.iter().map(number).collect() })
        };
        let nodes = [numbers(&[("sessions.count", 2), ("retained.count", 1)]), numbers(&[("sessions.count", 3)])];
        let sums = sums(nodes.iter()).unwrap();
        let mut out = Vec::new();
        render_numbers(&sums, Format::Table, &mut out).unwrap();
        render_numbers(&sums, Format::Json, &mut out).unwrap();
        let expected = r#"retained.count : 1
sessions.count : 5
{
  "retained.count": 1,
  "sessions.count": 5
}
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
