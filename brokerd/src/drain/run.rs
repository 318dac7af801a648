//! A drain under way: wait, close, send away at the rate, hand over what stays. Ended at any moment, it has done what it
//! has counted.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;

use super::{Drain, HandOver, Order, Phase};
use crate::worker::Places;

/// Between two lots.
const TICK: Duration = Duration::from_millis(100);
/// The same, once all have gone: one whose CONNECT was under way may still come.
const WATCH: Duration = Duration::from_secs(1);
/// Sessions of one look.
const PAGE: usize = 1000;
/// Sessions that are on their way to other nodes.
const AT_A_TIME: usize = 64;
/// Attempts at what is not taken.
const ATTEMPTS: u32 = 5;

impl Drain {
    pub(super) async fn run(self, order: Order, is_new: bool) {
        if order.clients == 0 && is_new {
            tokio::time::sleep(self.0.parts.wait).await;
        }
        if order.clients == 0 {
            self.close_listeners().await;
            if self.progress().phase == Phase::Waiting {
                self.enter(Phase::Moving);
            }
        }
        let (mut places, mut allowance) = (Places::default(), Allowance::new(self.progress().rate));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut lot = allowance.next();
            if order.clients > 0 {
                let left = order.clients.saturating_sub(self.progress().moved);
                lot = lot.min(usize::try_from(left).unwrap_or(usize::MAX));
            }
            let sent = self.0.parts.workers.send_away(&mut places, lot, &order.redirect).await;
            let moved = {
                let mut progress = self.0.progress.lock();
                progress.moved += sent as u64;
                progress.moved
            };
            let connected = self.0.parts.workers.count().await.connected;
            if order.clients > 0 {
                if moved >= order.clients || connected == 0 {
                    tracing::info!(moved, "some clients were sent away");
                    self.enter(Phase::Off);
                    return;
                }
            } else if connected == 0 && (sent > 0 || self.progress().phase != Phase::Drained) {
                tracing::info!(moved, "all clients were sent away");
                self.hand_sessions_over(&order).await;
                self.enter(Phase::Drained);
                ticks = tokio::time::interval_at(tokio::time::Instant::now() + WATCH, WATCH);
            }
        }
    }

    /// Gives what is left to other nodes, at the rate. What was not taken is tried again, a few times: a node may have been
    /// late. What none takes stays: its client may come back to it.
    async fn hand_sessions_over(&self, order: &Order) {
        let Some(sessions) = &self.0.parts.sessions else { return };
        for _ in 0..ATTEMPTS {
            if self.hand_over_once(&**sessions, order).await == 0 {
                break;
            }
            tokio::time::sleep(WATCH).await;
        }
        tracing::info!(handed_over = self.progress().handed_over, "sessions without a connection were handed over");
    }

    /// Tries each session once, and answers how many were not taken.
    async fn hand_over_once(&self, sessions: &dyn HandOver, order: &Order) -> u64 {
        let mut allowance = Allowance::new(self.progress().rate);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut from, mut on_their_way, mut left) = (None, JoinSet::new(), 0);
        loop {
            let (page, next) = self.0.parts.workers.offline(from, PAGE).await;
            let mut page = page.into_iter().peekable();
            while page.peek().is_some() {
                ticks.tick().await;
                let others = sessions.others();
                for client_id in page.by_ref().take(allowance.next()) {
                    if on_their_way.len() >= AT_A_TIME {
                        left += self.handed_over(on_their_way.join_next().await);
                    }
                    match order.heir(&client_id, &others) {
                        Some(heir) => drop(on_their_way.spawn(sessions.hand_over(client_id, heir))),
                        None => left += 1,
                    }
                }
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        while let Some(done) = on_their_way.join_next().await {
            left += self.handed_over(Some(done));
        }
        left
    }

    /// Counts one that was, and answers 1 for one that was not.
    fn handed_over(&self, done: Option<Result<bool, JoinError>>) -> u64 {
        let is_taken = matches!(done, Some(Ok(true)));
        self.0.progress.lock().handed_over += u64::from(is_taken);
        u64::from(!is_taken)
    }
}

/// How many may go in each tick, so that it is the rate in a second.
struct Allowance {
    rate: u64,
    owed: u64,
}

impl Allowance {
    fn new(rate: u32) -> Self {
        Self { rate: rate.into(), owed: 0 }
    }

    fn next(&mut self) -> usize {
        const SECOND: u64 = 1000;
        self.owed += self.rate * TICK.as_millis() as u64;
        let lot = self.owed / SECOND;
        self.owed %= SECOND;
        usize::try_from(lot).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lots_of_a_second_are_the_rate() {
        for rate in [1, 7, 10, 500, 12_345] {
            let mut allowance = Allowance::new(rate);
            let lots: Vec<usize> = (0..10).map(|_| allowance.next()).collect();
            assert_eq!(lots.iter().sum::<usize>(), rate as usize, "{lots:?}");
            assert!(lots.iter().max().unwrap_or(&0) - lots.iter().min().unwrap_or(&0) <= 1, "unevenly: {lots:?}");
        }
    }
}
