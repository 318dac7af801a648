//! Tells new registrars what this node owns, and what it owns no more. Never holds more than a page of ids at a time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use proto::claims::{Announce, AnnounceDone, Announced, Release, reply, request};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Claims;
use super::engine::Announcement;
use super::executor::LARGEST;
use super::rows::SHARDS;
use super::wire::{PAGE, from_wire, to_wire};
use crate::registry::{LastWill, Loss, Owned};

/// For one page: a registrar tells the losers before it answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a page that was not answered: short at first, for the link of a peer just met is up in a moment, and this
/// node is not ready before.
const RETRY_GAPS: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);
/// Sessions that are looked at for wills at a time, for those may be large; and bytes of a page of them.
const WILLS: usize = 256;
const WILLS_BYTES: usize = 512 << 10;

/// What became of a session, for other nodes to know.
pub(super) enum News {
    /// It ended.
    Released(Owned),
    /// Its will was sent or deleted.
    Withdrawn(Owned),
    /// Its will waits.
    Waits(LastWill),
}

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

    async fn announce(self: &Arc<Self>, peer: &str, what: &Announcement) -> Result<(), Stopped> {
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
        self.announce_wills(peer, what).await?;
        let done = {
            let engine = self.engine.lock();
            let (wanted, instance) = (engine.wants(peer), engine.instance);
            AnnounceDone { view: what.view.hash, wanted, instance, to: what.to }
        };
        let answer = self.ask(peer, request::What::AnnounceDone(done), Instant::now() + PATIENCE).await;
        answer.map(|_| ()).ok_or(Stopped::Silent)
    }

    /// Gives a peer the wills that it is to hold.
    async fn announce_wills(self: &Arc<Self>, peer: &str, what: &Announcement) -> Result<(), Stopped> {
        let owners = self.owners.get().ok_or(Stopped::Silent)?;
        let holds = |view: &super::view::View, id: &str| view.executor(&self.node, id) == Some(peer);
        let is_news = |id: &str| holds(&what.view, id) && what.base.as_ref().is_none_or(|base| !holds(base, id));
        let (mut page, mut bytes, mut cursor) = (Vec::new(), 0, Some(0));
        while let Some(at) = cursor {
            let (wills, next) = owners.wills(at, WILLS).await;
            cursor = next;
            for will in wills.into_iter().filter(|will| is_news(&will.client_id) && will.size() <= LARGEST) {
                bytes += will.size();
                page.push(will);
                if page.len() == PAGE || bytes >= WILLS_BYTES {
                    self.announce_will_page(peer, what, &page).await?;
                    page.clear();
                    bytes = 0;
                }
            }
        }
        if page.is_empty() { Ok(()) } else { self.announce_will_page(peer, what, &page).await }
    }

    async fn announce_will_page(
        self: &Arc<Self>,
        peer: &str,
        what: &Announcement,
        page: &[LastWill],
    ) -> Result<(), Stopped> {
        if *self.engine.lock().view() != *what.view {
            return Err(Stopped::Overtaken);
        }
        let until = Instant::now() + PATIENCE;
        if self.entrust_to(peer, page, until).await { Ok(()) } else { Err(Stopped::Silent) }
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
            if let Some(claims) = claims.upgrade() {
                claims.engine.lock().sweep_wills();
            }
        });
    }
}

/// Tells registrars of sessions that ended, and the holders of wills what became of them. Ends when the `Claims` does. What a
/// registrar does not hear stays as a row until the id is claimed again.
pub(super) async fn tell_news(claims: Weak<Claims>, mut news: mpsc::Receiver<News>) {
    let mut batch = Vec::new();
    while news.recv_many(&mut batch, PAGE).await > 0 {
        let Some(claims) = claims.upgrade() else { return };
        let view = claims.engine.lock().view();
        let (mut ended, mut withdrawn) = (HashMap::<&str, Vec<Owned>>::new(), HashMap::<&str, Vec<Owned>>::new());
        let mut waiting = Vec::new();
        for one in batch.drain(..) {
            match one {
                News::Released(owned) => ended.entry(view.registrar(&owned.client_id)).or_default().push(owned),
                News::Withdrawn(owned) => {
                    if let Some(executor) = view.executor(&claims.node, &owned.client_id) {
                        withdrawn.entry(executor).or_default().push(owned);
                    }
                }
                News::Waits(will) => waiting.push(will),
            }
        }
        for (registrar, owned) in ended {
            if registrar == claims.node {
                claims.release_here(owned);
            } else {
                let release = request::What::Release(Release { owned: to_wire(owned) });
                claims.ask(registrar, release, Instant::now() + claims.timeout).await;
            }
        }
        // In this order: what was withdrawn stays so, whatever else is said of it.
        for (executor, owned) in withdrawn {
            claims.withdraw_from(executor, owned).await;
        }
        for will in waiting {
            claims.clone().entrust_now(will).await;
        }
    }
}
