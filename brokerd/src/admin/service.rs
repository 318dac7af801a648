//! The gRPC service. Never answers by itself: it hands questions on.

use std::sync::Arc;
use std::time::Duration;

use proto::admin::admin_server::Admin;
use proto::admin::{AskPart, AskRequest, ImportReply, JoinReply, JoinRequest, LeaveReply, LeaveRequest, Piece};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::answer::ThisNode;
use super::ask::Plan;
use super::convert;
use super::import;
use super::nodes::Nodes;
use crate::cluster::JoinError;

/// Pages that wait for the caller to read; the nodes are not asked for more meanwhile.
const PAGES: usize = 2;
/// The cluster gives up earlier, with a reason; this is for one that hangs.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// A host name is 253 bytes at most.
const MAX_SEED: usize = 300;

pub(super) struct Service {
    this: Arc<ThisNode>,
    nodes: Option<Arc<dyn Nodes>>,
}

impl Service {
    pub(super) fn new(this: Arc<ThisNode>, nodes: Option<Arc<dyn Nodes>>) -> Self {
        Self { this, nodes }
    }
}

#[tonic::async_trait]
impl Admin for Service {
    type AskStream = ReceiverStream<Result<AskPart, Status>>;

    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<Self::AskStream>, Status> {
        let plan = Plan::of(self.this.clone(), self.nodes.clone(), request.into_inner())?;
        let (parts_tx, parts_rx) = mpsc::channel(PAGES);
        // Ends when the summary is sent, or when the caller is gone and the receiver with it.
        tokio::spawn(plan.run(parts_tx));
        Ok(Response::new(ReceiverStream::new(parts_rx)))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let seed = request.into_inner().seed;
        if seed.is_empty() || seed.len() > MAX_SEED {
            return Err(Status::invalid_argument("a seed is `HOST:PORT`"));
        }
        let Some(nodes) = &self.nodes else {
            return Err(refused(&JoinError::NoSecret));
        };
        match tokio::time::timeout(JOIN_TIMEOUT, nodes.join(&seed)).await {
            Ok(Ok(())) => {
                let members = self.this.members().into_iter().map(convert::member).collect();
                Ok(Response::new(JoinReply { members }))
            }
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(Status::aborted(format!("joining by `{seed}` came to no end"))),
        }
    }

    async fn import(&self, request: Request<Streaming<Piece>>) -> Result<Response<ImportReply>, Status> {
        let Some(to) = self.this.import() else {
            return Err(Status::failed_precondition("this node keeps nothing"));
        };
        import::import(to, request.into_inner()).await.map(Response::new)
    }

    async fn leave(&self, _: Request<LeaveRequest>) -> Result<Response<LeaveReply>, Status> {
        let Some(nodes) = &self.nodes else {
            return Err(Status::failed_precondition("this node is not in a cluster"));
        };
        match tokio::time::timeout(JOIN_TIMEOUT, nodes.leave()).await {
            Ok(Ok(())) => Ok(Response::new(LeaveReply {})),
            Ok(Err(why)) => Err(Status::failed_precondition(why)),
            Err(_) => Err(Status::aborted("leaving came to no end")),
        }
    }
}

fn refused(error: &JoinError) -> Status {
    Status::failed_precondition(error.to_string())
}
