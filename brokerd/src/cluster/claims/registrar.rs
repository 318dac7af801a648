//! The registrar's side: grants ids, asks who owns one when it may have forgotten, and tells the losers. Never waits
//! longer than the claimant does.

use std::sync::Arc;
use std::time::Duration;

use proto::claims::{Done, Found as FoundWire, Lookup, Superseded, reply, request};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::Claims;
use super::engine::{Decided, Found, Lost, Step};
use crate::metrics::Metric;
use crate::registry::{Claim, Epoch, Grant, Holder, Loss};

/// A loser that does not answer is told again so often, once a second: after that its own announcement tells it.
const RETRIES: u32 = 10;
const RETRY_GAP: Duration = Duration::from_secs(1);

impl Claims {
    /// Decides a claim as the registrar of its id; `None` where another holder has it.
    pub(super) async fn grant(self: &Arc<Self>, claimant: &str, claim: &Claim, patience: Duration) -> Option<Grant> {
        let start = Instant::now();
        let Some(decided) = self.decide(claimant, claim, start, patience).await else {
            self.count(Metric::ClaimsRefused);
            return None;
        };
        let mut epoch = decided.epoch;
        // Twice: the second time is above what the loser said it holds.
        for _ in 0..2 {
            let until = start + patience * 4 / 5;
            let loss = Loss { epoch, is_clean: claim.clean_start };
            let held = self.tell(&decided.losers, &claim.client_id, loss, until).await;
            if held < epoch {
                break;
            }
            let Some(raised) = self.engine.lock().raise(claimant, claim, epoch, held) else {
                break;
            };
            epoch = raised;
        }
        self.count(Metric::ClaimsGranted);
        self.count_cancelled();
        Some(Grant { epoch, previous: decided.previous })
    }

    /// Wills that are void now that their clients are back.
    pub(super) fn count_cancelled(&self) {
        let cancelled = std::mem::take(&mut self.engine.lock().cancelled);
        self.will_news.notify_one(); // one whose session ended goes out now
        if cancelled > 0 {
            self.counters.lock().add(Metric::WillsCancelled, cancelled);
        }
    }

    /// Asks first what has to be asked. Each owner that is asked has let go of a row that was there, so this ends.
    async fn decide(
        self: &Arc<Self>,
        claimant: &str,
        claim: &Claim,
        start: Instant,
        patience: Duration,
    ) -> Option<Decided> {
        if claimant != self.node {
            self.note_one(&claim.client_id).await; // it may have been on this node's disk
        }
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        let mut step = self.engine.lock().begin(claimant, claim);
        loop {
            match step {
                Step::Decided(decided) => return Some(decided),
                Step::Ask(peers) => {
                    let until = start + patience * 2 / 5;
                    let is_claimed;
                    (found, is_claimed) = self.look_up(claimant, &claim.client_id, peers, until).await;
                    if claim.is_orphan && is_claimed {
                        return None;
                    }
                }
                Step::Verify(rival) => {
                    if self.has_it_still(&rival, &claim.client_id, start + patience * 3 / 5).await {
                        return None;
                    }
                    gone.push(rival);
                }
            }
            step = self.engine.lock().decide(claimant, claim, &found, &gone);
        }
    }

    /// Whether an owner has an id, or is about to. One that is silent has it until it is down.
    async fn has_it_still(&self, rival: &Found, client_id: &Arc<str>, until: Instant) -> bool {
        let owner = &rival.owner;
        if *owner == self.node {
            return self.is_claiming(client_id).await || self.found_here(client_id).await.is_some();
        }
        let lookup = request::What::Lookup(Lookup { client_id: client_id.to_string() });
        match self.ask(owner, lookup, until).await {
            Some(reply::What::Found(found)) => found.claiming || found.owner == *owner,
            _ => true,
        }
    }

