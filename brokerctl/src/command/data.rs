//! `brokerctl data`: all that is durable as one archive, and back. Never looks into one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{ExportQuestion, Nothing, Piece};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::{Format, Global};
use crate::failure::Failure;
use crate::output::{json, printable};

/// Bytes of an archive that are sent at a time.
const PIECE: u64 = 128 << 10;

/// All that is durable as one archive: export, import
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl data export backup.brokerd
  brokerctl data import backup.brokerd")]
pub(crate) enum Data {
    /// Write all sessions with their queues, retained and delayed messages of all nodes into one file
    ///
    /// The file is new, and there only if it is whole. Clients may go on meanwhile: each session is in it as it was at
    /// one moment.
    #[command(after_help = "Examples:
  brokerctl data export backup.brokerd
  brokerctl data export --node n1 n1.brokerd")]
    Export {
        /// Where to
        file: PathBuf,
    },
    /// Give the node that is called all that an archive holds, or nothing where anything is wrong with it
    ///
    /// The node has to be empty, with a store, and alone: others may join it afterwards.
    #[command(after_help = "Example:
  brokerctl data import backup.brokerd")]
    Import {
        /// What `export` wrote
        file: PathBuf,
    },
}

impl Data {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Export { file } => export(session, &file).await,
            Self::Import { file } => import(session, &file).await,
        }
    }
}

#[derive(Serialize)]
struct Exported<'a> {
    file: &'a Path,
    bytes: u64,
    nodes: &'a [String],
}

async fn export(session: &mut Session<'_>, path: &Path) -> Result<(), Failure> {
    let nodes = nodes(session).await?;
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    if path.exists() {
        return Err(Failure::Failed(format!("`{}` exists", path.display())));
    }
    let written = write_all(&session.global, &nodes, &partial).await;
    let renamed = written.and_then(|bytes| {
        fs::rename(&partial, path).map_err(|error| cannot_write(&partial, &error))?;
        Ok(bytes)
    });
    let bytes = renamed.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    match session.global.output {
        Format::Json => json(session.out, &Exported { file: path, bytes, nodes: &nodes }),
        Format::Table => {
            let (file, nodes) = (path.display().to_string(), nodes.join(", "));
            Ok(writeln!(session.out, "wrote {} ({bytes} bytes) from {}", printable(&file), printable(&nodes))?)
        }
    }
}

/// The nodes whose archives make one: all that are up, or the one that was named.
async fn nodes(session: &Session<'_>) -> Result<Vec<String>, Failure> {
    if let Some(node) = &session.global.node {
        return Ok(vec![node.clone()]);
    }
    let mut api = Api::connect(&session.global).await?;
    let mut gathered = api.ask_all(Scope::Here, Question::Members(Nothing {})).await?;
    let Some((_, Answer::Members(members))) = gathered.answers.pop() else {
        return Err(gathered.complete().err().unwrap_or_else(unexpected));
    };
    let is_there = |state: &str| matches!(state, "up" | "leaving");
    let there = members.members.into_iter().filter(|member| member.is_self || is_there(&member.state));
    Ok(there.map(|member| member.name).collect())
}

async fn write_all(global: &Global, nodes: &[String], path: &Path) -> Result<u64, Failure> {
    // It holds what clients said: nobody else's to read.
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| cannot_write(path, &error))?;
    let mut bytes = 0;
    let parts = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    for (node, part) in nodes.iter().zip(1..) {
        // Each by itself: what an archive promises is for the whole of it, so a node that is silent ends it.
        let mut api = Api::connect(&Global { node: Some(node.clone()), ..global.clone() }).await?;
        let question = Question::Export(ExportQuestion { part, parts, ..ExportQuestion::default() });
        let mut answers = api.ask(Scope::Cluster, question, 0).await?;
        while let Some((_, answer)) = answers.next().await? {
            let Some(Answer::Piece(piece)) = answer.answer else { return Err(unexpected()) };
            file.write_all(&piece.bytes).map_err(|error| cannot_write(path, &error))?;
            bytes += piece.bytes.len() as u64;
        }
        answers.complete()?;
    }
    file.sync_all().map_err(|error| cannot_write(path, &error))?;
    Ok(bytes)
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write `{}`: {error}", path.display()))
}

#[derive(Serialize)]
struct Imported {
    sessions: u64,
    messages: u64,
    retained: u64,
    delayed: u64,
    skipped: u64,
}

async fn import(session: &mut Session<'_>, path: &Path) -> Result<(), Failure> {
    if session.global.node.is_some() {
        return Err(Failure::Usage("an import is for the node at --endpoint: --node has no say".into()));
    }
    let opened = File::open(path).and_then(|file| file.metadata().map(|meta| (file, meta.len())));
    let (file, length) =
        opened.map_err(|error| Failure::Failed(format!("cannot read `{}`: {error}", path.display())))?;
    let mut api = Api::connect(&session.global).await?;
    let reply = api.import(pieces(file, length)).await?;
    let contents = reply.contents.unwrap_or_default();
    let imported = Imported {
        sessions: contents.sessions,
        messages: contents.messages,
        retained: contents.retained,
        delayed: contents.delayed,
        skipped: reply.skipped,
    };
    if session.global.output == Format::Json {
        return json(session.out, &imported);
    }
    let Imported { sessions, messages, retained, delayed, skipped } = imported;
    writeln!(
        session.out,
        "imported {sessions} sessions with {messages} messages, {retained} retained and {delayed} delayed messages"
    )?;
    if skipped > 0 {
        writeln!(session.err, "{skipped} sessions were left out: their clients have newer ones")?;
    }
    Ok(())
}

/// The file piece by piece, as it is sent. What cannot be read is missing there, and the whole is refused.
fn pieces(mut file: File, length: u64) -> impl Iterator<Item = Piece> + Send + 'static {
    (0..length.div_ceil(PIECE)).map_while(move |_| {
        let mut bytes = Vec::new();
        (&mut file).take(PIECE).read_to_end(&mut bytes).ok()?;
        Some(Piece { bytes })
    })
}
