//! What passes between which nodes: open, slow, silent or cut, each way of each pair. Owns the states and the count of what
//! passes; never the sockets.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::watch;

/// One way of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    #[default]
    Open,
    /// Everything comes, this much later.
    Slow(Duration),
    /// Nothing comes, and nobody is told: bytes wait, datagrams are lost. A stopped process and a network that
    /// swallows packets look like this.
    Silent,
    /// Connections end, datagrams are lost.
    Cut,
}

/// From, to.
pub(super) type Pair = (usize, usize);

#[derive(Debug, Default)]
pub(super) struct Links {
    /// Those that are not open.
    ways: watch::Sender<HashMap<Pair, Way>>,
    /// How many connections each dialer has through.
    passing: Mutex<HashMap<Pair, usize>>,
    ended: Condvar,
}

impl Links {
    /// Sets some ways. Nothing passes any more through those that are cut when it returns.
    pub(super) fn set(&self, pairs: &[Pair], way: Way) {
        self.ways.send_modify(|ways| {
            for pair in pairs {
                if way == Way::Open {
                    ways.remove(pair)
                } else {
                    ways.insert(*pair, way)
                };
            }
        });
        if way == Way::Cut {
            tokio::task::block_in_place(|| {
                let passing = self.passing.lock().expect("nobody panicked with it");
                let is_passing = |(from, to): &Pair| pairs.contains(&(*from, *to)) || pairs.contains(&(*to, *from));
                let still = |passing: &mut HashMap<Pair, usize>| passing.keys().any(is_passing);
                drop(self.ended.wait_while(passing, still).expect("nobody panicked with it"));
            });
        }
    }

    pub(super) fn heal(&self) {
        self.ways.send_replace(HashMap::new());
    }

    pub(super) fn way(&self, pair: Pair) -> Way {
        self.ways.borrow().get(&pair).copied().unwrap_or_default()
    }

    /// Either way is cut.
    pub(super) fn is_cut(&self, (from, to): Pair) -> bool {
        self.way((from, to)) == Way::Cut || self.way((to, from)) == Way::Cut
    }

    pub(super) async fn is_cut_now(&self, pair: Pair) {
        let mut ways = self.ways.subscribe();
        while !self.is_cut(pair) {
            let _ = ways.changed().await; // the sender is ours
        }
    }

    /// Completes when what was sent on this way may arrive.
    pub(super) async fn passes(&self, pair: Pair) {
        let mut ways = self.ways.subscribe();
        loop {
            match self.way(pair) {
                Way::Open => return,
                Way::Slow(by) => return tokio::time::sleep(by).await,
                Way::Silent | Way::Cut => drop(ways.changed().await),
            }
        }
    }

    /// Counts one connection for as long as it is held.
    pub(super) fn pass(self: &Arc<Self>, pair: Pair) -> Passing {
        *self.passing.lock().expect("nobody panicked with it").entry(pair).or_default() += 1;
        Passing(self.clone(), pair)
    }
}

pub(super) struct Passing(Arc<Links>, Pair);

impl Drop for Passing {
    fn drop(&mut self) {
        let mut passing = self.0.passing.lock().expect("nobody panicked with it");
        if let Some(count) = passing.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                passing.remove(&self.1);
            }
        }
        self.0.ended.notify_all();
    }
}
