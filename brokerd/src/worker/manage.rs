//! What the management API has changed of what is kept: retained messages removed, from memory and then from the store,
//! and imports taken up. Never takes more than a page at a time: a worker has other work.

use std::sync::Arc;

use mqtt::Message;
use store::{Batch, Op, Outcome, Stamp, Store, StoreError};
use tokio::sync::oneshot;

use super::restore::Restored;
use super::shard::Shard;
use super::start::Workers;
use crate::retain::What;

/// A page of what was removed.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// How many.
    pub messages: usize,
    /// After which topic the next page begins, if there is one.
    pub next: Option<String>,
}

/// What is removed in memory and still to be removed from the store.
struct Removed {
    ops: Vec<Op>,
    next: Option<String>,
    store: Option<Arc<Store>>,
}

impl Workers {
    /// Removes at most `limit` of the retained messages behind the topic `after` that match `filter`, or of all.
    ///
    /// # Errors
    /// Where the store did not take it: then they are back when the node is.
    pub async fn clean_retained(
        &self,
        filter: Option<String>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Cleaned, StoreError> {
        let remove = move |shard: &mut Shard| shard.remove_retained(filter.as_deref(), after.as_deref(), limit);
        let Some(Removed { ops, next, store }) = self.ask(0, remove).await else {
            return Ok(Cleaned::default()); // it is stopping
        };
        let messages = ops.len();
        if let Some(store) = store.filter(|_| messages > 0) {
            // What another worker retained before and has not handed over would come after its removal, and stay.
            self.hand_changes_over().await;
            commit(&store, ops).await?;
        }
        Ok(Cleaned { messages, next })
    }

    /// Has each worker take up what was imported for it.
    pub async fn take_up(&self, restored: Vec<Restored>) {
        for (worker, restored) in (0..).zip(restored) {
            let _ = self.ask(worker, move |shard| shard.restore(restored)).await; // one that is gone serves nobody
        }
    }

    /// Has every worker hand to the store what it has changed so far.
    pub async fn hand_changes_over(&self) {
        for worker in 0..self.boxes.iter().len() {
            let worker = u16::try_from(worker).unwrap_or(0);
            let _ = self.ask(worker, Shard::submit).await; // a worker that is gone has handed over everything
        }
    }
}

async fn commit(store: &Store, ops: Vec<Op>) -> Result<Outcome, StoreError> {
    let (answer, answered) = oneshot::channel();
    let done = Box::new(move |result| drop(answer.send(result)));
    store.submit(Batch { ops, done }).map_err(|_| StoreError::Full)?;
    answered.await.unwrap_or_else(|_| Err(StoreError::Down("it is closed".into())))
}

impl Shard {
    fn remove_retained(&mut self, filter: Option<&str>, after: Option<&str>, limit: usize) -> Removed {
        self.refresh_now();
        let (retained, now) = (&self.shared.retained, self.turn.now);
        let page = match filter {
            Some(filter) => retained.matching(filter, after, limit, now),
            None => retained.all(after, limit, now),
        };
        let mut ops = Vec::with_capacity(page.messages.len());
        for message in page.messages {
            // A message without payload removes what its topic has, and never lacks room. Peers that keep it learn by
            // comparison that it is gone.
            let mut deletion = Message::new(message.topic(), &[], &[]);
            deletion.id.origin = self.shared.origin;
            let set = retained.set_at(Arc::new(deletion), |floor| self.shared.hybrid.above(floor));
            let Ok((stamp, what)) = set else { continue };
            let (topic, stamp) = (message.topic().into(), Stamp { hlc: stamp.hlc, node: stamp.node });
            ops.push(match what {
                What::Deleted => Op::PutRetained { topic, stamp, message: None, expires_at: None },
                _ => Op::DropRetained { topic, stamp },
            });
        }
        Removed { ops, next: page.next, store: self.shared.store.clone() }
    }
}
