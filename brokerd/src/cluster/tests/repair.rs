//! Routes that differ from their owner's subscriptions: seen by their sums, and put right.

use super::super::RouteSum;
use super::node::{Node, connect};

fn held(node: &Node, of: &Node) -> RouteSum {
    RouteSum::of(&node.core.parts.index.remote_filters(node.slot(of)))
}

fn live(node: &Node) -> RouteSum {
    RouteSum::of(&node.core.parts.index.local_filters())
}

#[tokio::test]
async fn what_is_matched_with_is_compared_and_asked_for_again_and_the_peer_flooded_meanwhile() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    for (session, filter) in ["x", "y/+", "z/#"].into_iter().enumerate() {
        b.subscribe(filter, u32::try_from(session).unwrap());
    }
    connect(&[&a, &b]).await;
    assert_eq!(held(&a, &b), live(&b));
    let slot = a.slot(&b);
    a.core.parts.index.remove_remote("x", slot);
    a.core.parts.index.add_remote("ghost", slot);
    assert_ne!(held(&a, &b), live(&b), "the number is the same, the set is not");
    a.core.pull_again(&a.peer(&b));
    assert!(a.floods(&b), "messages for `x` would be lost");
    a.until("it is in sync", || a.is_synced(&b)).await;
    assert_eq!(held(&a, &b), live(&b));
}

#[tokio::test]
async fn an_owner_that_announced_something_else_than_it_has_announces_the_difference() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    b.subscribe("x", 1);
    b.subscribe("y", 2);
    connect(&[&a, &b]).await;
    b.core.routes.change(&"x".into(), false);
    b.core.routes.change(&"ghost".into(), true);
    a.until("it has heard the wrong word", || held(&a, &b).hash != live(&b).hash).await;
    b.core.announce_again();
    assert_eq!(b.core.routes.head().hash, live(&b).hash);
    a.until("it has what there is", || held(&a, &b) == live(&b)).await;
}
