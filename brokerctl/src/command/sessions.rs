//! `brokerctl sessions`: what is kept of clients, here or away.

use std::io::Write;

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Client, ListQuestion, NodeAnswer, Ordered};
use serde::Serialize;

use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::list::{self, Row};
use crate::output::{json, pairs, printable};
use crate::time;

/// Sessions, with and without a connection: list, show, delete
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl sessions list
  brokerctl sessions show sensor-17
  brokerctl sessions delete sensor-17")]
pub(crate) enum Sessions {
    /// All sessions
    #[command(after_help = "Examples:
  brokerctl sessions list --limit 20
  brokerctl -o json sessions list --node n1")]
    List,
    /// One session, in full
    #[command(after_help = "Example:
  brokerctl sessions show sensor-17")]
    Show {
        /// Its client id
        client_id: String,
    },
    /// End a session, close its connection, and have the store forget it, on whatever node
    #[command(after_help = "Example:
  brokerctl sessions delete sensor-17")]
    Delete {
        /// Its client id
        client_id: String,
    },
}

impl Sessions {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list::list::<SessionRow>(session, Question::Clients(ListQuestion::default())).await,
            Self::Show { client_id } => show(session, client_id).await,
            Self::Delete { client_id } => delete(session, client_id).await,
        }
    }
}

/// Times are milliseconds since 1970, and absent where they are not known; `expires_in` is seconds, and absent while
/// the session has a connection or never ends.
#[derive(Debug, Serialize)]
struct SessionRow {
    clientid: String,
    node: String,
    connected: bool,
    created_at: Option<u64>,
    disconnected_at: Option<u64>,
    expires_in: Option<u64>,
    session_expiry_interval: u32,
    subscriptions: u64,
    queued_msgs: u64,
    queued_bytes: u64,
    inflight: u64,
    awaiting_rel: u64,
    kept: String,
    epoch: u64,
}

impl SessionRow {
    fn new(node: &str, client: Client) -> Self {
        let known = |at: u64| (at > 0).then_some(at);
        Self {
            clientid: client.client_id,
            node: node.to_owned(),
            connected: client.connected,
            created_at: known(client.created_at),
            disconnected_at: known(client.disconnected_at),
            expires_in: client.expires_in,
            session_expiry_interval: client.session_expiry_interval,
            subscriptions: client.subscriptions,
            queued_msgs: client.enqueued_msgs,
            queued_bytes: client.enqueued_bytes,
            inflight: client.inflight,
            awaiting_rel: client.awaiting_rel,
            kept: client.kept,
            epoch: client.epoch,
        }
    }

    fn expires(&self) -> String {
        match self.expires_in {
            Some(seconds) => format!("{seconds} s"),
            None if self.session_expiry_interval == u32::MAX => "never".into(),
            None => "-".into(),
        }
    }

    /// Every field, for `show`.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let at = |at: Option<u64>| at.map_or_else(|| "-".into(), time::rfc3339);
        vec![
            ("clientid", self.clientid.clone()),
            ("node", self.node.clone()),
            ("connected", self.connected.to_string()),
            ("created_at", at(self.created_at)),
            ("disconnected_at", at(self.disconnected_at)),
            ("expires_in", self.expires()),
            ("session_expiry_interval", self.session_expiry_interval.to_string()),
            ("subscriptions", self.subscriptions.to_string()),
            ("queued_msgs", self.queued_msgs.to_string()),
            ("queued_bytes", self.queued_bytes.to_string()),
            ("inflight", self.inflight.to_string()),
            ("awaiting_rel", self.awaiting_rel.to_string()),
            ("kept", self.kept.clone()),
            ("epoch", self.epoch.to_string()),
        ]
    }
}

impl Row for SessionRow {
    const NONE: &'static str = "No sessions.";
    const COLUMNS: &'static [&'static str] = &[
        "CLIENTID",
        "NODE",
        "CONNECTED",
        "EXPIRES_IN",
        "SUBSCRIPTIONS",
        "QUEUED_MSGS",
        "QUEUED_BYTES",
        "INFLIGHT",
        "AWAITING_REL",
        "KEPT",
    ];

    fn of(node: &str, answer: NodeAnswer) -> Vec<Self> {
        let Some(Answer::Clients(clients)) = answer.answer else {
            return Vec::new();
        };
        clients.rows.into_iter().map(|client| Self::new(node, client)).collect()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.clientid.clone(),
            self.node.clone(),
            self.connected.to_string(),
            self.expires(),
            self.subscriptions.to_string(),
            self.queued_msgs.to_string(),
            self.queued_bytes.to_string(),
            self.inflight.to_string(),
            self.awaiting_rel.to_string(),
            self.kept.clone(),
        ]
    }

    fn key(&self) -> [&str; 3] {
        [&self.node, &self.clientid, ""]
    }
}

