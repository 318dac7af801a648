//! Sessions of a node that is gone, in a store that all nodes share: which are taken, and which are left to their node.

use store::{Batch, Claim, Op, SessionHead, SessionRecord, Settings, Store};

use super::*;
use crate::metrics::Metric;
use crate::registry::{Boxed, Claim as Asked, Elsewhere, Epoch, Grant, Loss, Owners, Refusal};

async fn head(store: &Store) -> SessionHead {
    store.scan_sessions(None, 1, false).await.unwrap().items.remove(0)
}

/// A session of another node, as it was and once that node has raised its epoch, as it does when it starts again.
async fn of_a_node_that_comes_back(store: &Store) -> (SessionHead, SessionHead) {
    let claim = |epoch| Claim { client_id: "panel".into(), epoch, node: "gone".into(), is_clean: false, held: None };
    let sid = store.claim(claim(5)).await.unwrap().sid;
    let record = Box::new(SessionRecord {
        client_id: "panel".into(),
        version: V5,
        expiry: 3600,
        detached_at: None,
        principal: None,
        subscriptions: Vec::new(),
        will: None,
        next_seq: 1,
        first_serial: 0,
        serials: 0,
    });
    let ops = vec![Op::SaveSession { sid, epoch: 5, record }];
    assert!(store.submit(Batch { ops, done: Box::new(|_| ()) }).is_ok());
    store.flush().await.unwrap();
    let before = head(store).await;
    store.claim(claim(6)).await.unwrap();
    (before, head(store).await)
}

#[test]
fn a_session_whose_node_comes_back_while_it_is_to_be_taken_is_not_settled_until_it_is_taken() {
    let store = Arc::new(Store::embedded(store::memory(), Settings::default()).unwrap());
    let node = Node::keeping(store.clone());
    let (before, after) = node.runtime.block_on(of_a_node_that_comes_back(&store));
    assert!(!node.runtime.block_on(node.workers.adopt(before)), "what is held for it must wait: its node has it");
    assert_eq!(node.metric(Metric::SessionAdopted), 0);
    assert!(node.runtime.block_on(node.workers.adopt(after.clone())), "its node has gone again");
    assert_eq!(node.metric(Metric::SessionAdopted), 1);
    assert!(node.runtime.block_on(node.workers.adopt(after)), "it is here");
    assert_eq!(node.metric(Metric::SessionAdopted), 1);
}

/// Grants, and then another node gets the id at once: its client came there.
#[derive(Default)]
struct Chased(std::sync::OnceLock<Workers>);

impl Elsewhere for Chased {
    fn claim(&self, claim: Asked) -> Boxed<'_, Result<Grant, Refusal>> {
        Box::pin(async move {
            let workers = self.0.get().expect("the workers");
            workers.superseded(&claim.client_id, Loss { epoch: Epoch(claim.known.0 + 2), is_clean: false }).await;
            Ok(Grant { epoch: Epoch(claim.known.0 + 1), previous: None })
        })
    }
    fn release(&self, _: &Arc<str>, _: Epoch) {}
}

#[test]
fn a_session_whose_client_came_elsewhere_while_it_was_taken_goes_on_there_and_not_here() {
    let store = Arc::new(Store::embedded(store::shared_memory(), Settings::default()).unwrap());
    let chased = Arc::new(Chased::default());
    let node = Node::with(&[], |_| Arc::new(Alone), chased.clone(), Some(store.clone()));
    assert!(chased.0.set(node.workers.clone()).is_ok());
    let (_, head) = node.runtime.block_on(of_a_node_that_comes_back(&store));
    assert!(node.runtime.block_on(node.workers.adopt(head)), "it is not its old node's");
    let state = node.look("panel", |entry| (entry.is_departing, entry.epoch));
    assert_eq!(state, Some((true, Epoch(7))), "it leaves, before a message for it is refused");
}
