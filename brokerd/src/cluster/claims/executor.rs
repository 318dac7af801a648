//! Wills between nodes: a node entrusts those of its clients to another one, which sends them, once, when that node is
//! down. Never decides whether a will may be published: the workers ask the rules, for the user whose will it is.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mqtt::MessageId;
use proto::claims::{Done, Entrust, reply, request};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::Claims;
use super::wills::Orphan;
use super::wire::{from_will, from_wire, to_will, to_wire};
use crate::metrics::Metric;
use crate::registry::{LastWill, Owned};

/// A will that takes more is held by its own node alone.
pub(super) const LARGEST: usize = 256 << 10;
/// How long a will that is due waits for all nodes to have told what they own: one of them may have the client.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// A node that does not hear of a withdrawal is told again so often, once a second.
const RETRIES: u32 = 10;
const RETRY_GAP: Duration = Duration::from_secs(1);

impl Claims {
    fn entrustment(&self, wills: &[LastWill], withdrawn: Vec<Owned>) -> request::What {
        let wills = wills.iter().map(to_will).collect();
        let instance = self.engine.lock().instance;
        let withdrawn = to_wire(withdrawn);
        request::What::Entrust(Entrust { wills, withdrawn, instance, withdraws_all: false })
    }

    /// Gives a will to the node that is to hold it. A node that is silent gets it by an announcement, later.
    pub(super) async fn entrust_now(self: Arc<Self>, will: LastWill) {
        let executor = self.engine.lock().view().executor(&self.node, &will.client_id).map(str::to_owned);
        let Some(executor) = executor else { return };
        if will.size() > LARGEST {
            return self.count(Metric::WillsRefused);
        }
        let until = Instant::now() + self.timeout / 2;
        self.entrust_to(&executor, &[will], until).await;
    }

    /// False where the node did not answer: then it is told everything again.
    pub(super) async fn entrust_to(self: &Arc<Self>, executor: &str, wills: &[LastWill], until: Instant) -> bool {
        let is_told = self.ask_any(executor, self.entrustment(wills, Vec::new()), until).await.is_some();
        if !is_told && self.engine.lock().distrust(executor) {
            self.spawn_announcer(executor.to_owned(), self.timeout);
        }
        is_told
    }

    /// Tells the holders of wills that are sent or deleted.
    pub(super) async fn withdraw_from(self: &Arc<Self>, executor: &str, withdrawn: Vec<Owned>) {
        let what = self.entrustment(&[], withdrawn);
        if self.ask_any(executor, what.clone(), Instant::now() + self.timeout).await.is_some() {
            return;
        }
        let Ok(permit) = self.background.clone().try_acquire_owned() else {
            return tracing::warn!(node = executor, "too many withdrawn wills to be told of");
        };
        let (claims, executor) = (Arc::downgrade(self), executor.to_owned());
        self.runtime.spawn(async move {
            let _permit = permit;
            for _ in 0..RETRIES {
                sleep(RETRY_GAP).await;
                let Some(claims) = claims.upgrade() else { return };
                let is_over = !claims.engine.lock().view().contains(&executor);
                if is_over || claims.ask_any(&executor, what.clone(), Instant::now() + claims.timeout).await.is_some() {
                    return;
                }
            }
        });
    }

    /// This node leaves: its clients and their wills stay with it.
    pub async fn take_wills_along(&self) {
        let others: Vec<String> = self.engine.lock().others().map(str::to_owned).collect();
        let all = Entrust { withdraws_all: true, ..Entrust::default() };
        for other in others {
            let until = Instant::now() + self.timeout;
            let _ = self.ask_any(&other, request::What::Entrust(all.clone()), until).await; // silent: it may send them
        }
    }

    /// This node has left: what it holds for others is theirs.
    pub fn forget_wills(&self) {
        self.engine.lock().wills.clear();
    }

    pub(super) fn on_entrust(&self, from: &str, entrust: Entrust) -> Result<reply::What, String> {
        let Entrust { wills, withdrawn, instance, withdraws_all } = entrust;
        let wills = wills.into_iter().map(from_will).collect::<Result<Vec<LastWill>, String>>()?;
        let mut refused = 0;
        {
            let mut engine = self.engine.lock();
            if withdraws_all {
                engine.wills.withdraw_all(from);
            }
            for Owned { client_id, epoch, .. } in from_wire(withdrawn) {
                engine.wills.withdraw(from, &client_id, epoch);
            }
            for will in wills {
                refused += u64::from(!engine.wills.entrust(from, instance, will));
            }
        }
        if refused > 0 {
            self.counters.lock().add(Metric::WillsRefused, refused);
        }
        Ok(reply::What::Done(Done { held: 0 }))
    }

    /// Whether a will was not seen before. Counted where it was.
    pub(super) fn is_first(&self, id: MessageId) -> bool {
        let is_first = self.seen_wills.lock().insert(id);
        if !is_first {
            self.count(Metric::DroppedRepeated);
        }
        is_first
    }

    /// Sends a will, unless its client is back in time.
    async fn carry_out_one(self: &Arc<Self>, orphan: Orphan) {
        let Orphan { will, owner, can_be_cancelled } = orphan;
        if can_be_cancelled {
            let (found, _) = self.find(will.client_id.clone()).await;
            if found.epoch > will.epoch {
                return self.count(Metric::WillsCancelled);
            }
        }
        tracing::debug!(client = &*will.client_id, node = &*owner, "sends the will of a client whose node is gone");
        if let Some(owners) = self.owners() {
            self.count(Metric::WillsSent);
            owners.send_will(will);
        }
    }
}

/// Sends wills as they fall due, for as long as the `Claims` live; `news` says that there may be an earlier one.
pub(super) async fn run(claims: Weak<Claims>, news: Arc<Notify>) {
    loop {
        let next = claims.upgrade().map(|claims| claims.engine.lock().wills.next_due());
        let Some(next) = next else { return };
        let Some(at) = next else {
            news.notified().await;
            continue;
        };
        if at > Instant::now() {
            tokio::select! {
                () = sleep_until(at) => {}
                () = news.notified() => {}
            }
            continue;
        }
        let Some(claims) = claims.upgrade() else { return };
        if !claims.is_in_sync() && at.elapsed() < PATIENCE {
            drop(claims);
            sleep(LOOK).await;
            continue;
        }
        let due = claims.engine.lock().wills.take_due();
        if let Some(orphan) = due {
            claims.carry_out_one(orphan).await;
        }
    }
}
