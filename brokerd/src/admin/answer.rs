//! The answers of this node about itself: the same whether brokerctl asks it or another node does. Never asks further.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;
use proto::admin as wire;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{ListQuestion, NodeAnswer, NodeQuestion, PageCursor};

use super::convert;
use super::import::Import;
use super::keeping::Keeping;
use super::local::Local;
use super::nodes::Nodes;
use super::outside::Outside;
use super::page::Wanted;
use super::topics::Topics;
use crate::cluster::{Member, MemberState};
use crate::listener::{Certificate, ControlError};
use crate::registry::Boxed;

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// `node.name`
    pub name: String,
    /// Of the software.
    pub version: String,
    /// Rises at every start.
    pub generation: u64,
    /// Milliseconds since 1970.
    pub started_at: u64,
}

/// This node, answering questions.
pub struct ThisNode {
    info: NodeInfo,
    local: Arc<dyn Local>,
    /// Weak, for the cluster holds this node as its [`crate::cluster::Answer`].
    nodes: OnceLock<Weak<dyn Nodes>>,
    topics: Topics,
    keeping: Option<Keeping>,
    outside: Option<Outside>,
}

impl ThisNode {
    /// A node that does not know others yet.
    #[must_use]
    pub fn new(info: NodeInfo, local: Arc<dyn Local>) -> Self {
        Self { info, local, nodes: OnceLock::new(), topics: Topics::default(), keeping: None, outside: None }
    }

    /// The same, knowing what it keeps.
    #[must_use]
    pub fn keeping(self, keeping: Keeping) -> Self {
        Self { keeping: Some(keeping), ..self }
    }

    /// The same, knowing what it is to others.
    #[must_use]
    pub fn outside(self, outside: Outside) -> Self {
        Self { outside: Some(outside), ..self }
    }

    pub(super) fn import(&self) -> Option<&Arc<dyn Import>> {
        self.keeping.as_ref().map(|keeping| &keeping.import)
    }

    /// Lets it know the others; once.
    pub(super) fn sees(&self, nodes: &Arc<dyn Nodes>) {
        let _ = self.nodes.set(Arc::downgrade(nodes));
    }

    pub(super) fn name(&self) -> &str {
        &self.info.name
    }

    /// The members that this node knows, by name; a node without a cluster knows itself.
    pub(super) fn members(&self) -> Vec<Member> {
        let nodes = self.nodes.get().and_then(Weak::upgrade);
        let mut members = nodes.map_or_else(|| vec![self.alone()], |nodes| nodes.members());
        members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        members
    }

    fn alone(&self) -> Member {
        Member {
            name: self.info.name.clone(),
            generation: self.info.generation,
            state: MemberState::Up,
            address: String::new(),
            version: self.info.version.clone(),
            secrets: String::new(),
            is_self: true,
            routes: 0,
            route_version: (0, 0),
            reason: String::new(),
            since: self.info.started_at,
            link: None,
        }
    }

