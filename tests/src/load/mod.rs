//! Load for runs in which brokers and stores are killed: publishers with many messages in flight, and receivers with kept
//! sessions, some of them away. Everything goes into a `History`. Never judges it.

mod publisher;
mod subscriber;
mod world;

use std::time::Duration;

use tokio::task::JoinHandle;

pub use publisher::Publisher;
pub use subscriber::{Habit, Subscriber};
pub use world::{Phase, World};

use crate::history::Promises;
use crate::packet::{Connect, Version};
use crate::raw::Raw;
use crate::read::Packet;
use crate::seed::Seeded;
use crate::wait::{SOON, within};

/// From the last fault until everybody has everything, on a machine with other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Rounds of a test: `BROKERD_TEST_ROUNDS`, which the soak sets, or the test's own number.
#[must_use]
pub fn rounds(usual: usize) -> usize {
    std::env::var("BROKERD_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The clients of a run.
#[derive(Debug)]
pub struct Load {
    publishers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Six of each. Subscribers first, so that every SUBACK is there before anything is published.
    pub async fn start(world: &World, chance: &mut Seeded) -> Self {
        let (mut publishers, mut subscribers) = (vec![], vec![]);
        let version = |number: usize| if number.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let habits = [Habit::Stays, Habit::Stays, Habit::ComesAndGoes, Habit::ComesAndGoes, Habit::Away, Habit::Away];
        for (number, habit) in habits.into_iter().enumerate() {
            let qos = [2, 2, 2, 1, 2, 1][number];
            let name = format!("subscriber-{number}");
            let subscriber = Subscriber::new(name, version(number), qos, habit, world.clone(), chance.child());
            subscribers.push(tokio::spawn(subscriber.ready().await.run()));
        }
        for number in 0..6 {
            let (qos, is_persistent) = [(2, true), (2, true), (1, true), (1, false), (2, true), (1, true)][number];
            let publisher = Publisher::new(number as u16, version(number), qos, is_persistent, world.clone());
            publishers.push(tokio::spawn(publisher.run(chance.child())));
        }
        Self { publishers, subscribers }
    }

    /// No more is published, everybody comes and gets what is there for them; then the run is held against the promises.
    pub async fn finish(self, world: &World, promises: Promises) {
        world.enter(Phase::Drain);
        for publisher in self.publishers {
            within(PATIENCE, "a publisher's exchanges are finished", publisher).await.expect("a publisher's end");
        }
        world.wait_until_nothing_is_missing(PATIENCE).await;
        world.enter(Phase::Done);
        for subscriber in self.subscribers {
            within(PATIENCE, "a subscriber ends", subscriber).await.expect("a subscriber's end");
        }
        println!("refused: {:?}", world.refusals());
        world.with_history(|history| promises.hold(history));
    }
}

/// How a CONNECT ended.
enum Opened {
    /// With Session Present.
    Accepted(Box<Raw>, bool),
    /// With a reason.
    Refused(u8),
    /// Nobody is there any more.
    Lost,
}

async fn open(address: std::net::SocketAddr, connect: &Connect) -> Opened {
    let Some(client) = Raw::open_if_there(address, connect.version).await else { return Opened::Lost };
    let mut client = client.patient(6 * SOON);
    client.send(&connect.encode()).await;
    match client.next_or_end().await {
        None => Opened::Lost,
        Some(Packet::Connack(connack)) if connack.code == 0 => {
            Opened::Accepted(Box::new(client), connack.session_present)
        }
        Some(Packet::Connack(connack)) => Opened::Refused(connack.code),
        other => panic!("{}: the first packet is {other:?} [MQTT-3.2.0-1]", connect.client_id),
    }
}
