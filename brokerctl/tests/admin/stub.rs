//! A cluster of fixed data: nodes that answer, that are silent, that are down. Never opens a port of MQTT.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brokerd::admin::{Admin, AdminParts, Listener, Local, NodeInfo, Nodes, Order, ThisNode};
use brokerd::cluster::{Answer, AskError, JoinError, Member, MemberState};
use brokerd::config::Endpoint;
use brokerd::listener::{Certificate, ControlError};
use brokerd::metrics::Metrics;
use brokerd::registry::Boxed;
use brokerd::worker::view::{ClientView, Count, SubscriptionView};
use brokerd::worker::{Cursor, Page};
use bytes::Bytes;

const WORKERS: usize = 2;

/// One node's clients, numbered; each has one subscription, to `<its id>/#`.
struct Fixed {
    node: &'static str,
    clients: usize,
}

impl Fixed {
    fn id(&self, number: usize) -> Arc<str> {
        format!("{}-{number:05}", self.node).into()
    }
    fn number(&self, client_id: &str) -> Option<usize> {
        let number = client_id.strip_prefix(self.node)?.strip_prefix('-')?.parse().ok()?;
        (number < self.clients).then_some(number)
    }
    fn view(&self, number: usize) -> ClientView {
        ClientView {
            client_id: self.id(number),
            connected: number.is_multiple_of(2),
            protocol_level: 5,
            ..ClientView::default()
        }
    }
    fn subscription(&self, number: usize) -> SubscriptionView {
        SubscriptionView {
            client_id: self.id(number),
            filter: format!("{}/#", self.id(number)).into(),
            qos: 1,
            no_local: false,
            retain_handling: 0,
            retain_as_published: false,
            subscription_id: 0,
        }
    }
    /// Pages as the workers give them: one worker a page.
    fn page(&self, from: Option<Cursor>, limit: usize) -> (Vec<usize>, Option<Cursor>) {
        let Cursor { worker, place } = from.unwrap_or_default();
        let own = (0..self.clients).filter(|number| number % WORKERS == usize::from(worker));
        let mut rest = own.filter(|number| *number >= place as usize);
        let rows: Vec<usize> = rest.by_ref().take(limit).collect();
        let next = match rest.next() {
            Some(first) => Some(Cursor { worker, place: u32::try_from(first).unwrap() }),
            None if usize::from(worker) + 1 < WORKERS => Some(Cursor { worker: worker + 1, place: 0 }),
            None => None,
        };
        (rows, next)
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> Boxed<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Local for Fixed {
    fn clients(&self, from: Option<Cursor>, limit: usize) -> Boxed<'_, Page<ClientView>> {
        let (rows, next) = self.page(from, limit);
        ready((rows.into_iter().map(|number| self.view(number)).collect(), next))
    }
    fn client<'a>(&'a self, client_id: &'a str) -> Boxed<'a, Option<ClientView>> {
        ready(self.number(client_id).map(|number| self.view(number)))
    }
    fn subscriptions(&self, from: Option<Cursor>, limit: usize) -> Boxed<'_, Page<SubscriptionView>> {
        let (rows, next) = self.page(from, limit);
        ready((rows.into_iter().map(|number| self.subscription(number)).collect(), next))
    }
    fn subscriptions_of<'a>(&'a self, client_id: &'a str) -> Boxed<'a, Option<Vec<SubscriptionView>>> {
        // The first client of each node has a session and no subscription.
        let number = self.number(client_id);
        ready(number.map(|number| (number > 0).then(|| self.subscription(number)).into_iter().collect()))
    }
    fn count(&self) -> Boxed<'_, Count> {
        ready(Count { total: self.clients as u64, connected: self.clients.div_ceil(2) as u64 })
    }
    fn kick<'a>(&'a self, client_id: &'a str) -> Boxed<'a, bool> {
        ready(self.number(client_id).is_some())
    }
    fn filters(&self) -> Vec<Arc<str>> {
        (0..self.clients).rev().map(|number| self.subscription(number).filter).collect()
    }
    fn subscribers(&self, filter: &str) -> usize {
        filter.strip_suffix("/#").and_then(|client_id| self.number(client_id)).map_or(0, |_| 1)
    }
    fn filter_counts(&self) -> (u64, u64) {
        (self.clients as u64, self.clients as u64)
    }
    fn listeners(&self) -> Vec<Listener> {
        vec![Listener { kind: "tcp".into(), name: "default".into(), running: true, ..Listener::default() }]
    }
    fn control<'a>(&'a self, id: &'a str, order: Order) -> Boxed<'a, Result<(), ControlError>> {
        ready(match (id, order) {
            ("tcp:default", Order::Start) => Err(ControlError::AlreadyStarted),
            ("tcp:default", _) => Ok(()),
            _ => Err(ControlError::NotFound),
        })
    }
    fn reload_certificates(&self) -> Boxed<'_, Result<Vec<Certificate>, String>> {
        ready(match self.node {
            "b" => Err("`listeners.tls.default.key` = `/k`: is another's".into()),
            _ => Ok(self.certificates()),
        })
    }
    fn certificates(&self) -> Vec<Certificate> {
        vec![Certificate { listener: "tls:default".into(), file: "/c".into(), expires: 951_868_800 }]
    }
    fn gauges(&self) -> Vec<(&'static str, u64)> {
        vec![("retained.count", 3)]
    }
    /// The node called `bad` has a mistake in its files.
    fn reload_access(&self) -> Boxed<'_, Result<Vec<(&'static str, u64)>, String>> {
        let figures = vec![("users", 2), ("rules", 3), ("sessions.ended", 1), ("subscriptions.revoked", 4)];
        ready(if self.node == "bad" { Err("`auth.acl_file` = `/x`: line 3: rubbish".into()) } else { Ok(figures) })
    }
    fn metrics(&self) -> Vec<(&'static str, u64)> {
        vec![("messages.received", 10)]
    }
}

