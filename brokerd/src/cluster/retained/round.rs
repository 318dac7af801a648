//! One comparison with a peer, and the task that has them made: when a link is open, and now and then. Asks one thing at
//! a time, so that what is under way is one answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use proto::peer::{
    RetainedAnswer, RetainedAsk, RetainedCompare, RetainedFetch, RetainedHead, RetainedList, RetainedPage,
    RetainedState, retained_answer, retained_ask,
};

use super::answer::{ANSWER, TOPICS};
use super::{Agreement, Replica, change};
use crate::cluster::AskError;
use crate::cluster::asks::Kind;
use crate::cluster::core::Core;
use crate::cluster::inbound;
use crate::cluster::peer::Peer;
use crate::metrics::Metric;
use crate::retain::{BUCKETS, Buckets, Change, Head, Stamp, What};

/// Between two comparisons with a peer, where all is well.
const PERIOD: Duration = Duration::from_secs(10);
/// And where it is not.
const RETRY: Duration = Duration::from_secs(1);
/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a comparison came to nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::cluster) enum RoundError {
    #[error(transparent)]
    NoAnswer(#[from] AskError),
    #[error("its answer makes no sense")]
    Nonsense,
}

/// Compares with every peer that is up, one after the other. Runs until it is dropped.
pub(in crate::cluster) async fn run(core: Arc<Core>) {
    let mut due: HashMap<Arc<str>, Instant> = HashMap::new();
    loop {
        let up = core.hot.up();
        let peers: Vec<_> = core.all_peers().into_iter().filter(|peer| up.contains(peer.slot)).collect();
        due.retain(|name, _| peers.iter().any(|peer| peer.name == *name));
        for peer in peers {
            let is_linked = peer.standing.lock().gone_since.is_none();
            let is_due = due.get(&peer.name).is_none_or(|at| *at <= Instant::now());
            let is_new = peer.has_new_link.swap(false, Ordering::AcqRel);
            if !is_linked {
                due.remove(&peer.name); // the next link wakes this task
            }
            if !is_linked || !(is_due || is_new) {
                continue;
            }
            let pause = match round(&core, &peer).await {
                Ok(()) => PERIOD,
                Err(error) => {
                    tracing::debug!(peer = %peer.name, "what it retains was not compared: {error}");
                    RETRY
                }
            };
            due.insert(peer.name.clone(), Instant::now() + pause);
        }
        let next = due.values().min().copied();
        let pause = next.map_or(PERIOD, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = core.replica.wake.notified() => {}
            () = tokio::time::sleep(pause.max(Duration::from_millis(10))) => {}
        }
    }
}

/// Takes over what is later at a peer.
pub(in crate::cluster) async fn round(core: &Core, peer: &Peer) -> Result<(), RoundError> {
    let replica = &core.replica;
    let is_first = !replica.has_agreed(&peer.name);
    let (own, serial) = replica.store.digests();
    let state = compare(peer, own.total).await?;
    let differing = match state.buckets.len() {
        0 if state.total == own.total => Buckets::default(),
        BUCKETS => own.differing(&state.buckets),
        _ => return Err(RoundError::Nonsense),
    };
    let mut round = Round { core, peer, replica, state: &state, lacking: serial.saturating_add(1), refused: 0 };
    // Who has just come learns of all deletions: an older message may come from somebody else.
    let deletions = if is_first { Buckets::all() } else { differing.clone() };
    round.take_deletions(&deletions).await?;
    round.take_messages(&differing).await?;
    if round.refused == 0 {
        let agreement = Agreement { serial: (round.lacking - 1).min(serial), at: state.now };
        replica.agreed(&peer.name, agreement, state.since, state.horizon);
    }
    peer.is_compared.store(true, Ordering::Release);
    core.changed.notify_one();
    Ok(())
}

struct Round<'a> {
    core: &'a Core,
    peer: &'a Peer,
    replica: &'a Replica,
    state: &'a RetainedState,
    /// The first change of this node that the peer may lack.
    lacking: u64,
    refused: usize,
}

