//! The connection to a broker. Owns deadlines and the token; never prints.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::admin::admin_client::AdminClient;
use proto::admin::ask_part::Part;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{
    AskPart, AskRequest, ImportReply, JoinRequest, LeaveRequest, Member, NodeAnswer, NodeQuestion, Piece, Silent,
};
use proto::endpoint::{self, Endpoint};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tower::service_fn;

use crate::args::Global;
use crate::failure::Failure;

/// The broker takes up to ten seconds to see itself in its peers' view, and gives up by itself after fifteen.
const JOIN_TIMEOUT: Duration = Duration::from_secs(16);
/// An archive of many millions of messages takes as long as the disks do. A broker that is gone is noticed at once.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(3600);

/// A connected broker.
pub(crate) struct Api {
    client: AdminClient<Channel>,
    token: Option<MetadataValue<Ascii>>,
    endpoint: Endpoint,
    timeout: Duration,
    deadline: Instant,
    node: Option<String>,
}

/// Whom a question goes to, where `--node` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Cluster,
    /// The broker we are connected to.
    Here,
}

impl Api {
    /// Connects.
    pub(crate) async fn connect(global: &Global) -> Result<Self, Failure> {
        let endpoint = match &global.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => default_endpoint()?,
        };
        let deadline = Instant::now() + global.timeout;
        let within = |error| unreachable(&endpoint, error);
        let channel = match timeout_at(deadline, dial(&endpoint)).await {
            Ok(channel) => channel.map_err(within)?,
            Err(_) => return Err(slow(&endpoint, global.timeout)),
        };
        let token = token(&endpoint, global)?;
        Ok(Self {
            client: AdminClient::new(channel),
            token,
            endpoint,
            timeout: global.timeout,
            deadline,
            node: global.node.clone(),
        })
    }

    /// Puts a question. `limit` is for lists; 0 is all.
    pub(crate) async fn ask(&mut self, scope: Scope, question: Question, limit: u64) -> Result<Answers, Failure> {
        let node = self.node.clone().unwrap_or_default();
        // A node that does not answer must be missed before we give up ourselves.
        let patience = self.timeout.mul_f32(0.8);
        let request = AskRequest {
            question: Some(NodeQuestion { question: Some(question) }),
            here: node.is_empty() && scope == Scope::Here,
            node,
            limit,
            timeout_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1),
        };
        let request = self.signed(request);
        match timeout_at(self.deadline, self.client.ask(request)).await {
            Ok(response) => {
                let (stream, endpoint) = (response?.into_inner(), self.endpoint.clone());
                Ok(Answers { stream, endpoint, timeout: self.timeout, silent: None })
            }
            Err(_) => Err(slow(&self.endpoint, self.timeout)),
        }
    }

    /// Puts a question whose answers are small, and waits for all.
    pub(crate) async fn ask_all(&mut self, scope: Scope, question: Question) -> Result<Gathered, Failure> {
        let mut answers = self.ask(scope, question, 0).await?;
        let mut gathered = Vec::new();
        while let Some((node, answer)) = answers.next().await? {
            gathered.extend(answer.answer.map(|answer| (node, answer)));
        }
        gathered.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Gathered { answers: gathered, silent: answers.silent.unwrap_or_default() })
    }

    /// The same after another one, with the whole time again.
    pub(crate) async fn ask_again(&mut self, scope: Scope, question: Question) -> Result<Gathered, Failure> {
        self.deadline = Instant::now() + self.timeout;
        self.ask_all(scope, question).await
    }

    /// All pages of one member, with the whole time again.
    pub(crate) async fn ask_rows(&mut self, node: &str, question: Question) -> Result<Vec<Answer>, Failure> {
        let named = self.narrow(Some(node.to_owned()));
        let gathered = self.ask_again(Scope::Here, question).await;
        self.narrow(named);
        let mut gathered = gathered?;
        let answers = std::mem::take(&mut gathered.answers);
        gathered.complete()?;
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// The one answer of one member.
    pub(crate) async fn ask_one(&mut self, node: &str, question: Question) -> Result<Answer, Failure> {
        self.ask_rows(node, question).await?.pop().ok_or_else(crate::command::unexpected)
    }

    /// The one answer of the node that is called, whatever `--node` says.
    pub(crate) async fn ask_here(&mut self, question: Question) -> Result<Answer, Failure> {
        let named = self.narrow(None);
        let gathered = self.ask_again(Scope::Here, question).await;
        self.narrow(named);
        let mut gathered = gathered?;
        match gathered.answers.pop() {
            Some((_, answer)) => Ok(answer),
            None => Err(gathered.complete().err().unwrap_or_else(crate::command::unexpected)),
        }
    }

    /// Asks only this member from now on, or all; answers which it was before.
    pub(crate) fn narrow(&mut self, node: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.node, node)
    }

    pub(crate) async fn join(&mut self, seed: String) -> Result<Vec<Member>, Failure> {
        let request = self.signed(JoinRequest { seed });
        let patience = JOIN_TIMEOUT.max(self.timeout);
        match tokio::time::timeout(patience, self.client.join(request)).await {
            Ok(response) => Ok(response?.into_inner().members),
            Err(_) => Err(slow(&self.endpoint, patience)),
        }
    }

    pub(crate) async fn leave(&mut self) -> Result<(), Failure> {
        let request = self.signed(LeaveRequest {});
        let patience = JOIN_TIMEOUT.max(self.timeout);
        match tokio::time::timeout(patience, self.client.leave(request)).await {
            Ok(response) => Ok(response.map(|_| ())?),
            Err(_) => Err(slow(&self.endpoint, patience)),
        }
    }

    /// Sends an archive, and waits until the node has all of it.
    pub(crate) async fn import(
        &mut self,
        pieces: impl Iterator<Item = Piece> + Send + 'static,
    ) -> Result<ImportReply, Failure> {
        let request = self.signed(tokio_stream::iter(pieces));
        let patience = IMPORT_TIMEOUT.max(self.timeout);
        match tokio::time::timeout(patience, self.client.import(request)).await {
            Ok(response) => Ok(response?.into_inner()),
            Err(_) => Err(slow(&self.endpoint, patience)),
        }
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }
}