    /// Asks all of `peers`, and this node's own sessions, who owns an id; and whether one of them but the claimant claims it
    /// at this moment.
    async fn look_up(
        self: &Arc<Self>,
        claimant: &str,
        client_id: &Arc<str>,
        peers: Vec<String>,
        until: Instant,
    ) -> (Vec<Found>, bool) {
        let mut asked = JoinSet::new();
        for peer in peers {
            let (claims, client_id, is_claimant) = (self.clone(), client_id.to_string(), *peer == *claimant);
            let ask = async move {
                let answer = claims.ask(&peer, request::What::Lookup(Lookup { client_id }), until).await;
                (answer, is_claimant)
            };
            asked.spawn_on(ask, &self.runtime);
        }
        let mut is_claimed = claimant != self.node && self.is_claiming(client_id).await;
        let mut found = Vec::new();
        found.extend(timeout_at(until, self.found_here(client_id)).await.ok().flatten());
        while let Some(answer) = asked.join_next().await {
            let Ok((Some(reply::What::Found(FoundWire { owner, epoch, holder, claiming })), is_claimant)) = answer
            else {
                continue;
            };
            is_claimed |= claiming && !is_claimant;
            if !owner.is_empty() && self.clock.merge(epoch).is_ok() {
                found.push(Found { owner, epoch: Epoch(epoch), holder: Holder(holder) });
            }
        }
        (found, is_claimed)
    }

    /// Tells nodes that they own an id no more. Answers the highest epoch at which one of them holds it all the same.
    /// Who does not answer by then is told later.
    async fn tell(self: &Arc<Self>, losers: &[String], client_id: &Arc<str>, loss: Loss, until: Instant) -> Epoch {
        let mut told = JoinSet::new();
        for loser in losers {
            let lost = Lost { owner: loser.clone(), client_id: client_id.clone(), loss };
            let claims = self.clone();
            let tell = async move {
                let held = claims.tell_one(&lost, until).await;
                if held.is_none() {
                    claims.tell_later(lost);
                }
                held.unwrap_or_default()
            };
            told.spawn_on(tell, &self.runtime);
        }
        let mut held = Epoch(0);
        while let Some(answer) = told.join_next().await {
            held = held.max(answer.unwrap_or_default());
        }
        held
    }

    /// What this node took without the registrar. That one is told by an announcement, and tells the loser: but not of a
    /// session that is over by then.
    pub(super) fn tell_in_background(self: &Arc<Self>, losers: Vec<String>, client_id: Arc<str>, loss: Loss) {
        let Ok(permit) = self.background.clone().try_acquire_owned() else { return };
        let (claims, until) = (self.clone(), Instant::now() + self.timeout);
        self.runtime.spawn(async move {
            let _permit = permit;
            claims.tell(&losers, &client_id, loss, until).await;
        });
    }

    /// The epoch at which the loser holds the id all the same; 0 if it let go; `None` if it did not answer.
    async fn tell_one(&self, lost: &Lost, until: Instant) -> Option<Epoch> {
        if lost.owner == self.node {
            return timeout_at(until, self.supersede_here(&lost.client_id, lost.loss)).await.ok();
        }
        let superseded =
            Superseded { client_id: lost.client_id.to_string(), epoch: lost.loss.epoch.0, clean: lost.loss.is_clean };
        match self.ask(&lost.owner, request::What::Superseded(superseded), until).await {
            Some(reply::What::Done(Done { held })) if self.clock.merge(held).is_ok() => Some(Epoch(held)),
            _ => None,
        }
    }

    fn tell_later(self: &Arc<Self>, lost: Lost) {
        let Ok(permit) = self.background.clone().try_acquire_owned() else {
            return tracing::debug!(
                node = lost.owner,
                "too many losers to be told: it learns by its next announcement"
            );
        };
        let claims = Arc::downgrade(self);
        self.runtime.spawn(async move {
            let _permit = permit;
            for _ in 0..RETRIES {
                sleep(RETRY_GAP).await;
                let Some(claims) = claims.upgrade() else { return };
                let is_settled = !claims.engine.lock().view().contains(&lost.owner);
                if is_settled || claims.tell_one(&lost, Instant::now() + claims.timeout).await.is_some() {
                    return;
                }
            }
        });
    }

    /// Tells the losers of an announced page, one after the other.
    pub(super) async fn tell_all(self: &Arc<Self>, lost: Vec<Lost>) {
        for lost in lost {
            if self.tell_one(&lost, Instant::now() + self.timeout).await.is_none() {
                self.tell_later(lost);
            }
        }
    }

    /// Another node owns an id from `epoch` on. Answers the epoch at which this node holds it all the same, or 0.
    pub(super) async fn supersede_here(&self, client_id: &Arc<str>, loss: Loss) -> Epoch {
        let here = self.found_here(client_id).await.map(|found| found.epoch);
        if let Some(held) = here.filter(|held| *held >= loss.epoch) {
            return held;
        }
        self.engine.lock().fence(client_id, loss.epoch);
        if let Some(owners) = self.owners.get() {
            owners.superseded(client_id, loss).await;
        }
        Epoch(0)
    }
}
