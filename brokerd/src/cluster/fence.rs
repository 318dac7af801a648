//! Which links of one peer are the newest: only they may change anything. A newer session of the same generation, or a
//! newer generation, ends the older ones, and starts only once they have ended.

use std::sync::Arc;

use parking_lot::Mutex;
use proto::peer::Link;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

/// The links that one peer dialed.
#[derive(Debug, Default)]
pub(super) struct Fence {
    newest: Mutex<Newest>,
    control: Arc<Turn<()>>,
    messages: Arc<Turn<()>>,
}

#[derive(Debug, Default)]
struct Newest {
    generation: u64,
    session: u64,
    control: CancellationToken,
    messages: CancellationToken,
}

/// A link that was let in. While it lives, no other of its kind does.
#[derive(Debug)]
pub(super) struct Passage {
    /// Cancelled by a newer link.
    pub(super) token: CancellationToken,
    _turn: OwnedMutexGuard<()>,
}

impl Fence {
    /// Lets a link in if it is newer than those before, after they have ended.
    pub(super) async fn enter(&self, link: Link, generation: u64, session: u64) -> Option<Passage> {
        let token = self.announce(link, generation, session)?;
        let turn = if link == Link::Messages { &self.messages } else { &self.control };
        let passage = Passage { _turn: turn.clone().lock_owned().await, token };
        // A still newer one may have come while this one waited.
        (!passage.token.is_cancelled()).then_some(passage)
    }

    fn announce(&self, link: Link, generation: u64, session: u64) -> Option<CancellationToken> {
        let mut newest = self.newest.lock();
        let token = CancellationToken::new();
        if link == Link::Messages {
            // The second link of a pair: its control link came first.
            if (generation, session) != (newest.generation, newest.session) {
                return None;
            }
            std::mem::replace(&mut newest.messages, token.clone()).cancel();
            return Some(token);
        }
        if (generation, session) <= (newest.generation, newest.session) {
            return None;
        }
        newest.control.cancel();
        newest.messages.cancel();
        *newest = Newest { generation, session, control: token.clone(), messages: CancellationToken::new() };
        Some(token)
    }

    /// Ends the links of generations before this one.
    pub(super) fn close_before(&self, generation: u64) {
        let newest = self.newest.lock();
        if newest.generation < generation {
            newest.control.cancel();
            newest.messages.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_newer_session_ends_the_older_and_an_older_one_is_not_let_in() {
        let fence = Fence::default();
        let first = fence.enter(Link::Control, 1, 1).await.unwrap();
        let messages = fence.enter(Link::Messages, 1, 1).await.unwrap();
        assert!(fence.enter(Link::Control, 1, 1).await.is_none());
        let mut second = Box::pin(fence.enter(Link::Control, 1, 2));
        tokio::select! {
            biased;
            _ = &mut second => panic!("it did not wait for the first to end"),
            () = first.token.cancelled() => {}
        }
        assert!(messages.token.is_cancelled());
        drop(first);
        assert!(second.await.is_some());
        assert!(fence.enter(Link::Messages, 1, 1).await.is_none(), "its control link is gone");
        assert!(fence.enter(Link::Control, 0, 9).await.is_none(), "an older generation");
    }
}
