//! `brokerctl rebalance`: clients of nodes that have too many go to those that have few. The plan is made here, of what
//! all nodes say; each node that has too many carries its part out by itself, and ends by itself.

use clap::Subcommand;
use proto::admin::drain_order::What;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{DrainOrder, Sight};
use serde::Serialize;

use crate::Session;
use crate::api::Api;
use crate::args::Format;
use crate::failure::Failure;
use crate::moving::{self, DrainRow, Sights};
use crate::output::json;
use crate::table;

/// Clients evenly over the nodes: plan, start, status, stop
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl rebalance plan
  brokerctl rebalance start --rate 100/s
  brokerctl rebalance status")]
pub(crate) enum Rebalance {
    /// Show how many clients would go where, and do nothing
    #[command(after_help = "Example:
  brokerctl rebalance plan --relative 1.2")]
    Plan(Thresholds),
    /// Show the plan and begin to carry it out
    ///
    /// A node that sends clients away says so at /readyz, so that load balancers give them to others.
    #[command(after_help = "Example:
  brokerctl rebalance start --rate 100/s")]
    Start {
        #[command(flatten)]
        thresholds: Thresholds,
        /// Clients a second, of each node [default: node.drain_rate of the node]
        #[arg(long, value_name = "N/s", value_parser = moving::rate)]
        rate: Option<u32>,
    },
    /// How far each node is
    #[command(after_help = "Example:
  brokerctl rebalance status")]
    Status,
    /// Send no more clients away
    #[command(after_help = "Example:
  brokerctl rebalance stop")]
    Stop,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Thresholds {
    /// A node has too many clients from this multiple of the average on
    #[arg(long, default_value_t = 1.1, value_name = "TIMES", value_parser = relative)]
    relative: f64,
}

fn relative(text: &str) -> Result<f64, String> {
    let times: f64 = text.parse().map_err(|_| "a multiple, as in 1.1")?;
    if (1.0..=100.0).contains(&times) { Ok(times) } else { Err("from 1 to 100".into()) }
}

impl Rebalance {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        if session.global.node.is_some() {
            return Err(Failure::Usage("a rebalance is of the whole cluster: without --node".into()));
        }
        let mut api = Api::connect(&session.global).await?;
        let sights = Sights::gather(&mut api).await?;
        match self {
            Self::Plan(thresholds) => print_plan(session, &plan(&sights.nodes, thresholds.relative), false),
            Self::Start { thresholds, rate } => start(session, &mut api, &sights, &thresholds, rate).await,
            Self::Status => status(session, &sights),
            Self::Stop => stop(session, &mut api, &sights).await,
        }
    }
}

/// So many clients of one node go to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Move {
    from: String,
    to: String,
    clients: u64,
}

/// What each node with too many gives to those that have fewer than the average.
fn plan(nodes: &[(String, Sight)], relative: f64) -> Vec<Move> {
    let mut counts: Vec<(&str, u64)> = nodes
        .iter()
        .filter(|(_, sight)| moving::is_taking(sight))
        .map(|(name, sight)| (name.as_str(), moving::connected(sight)))
        .collect();
    let nodes = counts.len() as u64;
    let total: u64 = counts.iter().map(|(_, clients)| clients).sum();
    if nodes < 2 {
        return Vec::new();
    }
    let (floor, ceiling) = (total / nodes, total.div_ceil(nodes));
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut moves = Vec::new();
    let has_too_many = |clients: u64| clients > ceiling && clients as f64 > total as f64 / nodes as f64 * relative;
    let mut room: Vec<(&str, u64)> =
        counts.iter().rev().filter(|(_, clients)| *clients < floor).map(|(name, n)| (*name, floor - n)).collect();
    for (from, clients) in counts.into_iter().filter(|(_, clients)| has_too_many(*clients)) {
        let mut excess = clients - ceiling;
        for (to, free) in &mut room {
            let clients = excess.min(*free);
            if clients > 0 {
                moves.push(Move { from: from.to_owned(), to: (*to).to_owned(), clients });
                (excess, *free) = (excess - clients, *free - clients);
            }
        }
    }
    moves
}

#[derive(Serialize)]
struct Plan<'a> {
    moves: &'a [Move],
    started: bool,
}

fn print_plan(session: &mut Session<'_>, moves: &[Move], started: bool) -> Result<(), Failure> {
    if session.global.output == Format::Json {
        return json(session.out, &Plan { moves, started });
    }
    if moves.is_empty() {
        return Ok(writeln!(session.out, "no node has too many clients")?);
    }
    let mut table = table::Writer::new(session.out, &["FROM", "TO", "CLIENTS"], !session.global.no_headers);
    for one in moves {
        table.push(vec![one.from.clone(), one.to.clone(), one.clients.to_string()])?;
    }
    table.flush()
}

