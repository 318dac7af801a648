//! What the clients of a run share: where nodes are, how far the run is, and the record. Never speaks MQTT.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::history::{Connection, Fault, History, Moment, Severance};
use crate::node::Node;
use crate::seed::Seeded;
use crate::wait::{eventually, within};

/// Before a client that was refused tries again.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two messages of a publisher of [`World::settled`].
const PACE: Duration = Duration::from_millis(20);

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages are published, and things go wrong.
    Load,
    /// Nothing new is published; everybody is there.
    Drain,
    /// All has come: whatever comes now is too much.
    Done,
}

/// What the clients share.
#[derive(Clone, Debug)]
pub struct World(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: Instant,
    places: Vec<SocketAddr>,
    /// Each client has one place, by its number, and publishers take their time.
    is_settled: bool,
    now: watch::Sender<Now>,
    acknowledged: watch::Sender<u64>,
    history: Mutex<History>,
    refusals: Mutex<BTreeMap<(&'static str, u8), u64>>,
}

/// What changes for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// Which nodes are there.
    pub(super) alive: Vec<bool>,
    /// How often one was taken away.
    pub(super) kills: u64,
    pub(super) phase: Phase,
}

impl World {
    /// With all of these nodes there.
    #[must_use]
    pub fn new(places: &[SocketAddr]) -> Self {
        Self::of(places, false)
    }

    /// The same, where each client keeps to the node of its number and publishers send some 50 messages a second each:
    /// for faults that a client cannot walk away from.
    #[must_use]
    pub fn settled(places: &[SocketAddr]) -> Self {
        let world = Self::of(places, true);
        world.with_history(|history| history.homes = places.len());
        world
    }

    fn of(places: &[SocketAddr], is_settled: bool) -> Self {
        let now = Now { alive: vec![true; places.len()], kills: 0, phase: Phase::Load };
        Self(Arc::new(Shared {
            begun: Instant::now(),
            places: places.to_vec(),
            is_settled,
            now: watch::Sender::new(now),
            acknowledged: watch::Sender::new(0),
            history: Mutex::default(),
            refusals: Mutex::default(),
        }))
    }

    /// Now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.0.begun.elapsed()
    }

    /// The next phase.
    pub fn enter(&self, phase: Phase) {
        self.0.now.send_modify(|now| now.phase = phase);
    }

    pub(super) fn watch(&self) -> watch::Receiver<Now> {
        self.0.now.subscribe()
    }

    /// Kills a node with -9; clients look for another one, or wait until it is back.
    pub fn kill(&self, index: usize, node: &mut Node) {
        self.0.now.send_modify(|now| now.alive[index] = false);
        let before = self.moment();
        node.kill9();
        self.struck(before);
        self.0.now.send_modify(|now| now.kills += 1);
    }

    /// Something was done to the broker, from a moment until now.
    pub fn struck(&self, before: Moment) {
        let fault = Fault { struck: (before, self.moment()), mended: None };
        self.with_history(|history| history.faults.push(fault));
    }

    /// A node serves again.
    pub fn is_back(&self, index: usize) {
        self.0.now.send_modify(|now| now.alive[index] = true);
    }

    /// All is as before the last fault.
    pub fn mended(&self) {
        let now = self.moment();
        self.with_history(|history| {
            history.faults.iter_mut().for_each(|fault| {
                fault.mended.get_or_insert(now);
            })
        });
    }

    /// A node that is there, for the client of this number; waits for one. `None` once the run is over.
    pub(super) async fn place(&self, number: usize, chance: &mut Seeded) -> Option<SocketAddr> {
        let home = number % self.0.places.len();
        let is_fit = |(at, is_alive): &(usize, &bool)| **is_alive && (!self.0.is_settled || *at == home);
        let mut now = self.watch();
        let is_time = |now: &Now| now.phase == Phase::Done || now.alive.iter().enumerate().any(|one| is_fit(&one));
        let now = now.wait_for(is_time).await.expect("a run");
        let there: Vec<_> = now.alive.iter().enumerate().filter(is_fit).map(|(at, _)| self.0.places[at]).collect();
        if there.is_empty() { None } else { Some(there[chance.below(there.len())]) }
    }

    /// Between two messages of a publisher, where clients are settled.
    pub(super) async fn pace(&self) {
        if self.0.is_settled {
            tokio::time::sleep(PACE).await;
        }
    }

    /// From now until [`World::joined`] these nodes, by number, do not hear of each other.
    pub fn severed(&self, pairs: &[(usize, usize)]) {
        let begun = self.moment();
        let pairs = pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]).collect();
        self.with_history(|history| history.severances.push(Severance { begun, ended: None, pairs }));
    }

    /// All nodes hear of each other again.
    pub fn joined(&self) {
        let now = self.moment();
        self.with_history(|history| {
            history.severances.iter_mut().for_each(|one| {
                one.ended.get_or_insert(now);
            })
        });
    }

    /// Until something changes, or it is time to try again.
    pub(super) async fn pause(&self) {
        let mut now = self.watch();
        now.mark_unchanged();
        let _ = tokio::time::timeout(PAUSE, now.changed()).await;
    }

    /// A publisher was acknowledged something.
    pub(super) fn acknowledged(&self) {
        self.0.acknowledged.send_modify(|count| *count += 1);
    }

    /// So many were acknowledged so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        *self.0.acknowledged.borrow()
    }

    /// Returns right when so many more were acknowledged.
    pub async fn acknowledgements(&self, more: u64) {
        let mut count = self.0.acknowledged.subscribe();
        let goal = *count.borrow() + more;
        let what = format!("{more} more acknowledgements");
        within(super::PATIENCE, &what, count.wait_for(|count| *count >= goal)).await.expect("a run");
    }

    /// An answer that says no: CONNACK, PUBACK, PUBREC, DISCONNECT, or the end of a connection of 3.x.
    pub(super) fn refused(&self, by: &'static str, code: u8) {
        *self.0.refusals.lock().unwrap().entry((by, code)).or_default() += 1;
    }

    /// How often each answer said no.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<(&'static str, u8), u64> {
        self.0.refusals.lock().unwrap().clone()
    }

    pub(super) fn connected(&self, client: &str, to: SocketAddr, is_present: bool, expected: Option<bool>) {
        let node = 1 + self.0.places.iter().position(|place| *place == to).expect("one of these nodes");
        let connection = Connection { client: client.to_owned(), node, at: self.moment(), is_present, expected };
        self.with_history(|history| history.connections.push(connection));
    }

    /// The record.
    pub fn with_history<T>(&self, read: impl FnOnce(&mut History) -> T) -> T {
        read(&mut self.0.history.lock().unwrap())
    }

    /// Everybody has what was acknowledged.
    pub async fn wait_until_nothing_is_missing(&self, patience: Duration) {
        eventually(patience, "everybody has what was acknowledged", async || {
            self.pause().await;
            let some: Vec<String> = self.with_history(|history| history.missing().take(5).collect());
            if some.is_empty() {
                Ok(())
            } else {
                Err(format!(
                    "{}\nfaults {:?}\n{}",
                    some.join("\n"),
                    self.faults(),
                    self.with_history(|history| history.itinerary())
                ))
            }
        })
        .await;
    }

    fn faults(&self) -> Vec<Fault> {
        self.with_history(|history| history.faults.clone())
    }
}
