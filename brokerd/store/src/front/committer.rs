//! Carries out what waits, in order, one commit at a time: what came while the last one was being made durable is the
//! next one. Never starts a commit before the one before it has answered.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::queue::{Answer, Item, Queue, Work};
use super::{Batch, Commit, Settings};
use crate::backend::{Backend, Claim, Claimed};
use crate::error::{State, StoreError};
use crate::op::{Op, Outcome};

/// Between the first two attempts; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two questions whether a backend that was away, or full, takes changes again.
const PROBE: Duration = Duration::from_secs(1);
/// Claims that go together, at most: so long nobody else is answered.
const MOST_CLAIMS: usize = 256;

/// Claims that go together: of one client there is one.
#[derive(Default)]
struct Claims {
    wanted: Vec<Claim>,
    answers: Vec<Answer<Claimed>>,
    clients: HashSet<Box<str>, RandomState>,
}

impl Claims {
    fn takes(&self, claim: &Claim) -> bool {
        self.wanted.len() < MOST_CLAIMS && !self.clients.contains(&claim.client_id)
    }

    fn push(&mut self, claim: Claim, answer: Answer<Claimed>) {
        self.clients.insert(claim.client_id.clone());
        self.wanted.push(claim);
        self.answers.push(answer);
    }
}

pub(super) struct Committer {
    queue: Arc<Queue>,
    backend: Arc<dyn Backend>,
    settings: Settings,
    /// The backend failed for good.
    dead: Option<StoreError>,
    /// The last piece of tidying failed, which was said.
    is_untidy: bool,
}

impl Committer {
    pub(super) fn new(queue: Arc<Queue>, backend: Arc<dyn Backend>, settings: Settings) -> Self {
        Self { queue, backend, settings, dead: None, is_untidy: false }
    }

    pub(super) async fn run(mut self) {
        let most = if self.settings.commit == Commit::Every { 1 } else { usize::MAX };
        while !self.queue.is_over() {
            let taken = self.queue.take(most);
            let is_idle = taken.is_none();
            self.queue.set_busy(true);
            if let Some(items) = taken {
                self.carry_out(items).await;
            }
            let is_tidy = self.dead.is_some() || !self.maintain().await;
            self.queue.set_busy(false);
            if is_idle && is_tidy {
                self.rest().await;
            }
        }
    }

    /// Until there is something to do. Who asks for nothing while the backend takes nothing would never learn that it does
    /// again: a change of nothing tells.
    async fn rest(&mut self) {
        let wake = self.queue.wake.notified(); // what came since `take` has left a permit
        let is_away = self.dead.is_none() && (self.backend.is_full() || self.queue.state() != State::Ok);
        if !is_away {
            return wake.await;
        }
        if tokio::time::timeout(PROBE, wake).await.is_err() {
            let result = self.backend.apply(&[&[]], false).await;
            self.note(result.as_ref().err());
        }
    }

    /// Neighbouring batches are one commit, and neighbouring claims go together; what is between is done by itself.
    async fn carry_out(&mut self, items: Vec<Item>) {
        let (mut group, mut claims) = (Vec::new(), Claims::default());
        for item in items {
            if !matches!(item.work, Work::Batch(_)) {
                self.commit(std::mem::take(&mut group)).await;
            }
            match item.work {
                Work::Claim(claim, answer) if claims.takes(&claim) => {
                    claims.push(claim, answer);
                    continue;
                }
                _ => self.claim(std::mem::take(&mut claims)).await,
            }
            match item.work {
                Work::Batch(batch) => group.push(batch),
                Work::Claim(claim, answer) => claims.push(claim, answer),
                work => self.answer(work).await,
            }
        }
        self.claim(claims).await;
        self.commit(group).await;
    }

    /// Claims of different sessions, in one go.
    async fn claim(&mut self, claims: Claims) {
        if claims.wanted.is_empty() {
            return;
        }
        let results = match &self.dead {
            Some(dead) => vec![Err(dead.clone()); claims.wanted.len()],
            None => self.backend.claim_all(&claims.wanted).await,
        };
        for (result, answer) in results.into_iter().zip(claims.answers) {
            self.note(result.as_ref().err());
            let _ = answer.send(result); // who asked may have gone
        }
    }

