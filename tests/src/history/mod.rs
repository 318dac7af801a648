//! What happened in a run: who published what and when it was acknowledged, who subscribed to what and when, what came to
//! whom, and when a node was killed. Owns the record; takes no part in the run. `judge` says whether it may be.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use judge::{Broken, Promise, Promises};

/// Since the begin of the run.
pub type Moment = Duration;

/// A message, by what its payload carries. A publisher never uses a number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// Who published it.
    pub publisher: u16,
    /// Its number among all of its publisher, in the order of publication.
    pub number: u32,
}

impl Message {
    /// The begin of a payload.
    #[must_use]
    pub fn encode(self) -> [u8; 6] {
        let (publisher, number) = (self.publisher.to_be_bytes(), self.number.to_be_bytes());
        [publisher[0], publisher[1], number[0], number[1], number[2], number[3]]
    }

    /// From the begin of a payload; `None` where it is none of ours.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f] = *payload.first_chunk()?;
        Some(Self { publisher: u16::from_be_bytes([a, b]), number: u32::from_be_bytes([c, d, e, f]) })
    }
}

/// A PUBLISH of a client, with all its repetitions.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Its topic.
    pub topic: String,
    /// Its QoS.
    pub qos: u8,
    /// Before its first byte was written.
    pub sent: Moment,
    /// The PUBLISH was repeated on another connection.
    pub is_resent: bool,
    /// PUBACK or PUBREC of success came.
    pub acknowledged: Option<Moment>,
}

/// From SUBSCRIBE to UNSUBACK.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its filter.
    pub filter: String,
    /// Before SUBSCRIBE was written.
    pub asked: Moment,
    /// SUBACK came.
    pub begun: Option<Moment>,
    /// Before UNSUBSCRIBE was written.
    pub left: Option<Moment>,
    /// UNSUBACK came.
    pub ended: Option<Moment>,
}

/// A PUBLISH that came. At QoS 2 without those that the receiver knows by their identifier, as MQTT wants of it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When it was read.
    pub at: Moment,
    /// Which session of the client it came to: they are counted.
    pub session: u32,
    /// What it was.
    pub message: Message,
    /// Its topic.
    pub topic: String,
    /// Its QoS.
    pub qos: u8,
    /// DUP
    pub dup: bool,
}

/// A CONNACK of success.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Client identifier.
    pub client: String,
    /// The number of the node that it came to, from 1.
    pub node: usize,
    /// When it came.
    pub at: Moment,
    /// Session Present.
    pub is_present: bool,
    /// What Session Present had to be; `None` where both may be.
    pub expected: Option<bool>,
}

/// A client that receives.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    /// Client identifier.
    pub name: String,
    /// In the order of asking.
    pub subscriptions: Vec<Subscription>,
    /// In the order of coming.
    pub deliveries: Vec<Delivery>,
}

/// A node was killed, or whatever else a run does to a broker.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Before the signal, and after it.
    pub struck: (Moment, Moment),
    /// All is as before; `None` where the run ended first.
    pub mended: Option<Moment>,
}

/// Nodes did not hear of each other, for longer than peers wait for one.
#[derive(Clone, Debug)]
pub struct Severance {
    /// Before it.
    pub begun: Moment,
    /// All hear of each other again; `None` where the run ended first.
    pub ended: Option<Moment>,
    /// Which, by number.
    pub pairs: BTreeSet<(usize, usize)>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was published.
    pub publications: BTreeMap<Message, Publication>,
    /// Who received.
    pub receivers: Vec<Receiver>,
    /// Who connected.
    pub connections: Vec<Connection>,
    /// What was done to the broker.
    pub faults: Vec<Fault>,
    /// When which nodes did not hear of each other.
    pub severances: Vec<Severance>,
    /// Nodes that clients keep to, each to the one of its number modulo this; 0 where they choose.
    pub homes: usize,
}

impl History {
    /// Which client came to which node when.
    #[must_use]
    pub fn itinerary(&self) -> String {
        let mut of_client: BTreeMap<&str, String> = BTreeMap::new();
        for Connection { client, node, at, .. } in &self.connections {
            let line = of_client.entry(client).or_default();
            line.push_str(&format!(" n{node} at {at:?}"));
        }
        of_client.into_iter().map(|(client, line)| format!("{client}:{line}\n")).collect()
    }

    /// How much is in it.
    #[must_use]
    pub fn summary(&self) -> String {
        let acknowledged = self.publications.values().filter(|one| one.acknowledged.is_some()).count();
        let deliveries: usize = self.receivers.iter().map(|receiver| receiver.deliveries.len()).sum();
        let resumed = self.connections.iter().filter(|connection| connection.is_present).count();
        format!(
            "{acknowledged} of {} messages acknowledged, {deliveries} deliveries, {resumed} sessions resumed, {} faults",
            self.publications.len(),
            self.faults.len()
        )
    }
}
