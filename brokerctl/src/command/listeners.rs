//! `brokerctl listeners`: where clients connect.

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Listener, NodeAnswer, Nothing};
use serde::Serialize;

use crate::Session;
use crate::failure::Failure;
use crate::list::{self, Row};

/// Listeners and their connections
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
}

impl Listeners {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self.what {
            None | Some(What::List) => list::list::<ListenerRow>(session, Question::Listeners(Nothing {})).await,
        }
    }
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
        }
    }
}

impl Row for ListenerRow {
    const NONE: &'static str = "No listeners.";
    const COLUMNS: &'static [&'static str] =
        &["ID", "NODE", "LISTEN_ON", "RUNNING", "CURRENT_CONN", "MAX_CONNS", "PROXY_PROTOCOL", "ACCEPTED", "REFUSED"];

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
        ]
    }

    fn key(&self) -> [&str; 3] {
        [&self.node, &self.id, ""]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
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
        };
        let limited = Listener { name: "plant".into(), max_conns: 100, running: false, ..listener.clone() };
        vec![ListenerRow::new("n1", listener), ListenerRow::new("n2", limited)]
    }

    #[test]
    fn the_table_has_the_fields_of_emqx_ctl() {
        let expected = "\
ID           NODE  LISTEN_ON       RUNNING  CURRENT_CONN  MAX_CONNS  PROXY_PROTOCOL  ACCEPTED  REFUSED
tcp:default  n1    127.0.0.1:1883  true     12            infinity   false           40        1
tcp:plant    n2    127.0.0.1:1883  false    12            100        false           40        1
";
        assert_eq!(render(&rows(), Format::Table), expected);
    }

    #[test]
    fn the_list_is_one_json_array() {
        let expected = r#"[
{"id":"tcp:default","node":"n1","listen_on":"127.0.0.1:1883","running":true,"current_conn":12,"max_conns":null,"proxy_protocol":false,"accepted":40,"refused":1},
{"id":"tcp:plant","node":"n2","listen_on":"127.0.0.1:1883","running":false,"current_conn":12,"max_conns":100,"proxy_protocol":false,"accepted":40,"refused":1}
]
"#;
        assert_eq!(render(&rows(), Format::Json), expected);
    }
}
