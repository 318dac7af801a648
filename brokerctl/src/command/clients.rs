//! `brokerctl clients`: sessions, with and without a connection.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Client, Count, ListQuestion, NodeAnswer, Nothing};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::list::{self, Row};
use crate::output::{json, pairs, printable};
use crate::{table, time};

/// Clients: list, show, kick, count
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl clients list
  brokerctl clients show sensor-17
  brokerctl -o json clients count")]
pub(crate) enum Clients {
    /// All clients, those too that are away and have a session
    #[command(after_help = "Examples:
  brokerctl clients list --limit 20
  brokerctl -o json clients list --node n1")]
    List,
    /// One client, in full
    #[command(after_help = "Example:
  brokerctl clients show sensor-17")]
    Show {
        /// Its client id
        client_id: String,
    },
    /// End a client's session and close its connection, on whatever node
    #[command(after_help = "Example:
  brokerctl clients kick sensor-17")]
    Kick {
        /// Its client id
        client_id: String,
    },
    /// How many there are, and how many are connected, by node
    #[command(after_help = "Examples:
  brokerctl clients count
  brokerctl -o json clients count")]
    Count,
}

impl Clients {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list::list::<ClientRow>(session, Question::Clients(ListQuestion::default())).await,
            Self::Show { client_id } => show(session, client_id).await,
            Self::Kick { client_id } => kick(session, client_id).await,
            Self::Count => count(session).await,
        }
    }
}

/// A client by the names of `emqx_ctl`; times are milliseconds since 1970, `session_expiry_interval` is seconds.
#[derive(Debug, Serialize)]
struct ClientRow {
    clientid: String,
    username: Option<String>,
    peername: String,
    clean_start: bool,
    keepalive: u32,
    session_expiry_interval: u32,
    subscriptions: u64,
    inflight: u64,
    awaiting_rel: u64,
    delivered_msgs: u64,
    enqueued_msgs: u64,
    dropped_msgs: u64,
    connected: bool,
    created_at: u64,
    connected_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<u64>,
    node: String,
    proto_ver: u32,
    listener: String,
    received_msgs: u64,
    enqueued_bytes: u64,
    epoch: u64,
}

impl ClientRow {
    fn new(node: &str, client: Client) -> Self {
        Self {
            clientid: client.client_id,
            username: client.username,
            peername: client.peername,
            clean_start: client.clean_start,
            keepalive: client.keepalive,
            session_expiry_interval: client.session_expiry_interval,
            subscriptions: client.subscriptions,
            inflight: client.inflight,
            awaiting_rel: client.awaiting_rel,
            delivered_msgs: client.delivered_msgs,
            enqueued_msgs: client.enqueued_msgs,
            dropped_msgs: client.dropped_msgs,
            connected: client.connected,
            created_at: client.created_at,
            connected_at: client.connected_at,
            disconnected_at: (client.disconnected_at > 0).then_some(client.disconnected_at),
            node: node.to_owned(),
            proto_ver: client.proto_ver,
            listener: client.listener,
            received_msgs: client.received_msgs,
            enqueued_bytes: client.enqueued_bytes,
            epoch: client.epoch,
        }
    }

    /// Every field, for `show`.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("clientid", self.clientid.clone()),
            ("username", self.username.clone().unwrap_or_else(|| "undefined".into())),
            ("peername", self.peername.clone()),
            ("clean_start", self.clean_start.to_string()),
            ("keepalive", self.keepalive.to_string()),
            ("session_expiry_interval", self.session_expiry_interval.to_string()),
            ("subscriptions", self.subscriptions.to_string()),
            ("inflight", self.inflight.to_string()),
            ("awaiting_rel", self.awaiting_rel.to_string()),
            ("delivered_msgs", self.delivered_msgs.to_string()),
            ("enqueued_msgs", self.enqueued_msgs.to_string()),
            ("dropped_msgs", self.dropped_msgs.to_string()),
            ("connected", self.connected.to_string()),
            ("created_at", time::rfc3339(self.created_at)),
            ("connected_at", time::rfc3339(self.connected_at)),
        ];
        fields.extend(self.disconnected_at.map(|at| ("disconnected_at", time::rfc3339(at))));
        fields.extend([
            ("node", self.node.clone()),
            ("proto_ver", self.proto_ver.to_string()),
            ("listener", self.listener.clone()),
            ("received_msgs", self.received_msgs.to_string()),
            ("enqueued_bytes", self.enqueued_bytes.to_string()),
            ("epoch", self.epoch.to_string()),
        ]);
        fields
    }
}