impl Round<'_> {
    async fn take_deletions(&mut self, buckets: &Buckets) -> Result<(), RoundError> {
        let mut after = None;
        while !buckets.is_empty() {
            let page = self.list(buckets, after, true).await?;
            let deleted = |head: RetainedHead| {
                let stamp = Stamp { hlc: head.stamp, node: head.origin };
                Change { topic: head.topic.into(), stamp, what: What::Deleted }
            };
            let changes: Vec<Change> = page.heads.into_iter().map(deleted).collect();
            self.refused += self.replica.take(changes, None).refused;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn take_messages(&mut self, buckets: &Buckets) -> Result<(), RoundError> {
        let mut after = None;
        while !buckets.is_empty() {
            let RetainedPage { heads, next } = self.list(buckets, after.clone(), false).await?;
            let stamp = |head: &RetainedHead| Stamp { hlc: head.stamp, node: head.origin };
            let theirs: HashMap<Arc<str>, Stamp> =
                heads.iter().map(|head| (Arc::from(head.topic.as_str()), stamp(head))).collect();
            let is_later =
                |head: &RetainedHead| self.replica.store.stamp(&head.topic).is_none_or(|known| known < stamp(head));
            let mut wanted: Vec<String> =
                heads.iter().filter(|head| is_later(head)).map(|head| head.topic.clone()).collect();
            self.leave_out_what_has_no_room(&mut wanted);
            self.look_beyond(buckets, (after.as_deref(), next.as_deref()), &theirs).await;
            self.fetch(wanted).await?;
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Where this node is full, new topics would come again and again to be refused.
    fn leave_out_what_has_no_room(&mut self, wanted: &mut Vec<String>) {
        let store = &self.replica.store;
        if self.refused > 0 || store.is_full() {
            let before = wanted.len();
            wanted.retain(|topic| store.stamp(topic).is_some());
            self.refused += before - wanted.len();
        }
    }

    /// Looks at what this node has and the peer lacks. The peer fetches it for itself, unless it was there once and is
    /// not any more, and the peer may have forgotten that it was deleted: then that stands.
    async fn look_beyond(
        &mut self,
        buckets: &Buckets,
        (after, until): (Option<&str>, Option<&str>),
        theirs: &HashMap<Arc<str>, Stamp>,
    ) {
        let state = self.state;
        let agreed = self.replica.agreement(&self.peer.name);
        let agreed = agreed.filter(|agreed| agreed.at < state.horizon && state.since <= agreed.at && !state.full);
        let mut after = after.map(str::to_owned);
        loop {
            let store = &self.replica.store;
            let list = store.beyond(buckets, (after.as_deref(), until), theirs, self.core.time());
            let mut buried = Vec::new();
            for head in &list.heads {
                let is_old = agreed.is_some_and(|agreed| head.serial <= agreed.serial);
                if is_old && !theirs.contains_key(&head.topic) {
                    buried.extend(store.bury(head, self.core.parts.clock.now()));
                } else {
                    self.lacking = self.lacking.min(head.serial);
                }
            }
            self.note_buried(&list.heads, buried);
            after = list.next;
            if after.is_none() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn note_buried(&self, looked_at: &[Head], buried: Vec<Change>) {
        if buried.is_empty() {
            return;
        }
        let (count, of) = (buried.len(), looked_at.len());
        tracing::warn!(peer = %self.peer.name, count, of, "retained messages that it deleted long ago are deleted here");
        self.replica.tally.add(Metric::RetainedBuried, count as u64);
        if let Some(keeper) = &self.replica.keeper {
            keeper.keep(buried, Box::new(|_| ()));
        }
    }

    async fn fetch(&mut self, wanted: Vec<String>) -> Result<(), RoundError> {
        let (core, mut wanted) = (self.core, &wanted[..]);
        while !wanted.is_empty() {
            let mut bytes = 0;
            let fits = |topic: &&String| {
                bytes += topic.len();
                bytes <= ANSWER
            };
            let topics: Vec<String> = wanted.iter().take(TOPICS).take_while(fits).cloned().collect();
            let asked = topics.len();
            let fetch = retained_ask::What::Fetch(RetainedFetch { topics });
            let retained_answer::What::Messages(answer) = self.ask(fetch).await? else {
                return Err(RoundError::Nonsense);
            };
            let answered = answer.answered as usize;
            if answered == 0 || answered > asked || answer.messages.len() > answered {
                return Err(RoundError::Nonsense);
            }
            let now = core.time();
            let mut changes = Vec::with_capacity(answer.messages.len());
            for sent in &answer.messages {
                match inbound::decode(sent, now, core.parts.max_packet_size) {
                    Ok(message) => changes.push(change(&Arc::new(message), sent.stamp)),
                    Err(bad) => {
                        tracing::debug!(peer = %self.peer.name, "what it retains is not taken: {bad}");
                        core.parts.tally.add(Metric::DeliveryDroppedTooLarge, 1);
                        self.refused += 1;
                    }
                }
            }
            self.replica.tally.add(Metric::RetainedReceived, changes.len() as u64);
            self.refused += self.replica.take(changes, None).refused;
            wanted = &wanted[answered..];
        }
        Ok(())
    }

    async fn list(
        &self,
        buckets: &Buckets,
        after: Option<String>,
        deletions: bool,
    ) -> Result<RetainedPage, RoundError> {
        let buckets = Bytes::copy_from_slice(buckets.as_bytes());
        let list = retained_ask::What::List(RetainedList { buckets, after, deletions });
        match self.ask(list).await? {
            retained_answer::What::Page(page) => Ok(page),
            _ => Err(RoundError::Nonsense),
        }
    }

    async fn ask(&self, what: retained_ask::What) -> Result<retained_answer::What, RoundError> {
        ask(self.peer, what).await
    }
}

async fn compare(peer: &Peer, total: u64) -> Result<RetainedState, RoundError> {
    match ask(peer, retained_ask::What::Compare(RetainedCompare { total })).await? {
        retained_answer::What::State(state) => Ok(state),
        _ => Err(RoundError::Nonsense),
    }
}

async fn ask(peer: &Peer, what: retained_ask::What) -> Result<retained_answer::What, RoundError> {
    let body = RetainedAsk { what: Some(what) }.encode_to_vec().into();
    let answer = peer.asks.ask(&peer.name, Kind::Retained, body, PATIENCE).await?;
    RetainedAnswer::decode(answer).ok().and_then(|answer| answer.what).ok_or(RoundError::Nonsense)
}
