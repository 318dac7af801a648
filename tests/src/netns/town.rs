//! Nodes of one cluster, one a host. Owns them, the street between them and what is slow on it; a fault that lasts is
//! told to the record of the run before it begins.

use std::time::Duration;

use super::links::{self, Street, Way};
use super::relay::Relay;
use crate::cluster::{view, wait_for_states};
use crate::load::World;
use crate::node::{Node, NodeOptions};

/// A cluster, host by host.
#[derive(Debug)]
pub struct Town {
    /// By number from 0.
    pub nodes: Vec<Node>,
    /// What is between them.
    pub street: Street,
    _relays: Vec<Relay>,
}

/// How to begin it.
#[derive(Clone, Debug, Default)]
pub struct Making {
    /// More `--set key=value`.
    pub sets: Vec<(&'static str, &'static str)>,
    /// What nodes say to each other comes this much later.
    pub delay: Option<Duration>,
}

impl Making {
    /// One more setting.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: &'static str) -> Self {
        self.sets.push((key, value));
        self
    }

    fn options(&self, number: usize, street: &Street) -> NodeOptions {
        let others = (0..street.hosts()).filter(|other| *other != number);
        let seeds: Vec<_> = others.map(|other| self.dialled(other)).collect();
        let mut options = NodeOptions::clustered(&name(number), &seeds);
        options.cluster_bind = links::cluster(number);
        options.mqtt_bind = links::mqtt(number);
        options.network = Some(street.host(number));
        let advertise = self.dialled(number).to_string();
        options = options.set("cluster.advertise", &advertise).set("listeners.tcp.default.allow_anonymous", "true");
        options = options.set("cluster.peer_timeout", "3s").set("cluster.down_after", "1s");
        // Who is away until the end is to miss nothing.
        options = options.set("persistence.queue_depth", "1000000").set("persistence.queue_bytes", "1000000000");
        self.sets.iter().fold(options, |options, (key, value)| options.set(key, value))
    }

    fn dialled(&self, number: usize) -> std::net::SocketAddr {
        if self.delay.is_some() { links::relay(number) } else { links::cluster(number) }
    }
}

/// The name of a node.
pub(super) fn name(number: usize) -> String {
    format!("n{}", number + 1)
}

impl Town {
    /// Starts a node on every host, all at the same moment and each with all others as seeds, and waits until each sees
    /// all of them up.
    pub async fn start(street: Street, making: Making) -> Self {
        let mut relays = vec![];
        if let Some(delay) = making.delay {
            for number in 0..street.hosts() {
                relays.push(Relay::open(links::relay(number), links::cluster(number), delay).await);
            }
        }
        let nodes = (0..street.hosts()).map(|number| Node::launch(making.options(number, &street))).collect();
        let mut town = Self { nodes, street, _relays: relays };
        for node in &mut town.nodes {
            node.wait_until_ready().await;
        }
        town.wait_until_all_up().await;
        town
    }

    /// A record with one place a node, which clients keep to.
    #[must_use]
    pub fn world(&self) -> World {
        World::settled(&self.nodes.iter().map(Node::mqtt).collect::<Vec<_>>())
    }

    /// Every node sees every node up.
    pub async fn wait_until_all_up(&self) {
        let names: Vec<_> = self.nodes.iter().map(Node::name).collect();
        for node in &self.nodes {
            wait_for_states(node, &names.iter().map(|name| (*name, "up")).collect::<Vec<_>>()).await;
        }
    }

    /// Each of a pair sees the other down, or does not answer.
    pub async fn wait_until_down(&self, ways: &[Way]) {
        for (one, other) in ways {
            wait_for_states(&self.nodes[*one], &[(&name(*other), "down")]).await;
            wait_for_states(&self.nodes[*other], &[(&name(*one), "down")]).await;
        }
    }

    /// Cuts these links, both ways, until both ends know.
    pub async fn cut(&self, world: &World, pairs: &[Way]) {
        println!("{:?}: cut {pairs:?}", world.moment());
        world.severed(pairs);
        let ways: Vec<Way> = pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]).collect();
        self.street.cut(&ways);
        self.wait_until_down(pairs).await;
        println!("{:?}: both ends know", world.moment());
    }

    /// Mends all links, and waits until all see each other.
    pub async fn heal(&self, world: &World) {
        println!("{:?}: heal", world.moment());
        self.street.heal();
        self.wait_until_all_up().await;
        println!("{:?}: all see each other", world.moment());
        world.joined();
    }

    /// What each node says of each, for a failure to be read.
    pub async fn views(&self) -> String {
        let mut lines = String::new();
        for node in &self.nodes {
            lines += &format!("{}: {:?}\n", node.name(), view(node).await);
        }
        lines
    }
}