/// All answers to a small question, by node.
pub(crate) struct Gathered {
    pub(crate) answers: Vec<(String, Answer)>,
    silent: Vec<Silent>,
}

impl Gathered {
    /// Whether every member that is up answered: to be asked after the others' answers are printed.
    pub(crate) fn complete(self) -> Result<(), Failure> {
        complete(self.silent)
    }

    /// The same, where there is nothing to print: a silent member may have it.
    pub(crate) fn not_found(self, what: String) -> Failure {
        complete(self.silent).err().unwrap_or(Failure::NotFound(what))
    }
}

/// Answers that are still coming.
pub(crate) struct Answers {
    stream: Streaming<AskPart>,
    endpoint: Endpoint,
    timeout: Duration,
    silent: Option<Vec<Silent>>,
}

impl Answers {
    /// The next page; `None` when all have come.
    pub(crate) async fn next(&mut self) -> Result<Option<(String, NodeAnswer)>, Failure> {
        loop {
            let Ok(part) = tokio::time::timeout(self.timeout, self.stream.message()).await else {
                return Err(slow(&self.endpoint, self.timeout));
            };
            match part? {
                Some(AskPart { node, part: Some(Part::Answer(answer)) }) => return Ok(Some((node, answer))),
                Some(AskPart { part: Some(Part::Summary(summary)), .. }) => self.silent = Some(summary.silent),
                Some(_) => {}
                None if self.silent.is_some() => return Ok(None),
                None => {
                    return Err(Failure::Unreachable("the broker broke off before the end of its answer".into()));
                }
            }
        }
    }

    /// Whether every member that is up answered.
    pub(crate) fn complete(self) -> Result<(), Failure> {
        complete(self.silent.unwrap_or_default())
    }
}

fn complete(silent: Vec<Silent>) -> Result<(), Failure> {
    match silent.as_slice() {
        [] => Ok(()),
        all if all.iter().all(|one| one.refused) => Err(Failure::refused(all)),
        _ => Err(Failure::Partial(silent)),
    }
}

/// The socket of this user's broker. Its directory must be ours: another user could have put a broker of his there.
fn default_endpoint() -> Result<Endpoint, Failure> {
    let socket = endpoint::default_socket();
    if let Some(dir) = socket.parent() {
        endpoint::check_private_dir(dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Unreachable(format!(
                "no broker of this user runs here (there is no `{}`): start brokerd, or give --endpoint",
                dir.display()
            )),
            _ => Failure::Unauthorised(format!("will not trust a socket there: {error}")),
        })?;
    }
    Ok(Endpoint::Unix(socket))
}

async fn dial(endpoint: &Endpoint) -> io::Result<Channel> {
    // gRPC wants a URI; nothing is looked up by it.
    let builder = Channel::from_static("http://brokerd");
    let broken = || io::Error::other("the connection is gone");
    let connected = match endpoint {
        Endpoint::Unix(path) => {
            let mut stream = Some(TokioIo::new(UnixStream::connect(path).await?));
            builder
                .connect_with_connector(service_fn(move |_| std::future::ready(stream.take().ok_or_else(broken))))
                .await
        }
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut stream = Some(TokioIo::new(stream));
            builder
                .connect_with_connector(service_fn(move |_| std::future::ready(stream.take().ok_or_else(broken))))
                .await
        }
    };
    connected.map_err(io::Error::other)
}

/// The token of a TCP endpoint. Where nobody named a file and there is none, the broker has the word.
fn token(endpoint: &Endpoint, global: &Global) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let Endpoint::Tcp(address) = endpoint else {
        return Ok(None);
    };
    let file = global.token_file.clone().unwrap_or_else(|| endpoint::default_token_file(address.port()));
    let token = match endpoint::read_token(&file) {
        Ok(token) => token,
        Err(error) if error.kind() == io::ErrorKind::NotFound && global.token_file.is_none() => return Ok(None),
        Err(error) => return Err(Failure::Unauthorised(format!("cannot read the token: {error}"))),
    };
    let bearer = format!("Bearer {token}").parse();
    bearer.map(Some).map_err(|_| Failure::Unauthorised(format!("`{}` does not hold a token", file.display())))
}

fn unreachable(endpoint: &Endpoint, error: io::Error) -> Failure {
    let why = format!("cannot reach a broker at `{endpoint}`: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::Unauthorised(why),
        _ => Failure::Unreachable(why),
    }
}

fn slow(endpoint: &Endpoint, patience: Duration) -> Failure {
    Failure::Unreachable(format!("no answer from `{endpoint}` within {patience:?}"))
}
