//! Random histories: after a storm of subscriptions under links that are cut, every node's table is what is subscribed;
//! and what was subscribed and told to be live was never without a match or a flood.

use std::collections::BTreeSet;

use super::node::{Node, connect};
use crate::router::{Forward, Ticket};

/// A linear congruential generator: the same history for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Whether a message published at `at` reaches `owner`'s subscribers of a filter: by its row, or by a flood.
fn reaches(at: &Node, owner: &Node, filter: &str) -> bool {
    let slot = at.slot(owner);
    at.core.flood().contains(slot) || at.core.parts.index.holders(filter).1.contains(slot)
}

async fn storm(seed: u64) {
    let nodes = [Node::start("a").await, Node::start("b").await, Node::start("c").await];
    connect(&nodes.each_ref()).await;
    let mut dice = Dice(seed);
    let mut subscribed: [BTreeSet<String>; 3] = Default::default();
    for step in 0..600 {
        let (who, filter) = (dice.roll(3) as usize, format!("t/{}", dice.roll(40)));
        let (node, other) = (&nodes[who], &nodes[(who + 1 + dice.roll(2) as usize) % 3]);
        if dice.roll(30) == 0 {
            node.cut(other);
        }
        if subscribed[who].remove(&filter) {
            node.unsubscribe(&filter, 1);
            continue;
        }
        let version = node.subscribe(&filter, 1);
        subscribed[who].insert(filter.clone());
        if dice.roll(4) > 0 {
            continue; // nobody waits for this one
        }
        let ticket = Ticket { worker: 0, token: step };
        let is_settled = || node.settled().iter().any(|(token, _)| *token == step);
        if !node.core.when_live(version, ticket) {
            node.until("its ticket is settled", is_settled).await;
        }
        for at in nodes.iter().filter(|at| at.name != node.name) {
            assert!(
                reaches(at, node, &filter),
                "seed {seed}, step {step}: `{}` neither has `{filter}` of `{}` nor floods",
                at.name,
                node.name
            );
        }
    }
    for (owner, expected) in nodes.iter().zip(&subscribed) {
        for at in nodes.iter().filter(|at| at.name != owner.name) {
            let slot = at.slot(owner);
            at.until("it has the rows", || at.peer(owner).remote.lock().head() == owner.core.routes.head()).await;
            let held = at.core.parts.index.filters().into_iter();
            let held: BTreeSet<String> = held
                .filter(|filter| at.core.parts.index.holders(filter).1.contains(slot))
                .map(|filter| filter.to_string())
                .collect();
            assert_eq!(&held, expected, "seed {seed}: `{}`'s rows at `{}`", owner.name, at.name);
        }
        assert_eq!(owner.count("cluster.suback.timed_out"), 0, "seed {seed}");
    }
}

#[tokio::test]
async fn after_a_storm_under_cut_links_every_table_is_what_is_subscribed() {
    for seed in [1, 2, 3] {
        storm(seed).await;
    }
}
