//! A session in a store that all nodes share, which was another node's without this one's knowledge.

use mqtt::{Message, MessageId};
use store::{Batch, Body, Claim, Entry, Op, Settings, Store};

use super::packets::*;
use super::*;
use crate::metrics::Metric;

/// Another node takes the client's session, and queues the message for it that is this one of its publisher's.
async fn elsewhere(store: &Store, text: &[u8], sequence: u64) {
    let head = store.scan_sessions(None, 1, true).await.unwrap().items.remove(0);
    let (client_id, epoch) = (head.client_id, head.epoch + 1);
    let claim = Claim { client_id, epoch, node: "other".into(), is_clean: false, held: None };
    let sid = store.claim(claim).await.unwrap().sid;
    let mut message = Message::new("t", &[], text);
    message.qos = Q1;
    message.id = MessageId { origin: 9, worker: 0, sequence };
    let body = Body::Inline(Arc::new(message));
    let entry =
        Entry { qos: Q1, retain: false, subscription_ids: Box::default(), shared: None, expires_at: None, body };
    // The number that this node gives next.
    let seq = head.queue.last().map_or(1, |last| last.seq + 1);
    let ops = vec![Op::Enqueue { sid, epoch, seq, entry }];
    assert!(store.submit(Batch { ops, done: Box::new(|_| ()) }).is_ok());
    store.flush().await.unwrap();
}

#[test]
fn a_session_that_was_elsewhere_meanwhile_is_gone_on_with_as_the_store_has_it() {
    let store = Arc::new(Store::embedded(store::shared_memory(), Settings::default()).unwrap());
    let node = Node::keeping(store.clone());
    let kept = || Connect { client_id: "panel", ..Connect::kept(V5) };
    let mut pump = node.id("pump");
    let mut say = |id: u16, text: &str| {
        pump.send(publish(V5, Q1, id, text));
        assert!(pump.line().starts_with(&format!("PUBACK #{id}")));
    };
    node.client(kept()).subscribe("t", 1);
    node.until("away", || node.count() == (2, 1));
    say(1, "here");
    node.runtime.block_on(elsewhere(&store, b"there", 1));
    let mut panel = node.client(kept());
    say(2, "again");
    let came = panel.until_pong();
    assert_eq!(node.metric(Metric::SessionFenced), 1, "what was here was not gone on with");
    assert_eq!(came, ["PUBLISH t=here q1 #1", "PUBLISH t=there q1 #2", "PUBLISH t=again q1 #3"]);
}

#[test]
fn what_a_node_that_was_killed_had_not_put_in_order_is_put_in_order_when_its_client_comes() {
    let store = Arc::new(Store::embedded(store::shared_memory(), Settings::default()).unwrap());
    let node = Node::keeping(store.clone());
    let kept = || Connect { client_id: "panel", ..Connect::kept(V5) };
    node.client(kept()).subscribe("t", 1);
    node.until("away", || node.count() == (1, 0));
    // The later one came by itself, and the earlier one was brought on behind it.
    node.runtime.block_on(elsewhere(&store, b"later", 2));
    node.runtime.block_on(elsewhere(&store, b"earlier", 1));
    assert_eq!(node.client(kept()).until_pong(), ["PUBLISH t=earlier q1 #1", "PUBLISH t=later q1 #2"]);
}
