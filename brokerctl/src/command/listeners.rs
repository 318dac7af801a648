//! `brokerctl listeners`: where clients connect, and whether they may.

use clap::Subcommand;
use proto::admin::listener_order::What as Order;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Listener, ListenerOrder, NodeAnswer, Nothing};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::list::{self, Row};
use crate::output::json;

/// Listeners and their connections: list, start, stop, restart, drain
///
/// start, stop, restart and drain are for the node that is called, or the one of --node, until it restarts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brokerctl listeners
  brokerctl -o json listeners --node n1")]
pub(crate) struct Listeners {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The same as `listeners`
    #[command(after_help = "Example:
  brokerctl listeners list")]
    List,
    /// Let a listener accept connections again
    #[command(after_help = "Example:
  brokerctl listeners start tcp:default")]
    Start(Id),
    /// Close a listener and disconnect its clients (MQTT 5: reason 0x8B)
    #[command(after_help = "Example:
  brokerctl listeners stop tcp:default --node n1")]
    Stop(Id),
    /// Stop a listener and start it
    #[command(after_help = "Example:
  brokerctl listeners restart tls:default")]
    Restart(Id),
    /// Close a listener and keep its clients
    #[command(after_help = "Example:
  brokerctl listeners drain tcp:default --node n1")]
    Drain(Id),
}

#[derive(Debug, clap::Args)]
struct Id {
    /// As the list names it; ssl: is tls: too
    #[arg(value_name = "TYPE:NAME")]
    id: String,
}

impl Listeners {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self.what {
            None | Some(What::List) => list::list::<ListenerRow>(session, Question::Listeners(Nothing {})).await,
            Some(What::Start(id)) => order(session, id, Order::Start).await,
            Some(What::Stop(id)) => order(session, id, Order::Stop).await,
            Some(What::Restart(id)) => order(session, id, Order::Restart).await,
            Some(What::Drain(id)) => order(session, id, Order::Drain).await,
        }
    }
}

/// Answers in the words of `emqx_ctl`.
async fn order(session: &mut Session<'_>, Id { id }: Id, what: Order) -> Result<(), Failure> {
    let id = id.strip_prefix("ssl:").map_or_else(|| id.clone(), |name| format!("tls:{name}"));
    let (verb, done) = match what {
        Order::Stop => ("stop", "Stop"),
        Order::Restart => ("restart", "Restarted"),
        Order::Drain => ("drain", "Drained"),
        Order::Start | Order::None => ("start", "Started"),
    };
    let mut api = Api::connect(&session.global).await?;
    let question = Question::Listener(ListenerOrder { id: id.clone(), what: what.into() });
    let gathered = api.ask_all(Scope::Here, question).await?;
    let Some((_, Answer::Ordered(ordered))) = gathered.answers.first() else {
        return gathered.complete().and(Err(unexpected()));
    };
    if !ordered.is_found {
        return Err(Failure::NotFound(format!("Invalid listener: {id}")));
    }
    if !ordered.why.is_empty() {
        return Err(Failure::Failed(format!("Failed to {verb} {id} listener: {}", ordered.why)));
    }
    match session.global.output {
        Format::Table => writeln!(session.out, "{done} {id} listener successfully.")?,
        Format::Json => json(session.out, &serde_json::json!({ "id": id, "done": verb }))?,
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct ListenerRow {
    id: String,
    node: String,
    listen_on: String,
    running: bool,
    current_conn: u64,
    /// `None` is no limit.
    max_conns: Option<u64>,
    proxy_protocol: bool,
    accepted: u64,
    refused: u64,
    state: String,
}

impl ListenerRow {
    fn new(node: &str, listener: Listener) -> Self {
        Self {
            id: format!("{}:{}", listener.kind, listener.name),
            node: node.to_owned(),
            listen_on: listener.listen_on,
            running: listener.running,
            current_conn: listener.current_conn,
            max_conns: (listener.max_conns > 0).then_some(listener.max_conns),
            proxy_protocol: listener.proxy_protocol,
            accepted: listener.accepted,
            refused: listener.refused,
            state: listener.state,
        }
    }
}

impl Row for ListenerRow {
    const NONE: &'static str = "No listeners.";
    const COLUMNS: &'static [&'static str] = &[
        "ID",
        "NODE",
        "LISTEN_ON",
        "RUNNING",
        "CURRENT_CONN",
        "MAX_CONNS",
        "PROXY_PROTOCOL",
        "ACCEPTED",
        "REFUSED",
        "STATE",
    ];

    fn of(node: &str, answer: NodeAnswer) -> Vec<Self> {
        let Some(Answer::Listeners(listeners)) = answer.answer else {
            return Vec::new();
        };
        listeners.rows.into_iter().map(|listener| Self::new(node, listener)).collect()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.node.clone(),
            self.listen_on.clone(),
            self.running.to_string(),
            self.current_conn.to_string(),
            self.max_conns.map_or_else(|| "infinity".into(), |max| max.to_string()),
            self.proxy_protocol.to_string(),
            self.accepted.to_string(),
            self.refused.to_string(),
            self.state.clone(),
        ]
    }

    fn key(&self) -> [&str; 3] {
        [&self.node, &self.id, ""]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::render;

    fn rows() -> Vec<ListenerRow> {
        let listener = Listener {
            kind: "tcp".into(),
            name: "default".into(),
            listen_on: "127.0.0.1:1883".into(),
            running: true,
            current_conn: 12,
            max_conns: 0,
            accepted: 40,
            refused: 1,
            proxy_protocol: false,
            state: "running".into(),
        };
        let limited = Listener {
            name: "plant".into(),
            max_conns: 100,
            running: false,
            state: "drained".into(),
            ..listener.clone()
        };
        vec![ListenerRow::new("n1", listener), ListenerRow::new("n2", limited)]
    }

    #[test]
    fn the_table_has_the_fields_of_emqx_ctl() {
        let expected = "\
ID           NODE  LISTEN_ON       RUNNING  CURRENT_CONN  MAX_CONNS  PROXY_PROTOCOL  ACCEPTED  REFUSED  STATE
tcp:default  n1    127.0.0.1:1883  true     12            infinity   false           40        1        running
tcp:plant    n2    127.0.0.1:1883  false    12            100        false           40        1        drained
";
        assert_eq!(render(&rows(), Format::Table), expected);
    }

    #[test]
    fn the_list_is_one_json_array() {
        let expected = r#"[
{"id":"tcp:default","node":"n1","listen_on":"127.0.0.1:1883","running":true,"current_conn":12,"max_conns":null,"proxy_protocol":false,"accepted":40,"refused":1,"state":"running"},
{"id":"tcp:plant","node":"n2","listen_on":"127.0.0.1:1883","running":false,"current_conn":12,"max_conns":100,"proxy_protocol":false,"accepted":40,"refused":1,"state":"drained"}
]
"#;
        assert_eq!(render(&rows(), Format::Json), expected);
    }
}