    /// Answers; what cannot be answered is an answer too.
    pub(super) async fn reply(&self, question: NodeQuestion) -> NodeAnswer {
        let Some(question) = question.question else {
            return refusal(&format!("brokerd {} does not know this question", self.info.version));
        };
        match question {
            Question::Node(_) => whole(Answer::Node(self.info())),
            Question::Stats(_) => whole(Answer::Numbers(convert::numbers(self.stats().await))),
            Question::Metrics(_) => whole(Answer::Numbers(convert::numbers(self.metrics()))),
            Question::Count(_) => {
                let count = self.local.count().await;
                whole(Answer::Count(wire::Count { total: count.total, connected: count.connected }))
            }
            Question::Members(_) => whole(Answer::Members(self.member_rows())),
            Question::Listeners(_) => {
                let rows = self.local.listeners().into_iter().map(convert::listener).collect();
                whole(Answer::Listeners(wire::Listeners { rows }))
            }
            Question::Clients(list) => self.clients(&list).await,
            Question::Subscriptions(list) => self.subscriptions(&list).await,
            Question::Topics(list) => self.topics(&list).await,
            Question::Listener(order) => {
                let told = match convert::order(&order) {
                    Some(what) => self.local.control(&order.id, what).await,
                    None => return refusal("an order of another version"),
                };
                let is_found = !matches!(told, Err(ControlError::NotFound));
                let why = told.err().map(|error| error.to_string()).unwrap_or_default();
                whole(Answer::Ordered(wire::Ordered { is_found, why }))
            }
            Question::Certificates(_) => whole(certificates(Ok(self.local.certificates()))),
            Question::ReloadTls(_) => whole(certificates(self.local.reload_certificates().await)),
            Question::AuthReload(_) => whole(Answer::AuthReloaded(self.reload_access().await)),
            Question::Sight(_) => whole(Answer::Sight(self.sight().await)),
            about_the_cluster @ (Question::Drain(_)
            | Question::Forget(_)
            | Question::Alarms(_)
            | Question::RouteSums(_)
            | Question::RoutesOf(_)
            | Question::RoutesFix(_)) => match &self.outside {
                Some(outside) => outside.reply(about_the_cluster).await,
                None => refusal("this node knows of no cluster"),
            },
            Question::Kick(client_id) => whole(Answer::Kicked(self.local.kick(&client_id).await)),
            about_what_is_kept => match &self.keeping {
                Some(keeping) => keeping.reply(about_what_is_kept).await,
                None => refusal("this node keeps nothing"),
            },
        }
    }

    fn member_rows(&self) -> wire::Members {
        let mut members = self.members();
        if let [alone] = members.as_mut_slice()
            && alone.is_self
        {
            alone.routes = self.local.filter_counts().0;
        }
        wire::Members { members: members.into_iter().map(convert::member).collect() }
    }

    async fn reload_access(&self) -> wire::Reloaded {
        let (numbers, error) = match self.local.reload_access().await {
            Ok(figures) => (figures, String::new()),
            Err(why) => (Vec::new(), why),
        };
        wire::Reloaded { error, numbers: Some(convert::numbers(numbers)) }
    }

    /// What this node is in its own view.
    #[must_use]
    pub fn own_state(&self) -> MemberState {
        let mine = self.members().into_iter().find(|member| member.is_self);
        mine.map_or(MemberState::Up, |member| member.state)
    }

    async fn sight(&self) -> wire::Sight {
        let count = self.local.count().await;
        let (drain, server_reference) = match &self.outside {
            Some(outside) => (Some(outside.drain_state(String::new()).await), outside.server_reference.clone()),
            None => (None, String::new()),
        };
        wire::Sight {
            node: Some(self.info()),
            count: Some(wire::Count { total: count.total, connected: count.connected }),
            drain,
            server_reference,
            members: self.members().into_iter().map(convert::member).collect(),
        }
    }

    fn info(&self) -> wire::NodeInfo {
        let state = match self.own_state() {
            MemberState::Joining => "starting",
            MemberState::Leaving => "stopping",
            MemberState::Up | MemberState::Down => "started",
        };
        wire::NodeInfo {
            name: self.info.name.clone(),
            version: self.info.version.clone(),
            generation: self.info.generation,
            state: state.into(),
            started_at: self.info.started_at,
            now: now(),
            store: self.keeping.as_ref().map(Keeping::state),
        }
    }

