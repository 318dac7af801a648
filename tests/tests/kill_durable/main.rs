//! What `persistence.backend = "disk"` promises when the node is killed with -9 under load, again and again: what was
//! acknowledged is at every subscriber, QoS 2 comes once, order holds, sessions and their subscriptions are there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod history;
mod publisher;
mod subscriber;
mod world;

use std::time::Duration;

use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version};
use tests::raw::Raw;
use tests::seed::Seeded;
use tests::wait::{eventually, within};
use tokio::task::JoinHandle;

use history::History;
use publisher::Publisher;
use subscriber::{Habit, Subscriber};
use world::{Phase, World};

/// A round is a start, some load, and a kill; the soak sets more.
fn rounds() -> usize {
    std::env::var("BROKERD_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// From the last restart until everybody has everything, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn node() -> NodeOptions {
    let node = NodeOptions::alone("durable").set("persistence.backend", "disk").set("node.workers", "2");
    node.set("persistence.queue_depth", "1000000").set("persistence.queue_bytes", "1000000000")
}

const SUBSCRIBERS: usize = 6;

struct Load {
    publishers: Vec<JoinHandle<Vec<history::Sent>>>,
    subscribers: Vec<JoinHandle<subscriber::Seen>>,
}

/// Subscribers first, so that every SUBACK is there before anything is published.
async fn start(world: &World, chance: &mut Seeded) -> Load {
    let habits: [_; SUBSCRIBERS] =
        [Habit::Stays, Habit::Stays, Habit::ComesAndGoes, Habit::ComesAndGoes, Habit::Away, Habit::Stays];
    let mut subscribers = vec![];
    for (number, habit) in habits.into_iter().enumerate() {
        let version = if number % 2 == 0 { Version::V5 } else { Version::V311 };
        let qos = if number < 4 { 2 } else { 1 + number as u8 % 2 };
        let name = format!("subscriber-{number}");
        let subscriber = Subscriber::new(name, version, qos, habit, world.clone(), chance.child()).ready().await;
        subscribers.push(tokio::spawn(subscriber.run()));
    }
    let mut publishers = vec![];
    for number in 0..6 {
        let version = if number % 2 == 0 { Version::V5 } else { Version::V311 };
        let (qos, is_persistent) = [(2, true), (2, true), (1, true), (1, false), (2, true), (2, true)][number];
        let publisher = Publisher::new(format!("publisher-{number}"), version, qos, is_persistent, world.clone());
        publishers.push(tokio::spawn(publisher.run(chance.child())));
    }
    Load { publishers, subscribers }
}

/// One message to every filter that a subscriber may have subscribed to on the way.
async fn probe(address: std::net::SocketAddr) {
    let mut client = Raw::connect(address, &Connect::v5("probe")).await.patient(PATIENCE);
    for subscriber in 0..SUBSCRIBERS {
        for filter in 0..subscriber::FILTERS {
            client.publish(&format!("own/subscriber-{subscriber}/{filter}"), &0_u32.to_be_bytes(), 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kill_9_and_qos_2_comes_once() {
    let mut chance = Seeded::announce("kill a durable node");
    let mut node = Node::start(node()).await;
    let world = World::new(node.mqtt());
    let load = start(&world, &mut chance).await;
    for round in 0..rounds() {
        let after = 50 + chance.below(800) as u64;
        within(PATIENCE, &format!("{after} acknowledgements in round {round}"), world.acknowledgements(after)).await;
        // The moment is chance too: right after an acknowledgement is not when most is under way.
        tokio::time::sleep(Duration::from_micros(chance.below(8000) as u64)).await;
        node.restart().await; // kills it first, with -9
        world.restarted();
    }
    world.enter(Phase::Drain);
    let mut history = History::default();
    for publisher in load.publishers {
        let sent = within(PATIENCE, "a publisher's exchanges are finished", publisher).await;
        history.sent.push(sent.expect("a publisher that did not panic"));
    }
    eventually(PATIENCE, "every subscriber has all that was acknowledged", async || {
        let missing = world.missing(&history);
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{} missing: {:?}", missing.len(), &missing[..missing.len().min(5)]))
        }
    })
    .await;
    probe(node.mqtt()).await;
    world.enter(Phase::Done);
    for subscriber in load.subscribers {
        let seen = within(PATIENCE, "a subscriber ends", subscriber).await;
        history.seen.push(seen.expect("a subscriber that did not panic"));
    }
    history.check();
}
