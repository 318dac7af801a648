//! Questions between nodes that are not about rows or messages: whom they are handed to here, and how claims reach
//! other nodes. Never looks into one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use proto::peer::{Request, Response};

use super::asks::Kind;
use super::claims::{self, Claims};
use super::core::Core;
use super::peer::Peer;
use super::retained;
use super::{Answer, AskError};
use crate::registry::Boxed;

/// Whom questions are handed to.
#[derive(Clone, Default)]
pub(super) struct Handlers {
    pub(super) admin: Option<Arc<dyn Answer>>,
    /// Weak: the claims ask through the same core that answers for them.
    pub(super) claims: Weak<Claims>,
    /// Weak: it holds this.
    pub(super) core: Weak<Core>,
}

impl Handlers {
    /// Answers one question within its deadline; refused where nobody takes its kind or the deadline passes.
    pub(super) async fn answer(self, core: &Core, peer: &Peer, request: Request) -> Response {
        let refused = Response { id: request.id, refused: true, ..Response::default() };
        let work = async {
            match request.kind {
                kind if kind == Kind::Admin as u32 => Some(self.admin.as_ref()?.answer(request.body).await),
                kind if kind == Kind::Claims as u32 => {
                    Some(self.claims.upgrade()?.handle(&peer.name, request.body).await)
                }
                kind if kind == Kind::Retained as u32 => retained::answer(core, peer, request.body).await,
                kind if kind == Kind::Rematch as u32 => Some(self.core.upgrade()?.on_rematch(request.body).await),
                _ => None,
            }
        };
        let deadline = Duration::from_millis(u64::from(request.deadline_ms));
        match tokio::time::timeout(deadline, work).await {
            Ok(Some(body)) => Response { id: request.id, body, refused: false },
            _ => refused,
        }
    }
}

/// The way of the claims to other nodes.
pub(super) struct ClaimLinks(pub(super) Weak<Core>);

impl claims::Peers for ClaimLinks {
    fn request(&self, node: &str, body: Bytes, deadline: Duration) -> Boxed<'_, Result<Bytes, AskError>> {
        let (peer, node) = (self.0.upgrade().and_then(|core| core.peer(node)), node.to_owned());
        Box::pin(async move {
            match peer {
                Some(peer) => peer.asks.ask(&node, Kind::Claims, body, deadline).await,
                None => Err(AskError::NotUp(node)),
            }
        })
    }

    fn drained(&self, node: &str) -> Boxed<'_, ()> {
        /// Between two looks at the queue.
        const LOOK: Duration = Duration::from_millis(2);
        let Some(core) = self.0.upgrade() else { return Box::pin(std::future::ready(())) };
        let Some(peer) = core.peer(node) else { return Box::pin(std::future::ready(())) };
        Box::pin(async move {
            let mark = core.hot.with_queue(peer.slot, |queue| queue.mark()).0;
            while !core.hot.with_queue(peer.slot, |queue| queue.is_past(mark)).0 {
                tokio::time::sleep(LOOK).await;
            }
        })
    }
}
