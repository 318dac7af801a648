//! `brokerctl cluster`: membership, and the secret that makes one.

use std::io::Write;

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Member, Nothing};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{json, printable};
use crate::table;

/// The cluster: status, join, leave, keygen
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl cluster status
  brokerctl cluster join 192.0.2.1:7946
  brokerctl cluster keygen > secret")]
pub(crate) enum Cluster {
    /// The members as the node sees them, those too that are down
    #[command(after_help = "Examples:
  brokerctl cluster status
  brokerctl -o json cluster status --node n2")]
    Status,
    /// Make the node join by the address of any member; done when its peers see it as up
    #[command(after_help = "Example:
  brokerctl --endpoint unix:/run/brokerd/admin.sock cluster join 192.0.2.1:7946")]
    Join {
        /// HOST:PORT of a member's `cluster.bind`
        seed: String,
    },
    /// Make the node leave, forget its seeds, and go on alone
    #[command(after_help = "Example:
  brokerctl cluster leave")]
    Leave,
    /// Print a new secret for `cluster.secret`; asks no broker
    #[command(after_help = "Example:
  (umask 077 && brokerctl cluster keygen > secret)")]
    Keygen,
}

impl Cluster {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Status => status(session).await,
            Self::Join { seed } => join(session, seed).await,
            Self::Leave => leave(session).await,
            Self::Keygen => keygen(session),
        }
    }
}

async fn status(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let mut gathered = api.ask_all(Scope::Here, Question::Members(Nothing {})).await?;
    match gathered.answers.pop() {
        Some((_, Answer::Members(members))) => print(session, members.members),
        Some(_) => Err(unexpected()),
        None => Err(gathered.complete().err().unwrap_or_else(unexpected)),
    }
}

async fn join(session: &mut Session<'_>, seed: String) -> Result<(), Failure> {
    let mut api = own_node(session, "join").await?;
    let members = api.join(seed.clone()).await?;
    writeln!(session.err, "joined the cluster by `{}`", printable(&seed))?;
    print(session, members)
}

async fn leave(session: &mut Session<'_>) -> Result<(), Failure> {
    own_node(session, "leave").await?.leave().await?;
    match session.global.output {
        Format::Json => json(session.out, &Left { left: true }),
        Format::Table => Ok(writeln!(session.out, "left the cluster")?),
    }
}

#[derive(Serialize)]
struct Left {
    left: bool,
}

/// Joining and leaving are said to the node itself: another one may not reach it, or soon will not.
async fn own_node(session: &Session<'_>, word: &str) -> Result<Api, Failure> {
    if session.global.node.is_some() {
        let why = format!("`cluster {word}` is for the node that is asked: use --endpoint instead of --node");
        return Err(Failure::Usage(why));
    }
    Api::connect(&session.global).await
}

#[derive(Serialize)]
struct Key {
    secret: String,
}

fn keygen(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::Failed("the system gives no random bytes".into()))?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match session.global.output {
        Format::Json => json(session.out, &Key { secret }),
        Format::Table => Ok(writeln!(session.out, "{secret}")?),
    }
}

#[derive(Debug, Serialize)]
struct Status {
    nodes: Vec<MemberRow>,
}

#[derive(Debug, Serialize)]
struct MemberRow {
    name: String,
    generation: u64,
    state: String,
    address: String,
    version: String,
    #[serde(rename = "self")]
    is_self: bool,
    routes: u64,
    route_version: u64,
    route_version_known: u64,
    /// Milliseconds since 1970.
    since: u64,
    reason: String,
}

impl From<Member> for MemberRow {
    fn from(member: Member) -> Self {
        Self {
            name: member.name,
            generation: member.generation,
            state: member.state,
            address: member.address,
            version: member.version,
            is_self: member.is_self,
            routes: member.routes,
            route_version: member.route_version,
            route_version_known: member.route_version_known,
            since: member.since,
            reason: member.reason,
        }
    }
}

fn print(session: &mut Session<'_>, members: Vec<Member>) -> Result<(), Failure> {
    let mut nodes: Vec<MemberRow> = members.into_iter().map(MemberRow::from).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    render(Status { nodes }, session.global.output, !session.global.no_headers, session.out)
}

fn render(status: Status, format: Format, has_header: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if format == Format::Json {
        return json(out, &status);
    }
    let columns = &["NAME", "STATE", "ADDRESS", "VERSION", "GENERATION", "ROUTES", "SELF", "REASON"];
    let mut table = table::Writer::new(out, columns, has_header);
    for row in status.nodes {
        let is_self = if row.is_self { "*" } else { "" };
        table.push(vec![
            row.name,
            row.state,
            row.address,
            row.version,
            row.generation.to_string(),
            row.routes.to_string(),
            is_self.into(),
            row.reason,
        ])?;
    }
    table.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn first() -> MemberRow {
        MemberRow {
            name: "n1".into(),
            generation: 1_700_000_000_000,
            state: "up".into(),
            address: "127.0.0.1:7946".into(),
            version: "0.1.0".into(),
            is_self: true,
            routes: 3,
            route_version: 9,
            route_version_known: 9,
            since: 1_684_736_435_155,
            reason: String::new(),
        }
    }

    fn second() -> MemberRow {
        MemberRow {
            name: "n2".into(),
            state: "down".into(),
            is_self: false,
            address: "127.0.0.1:7947".into(),
            reason: "no frame for 5 s".into(),
            ..first()
        }
    }

    #[test]
    fn the_table_lists_members_that_are_down_too() {
        let mut out = Vec::new();
        render(Status { nodes: vec![first(), second()] }, Format::Table, true, &mut out).unwrap();
        let expected = "\
NAME  STATE  ADDRESS         VERSION  GENERATION     ROUTES  SELF  REASON
n1    up     127.0.0.1:7946  0.1.0    1700000000000  3       *
n2    down   127.0.0.1:7947  0.1.0    1700000000000  3             no frame for 5 s
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_json_document_is_an_object_of_nodes() {
        let mut out = Vec::new();
        render(Status { nodes: vec![first()] }, Format::Json, true, &mut out).unwrap();
        let expected = r#"{
  "nodes": [
    {
      "name": "n1",
      "generation": 1700000000000,
      "state": "up",
      "address": "127.0.0.1:7946",
      "version": "0.1.0",
      "self": true,
      "routes": 3,
      "route_version": 9,
      "route_version_known": 9,
      "since": 1684736435155,
      "reason": ""
    }
  ]
}
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