/// How a peer takes a question.
pub(crate) enum Peer {
    Answers(usize),
    /// The cluster reports at once that it did not answer.
    Silent,
    /// Not even the cluster's deadline works.
    Hangs,
    /// It went down between the look at the members and the question.
    WentDown,
    Down,
}

/// The cluster that node `a` sees.
struct Peers {
    members: Vec<Member>,
    peers: BTreeMap<&'static str, Peer>,
}

/// A node with so many clients.
pub(crate) fn this_node(node: &'static str, clients: usize) -> ThisNode {
    let info = NodeInfo { name: node.into(), version: "0.1.0".into(), generation: 7, started_at: 1_684_736_435_155 };
    ThisNode::new(info, Arc::new(Fixed { node, clients }))
}

fn member(name: &str, state: MemberState) -> Member {
    Member {
        name: name.into(),
        generation: 7,
        state,
        address: "127.0.0.1:7946".into(),
        version: "0.1.0".into(),
        is_self: name == "a",
        routes: 0,
        route_version: (1, 1),
        reason: String::new(),
        since: 0,
        link: None,
        secrets: String::new(),
    }
}

impl Nodes for Peers {
    fn members(&self) -> Vec<Member> {
        self.members.clone()
    }
    fn ask<'a>(&'a self, node: &'a str, question: Bytes, _: Duration) -> Boxed<'a, Result<Bytes, AskError>> {
        Box::pin(async move {
            match self.peers.iter().find(|(name, _)| **name == node) {
                Some((name, Peer::Answers(clients))) => Ok(this_node(name, *clients).answer(question).await),
                Some((_, Peer::Silent)) => Err(AskError::Silent(node.into())),
                Some((_, Peer::WentDown)) => Err(AskError::NotUp(node.into())),
                Some((_, Peer::Hangs)) => std::future::pending().await,
                Some((_, Peer::Down)) | None => panic!("`{node}` is down and must not be asked"),
            }
        })
    }
    fn join<'a>(&'a self, seed: &'a str) -> Boxed<'a, Result<(), JoinError>> {
        ready(match seed {
            "127.0.0.1:1" => Err(JoinError::Unreachable { seed: seed.into(), why: "connection refused".into() }),
            _ => Ok(()),
        })
    }
    fn leave(&self) -> Boxed<'_, Result<(), String>> {
        ready(Ok(()))
    }
}

/// Serves node `a` with so many clients, and its peers.
pub(crate) async fn serve(dir: &Path, listen: Endpoint, clients: usize, peers: Vec<(&'static str, Peer)>) -> Admin {
    let mut members = vec![member("a", MemberState::Up)];
    for (name, peer) in &peers {
        let state = if matches!(peer, Peer::Down) { MemberState::Down } else { MemberState::Up };
        members.push(member(name, state));
    }
    let nodes: Arc<dyn Nodes> = Arc::new(Peers { members, peers: peers.into_iter().collect() });
    let parts = AdminParts {
        listen,
        runtime_dir: dir.join("run"),
        this_node: Arc::new(this_node("a", clients)),
        nodes: Some(nodes),
        counters: Metrics::default().block(),
    };
    brokerd::admin::serve(parts).await.unwrap()
}

/// What one command line did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("not one JSON document ({error}): {self:?}"))
    }
}

/// Runs a command line, split at spaces, in this process.
pub(crate) async fn run(endpoint: &str, line: &str) -> Ran {
    run_at(endpoint, line, false).await
}

/// The same, where the output is a terminal.
pub(crate) async fn run_at(endpoint: &str, line: &str, is_terminal: bool) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["brokerctl", "--endpoint", endpoint].into_iter().chain(line.split_whitespace()).map(Into::into);
    let mut streams = brokerctl::Streams { out: &mut out, err: &mut err, is_terminal };
    let code = brokerctl::run(args, &mut streams).await;
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// A directory, the endpoint in it, and the node that serves there.
pub(crate) struct Cluster {
    pub(crate) endpoint: String,
    _admin: Admin,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn of(clients: usize, peers: Vec<(&'static str, Peer)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admin = serve(dir.path(), Endpoint::Unix(dir.path().join("admin.sock")), clients, peers).await;
        Self { endpoint: admin.endpoint().to_string(), _admin: admin, _dir: dir }
    }
    pub(crate) async fn run(&self, line: &str) -> Ran {
        run(&self.endpoint, line).await
    }
}
