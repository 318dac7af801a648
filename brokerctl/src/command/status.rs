//! `brokerctl status`: is this node up.

use std::io::Write;

use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{NodeInfo, Nothing, Store};
use serde::Serialize;

use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{json, printable};

/// Whether the node is up
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  brokerctl status && echo up")]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let info = info(session).await?;
        render(&info, session.global.output, session.out)
    }
}

/// The node that is asked about itself.
pub(super) async fn info(session: &Session<'_>) -> Result<NodeInfo, Failure> {
    let mut api = Api::connect(&session.global).await?;
    let mut gathered = api.ask_all(Scope::Here, Question::Node(Nothing {})).await?;
    match gathered.answers.pop() {
        Some((_, Answer::Node(info))) => Ok(info),
        Some(_) => Err(unexpected()),
        None => Err(gathered.complete().err().unwrap_or_else(unexpected)),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    node: &'a str,
    version: &'a str,
    status: &'a str,
    generation: u64,
    uptime: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreDocument<'a>>,
}

/// Times are microseconds; of the 99th percentile, the upper bound of its bucket, and none above one second.
#[derive(Serialize)]
struct StoreDocument<'a> {
    backend: &'a str,
    commit: &'a str,
    state: &'a str,
    reason: &'a str,
    pending_changes: u64,
    pending_bytes: u64,
    commits: u64,
    commit_mean_us: u64,
    commit_p99_us: Option<u64>,
    disk_bytes: u64,
    quarantined: u64,
}

impl<'a> StoreDocument<'a> {
    fn of(store: &'a Store) -> Self {
        Self {
            backend: &store.backend,
            commit: &store.commit,
            state: &store.state,
            reason: &store.reason,
            pending_changes: store.pending_ops,
            pending_bytes: store.pending_bytes,
            commits: store.commits,
            commit_mean_us: store.commit_mean_micros,
            commit_p99_us: Some(store.commit_p99_micros).filter(|micros| *micros != u64::MAX),
            disk_bytes: store.disk_bytes,
            quarantined: store.quarantined,
        }
    }
}

fn render(info: &NodeInfo, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let NodeInfo { name: node, version, state: status, generation, .. } = info;
    if format == Format::Json {
        let store = info.store.as_ref().map(StoreDocument::of);
        return json(out, &Document { node, version, status, generation: *generation, uptime: uptime(info), store });
    }
    writeln!(out, "Node '{}' {} is {}", printable(node), printable(version), printable(status))?;
    info.store.as_ref().map_or(Ok(()), |store| render_store(store, out))
}

fn render_store(store: &Store, out: &mut dyn Write) -> Result<(), Failure> {
    if store.commit.is_empty() {
        return Ok(writeln!(out, "Store '{}' keeps nothing beyond the process", printable(&store.backend))?);
    }
    let (backend, commit) = (printable(&store.backend), printable(&store.commit));
    writeln!(out, "Store '{backend}' (commit {commit}) is {}", printable(&store.state))?;
    let p99 = match store.commit_p99_micros {
        u64::MAX => "over 1 s".to_owned(),
        micros => format!("{} ms", millis(micros)),
    };
    let (commits, mean) = (store.commits, millis(store.commit_mean_micros));
    writeln!(out, "  {commits} commits, mean {mean} ms, p99 {p99}; {} bytes on disk", store.disk_bytes)?;
    writeln!(out, "  {} changes ({} bytes) wait", store.pending_ops, store.pending_bytes)?;
    if store.quarantined > 0 {
        writeln!(out, "! {} records could not be read and were set aside", store.quarantined)?;
    }
    match store.state.as_str() {
        "ok" => {}
        "full" => writeln!(out, "! there is no room: what is published with QoS 1 or 2 for who is away is refused")?,
        _ => writeln!(out, "! {}", printable(&store.reason))?,
    }
    Ok(())
}

fn millis(micros: u64) -> String {
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}

/// Seconds since the start.
pub(super) const fn uptime(info: &NodeInfo) -> u64 {
    info.now.saturating_sub(info.started_at) / 1000
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    pub(crate) fn node() -> NodeInfo {
        NodeInfo {
            name: "n1".into(),
            version: "0.1.0".into(),
            generation: 7,
            state: "started".into(),
            started_at: 1_684_736_435_155,
            now: 1_684_740_978_155,
            store: None,
        }
    }

    #[test]
    fn status_prints_the_line_of_emqx_ctl() {
        let mut out = Vec::new();
        render(&node(), Format::Table, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "Node 'n1' 0.1.0 is started\n");
    }

    #[test]
    fn status_says_how_the_store_is_and_marks_what_is_wrong() {
        let store = Store {
            backend: "disk".into(),
            commit: "group".into(),
            state: "down".into(),
            reason: "the write failed".into(),
            pending_ops: 3,
            pending_bytes: 400,
            commits: 12,
            commit_mean_micros: 1_234,
            commit_p99_micros: 2_000,
            disk_bytes: 67_108_864,
            quarantined: 1,
        };
        let mut out = Vec::new();
        render(&NodeInfo { store: Some(store.clone()), ..node() }, Format::Table, &mut out).unwrap();
        let expected = "Node 'n1' 0.1.0 is started
Store 'disk' (commit group) is down
  12 commits, mean 1.23 ms, p99 2.00 ms; 67108864 bytes on disk
  3 changes (400 bytes) wait
! 1 records could not be read and were set aside
! the write failed
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let slow = Store { state: "ok".into(), quarantined: 0, commit_p99_micros: u64::MAX, ..store };
        let mut out = Vec::new();
        render_store(&slow, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("p99 over 1 s") && !text.contains('!'), "{text}");
        let mut out = Vec::new();
        render_store(&Store { state: "full".into(), ..slow }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("is full\n") && text.contains("! there is no room"), "{text}");
    }

    #[test]
    fn status_is_one_json_object() {
        let mut out = Vec::new();
        render(&node(), Format::Json, &mut out).unwrap();
        let expected = r#"{
  "node": "n1",
  "version": "0.1.0",
  "status": "started",
  "generation": 7,
  "uptime": 4543
}
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