    async fn answer(&mut self, work: Work) {
        // Who asked may have gone: then nobody hears the answer.
        match work {
            Work::Batch(batch) => self.commit(vec![batch]).await,
            Work::Claim(claim, answer) => {
                let mut claims = Claims::default();
                claims.push(claim, answer);
                self.claim(claims).await;
            }
            Work::Fence(node, answer) => {
                let result = match &self.dead {
                    Some(dead) => Err(dead.clone()),
                    None => self.backend.fence(&node).await,
                };
                self.note(result.as_ref().err());
                let _ = answer.send(result);
            }
            Work::Expire(now, limit, answer) => {
                let result = match &self.dead {
                    Some(dead) => Err(dead.clone()),
                    None => self.backend.expire(now, limit).await,
                };
                self.note(result.as_ref().err());
                let _ = answer.send(result);
            }
            Work::Flush(answer) => {
                let result = match &self.dead {
                    Some(dead) => Err(dead.clone()),
                    None => self.backend.apply(&[&[]], self.settings.commit != Commit::None).await.map(|_| ()),
                };
                self.note(result.as_ref().err());
                let _ = answer.send(result);
            }
        }
    }

    async fn commit(&mut self, group: Vec<Batch>) {
        if group.is_empty() {
            return;
        }
        let ops: Vec<&[Op]> = group.iter().map(|batch| &*batch.ops).collect();
        let result = self.apply(&ops).await;
        match result {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for batch in group {
                    let outcome = outcomes.next().unwrap_or_default();
                    self.count(&outcome);
                    (batch.done)(Ok(outcome));
                }
            }
            Err(error) => {
                self.queue.counters.failed.fetch_add(group.len() as u64, Relaxed);
                group.into_iter().for_each(|batch| (batch.done)(Err(error.clone())));
            }
        }
    }

    /// One commit. Where the backend does not say what became of it, it is tried again until it does: who submitted it goes
    /// on from it, so that it must not be lost, and nothing may come before it. Who waits for it is told meanwhile.
    async fn apply(&mut self, batches: &[&[Op]]) -> Result<Vec<Outcome>, StoreError> {
        if let Some(dead) = &self.dead {
            return Err(dead.clone());
        }
        let is_durable = self.settings.commit != Commit::None;
        let (begin, mut pause) = (tokio::time::Instant::now(), FIRST_PAUSE);
        loop {
            let attempt = Instant::now();
            let result = self.backend.apply(batches, is_durable).await;
            self.note(result.as_ref().err());
            match result {
                Ok(outcomes) => {
                    self.queue.set_trouble(None);
                    let ops = batches.iter().map(|ops| ops.len()).sum();
                    self.queue.counters.committed(batches.len(), ops, attempt.elapsed());
                    return Ok(outcomes);
                }
                Err(error @ StoreError::Unavailable(_)) => {
                    let is_late = begin.elapsed() + pause >= self.settings.timeout;
                    if is_late && self.queue.is_closed() {
                        return Err(error); // the node ends; whoever ends it does not wait for ever
                    }
                    self.queue.counters.retries.fetch_add(1, Relaxed);
                    self.queue.set_trouble(Some(&error));
                    if is_late {
                        self.queue.is_late();
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    self.queue.set_trouble(None);
                    return Err(error);
                }
            }
        }
    }

    async fn maintain(&mut self) -> bool {
        let result = self.backend.maintain().await;
        if let Err(error) = &result {
            if !self.is_untidy {
                tracing::warn!(%error, "the store could not be tidied up");
            }
            if matches!(error, StoreError::Down(_)) {
                self.note(Some(error));
            }
        }
        self.is_untidy = result.is_err();
        result.unwrap_or(false)
    }

    fn count(&self, outcome: &Outcome) {
        self.queue.counters.fenced.fetch_add(outcome.fenced.len() as u64, Relaxed);
        self.queue.counters.full.fetch_add(u64::from(outcome.is_full), Relaxed);
    }

    fn note(&mut self, error: Option<&StoreError>) {
        match error {
            Some(StoreError::Down(reason)) => {
                self.dead = error.cloned();
                self.queue.set_state(State::Down(reason.clone()));
            }
            Some(StoreError::Unavailable(reason)) => self.queue.set_state(State::Down(reason.clone())),
            _ => self.queue.set_state(State::Ok),
        }
    }
}
