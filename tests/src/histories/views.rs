//! What an operator sees at each node: its own filters, how many rows of its peers it holds, who is up, who is connected.
//! Asks the management API of one node about that node only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hyper_util::rt::TokioIo;
use proto::admin::admin_client::AdminClient;
use proto::admin::ask_part::Part;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{AskRequest, ListQuestion, NodeQuestion, Nothing, RouteSum};
use tokio::net::UnixStream;
use tonic::transport::Channel;

/// One node's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) filters: BTreeSet<String>,
    /// State and rows held, by name.
    pub(super) members: BTreeMap<String, (String, u64)>,
    /// Client ids of its sessions.
    pub(super) sessions: BTreeSet<String>,
    /// Members to which its links are open.
    pub(super) linked: BTreeSet<String>,
    /// Digests of what is subscribed here, and of what this node announces.
    pub(super) own: [Sum; 2],
    /// Of what messages are matched with for others, by name.
    pub(super) held: BTreeMap<String, Sum>,
}

/// How many routes, and their digest.
pub(super) type Sum = (u64, Vec<u8>);

impl View {
    pub(super) async fn of(admin: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(admin).await.map_err(|error| error.to_string())?;
        let mut stream = Some(TokioIo::new(stream));
        let connect = tower::service_fn(move |_| {
            std::future::ready(stream.take().ok_or_else(|| std::io::Error::other("the connection is gone")))
        });
        let builder = Channel::from_static("http://brokerd");
        let channel = builder.connect_with_connector(connect).await.map_err(|error| error.to_string())?;
        let mut client = AdminClient::new(channel);
        let mut view = Self::default();
        for question in [
            Question::Topics(ListQuestion::default()),
            Question::Members(Nothing {}),
            Question::Clients(ListQuestion::default()),
            Question::RouteSums(Nothing {}),
        ] {
            let question = Some(NodeQuestion { question: Some(question) });
            let request = AskRequest { question, here: true, timeout_ms: 2000, ..AskRequest::default() };
            let mut parts = client.ask(request).await.map_err(|status| status.to_string())?.into_inner();
            while let Some(part) = parts.message().await.map_err(|status| status.to_string())? {
                if let Some(Part::Answer(answer)) = part.part {
                    view.take(answer.answer);
                }
            }
        }
        Ok(view)
    }

    fn take(&mut self, answer: Option<Answer>) {
        match answer {
            Some(Answer::Topics(topics)) => self.filters.extend(topics.rows),
            Some(Answer::Members(members)) => {
                for member in members.members {
                    if member.link.is_some_and(|link| link.is_open) {
                        self.linked.insert(member.name.clone());
                    }
                    self.members.insert(member.name, (member.state, member.routes));
                }
            }
            Some(Answer::Clients(clients)) => {
                self.sessions.extend(clients.rows.into_iter().map(|client| client.client_id));
            }
            Some(Answer::RouteSums(sums)) => {
                let sum = |sum: RouteSum| (sum.routes, sum.hash.to_vec());
                self.own = [sums.live, sums.announced].map(|own| own.map(sum).unwrap_or_default());
                self.held.extend(sums.held.into_iter().map(|held| (held.owner.clone(), sum(held))));
            }
            _ => {}
        }
    }
}
