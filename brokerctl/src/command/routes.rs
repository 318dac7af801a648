//! `brokerctl routes`: which filters have a subscriber on which node, and whether all nodes agree about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{ListQuestion, Nothing, RouteSum, RouteSums};
use serde::Serialize;

use super::topics::Topics;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::json;
use crate::table;

/// A change is on its way for so long at most: what differs before and after it is wrong.
const SETTLE: Duration = Duration::from_secs(1);

/// Routes: list, show, check
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl routes list
  brokerctl routes check --fix")]
pub(crate) enum Routes {
    /// The same as `topics list`
    #[command(after_help = "Example:
  brokerctl routes list")]
    List,
    /// The same as `topics show`
    #[command(after_help = "Example:
  brokerctl routes show 'sensors/+'")]
    Show {
        /// A topic filter, as it was subscribed to
        topic: String,
    },
    /// Compare what every node holds of every other with the subscriptions that live there; exit code 1 if it differs
    #[command(after_help = "Examples:
  brokerctl routes check
  brokerctl -o json routes check --fix")]
    Check {
        /// Have the owner announce again what differs
        #[arg(long)]
        fix: bool,
    },
}

impl Routes {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => Topics::List.run(session).await,
            Self::Show { topic } => Topics::Show { filter: topic }.run(session).await,
            Self::Check { fix } => check(session, fix).await,
        }
    }
}

/// A route that one node holds of another and should not, or should and does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Difference {
    /// Whose route.
    owner: String,
    /// Who has it wrong; the owner itself, where it announces something else than it has.
    node: String,
    topic: String,
    /// `missing` or `stale`.
    what: &'static str,
}

#[derive(Serialize)]
struct Report {
    nodes: usize,
    routes: u64,
    differences: Vec<Difference>,
    fixed: bool,
    /// Every node that is up has answered; the others are not among `nodes`.
    complete: bool,
}

async fn check(session: &mut Session<'_>, fix: bool) -> Result<(), Failure> {
    if session.global.node.is_some() {
        return Err(Failure::Usage("all nodes are compared: without --node".into()));
    }
    let mut api = Api::connect(&session.global).await?;
    let (all, silent_at_first) = sums(&mut api).await?;
    let mut suspects = suspects(&all);
    let mut differences = BTreeSet::new();
    if !suspects.is_empty() {
        tokio::time::sleep(SETTLE).await;
        let again = self::suspects(&sums(&mut api).await?.0);
        suspects.retain(|pair| again.contains(pair));
        let first = list(&mut api, &suspects).await?;
        if !first.is_empty() {
            tokio::time::sleep(SETTLE).await;
            let second = list(&mut api, &suspects).await?;
            differences = first.intersection(&second).cloned().collect();
        }
    }
    let fixed = fix && !differences.is_empty();
    if fixed {
        let wrong: BTreeSet<(&str, &str)> =
            differences.iter().map(|one| (one.owner.as_str(), one.node.as_str())).collect();
        for (owner, node) in wrong {
            api.ask_one(node, Question::RoutesFix(owner.to_owned())).await?;
        }
    }
    let (all, silent) = sums(&mut api).await?;
    let silent = silent_at_first.and(silent);
    let routes = all.values().filter_map(|sums| sums.live.as_ref()).map(|live| live.routes).sum();
    let report = Report {
        nodes: all.len(),
        routes,
        differences: differences.into_iter().collect(),
        fixed,
        complete: silent.is_ok(),
    };
    print(session, &report)?;
    silent?;
    match report.differences.len() {
        0 => Ok(()),
        _ if report.fixed => Ok(()),
        wrong => Err(Failure::Failed(format!("{wrong} routes differ: `routes check --fix`"))),
    }
}

type Sums = BTreeMap<String, RouteSums>;

async fn sums(api: &mut Api) -> Result<(Sums, Result<(), Failure>), Failure> {
    let mut gathered = api.ask_again(Scope::Cluster, Question::RouteSums(Nothing {})).await?;
    let sums = std::mem::take(&mut gathered.answers).into_iter().filter_map(|(node, answer)| match answer {
        Answer::RouteSums(sums) => Some((node, sums)),
        _ => None,
    });
    Ok((sums.collect(), gathered.complete()))
}

