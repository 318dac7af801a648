//! The answers of this node about its part in the cluster: draining, alarms, routes compared, members forgotten. Never
//! decides where a client goes.

use std::sync::Arc;

use prost::Message;
use proto::admin as wire;
use proto::admin::drain_order::What;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{NodeAnswer, PageCursor};

use super::answer::{refusal, whole};
use super::page::Wanted;
use super::topics::Topics;
use crate::alarms::Board;
use crate::cluster::{Cluster, ForgetError, RouteSum};
use crate::drain::{Drain, Order};
use crate::router::Index;
use crate::worker::Workers;

/// The rooms that face the other nodes.
pub struct Outside {
    /// What takes clients away.
    pub drain: Drain,
    /// What is wrong.
    pub alarms: Arc<Board>,
    /// The others, if there is a cluster.
    pub cluster: Option<Cluster>,
    /// The routes.
    pub index: Arc<Index>,
    /// The sessions.
    pub workers: Workers,
    /// `node.server_reference`
    pub server_reference: String,
    /// `node.name`
    pub node: String,
    /// Of a listing of routes that is under way.
    pub listing: Listing,
}

/// The routes of one member in order, while they are listed.
#[derive(Debug, Default)]
pub struct Listing(Topics);

impl Outside {
    pub(super) async fn reply(&self, question: Question) -> NodeAnswer {
        match question {
            Question::Drain(order) => whole(Answer::Drain(self.order(&order).await)),
            Question::Forget(forget) => self.forget(&forget),
            Question::Alarms(_) => whole(Answer::Alarms(self.alarms())),
            Question::RouteSums(_) => self.route_sums().await,
            Question::RoutesOf(list) => self.routes_of(&list).await,
            Question::RoutesFix(owner) => self.fix(owner).await,
            _ => refusal("not a question about the cluster"),
        }
    }

    /// Where the drain is.
    pub(super) async fn drain_state(&self, error: String) -> wire::Drain {
        let (progress, count) = (self.drain.progress(), self.workers.count().await);
        wire::Drain {
            state: progress.phase.name().into(),
            moved: progress.moved,
            wanted: progress.wanted,
            connected: count.connected,
            offline: count.total.saturating_sub(count.connected),
            rate: progress.rate,
            since: progress.since,
            handed_over: progress.handed_over,
            error,
        }
    }

    /// Figures for `broker stats`.
    pub(super) fn figures(&self) -> Vec<(&'static str, u64)> {
        let mut figures = vec![("alarms.count", self.alarms.active().len() as u64)];
        figures.extend(self.cluster.iter().flat_map(Cluster::figures));
        figures
    }

    async fn order(&self, order: &wire::DrainOrder) -> wire::Drain {
        let done = match What::try_from(order.what) {
            Ok(What::Status) => Ok(()),
            Ok(What::Start) => {
                let wanted = Order::new(order.rate, order.clients, &order.references, order.is_for_good);
                let wanted = wanted.sessions_to(&order.heirs);
                self.drain.start(wanted).await.map_err(str::to_owned)
            }
            Ok(What::Stop) => self.drain.stop().await,
            Err(_) => Err("an order of another version".to_owned()),
        };
        self.drain_state(done.err().unwrap_or_default()).await
    }

    fn forget(&self, forget: &wire::ForgetQuestion) -> NodeAnswer {
        let done = match &self.cluster {
            Some(_) if forget.node == self.node => Err(ForgetError::NotDown),
            Some(cluster) => cluster.force_forget(&forget.node, forget.is_trial),
            None => Err(ForgetError::Unknown),
        };
        let is_found = done != Err(ForgetError::Unknown);
        let why = done.err().map(|error| error.to_string()).unwrap_or_default();
        whole(Answer::Ordered(wire::Ordered { is_found, why }))
    }

    fn alarms(&self) -> wire::Alarms {
        let row = |alarm: crate::alarms::Alarm| wire::Alarm {
            name: alarm.name.into(),
            subject: alarm.subject,
            what: alarm.what,
            since: alarm.since,
        };
        wire::Alarms { rows: self.alarms.active().into_iter().map(row).collect() }
    }

    async fn route_sums(&self) -> NodeAnswer {
        let (index, cluster, node) = (self.index.clone(), self.cluster.clone(), self.node.clone());
        let sum = |owner: &str, sum: RouteSum| wire::RouteSum {
            owner: owner.to_owned(),
            routes: sum.routes,
            hash: sum.hash.to_be_bytes().to_vec(),
        };
        let look = move || wire::RouteSums {
            live: Some(sum(&node, RouteSum::of(&index.local_filters()))),
            announced: cluster.as_ref().map(|cluster| sum(&node, cluster.announced())),
            held: cluster
                .iter()
                .flat_map(|cluster| cluster.owners().into_iter().map(move |owner| (cluster, owner)))
                .map(|(cluster, owner)| sum(&owner, RouteSum::of(&cluster.held_routes(&owner))))
                .collect(),
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(sums) => whole(Answer::RouteSums(sums)),
            Err(error) => refusal(&error.to_string()),
        }
    }

    async fn routes_of(&self, list: &wire::ListQuestion) -> NodeAnswer {
        let Some(wanted) = Wanted::of(list) else { return refusal("not a cursor of this node") };
        let owner = list.only.clone().unwrap_or_else(|| self.node.clone());
        let (index, cluster, is_own) = (self.index.clone(), self.cluster.clone(), owner == self.node);
        let of = owner.clone();
        let gather = move || match cluster {
            _ if is_own => index.local_filters(),
            Some(cluster) => cluster.held_routes(&of),
            None => Vec::new(),
        };
        let page = self.listing.0.page_of(&owner, gather, wanted.cursor.after.as_deref(), wanted.rows).await;
        let next = page.next.map(|after| PageCursor { after: Some(after), ..PageCursor::default() }.encode_to_vec());
        let answer = whole(Answer::Topics(wire::Topics { rows: page.rows }));
        NodeAnswer { next: next.unwrap_or_default(), ..answer }
    }

    async fn fix(&self, owner: String) -> NodeAnswer {
        let Some(cluster) = self.cluster.clone() else { return refusal("this node is not in a cluster") };
        match tokio::task::spawn_blocking(move || cluster.fix_routes(&owner)).await {
            Ok(()) => whole(Answer::Ordered(wire::Ordered { is_found: true, why: String::new() })),
            Err(error) => refusal(&error.to_string()),
        }
    }
}
