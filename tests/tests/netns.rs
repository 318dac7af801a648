//! Ring 4: real nodes in network namespaces, whose links are cut, lossy or slow, and which are stopped, slow and killed,
//! under a load whose record is judged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "netns/cuts.rs"]
mod cuts;
#[path = "netns/nodes.rs"]
mod nodes;
#[path = "netns/weather.rs"]
mod weather;

use tests::history::Promises;
use tests::load::{Load, World};
use tests::netns::{Known, Making, Town, agree, one_retained_set};
use tests::seed::Seeded;

/// A town under load.
pub(crate) struct Run {
    pub(crate) town: Town,
    pub(crate) world: World,
    load: Load,
    known: Known,
}

/// Between faults.
pub(crate) const SOME: u64 = 150;

impl Run {
    pub(crate) async fn begin(town: Town, name: &str) -> Self {
        let mut chance = Seeded::announce(name);
        let world = town.world();
        let known = Known::of(&town).await;
        let load = Load::start(&world, &mut chance).await;
        world.acknowledgements(SOME).await;
        Self { town, world, load, known }
    }

    pub(crate) async fn in_a_town(street: tests::netns::Street, making: Making, name: &str) -> Self {
        Self::begin(Town::start(street, making).await, name).await
    }

    /// All is well again: more is published, nodes agree, nothing restarted, nobody was dropped who stayed, and all
    /// promises were kept.
    pub(crate) async fn end(self) {
        self.world.acknowledgements(SOME).await;
        agree(&self.town, &self.world).await;
        assert_eq!(Known::of(&self.town).await, self.known, "a node restarted");
        let refusals = self.world.refusals();
        self.load.finish(&self.world, Promises::of_one_node()).await;
        one_retained_set(&self.town).await;
        assert!(refusals.is_empty(), "somebody was refused or dropped: {refusals:?}");
        for client in ["subscriber-0", "subscriber-1", "publisher-0", "publisher-1", "publisher-2", "publisher-5"] {
            let count = self.world.with_history(|history| {
                history.connections.iter().filter(|connection| connection.client == client).count()
            });
            assert_eq!(count, 1, "{client} had no reason to connect again");
        }
    }

    /// The same where nodes were killed: they restarted, and their clients had to go.
    pub(crate) async fn end_after_kills(self) {
        self.world.acknowledgements(SOME).await;
        agree(&self.town, &self.world).await;
        self.world.mended();
        self.world.joined();
        self.load.finish(&self.world, Promises::of_many_nodes()).await;
        one_retained_set(&self.town).await;
    }
}