    /// The counters of `broker metrics`.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&'static str, u64)> {
        let of_store = self.keeping.iter().flat_map(Keeping::counters);
        self.local.metrics().into_iter().chain(of_store).collect()
    }

    /// Names of the nodes that are up, this one included.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        let is_up = |member: &Member| member.is_self || member.state == MemberState::Up;
        self.members().into_iter().filter(is_up).map(|member| member.name).collect()
    }

    /// The figures of `broker stats`: the names are those of `emqx_ctl` where the meaning is the same.
    pub async fn stats(&self) -> Vec<(&'static str, u64)> {
        let count = self.local.count().await;
        let (routes, subscriptions) = self.local.filter_counts();
        let mut stats = vec![
            ("connections.count", count.total),
            ("live_connections.count", count.connected),
            ("sessions.count", count.total),
            ("subscriptions.count", subscriptions),
            ("topics.count", routes),
            ("routes.count", routes),
        ];
        stats.extend(self.local.gauges());
        stats.extend(self.keeping.iter().flat_map(Keeping::gauges));
        stats.extend(self.outside.iter().flat_map(Outside::figures));
        stats
    }

    async fn clients(&self, list: &ListQuestion) -> NodeAnswer {
        if let Some(client_id) = &list.only {
            let rows = self.local.client(client_id).await.map(convert::client).into_iter().collect();
            return whole(Answer::Clients(wire::Clients { rows }));
        }
        let Some(wanted) = Wanted::of(list) else {
            return refusal("not a cursor of this node");
        };
        let (views, following) = self.local.clients(wanted.from(), wanted.rows + wanted.skip()).await;
        let (rows, next) = wanted.cut(views.into_iter().map(convert::client).collect(), following);
        let total = if list.total { self.local.count().await.total } else { 0 };
        NodeAnswer { next, total, ..whole(Answer::Clients(wire::Clients { rows })) }
    }

    async fn subscriptions(&self, list: &ListQuestion) -> NodeAnswer {
        let Some(wanted) = Wanted::of(list) else {
            return refusal("not a cursor of this node");
        };
        let ((views, following), found, total) = match &list.only {
            Some(client_id) => {
                let views = self.local.subscriptions_of(client_id).await;
                let (found, views) = (views.is_some(), views.unwrap_or_default());
                let total = if list.total { views.len() as u64 } else { 0 };
                ((views, None), found, total)
            }
            None => {
                let page = self.local.subscriptions(wanted.from(), wanted.rows + wanted.skip()).await;
                (page, true, if list.total { self.local.filter_counts().1 } else { 0 })
            }
        };
        let (rows, next) = wanted.cut(views.iter().map(convert::subscription).collect(), following);
        let answer = Answer::Subscriptions(wire::Subscriptions { rows, found });
        NodeAnswer { next, total, ..whole(answer) }
    }

    async fn topics(&self, list: &ListQuestion) -> NodeAnswer {
        if let Some(filter) = &list.only {
            let (local, filter) = (self.local.clone(), filter.clone());
            let has = move || (local.subscribers(&filter) > 0).then_some(filter);
            let rows = tokio::task::spawn_blocking(has).await.unwrap_or_default().into_iter().collect();
            return whole(Answer::Topics(wire::Topics { rows }));
        }
        let Some(wanted) = Wanted::of(list) else {
            return refusal("not a cursor of this node");
        };
        let page = self.topics.page(&self.local, wanted.cursor.after.as_deref(), wanted.rows).await;
        let next = page.next.map(|after| PageCursor { after: Some(after), ..PageCursor::default() }.encode_to_vec());
        let answer = Answer::Topics(wire::Topics { rows: page.rows });
        NodeAnswer {
            next: next.unwrap_or_default(),
            total: if list.total { page.total as u64 } else { 0 },
            ..whole(answer)
        }
    }
}

impl crate::cluster::Answer for ThisNode {
    fn answer(&self, question: Bytes) -> Boxed<'_, Bytes> {
        Box::pin(async move {
            let answer = match NodeQuestion::decode(question) {
                Ok(question) => self.reply(question).await,
                Err(error) => refusal(&format!("not a question: {error}")),
            };
            answer.encode_to_vec().into()
        })
    }
}

fn certificates(result: Result<Vec<Certificate>, String>) -> Answer {
    let (rows, why) = match result {
        Ok(certificates) => (certificates.into_iter().map(convert::certificate).collect(), String::new()),
        Err(why) => (Vec::new(), why),
    };
    Answer::Certificates(wire::Certificates { rows, why })
}

/// An answer without a further page.
pub(super) fn whole(answer: Answer) -> NodeAnswer {
    NodeAnswer { answer: Some(answer), ..NodeAnswer::default() }
}

pub(super) fn refusal(why: &str) -> NodeAnswer {
    whole(Answer::Error(why.into()))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
