//! A session that moves between nodes which keep their sessions apart: the new owner asks the one before for it, page by
//! page. Never looks into a page, and never waits longer than its deadlines: a node that is silent has nothing.

use std::sync::Arc;
use std::time::Duration;

use mqtt::MessageId;
use proto::claims::{self as pb, Done, page::How, reply, request};
use tokio::time::{Instant, sleep, timeout_at};

use super::Claims;
use super::moving::HAND_OVER;
use crate::registry::{Epoch, Fetch, Fetched, Holder, MovingMessage, MovingPage, Owned};

/// How long a node that is given a session may take to have it.
const GIVING: Duration = Duration::from_secs(10);
/// Between two questions to a node whose link is closed.
const GAP: Duration = Duration::from_millis(20);

impl Claims {
    /// Asks the node that had a session for a page of it.
    pub(super) async fn fetch_from(&self, from: String, fetch: Fetch) -> Option<Fetched> {
        let patience = if fetch.is_drained { HAND_OVER } else { self.timeout };
        let what = request::What::Fetch(pb::Fetch {
            client_id: fetch.client_id.to_string(),
            epoch: fetch.epoch.0,
            after: fetch.after,
            head: fetch.is_head,
            drained: fetch.is_drained,
            offset: u32::try_from(fetch.offset).unwrap_or(u32::MAX),
        });
        let until = Instant::now() + patience;
        loop {
            match self.ask(&from, what.clone(), until).await {
                Some(reply::What::Page(page)) => return read(page),
                Some(_) => return None,
                None => {}
            }
            // A link that was cut is open again in a moment: a session is worth the wait that a silent node gets.
            let is_up = self.engine.lock().view().contains(&from);
            if !is_up || Instant::now() + GAP >= until {
                return None;
            }
            sleep(GAP).await;
        }
    }

    pub(super) async fn on_fetch(self: &Arc<Self>, fetch: pb::Fetch) -> reply::What {
        if fetch.drained {
            self.drain_peers(Instant::now() + HAND_OVER / 2).await;
        }
        let Some(owners) = self.owners.get() else { return write(Fetched::NotHere) };
        let fetch = Fetch {
            client_id: fetch.client_id.into(),
            epoch: Epoch(fetch.epoch),
            after: fetch.after,
            is_head: fetch.head,
            is_drained: fetch.drained,
            offset: usize::try_from(fetch.offset).unwrap_or(usize::MAX),
        };
        write(owners.fetched(fetch).await)
    }

    /// Has another node take a session of this one.
    pub(super) async fn give_to(&self, owned: Owned, session_expiry: u32, to: String) -> bool {
        let Owned { client_id, epoch, holder } = owned;
        let client_id = client_id.to_string();
        let take = pb::Take { client_id, holder: holder.0, epoch: epoch.0, session_expiry };
        let answer = self.ask(&to, request::What::Take(take), Instant::now() + GIVING).await;
        matches!(answer, Some(reply::What::Done(Done { held: 1 })))
    }

    pub(super) async fn on_take(&self, from: &str, take: pb::Take) -> reply::What {
        let pb::Take { client_id, holder, epoch, session_expiry } = take;
        let owned = Owned { client_id: client_id.into(), epoch: Epoch(epoch), holder: Holder(holder) };
        let until = Instant::now() + GIVING;
        let is_taken = match self.owners.get() {
            Some(owners) => timeout_at(until, owners.taken(owned, session_expiry, from.to_owned())).await,
            None => Ok(false),
        };
        reply::What::Done(Done { held: u64::from(is_taken.unwrap_or(false)) })
    }
}

fn read(page: pb::Page) -> Option<Fetched> {
    match page.how() {
        How::NotHere => return Some(Fetched::NotHere),
        How::Busy => return Some(Fetched::Busy),
        How::Page => {}
    }
    let message = |waiting: pb::Waiting| {
        Some(MovingMessage {
            seq: waiting.seq,
            packet_id: u16::try_from(waiting.packet_id).ok()?,
            is_released: waiting.released,
            entry: waiting.entry.into(),
            missing: usize::try_from(waiting.missing).ok()?,
        })
    };
    Some(Fetched::Page(Box::new(MovingPage {
        wall: page.wall,
        record: page.record.into(),
        received: page.received.into_iter().map(|id| u16::try_from(id).ok()).collect::<Option<_>>()?,
        messages: page.messages.into_iter().map(message).collect::<Option<_>>()?,
        is_last: page.last,
        up_to: page.up_to,
        marks: page.marks.into_iter().map(mark).collect::<Option<_>>()?,
    })))
}

fn mark(mark: pb::Mark) -> Option<MessageId> {
    Some(MessageId { origin: mark.origin, worker: u16::try_from(mark.worker).ok()?, sequence: mark.sequence })
}

fn write(fetched: Fetched) -> reply::What {
    let empty = |how: How| pb::Page { how: how.into(), ..pb::Page::default() };
    let page = match fetched {
        Fetched::NotHere => empty(How::NotHere),
        Fetched::Busy => empty(How::Busy),
        Fetched::Page(page) => pb::Page {
            how: How::Page.into(),
            wall: page.wall,
            record: page.record.to_vec(),
            received: page.received.into_iter().map(u32::from).collect(),
            messages: page.messages.into_iter().map(waiting).collect(),
            last: page.is_last,
            up_to: page.up_to,
            marks: page
                .marks
                .into_iter()
                .map(|id| pb::Mark { origin: id.origin, worker: id.worker.into(), sequence: id.sequence })
                .collect(),
        },
    };
    reply::What::Page(page)
}

fn waiting(message: MovingMessage) -> pb::Waiting {
    pb::Waiting {
        seq: message.seq,
        packet_id: message.packet_id.into(),
        released: message.is_released,
        entry: message.entry.to_vec(),
        missing: u32::try_from(message.missing).unwrap_or(u32::MAX),
    }
}