async fn show(session: &mut Session<'_>, client_id: String) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let only = ListQuestion { only: Some(client_id.clone()), ..ListQuestion::default() };
    let gathered = api.ask_all(Scope::Cluster, Question::Clients(only)).await?;
    let rows = gathered.answers.iter().flat_map(|(node, answer)| {
        SessionRow::of(node, NodeAnswer { answer: Some(answer.clone()), ..NodeAnswer::default() })
    });
    // For a moment after a takeover two nodes have it: the higher epoch is the owner.
    let Some(owner) = rows.max_by_key(|row| (row.epoch, row.connected)) else {
        return Err(gathered.not_found(format!("there is no session of `{client_id}`")));
    };
    render(&owner, session.global.output, session.out)?;
    gathered.complete()
}

fn render(row: &SessionRow, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        Format::Json => json(out, row),
        Format::Table => pairs(out, row.fields()),
    }
}

#[derive(Serialize)]
struct Deleted<'a> {
    clientid: &'a str,
    deleted: bool,
    nodes: Vec<&'a str>,
}

async fn delete(session: &mut Session<'_>, client_id: String) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let gathered = api.ask_all(Scope::Cluster, Question::SessionDelete(client_id.clone())).await?;
    let mut nodes = Vec::new();
    for (node, answer) in &gathered.answers {
        match answer {
            Answer::Ordered(Ordered { is_found: true, why }) if !why.is_empty() => {
                return Err(Failure::Failed(format!("`{node}`: {why}")));
            }
            Answer::Ordered(Ordered { is_found: true, .. }) => nodes.push(node.as_str()),
            _ => {}
        }
    }
    if nodes.is_empty() {
        return Err(gathered.not_found(format!("there is no session of `{client_id}`")));
    }
    let name = printable(&client_id);
    match session.global.output {
        Format::Json => json(session.out, &Deleted { clientid: &client_id, deleted: true, nodes })?,
        Format::Table => writeln!(session.out, "deleted the session of {name} on {}", printable(&nodes.join(", ")))?,
    }
    gathered.complete()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn away() -> Client {
        Client {
            client_id: "pump".into(),
            session_expiry_interval: 3600,
            subscriptions: 2,
            enqueued_msgs: 20,
            enqueued_bytes: 1500,
            disconnected_at: 1_684_736_435_155,
            epoch: 9,
            kept: "disk".into(),
            expires_in: Some(60),
            ..Client::default()
        }
    }

    #[test]
    fn a_session_is_listed_with_where_it_is_and_when_it_ends() {
        let rows = [
            SessionRow::new("n1", away()),
            SessionRow::new("n2", Client { expires_in: None, session_expiry_interval: u32::MAX, ..away() }),
        ];
        let expected = "\
CLIENTID  NODE  CONNECTED  EXPIRES_IN  SUBSCRIPTIONS  QUEUED_MSGS  QUEUED_BYTES  INFLIGHT  AWAITING_REL  KEPT
pump      n1    false      60 s        2              20           1500          0         0             disk
pump      n2    false      never       2              20           1500          0         0             disk
";
        assert_eq!(list::render(&rows, Format::Table), expected);
    }

    #[test]
    fn times_that_are_not_known_are_absent() {
        let mut out = Vec::new();
        render(&SessionRow::new("n1", away()), Format::Json, &mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["created_at"], serde_json::Value::Null);
        assert_eq!(document["disconnected_at"], 1_684_736_435_155_u64);
        let mut out = Vec::new();
        render(&SessionRow::new("n1", away()), Format::Table, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("created_at              : -\n"), "{text}");
        assert!(text.contains("disconnected_at         : 2023-05-22T06:20:35.155Z\n"), "{text}");
    }
}