impl Row for ClientRow {
    const NONE: &'static str = "No clients.";
    const COLUMNS: &'static [&'static str] = &[
        "CLIENTID",
        "USERNAME",
        "PEERNAME",
        "NODE",
        "PROTO_VER",
        "CONNECTED",
        "SUBSCRIPTIONS",
        "INFLIGHT",
        "DELIVERED_MSGS",
        "ENQUEUED_MSGS",
        "DROPPED_MSGS",
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
            self.username.clone().unwrap_or_else(|| "undefined".into()),
            self.peername.clone(),
            self.node.clone(),
            self.proto_ver.to_string(),
            self.connected.to_string(),
            self.subscriptions.to_string(),
            self.inflight.to_string(),
            self.delivered_msgs.to_string(),
            self.enqueued_msgs.to_string(),
            self.dropped_msgs.to_string(),
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
        ClientRow::of(node, NodeAnswer { answer: Some(answer.clone()), ..NodeAnswer::default() })
    });
    // For a moment after a takeover two nodes have it: the higher epoch is the owner.
    let Some(owner) = rows.max_by_key(|row| (row.epoch, row.connected)) else {
        return Err(gathered.not_found(format!("no client is called `{client_id}`")));
    };
    render(&owner, session.global.output, session.out)?;
    gathered.complete()
}

fn render(row: &ClientRow, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        Format::Json => json(out, row),
        Format::Table => pairs(out, row.fields()),
    }
}

#[derive(Serialize)]
struct Kicked<'a> {
    clientid: &'a str,
    kicked: bool,
    nodes: Vec<&'a str>,
}

async fn kick(session: &mut Session<'_>, client_id: String) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let gathered = api.ask_all(Scope::Cluster, Question::Kick(client_id.clone())).await?;
    let had_it = gathered.answers.iter().filter(|(_, answer)| *answer == Answer::Kicked(true));
    let nodes: Vec<&str> = had_it.map(|(node, _)| node.as_str()).collect();
    if nodes.is_empty() {
        return Err(gathered.not_found(format!("no client is called `{client_id}`")));
    }
    match session.global.output {
        Format::Json => json(session.out, &Kicked { clientid: &client_id, kicked: true, nodes })?,
        Format::Table => writeln!(session.out, "kicked {} on {}", printable(&client_id), printable(&nodes.join(", ")))?,
    }
    gathered.complete()
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    total: u64,
    connected: u64,
    nodes: BTreeMap<String, NodeCount>,
}

#[derive(Debug, Serialize)]
struct NodeCount {
    total: u64,
    connected: u64,
}

async fn count(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let gathered = api.ask_all(Scope::Cluster, Question::Count(Nothing {})).await?;
    let mut counts = Counts::default();
    for (node, answer) in &gathered.answers {
        let Answer::Count(Count { total, connected }) = *answer else {
            return Err(unexpected());
        };
        counts.total += total;
        counts.connected += connected;
        counts.nodes.insert(node.clone(), NodeCount { total, connected });
    }
    let has_header = !session.global.no_headers;
    render_counts(&counts, session.global.output, has_header, session.out)?;
    gathered.complete()
}

fn render_counts(counts: &Counts, format: Format, has_header: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if format == Format::Json {
        return json(out, counts);
    }
    let mut table = table::Writer::new(out, &["NODE", "TOTAL", "CONNECTED"], has_header);
    for (node, count) in &counts.nodes {
        table.push(vec![node.clone(), count.total.to_string(), count.connected.to_string()])?;
    }
    table.push(vec!["all".into(), counts.total.to_string(), counts.connected.to_string()])?;
    table.flush()
}

#[cfg(test)]
mod tests;
