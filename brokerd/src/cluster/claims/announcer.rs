//! Tells new registrars what this node owns, and what it owns no more. Never holds more than a page of ids at a time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use proto::claims::{Announce, AnnounceDone, Announced, Release, reply, request};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Claims;
use super::engine::Announcement;
use super::rows::SHARDS;
use super::wire::{PAGE, from_wire, to_wire};
use crate::registry::{Loss, Owned};

/// For one page: a registrar tells the losers before it answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a page that was not answered: short at first, for the link of a peer just met is up in a moment, and this
/// node is not ready before.
const RETRY_GAPS: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);

/// Why an announcement stopped before its end.
enum Stopped {
    /// There is a newer view, or the peer is met for the first time: begin again.
    Overtaken,
    /// The peer did not answer, or started anew: begin again in a moment.
    Silent,
}

impl Claims {
    /// Starts a task that announces to a peer until it has everything for the current view, or is gone.
    pub(super) fn spawn_announcer(self: &Arc<Self>, peer: String, delay: Duration) {
        let claims = Arc::downgrade(self);
        self.runtime.spawn(async move {
            sleep(delay).await;
            let mut gap = *RETRY_GAPS.start();
            while let Some(claims) = claims.upgrade() {
                let Some(next) = claims.engine.lock().next_announcement(&peer) else {
                    return;
                };
                match claims.announce(&peer, &next).await {
                    Ok(()) => claims.engine.lock().announced_to(&peer, next),
                    Err(Stopped::Overtaken) => {}
                    Err(Stopped::Silent) => {
                        sleep(gap).await;
                        gap = (gap * 2).min(*RETRY_GAPS.end());
                    }
                }
            }
        });
    }

    async fn announce(&self, peer: &str, what: &Announcement) -> Result<(), Stopped> {
        // Before the workers are there nothing is owned, and nothing may be called complete.
        let owners = self.owners.get().ok_or(Stopped::Silent)?;
        let is_news = |id: &str| {
            what.view.registrar(id) == peer && what.base.as_ref().is_none_or(|base| base.registrar(id) != peer)
        };
        // The first page is empty: it asks whether the peer is still the one that has `base`.
        self.announce_page(peer, what, Vec::new()).await?;
        let mut page = Vec::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (owned, next) = owners.owned(at, PAGE).await;
            cursor = next;
            for owned in owned.into_iter().filter(|owned| is_news(&owned.client_id)) {
                page.push(owned);
                if page.len() == PAGE {
                    self.announce_page(peer, what, std::mem::take(&mut page)).await?;
                }
            }
        }
        if !page.is_empty() {
            self.announce_page(peer, what, page).await?;
        }
        let done = {
            let engine = self.engine.lock();
            let (wanted, instance) = (engine.wants(peer), engine.instance);
            AnnounceDone { view: what.view.hash, wanted, instance, to: what.to }
        };
        let answer = self.ask(peer, request::What::AnnounceDone(done), Instant::now() + PATIENCE).await;
        answer.map(|_| ()).ok_or(Stopped::Silent)
    }

    async fn announce_page(&self, peer: &str, what: &Announcement, page: Vec<Owned>) -> Result<(), Stopped> {
        if *self.engine.lock().view() != *what.view {
            return Err(Stopped::Overtaken);
        }
        let announce = request::What::Announce(Announce { owned: to_wire(page) });
        let answer = self.ask(peer, announce, Instant::now() + PATIENCE).await;
        let Some(reply::What::Announced(Announced { stale, instance })) = answer else {
            return Err(Stopped::Silent);
        };
        if instance != what.to {
            // This task is the one that announces to it.
            let _ = self.engine.lock().meet(peer, instance);
            // At once where it is the first contact; a peer that changes again and again is not followed in a hot loop.
            return Err(if what.to == 0 { Stopped::Overtaken } else { Stopped::Silent });
        }
        for Owned { client_id, epoch, .. } in from_wire(stale) {
            if self.clock.merge(epoch.0).is_ok() {
                self.supersede_here(&client_id, Loss { epoch, is_clean: false }).await;
            }
        }
        Ok(())
    }

    /// Drops the rows of other registrars, a part at a time, once every owner has told those.
    pub(super) fn spawn_sweep(self: &Arc<Self>) {
        let claims = Arc::downgrade(self);
        self.runtime.spawn(async move {
            for shard in 0..SHARDS {
                let Some(claims) = claims.upgrade() else { return };
                claims.engine.lock().sweep(shard);
                tokio::task::yield_now().await;
            }
        });
    }
}

/// Tells registrars of sessions that ended. Ends when the `Claims` does. What a registrar does not hear stays as a row
/// until the id is claimed again.
pub(super) async fn release(claims: Weak<Claims>, mut released: mpsc::Receiver<Owned>) {
    let mut batch = Vec::new();
    while released.recv_many(&mut batch, PAGE).await > 0 {
        let Some(claims) = claims.upgrade() else { return };
        let view = claims.engine.lock().view();
        let mut by_registrar = HashMap::<&str, Vec<Owned>>::new();
        for owned in batch.drain(..) {
            by_registrar.entry(view.registrar(&owned.client_id)).or_default().push(owned);
        }
        for (registrar, owned) in by_registrar {
            if registrar == claims.node {
                claims.release_here(owned);
            } else {
                let release = request::What::Release(Release { owned: to_wire(owned) });
                claims.ask(registrar, release, Instant::now() + claims.timeout).await;
            }
        }
    }
}