async fn start(
    session: &mut Session<'_>,
    api: &mut Api,
    sights: &Sights,
    thresholds: &Thresholds,
    rate: Option<u32>,
) -> Result<(), Failure> {
    if sights.nodes.iter().any(|(_, sight)| is_shedding(sight)) {
        return Err(Failure::Failed("Rebalance is already enabled".into()));
    }
    let moves = plan(&sights.nodes, thresholds.relative);
    print_plan(session, &moves, !moves.is_empty())?;
    let mut done: Vec<&str> = Vec::new();
    for from in moves.iter().map(|one| one.from.as_str()) {
        if done.contains(&from) {
            continue;
        }
        done.push(from);
        let own = || moves.iter().filter(|one| one.from == from);
        let to: Vec<String> = own().map(|one| one.to.clone()).collect();
        let order = DrainOrder {
            what: What::Start.into(),
            rate: rate.unwrap_or(0),
            references: moving::references(&sights.others(from, &to)?),
            clients: own().map(|one| one.clients).sum(),
            is_for_good: false,
            heirs: Vec::new(),
        };
        if let Err(failure) = moving::order(api, from, order).await {
            // All of it or nothing: a plan of which a part is carried out makes another imbalance.
            stop_all(api, &done).await;
            return Err(failure);
        }
    }
    if !moves.is_empty() && session.global.output == Format::Table {
        writeln!(session.out, "Rebalance started")?;
    }
    Ok(())
}

fn is_shedding(sight: &Sight) -> bool {
    sight.drain.as_ref().is_some_and(|drain| drain.state == "shedding")
}

fn status(session: &mut Session<'_>, sights: &Sights) -> Result<(), Failure> {
    let row = |(name, sight): &(String, Sight)| DrainRow::new(name, sight.drain.clone().unwrap_or_default());
    let rows: Vec<DrainRow> = sights.nodes.iter().map(row).collect();
    if session.global.output == Format::Json {
        return json(session.out, &rows);
    }
    let mut table = table::Writer::new(session.out, DrainRow::COLUMNS, !session.global.no_headers);
    for row in rows {
        table.push(row.cells())?;
    }
    table.flush()
}

async fn stop(session: &mut Session<'_>, api: &mut Api, sights: &Sights) -> Result<(), Failure> {
    let shedding: Vec<&str> =
        sights.nodes.iter().filter(|(_, sight)| is_shedding(sight)).map(|(name, _)| name.as_str()).collect();
    if shedding.is_empty() {
        return Err(Failure::Failed("Rebalance is already disabled".into()));
    }
    let stopped = stop_all(api, &shedding).await;
    match session.global.output {
        Format::Json => json(session.out, &serde_json::json!({ "stopped": stopped })),
        Format::Table => Ok(writeln!(session.out, "Rebalance stopped")?),
    }
}

/// Who could be told.
async fn stop_all(api: &mut Api, nodes: &[&str]) -> Vec<String> {
    let mut stopped = Vec::new();
    for node in nodes {
        let order = DrainOrder { what: What::Stop.into(), ..DrainOrder::default() };
        if let Ok(Answer::Drain(_)) = api.ask_one(node, Question::Drain(order)).await {
            stopped.push((*node).to_owned());
        }
    }
    stopped
}

#[cfg(test)]
mod tests {
    use proto::admin::{Count, Drain, NodeInfo};

    use super::*;

    fn node(name: &str, connected: u64, drain: &str) -> (String, Sight) {
        let sight = Sight {
            node: Some(NodeInfo { state: "started".into(), ..NodeInfo::default() }),
            count: Some(Count { connected, total: connected }),
            drain: Some(Drain { state: drain.into(), ..Drain::default() }),
            ..Sight::default()
        };
        (name.into(), sight)
    }
    fn moves(nodes: &[(String, Sight)]) -> Vec<(String, String, u64)> {
        plan(nodes, 1.1).into_iter().map(|one| (one.from, one.to, one.clients)).collect()
    }
    fn row(from: &str, to: &str, clients: u64) -> (String, String, u64) {
        (from.into(), to.into(), clients)
    }

    #[test]
    fn what_is_above_the_average_goes_to_who_is_below() {
        let nodes = [node("a", 90, "off"), node("b", 0, "off"), node("c", 0, "off")];
        assert_eq!(moves(&nodes), [row("a", "c", 30), row("a", "b", 30)]);
        let nodes = [node("a", 70, "off"), node("b", 50, "off"), node("c", 0, "off")];
        assert_eq!(moves(&nodes), [row("a", "c", 30), row("b", "c", 10)]);
    }

    #[test]
    fn a_small_difference_moves_nobody() {
        assert!(moves(&[node("a", 105, "off"), node("b", 95, "off")]).is_empty());
        assert!(moves(&[node("a", 2, "off"), node("b", 1, "off")]).is_empty(), "no better after it");
        assert!(moves(&[node("a", 9, "off")]).is_empty());
        assert!(moves(&[]).is_empty());
    }

    #[test]
    fn a_node_that_is_drained_gets_and_gives_nothing() {
        let nodes = [node("a", 100, "off"), node("b", 0, "drained"), node("c", 0, "off")];
        assert_eq!(moves(&nodes), [row("a", "c", 50)]);
    }
}
