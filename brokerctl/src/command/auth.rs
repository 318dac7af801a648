//! `brokerctl auth`: users and rules of running nodes. Never reads their files: the nodes do.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Nothing, Reloaded};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{json, printable};

/// Users and rules: reload
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  brokerctl auth reload")]
pub(crate) enum Auth {
    /// Let every node read its password file and its ACL file again
    ///
    /// A node that finds a mistake in either keeps both as they were, and says which line. Clients whose user is gone
    /// are disconnected, subscriptions that are no longer allowed end.
    #[command(after_help = "Examples:
  brokerctl auth reload
  brokerctl auth reload --node n1")]
    Reload,
}

impl Auth {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Reload => reload(session).await,
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct NodeReload {
    /// `None` where it was done.
    error: Option<String>,
    #[serde(flatten)]
    numbers: BTreeMap<String, u64>,
}

impl NodeReload {
    fn new(reloaded: Reloaded) -> Self {
        let numbers = reloaded.numbers.unwrap_or_default().numbers;
        Self {
            error: (!reloaded.error.is_empty()).then_some(reloaded.error),
            numbers: numbers.into_iter().map(|number| (number.name, number.value)).collect(),
        }
    }
}

async fn reload(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let gathered = api.ask_all(Scope::Cluster, Question::AuthReload(Nothing {})).await?;
    let mut nodes = BTreeMap::new();
    for (node, answer) in &gathered.answers {
        let Answer::AuthReloaded(reloaded) = answer else {
            return Err(unexpected());
        };
        nodes.insert(node.clone(), NodeReload::new(reloaded.clone()));
    }
    render(&nodes, session.global.output, session.out)?;
    let of_node = |(node, done): (&String, &NodeReload)| Some(format!("`{node}`: {}", done.error.as_ref()?));
    let failed: Vec<String> = nodes.iter().filter_map(of_node).collect();
    if failed.is_empty() {
        return gathered.complete();
    }
    Err(Failure::Failed(format!("users and rules stay as they were on {}", failed.join("; "))))
}

fn render(nodes: &BTreeMap<String, NodeReload>, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    if format == Format::Json {
        return json(out, nodes);
    }
    for (node, done) in nodes.iter().filter(|(_, done)| done.error.is_none()) {
        let number = |name: &str| done.numbers.get(name).copied().unwrap_or_default();
        writeln!(
            out,
            "{}: {} users, {} rules; {} sessions and {} subscriptions ended",
            printable(node),
            number("users"),
            number("rules"),
            number("sessions.ended"),
            number("subscriptions.revoked"),
        )?;
    }
    Ok(())
}
