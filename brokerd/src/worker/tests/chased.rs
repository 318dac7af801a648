//! A session that a third node owns before this one has all of it from the first.

use super::packets::*;
use super::*;
use crate::registry::{Epoch, Fetch, Fetched, Loss};

#[test]
fn a_session_that_leaves_before_all_of_it_has_come_is_told_with_what_came() {
    let node = Node::new(&[]);
    node.client(Connect { client_id: "panel", ..Connect::kept(V5) }).subscribe("t", 1);
    node.until("away", || node.count() == (1, 0));
    let epoch = Epoch(node.look("panel", |entry| entry.epoch.0).unwrap() + 1);
    let lose = move |shard: &mut Shard| {
        shard.superseded("panel", Loss { epoch, is_clean: false }, tokio::sync::oneshot::channel().0);
    };
    node.ask(node.worker_of("panel"), lose);
    let mut pump = node.id("pump");
    for id in 1..=3 {
        pump.send(publish(V5, Q1, id, "x"));
        assert!(pump.line().starts_with(&format!("PUBACK #{id}")));
    }
    let whole = |shard: &mut Shard| {
        let slot = shard.slot_of("panel").unwrap();
        let incarnation = shard.sessions.get(slot as usize).unwrap().incarnation;
        shard.is_here(slot, incarnation);
    };
    node.ask(node.worker_of("panel"), whole);
    let client_id = "panel".into();
    let fetch = Fetch { client_id, epoch, after: 0, is_head: true, is_drained: false, offset: 0 };
    let Fetched::Page(page) = node.runtime.block_on(node.workers.page_of(fetch)) else { panic!("it is here") };
    assert_eq!(page.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3]);
}
