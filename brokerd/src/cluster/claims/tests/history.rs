//! Random histories: whatever happened, once the links are whole each id has one owner, and its registrar knows it.
use super::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

struct History {
    sim: Sim,
    random: u64,
    /// Cut off, and seen so by all.
    cut: Option<&'static str>,
    story: Vec<String>,
}

impl History {
    fn below(&mut self, bound: u64) -> usize {
        self.random = next_random(self.random);
        usize::try_from((self.random >> 33) % bound).unwrap()
    }

    fn show_views(&self) {
        for (name, node) in &self.sim.nodes {
            let sees = |other: &&&str| self.cut.is_none_or(|cut| (cut == **other) == (cut == *name));
            node.claims.on_view(NAMES.iter().filter(sees).map(ToString::to_string).collect());
        }
    }

    fn heal(&mut self) {
        self.sim.net.cut.lock().clear();
        self.cut = None;
        self.show_views();
    }

    /// Several nodes claim at the same time.
    async fn claim_some(&mut self) {
        let mut claims = Vec::new();
        for _ in 0..=self.below(4) {
            let (name, id) = (NAMES[self.below(5)], format!("id-{}", self.below(6)));
            self.story.push(format!("{name} claims {id}"));
            claims.push((name, id));
        }
        let claims = claims.iter().map(|(name, id)| Box::pin(self.sim.claim(name, id)));
        join(claims.collect()).await;
    }

    async fn step(&mut self) {
        match self.below(12) {
            0 if self.cut.is_none() => {
                let name = NAMES[self.below(5)];
                self.story.push(format!("{name} is cut off"));
                self.sim.cut_off(name);
                self.claim_some().await;
                self.cut = Some(name);
                self.show_views();
            }
            1 => {
                self.story.push("heal".to_owned());
                self.heal();
            }
            2 if self.cut.is_none() => {
                let name = NAMES[self.below(5)];
                self.story.push(format!("{name} starts anew"));
                self.sim.kill(name);
                self.sim.add(name, Duration::ZERO);
                self.show_views();
            }
            3 => {
                let (name, id) = (NAMES[self.below(5)], Arc::from(format!("id-{}", self.below(6))));
                if let Some(epoch) = self.sim.nodes[name].sessions.0.lock().remove(&id) {
                    self.story.push(format!("{name} releases {id}"));
                    self.sim.nodes[name].claims.release(&id, epoch);
                }
            }
            4 => self.sim.settled().await,
            _ => self.claim_some().await,
        }
    }

    fn check(&self, seed: u64) {
        for id in (0..6).map(|n| format!("id-{n}")) {
            let owners = self.sim.owners(&id);
            let story = || format!("seed {seed}, {id}: {owners:?}\n{}", self.story.join("\n"));
            assert!(owners.len() <= 1, "{}", story());
            let registrar = self.sim.nodes["a"].claims.engine.lock().view().registrar(&id).to_owned();
            let row = self.sim.row(&registrar, &id);
            if let Some((owner, epoch)) = owners.first() {
                let row = row.unwrap_or_else(|| panic!("no row at {registrar}; {}", story()));
                assert!(row.owner == *owner && row.epoch >= *epoch, "{row:?} at {registrar}; {}", story());
            }
        }
        assert!(self.sim.is_complete(), "seed {seed}: {:?}", self.story);
    }
}

/// Runs futures side by side in this task.
async fn join<F: Future + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| std::pin::Pin::new(future).poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_any_history_each_id_has_one_owner_and_its_registrar_knows_it() {
    for seed in 1..=60 {
        let sim = Sim::of(&NAMES).await;
        *sim.net.jitter.lock() = seed * 0x9e37_79b9;
        let mut history = History { sim, random: 0x1234_5678_9abc_def1 ^ (seed << 20), cut: None, story: Vec::new() };
        for _ in 0..60 {
            history.step().await;
        }
        history.heal();
        history.sim.settled().await;
        history.sim.settled().await;
        history.check(seed);
    }
}