/// The pairs of owner and holder whose digests differ.
fn suspects(all: &Sums) -> BTreeSet<(String, String)> {
    let is_same = |a: &RouteSum, b: &RouteSum| (a.routes, &a.hash) == (b.routes, &b.hash);
    let mut suspects = BTreeSet::new();
    for (owner, sums) in all {
        let Some(live) = &sums.live else { continue };
        if sums.announced.as_ref().is_some_and(|announced| !is_same(live, announced)) {
            suspects.insert((owner.clone(), owner.clone()));
        }
        for (node, others) in all.iter().filter(|(node, _)| *node != owner) {
            let held = others.held.iter().find(|held| held.owner == *owner);
            if held.is_some_and(|held| !is_same(live, held)) {
                suspects.insert((owner.clone(), node.clone()));
            }
        }
    }
    suspects
}

/// What differs, filter by filter.
async fn list(api: &mut Api, suspects: &BTreeSet<(String, String)>) -> Result<BTreeSet<Difference>, Failure> {
    let mut differences = BTreeSet::new();
    let mut live: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (owner, node) in suspects {
        if !live.contains_key(owner.as_str()) {
            live.insert(owner, routes(api, owner, owner).await?);
        }
        if owner == node {
            let topic = "(what it announces)".to_owned();
            differences.insert(Difference { owner: owner.clone(), node: node.clone(), topic, what: "stale" });
            continue;
        }
        let (held, wanted) = (routes(api, node, owner).await?, &live[owner.as_str()]);
        let one =
            |topic: &String, what| Difference { owner: owner.clone(), node: node.clone(), topic: topic.clone(), what };
        differences.extend(wanted.difference(&held).map(|topic| one(topic, "missing")));
        differences.extend(held.difference(wanted).map(|topic| one(topic, "stale")));
    }
    Ok(differences)
}

/// The routes of `owner` as `node` holds them.
async fn routes(api: &mut Api, node: &str, owner: &str) -> Result<BTreeSet<String>, Failure> {
    let question = Question::RoutesOf(ListQuestion { only: Some(owner.to_owned()), ..ListQuestion::default() });
    let rows = api.ask_rows(node, question).await?;
    let rows = rows.into_iter().filter_map(|answer| match answer {
        Answer::Topics(topics) => Some(topics.rows),
        _ => None,
    });
    Ok(rows.flatten().collect())
}

fn print(session: &mut Session<'_>, report: &Report) -> Result<(), Failure> {
    if session.global.output == Format::Json {
        return json(session.out, report);
    }
    if report.differences.is_empty() {
        let who = if report.complete { "nodes" } else { "nodes that answered" };
        return Ok(writeln!(session.out, "{} {who} agree about {} routes", report.nodes, report.routes)?);
    }
    let mut table = table::Writer::new(session.out, &["OWNER", "NODE", "WHAT", "TOPIC"], !session.global.no_headers);
    for one in &report.differences {
        table.push(vec![one.owner.clone(), one.node.clone(), one.what.to_owned(), one.topic.clone()])?;
    }
    table.flush()?;
    if report.fixed {
        writeln!(session.err, "announced again")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(owner: &str, hash: u8) -> RouteSum {
        RouteSum { owner: owner.into(), routes: 1, hash: vec![hash] }
    }

    #[test]
    fn who_holds_another_set_is_suspect_and_who_holds_none_yet_is_not() {
        let node = |live: RouteSum, announced: RouteSum, held: Vec<RouteSum>| RouteSums {
            live: Some(live),
            announced: Some(announced),
            held,
        };
        let all: Sums = [
            ("a".into(), node(sum("a", 1), sum("a", 1), vec![sum("b", 2)])),
            ("b".into(), node(sum("b", 2), sum("b", 3), vec![sum("a", 9)])),
            ("c".into(), node(sum("c", 5), sum("c", 5), vec![])),
        ]
        .into();
        let found: Vec<(String, String)> = suspects(&all).into_iter().collect();
        assert_eq!(found, [("a".to_owned(), "b".to_owned()), ("b".to_owned(), "b".to_owned())]);
    }
}
