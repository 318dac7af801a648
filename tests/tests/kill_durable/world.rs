//! What the clients of a run share: where the node is, how often it was started, and how far the run is. Never speaks MQTT.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::history::{History, Message};

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages are published, the node is killed.
    Load,
    /// Nothing new is published; everybody is there.
    Drain,
    /// All has come: whatever comes now is too much.
    Done,
}

/// What the clients share.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    /// Starts of the node, and the phase.
    now: watch::Sender<(u64, Phase)>,
    acknowledged: AtomicU64,
    kill_at: AtomicU64,
    reached: Notify,
    /// By subscriber, what it has had so far.
    had: Mutex<BTreeMap<String, HashSet<Message>>>,
}

impl World {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let now = watch::Sender::new((1, Phase::Load));
        Self(Arc::new(Shared {
            address,
            now,
            acknowledged: AtomicU64::new(0),
            kill_at: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            had: Mutex::default(),
        }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn restarted(&self) {
        self.0.now.send_modify(|(starts, _)| *starts += 1);
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.now.send_modify(|now| now.1 = phase);
    }

    /// What changes for everybody.
    pub(crate) fn watch(&self) -> watch::Receiver<(u64, Phase)> {
        self.0.now.subscribe()
    }

    /// A publisher was acknowledged something.
    pub(crate) fn acknowledged(&self) {
        let count = self.0.acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
        if count == self.0.kill_at.load(Ordering::SeqCst) {
            self.0.reached.notify_one();
        }
    }

    /// Returns right when so many more were acknowledged.
    pub(crate) async fn acknowledgements(&self, more: u64) {
        self.0.kill_at.store(self.0.acknowledged.load(Ordering::SeqCst) + more, Ordering::SeqCst);
        self.0.reached.notified().await;
    }

    /// A subscriber is there, and has had nothing.
    pub(crate) fn joins(&self, name: &str) {
        self.0.had.lock().unwrap().insert(name.to_owned(), HashSet::new());
    }

    pub(crate) fn had(&self, name: &str, message: &Message) {
        self.0.had.lock().unwrap().get_mut(name).expect("a subscriber that joined").insert(message.clone());
    }

    /// What was acknowledged and is not there.
    pub(crate) fn missing(&self, history: &History) -> Vec<(String, Message)> {
        let had = self.0.had.lock().unwrap();
        let mut missing = vec![];
        for (name, had) in &*had {
            let sent = history.sent.iter().flatten().map(|sent| &sent.message);
            missing
                .extend(sent.filter(|message| !had.contains(message)).map(|message| (name.clone(), message.clone())));
        }
        missing
    }
}
