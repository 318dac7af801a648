//! Puts one question to many nodes and streams their pages as they come: one page of each node is in memory at a time.
//! Never interprets an answer.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use proto::admin::ask_part::Part;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{AskPart, AskRequest, ListQuestion, NodeAnswer, NodeQuestion, Silent, Summary};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Status;

use super::answer::ThisNode;
use super::nodes::Nodes;
use super::page::ROWS;
use crate::cluster::{AskError, Member, MemberState};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(4);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Whom to ask, and how.
pub(super) struct Plan {
    this: Arc<ThisNode>,
    nodes: Option<Arc<dyn Nodes>>,
    question: NodeQuestion,
    members: Vec<Member>,
    limit: u64,
    timeout: Duration,
}

impl Plan {
    /// Chooses the members to ask: those that are up or still hold clients on their way out.
    pub(super) fn of(this: Arc<ThisNode>, nodes: Option<Arc<dyn Nodes>>, request: AskRequest) -> Result<Self, Status> {
        let AskRequest { question, node, here, limit, timeout_ms } = request;
        let Some(question) = question else {
            return Err(Status::invalid_argument("no question"));
        };
        if here && !node.is_empty() {
            return Err(Status::invalid_argument("`here` and `node` exclude each other"));
        }
        let mut members = this.members();
        if !node.is_empty() {
            members.retain(|member| member.name == node);
            let Some(member) = members.first() else {
                return Err(Status::not_found(format!("no member is called `{node}`")));
            };
            if !answers(member) && !member.is_self {
                return Err(Status::unavailable(format!("`{node}` is not up")));
            }
        }
        members.retain(|member| member.is_self || (!here && answers(member)));
        let timeout = match timeout_ms {
            0 => DEFAULT_TIMEOUT,
            millis => Duration::from_millis(millis.into()).min(MAX_TIMEOUT),
        };
        Ok(Self { this, nodes, question, members, limit, timeout })
    }

    /// Asks all at once; ends early where nobody listens any more.
    pub(super) async fn run(self, parts: mpsc::Sender<Result<AskPart, Status>>) {
        let name = self.this.name().to_owned();
        let is_narrowed = self.members.len() == 1;
        let mut walks = JoinSet::new();
        for member in self.members {
            let walk = Walk {
                this: self.this.clone(),
                nodes: self.nodes.clone(),
                member,
                is_narrowed,
                timeout: self.timeout,
                left: (self.limit > 0).then_some(self.limit),
                parts: parts.clone(),
            };
            walks.spawn(walk.run(self.question.clone()));
        }
        // Dropping the set on return aborts what is still under way.
        let mut silent = Vec::new();
        loop {
            tokio::select! {
                () = parts.closed() => return,
                ended = walks.join_next() => match ended {
                    Some(ended) => silent.extend(ended.ok().flatten()),
                    None => break,
                }
            }
        }
        silent.sort_unstable_by(|a: &Silent, b| a.node.cmp(&b.node));
        let summary = Part::Summary(Summary { silent });
        let _ = parts.send(Ok(AskPart { node: name, part: Some(summary) })).await;
    }
}

fn answers(member: &Member) -> bool {
    matches!(member.state, MemberState::Up | MemberState::Leaving)
}

/// One node's pages, from the first to the last.
struct Walk {
    this: Arc<ThisNode>,
    nodes: Option<Arc<dyn Nodes>>,
    member: Member,
    is_narrowed: bool,
    timeout: Duration,
    left: Option<u64>,
    parts: mpsc::Sender<Result<AskPart, Status>>,
}

impl Walk {
    async fn run(mut self, mut question: NodeQuestion) -> Option<Silent> {
        let mut is_first = true;
        loop {
            self.bound(&mut question, is_first);
            let mut answer = match self.page(&question).await {
                Ok(answer) => answer,
                // It went down meanwhile: listed by `cluster status`, not missed here. But a listing that breaks off is.
                Err(AskError::NotUp(_)) if is_first && !self.is_narrowed => return None,
                Err(error) => return Some(self.silent(error.to_string())),
            };
            if let Some(Answer::Error(why)) = &answer.answer {
                return Some(Silent { refused: true, ..self.silent(why.clone()) });
            }
            let next = std::mem::take(&mut answer.next);
            let rows = rows(&answer);
            let part = AskPart { node: self.member.name.clone(), part: Some(Part::Answer(answer)) };
            if self.parts.send(Ok(part)).await.is_err() {
                return None;
            }
            self.left = self.left.map(|left| left.saturating_sub(rows));
            if next.is_empty() || self.left == Some(0) {
                return None;
            }
            go_on(&mut question, next);
            is_first = false;
        }
    }

    /// Asks for no more rows than are wanted, and for their total where they may be cut.
    fn bound(&self, question: &mut NodeQuestion, is_first: bool) {
        if let Some(list) = list(question) {
            list.total = is_first && self.left.is_some();
            list.limit = self.left.map_or(ROWS, |left| usize::try_from(left).unwrap_or(ROWS).min(ROWS)) as u32;
        }
    }

    async fn page(&self, question: &NodeQuestion) -> Result<NodeAnswer, AskError> {
        let name = &self.member.name;
        if self.member.is_self {
            let answer = tokio::time::timeout(self.timeout, self.this.reply(question.clone())).await;
            return answer.map_err(|_| AskError::Silent(name.clone()));
        }
        let nodes = self.nodes.as_ref().ok_or_else(|| AskError::NotUp(name.clone()))?;
        // The cluster has a deadline of its own; this one holds it to ours.
        let asked = nodes.ask(name, question.encode_to_vec().into(), self.timeout);
        let bytes = tokio::time::timeout(self.timeout, asked).await.map_err(|_| AskError::Silent(name.clone()))??;
        let garbled = |error| NodeAnswer {
            answer: Some(Answer::Error(format!("its answer cannot be read: {error}"))),
            ..NodeAnswer::default()
        };
        Ok(NodeAnswer::decode(bytes).unwrap_or_else(garbled))
    }

    fn silent(&self, reason: String) -> Silent {
        Silent { node: self.member.name.clone(), reason, refused: false }
    }
}

fn list(question: &mut NodeQuestion) -> Option<&mut ListQuestion> {
    match question.question.as_mut()? {
        Question::Clients(list) | Question::Subscriptions(list) | Question::Topics(list) => Some(list),
        Question::Retained(list) | Question::RetainerClean(list) | Question::RoutesOf(list) => Some(list),
        _ => None,
    }
}

/// Has the next page begin where the last one ended.
fn go_on(question: &mut NodeQuestion, cursor: Vec<u8>) {
    if let Some(Question::Export(export)) = &mut question.question {
        export.cursor = cursor;
    } else if let Some(list) = list(question) {
        list.cursor = cursor;
    }
}

fn rows(answer: &NodeAnswer) -> u64 {
    let rows = match &answer.answer {
        Some(Answer::Clients(clients)) => clients.rows.len(),
        Some(Answer::Subscriptions(subscriptions)) => subscriptions.rows.len(),
        Some(Answer::Topics(topics)) => topics.rows.len(),
        _ => 0,
    };
    rows as u64
}
