//! Questions to one peer that wait for their answers. At most 256 at a time; each ends with its answer, its deadline
//! or its link. Never retries: what a question does, may be done.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use proto::peer::{Request, Response, frame::Body};
use tokio::sync::{mpsc, oneshot};

use super::AskError;

/// Questions in flight, here to a peer, and of a peer here.
pub(super) const IN_FLIGHT: usize = 256;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Admin = 1,
    Claims = 2,
    Retained = 3,
    Rematch = 4,
}

/// The questions to one peer.
#[derive(Debug, Default)]
pub(super) struct Asks(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Response>>,
    link: Option<mpsc::Sender<Body>>,
    /// When that was opened.
    since: Option<Instant>,
}

impl Open {
    fn sent_ms(&self) -> u64 {
        self.since.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1))
    }
}

impl Asks {
    /// A control link is open. The questions of the one before have no answer.
    pub(super) fn connect(&self, link: mpsc::Sender<Body>) {
        let mut open = self.0.lock();
        open.waiting.clear();
        open.link = Some(link);
        open.since = Some(Instant::now());
    }

    /// It is closed.
    pub(super) fn disconnect(&self) {
        let mut open = self.0.lock();
        open.waiting.clear();
        open.link = None;
    }

    /// The time of this link, as the other end measures lateness by it; 0 without a link.
    pub(super) fn sent_ms(&self) -> u64 {
        self.0.lock().sent_ms()
    }

    /// Sends something that needs no answer, if there is a link with room.
    pub(super) fn tell(&self, body: Body) -> bool {
        self.0.lock().link.as_ref().is_some_and(|link| link.try_send(body).is_ok())
    }

    /// Asks, and waits at most until the deadline.
    pub(super) async fn ask(&self, node: &str, kind: Kind, body: Bytes, deadline: Duration) -> Result<Bytes, AskError> {
        let silent = || AskError::Silent(node.to_owned());
        let (answer_tx, answer_rx) = oneshot::channel();
        let id = {
            let mut open = self.0.lock();
            let link = open.link.clone().ok_or_else(|| AskError::NotUp(node.to_owned()))?;
            if open.waiting.len() >= IN_FLIGHT {
                return Err(silent());
            }
            open.next += 1;
            let (id, deadline_ms) = (open.next, u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX));
            let sent_ms = open.sent_ms();
            let request = Body::Request(Request { id, kind: kind as u32, deadline_ms, body, sent_ms });
            link.try_send(request).map_err(|_| silent())?;
            open.waiting.insert(id, answer_tx);
            id
        };
        let _forget = Forget(self, id);
        match tokio::time::timeout(deadline, answer_rx).await {
            Ok(Ok(answer)) if !answer.refused => Ok(answer.body),
            _ => Err(silent()),
        }
    }

    /// The answer to a question; one that nobody waits for is dropped.
    pub(super) fn answered(&self, response: Response) {
        let waiting = self.0.lock().waiting.remove(&response.id);
        if let Some(answer_tx) = waiting {
            answer_tx.send(response).ok();
        }
    }
}

/// Forgets a question, however its wait ends.
struct Forget<'a>(&'a Asks, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.0.lock().waiting.remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_answer_reaches_who_asked_and_a_lost_link_ends_the_wait() {
        let (asks, (link_tx, mut link_rx)) = (Asks::default(), mpsc::channel(4));
        let none = asks.ask("b", Kind::Admin, Bytes::new(), LONG).await;
        assert_eq!(none, Err(AskError::NotUp("b".to_owned())));
        asks.connect(link_tx);
        let peer = async {
            let Some(Body::Request(request)) = link_rx.recv().await else { panic!("no question") };
            asks.answered(Response { id: request.id, body: request.body, refused: false });
        };
        let (answer, ()) = tokio::join!(asks.ask("b", Kind::Claims, "hi".into(), LONG), peer);
        assert_eq!(answer, Ok("hi".into()));
        let lost = async {
            link_rx.recv().await.unwrap();
            asks.disconnect();
        };
        let (answer, ()) = tokio::join!(asks.ask("b", Kind::Claims, "hi".into(), LONG), lost);
        assert_eq!(answer, Err(AskError::Silent("b".to_owned())));
    }

    #[tokio::test]
    async fn no_more_questions_wait_than_the_bound() {
        let (asks, (link_tx, _link_rx)) = (Asks::default(), mpsc::channel(2 * IN_FLIGHT));
        asks.connect(link_tx);
        let mut waiting: Vec<_> =
            (0..IN_FLIGHT).map(|_| Box::pin(asks.ask("b", Kind::Admin, Bytes::new(), LONG))).collect();
        for ask in &mut waiting {
            assert!(futures_ready(ask.as_mut()).await.is_none());
        }
        assert!(asks.ask("b", Kind::Admin, Bytes::new(), LONG).await.is_err());
        drop(waiting);
        assert!(asks.0.lock().waiting.is_empty());
    }

    async fn futures_ready<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
