//! What moving clients between nodes has in common: who is there, where clients can go, and the wait for it. Never
//! chooses a client.

use std::time::Duration;

use proto::admin::drain_order::What;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Drain, DrainOrder, Nothing, Sight};
use serde::Serialize;

use crate::Session;
use crate::api::{Api, Scope};
use crate::failure::Failure;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// Between two lines about it.
const LINES: u32 = 10;

/// A rate, as in `500` or `500/s`.
pub(crate) fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate = number.parse().map_err(|_| "a rate is a number of clients a second, as in 500/s")?;
    if (1..=1_000_000).contains(&rate) { Ok(rate) } else { Err("a rate is from 1 to 1000000 clients a second".into()) }
}

/// The members that answer, by name.
pub(crate) struct Sights {
    /// The node that was asked.
    pub(crate) here: String,
    pub(crate) nodes: Vec<(String, Sight)>,
}

impl Sights {
    pub(crate) async fn gather(api: &mut Api) -> Result<Self, Failure> {
        let here = api.sight_here().await?;
        let gathered = api.gather_from_all(Question::Sight(Nothing {})).await?;
        let sight = |(name, answer)| match answer {
            Answer::Sight(sight) => Some((name, sight)),
            _ => None,
        };
        Ok(Self { here, nodes: gathered.into_iter().filter_map(sight).collect() })
    }

    /// Nodes other than `from` that take clients; with `to`, those that it names.
    pub(crate) fn others(&self, from: &str, to: &[String]) -> Result<Vec<&(String, Sight)>, Failure> {
        let takes = |(name, sight): &&(String, Sight)| name != from && is_taking(sight);
        if to.is_empty() {
            return Ok(self.nodes.iter().filter(takes).collect());
        }
        let find = |wanted: &String| {
            let found = self.nodes.iter().filter(takes).find(|(name, _)| name == wanted);
            found.ok_or_else(|| Failure::NotFound(format!("no other member `{wanted}` takes clients")))
        };
        to.iter().map(find).collect()
    }
}

/// Whether it is up and not drained.
pub(crate) fn is_taking(sight: &Sight) -> bool {
    let is_open = sight.drain.as_ref().is_some_and(|drain| drain.state == "off" || drain.state == "shedding");
    is_open && sight.node.as_ref().is_some_and(|node| node.state == "started")
}

/// What clients are told of these nodes.
pub(crate) fn references(nodes: &[&(String, Sight)]) -> Vec<String> {
    let each = nodes.iter().map(|(_, sight)| sight.server_reference.clone());
    each.filter(|reference| !reference.is_empty()).collect()
}

/// How many clients there are.
pub(crate) fn connected(sight: &Sight) -> u64 {
    sight.count.as_ref().map_or(0, |count| count.connected)
}

/// A drain as JSON shows it.
#[derive(Debug, Serialize)]
pub(crate) struct DrainRow {
    pub(crate) node: String,
    pub(crate) state: String,
    pub(crate) moved: u64,
    /// `None` is all.
    pub(crate) wanted: Option<u64>,
    pub(crate) connected: u64,
    pub(crate) offline: u64,
    pub(crate) handed_over: u64,
    /// Clients a second.
    pub(crate) rate: u32,
    /// Milliseconds since 1970; 0 before the first drain.
    pub(crate) since: u64,
}

impl DrainRow {
    pub(crate) fn new(node: &str, drain: Drain) -> Self {
        Self {
            node: node.to_owned(),
            state: drain.state,
            moved: drain.moved,
            wanted: Some(drain.wanted).filter(|wanted| *wanted > 0),
            connected: drain.connected,
            offline: drain.offline,
            handed_over: drain.handed_over,
            rate: drain.rate,
            since: drain.since,
        }
    }

    pub(crate) const COLUMNS: &'static [&'static str] =
        &["NODE", "STATE", "MOVED", "WANTED", "CONNECTED", "OFFLINE", "HANDED OVER", "RATE"];

    pub(crate) fn cells(&self) -> Vec<String> {
        let wanted = self.wanted.map_or_else(|| "all".to_owned(), |wanted| wanted.to_string());
        let is_off = self.state == "off";
        vec![
            self.node.clone(),
            self.state.clone(),
            self.moved.to_string(),
            if is_off { String::new() } else { wanted },
            self.connected.to_string(),
            self.offline.to_string(),
            self.handed_over.to_string(),
            if is_off { String::new() } else { format!("{}/s", self.rate) },
        ]
    }
}

/// Gives one node an order.
pub(crate) async fn order(api: &mut Api, node: &str, order: DrainOrder) -> Result<Drain, Failure> {
    match api.ask_one(node, Question::Drain(order)).await? {
        Answer::Drain(drain) if drain.error.is_empty() => Ok(drain),
        Answer::Drain(drain) => Err(Failure::Failed(format!("`{node}`: {}", drain.error))),
        _ => Err(crate::command::unexpected()),
    }
}

/// Waits until a node has no clients, and says how far it is. Interrupted, the node goes on.
pub(crate) async fn wait(session: &mut Session<'_>, api: &mut Api, node: &str) -> Result<Drain, Failure> {
    let status = || DrainOrder { what: What::Status.into(), ..DrainOrder::default() };
    let mut looks = 0_u32;
    loop {
        let drain = order(api, node, status()).await?;
        match drain.state.as_str() {
            "drained" => return Ok(drain),
            "off" => return Err(Failure::Failed(format!("the drain of `{node}` was stopped"))),
            _ => {}
        }
        if looks.is_multiple_of(LINES) {
            let (clients, sessions) = (drain.connected, drain.offline);
            writeln!(session.err, "{node}: {}, {} sent away, {clients} left", drain.state, drain.moved)?;
            if drain.handed_over > 0 {
                writeln!(session.err, "{node}: {} sessions handed over, {sessions} here", drain.handed_over)?;
            }
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(LOOK).await;
    }
}

/// The node of `--node`, or the one that is asked.
pub(crate) fn target(session: &Session<'_>, sights: &Sights) -> String {
    session.global.node.clone().unwrap_or_else(|| sights.here.clone())
}

impl Api {
    async fn sight_here(&mut self) -> Result<String, Failure> {
        let gathered = self.ask_here(Question::Node(Nothing {})).await?;
        match gathered {
            Answer::Node(node) => Ok(node.name),
            _ => Err(crate::command::unexpected()),
        }
    }

    /// All that answer; who is silent is left out.
    pub(crate) async fn gather_from_all(&mut self, question: Question) -> Result<Vec<(String, Answer)>, Failure> {
        let named = self.narrow(None);
        let gathered = self.ask_again(Scope::Cluster, question).await;
        self.narrow(named);
        Ok(gathered?.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_clients_a_second() {
        assert_eq!((rate("500"), rate("7/s")), (Ok(500), Ok(7)));
        for wrong in ["", "0", "-1", "5/m", "1000001"] {
            assert!(rate(wrong).is_err(), "{wrong} was taken");
        }
    }
}
