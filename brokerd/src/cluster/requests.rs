//! Questions of peers, answered here: whom they are handed to, and how many at a time. Never looks into one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::peer::{Request, Response};

use super::Answer;
use super::asks::Kind;
use crate::registry::Boxed;

/// Answers another node's claims: bytes in, bytes out.
pub trait AnswerClaims: Send + Sync {
    /// `from` is the name of the node that asks. Never fails: a refusal is part of the answer.
    fn answer_claims(&self, from: Arc<str>, question: Bytes) -> Boxed<'_, Bytes>;
}

/// Whom questions are handed to.
#[derive(Clone, Default)]
pub(super) struct Handlers {
    pub(super) admin: Option<Arc<dyn Answer>>,
    pub(super) claims: Option<Arc<dyn AnswerClaims>>,
}

impl Handlers {
    /// Answers one question within its deadline; refused where nobody takes its kind or the deadline passes.
    pub(super) async fn answer(self, from: Arc<str>, request: Request) -> Response {
        let refused = Response {
            id: request.id,
            refused: true,
            ..Response::default()
        };
        let work = async {
            match request.kind {
                kind if kind == Kind::Admin as u32 => Some(self.admin.as_ref()?.answer(request.body).await),
                kind if kind == Kind::Claims as u32 => {
                    Some(self.claims.as_ref()?.answer_claims(from, request.body).await)
                }
                _ => None,
            }
        };
        let deadline = Duration::from_millis(u64::from(request.deadline_ms));
        match tokio::time::timeout(deadline, work).await {
            Ok(Some(body)) => Response {
                id: request.id,
                body,
                refused: false,
            },
            _ => refused,
        }
    }
}
