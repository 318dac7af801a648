//! What this node answers to a peer that compares. Every answer is bounded in bytes and in what is looked at; what is too
//! large for a control link goes on the messages link. Changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use proto::peer::{
    RetainedAnswer, RetainedAsk, RetainedFetch, RetainedHead, RetainedList, RetainedMessages, RetainedPage,
    RetainedState, retained_answer, retained_ask,
};

use crate::cluster::core::Core;
use crate::cluster::inbound;
use crate::cluster::peer::Peer;
use crate::metrics::Metric;
use crate::retain::{Buckets, List};
use crate::router::{Forward, Outbound, PeerSet, Share};

/// Bytes after which an answer ends.
pub(super) const ANSWER: usize = 256 << 10;
/// Topics that are fetched at once, at most.
pub(super) const TOPICS: usize = 512;
/// Heads of a list, at most.
const HEADS: usize = 2048;
/// Holds of the lock for one answer; between them others have their turn.
const LOOKS: usize = 32;
/// What a head costs beside its topic.
const HEAD: usize = 32;
/// A message that is larger does not go on the control link, whose frames are bounded.
const LARGE: usize = 1 << 20;

/// Answers a peer; nothing where the question makes no sense.
pub(in crate::cluster) async fn answer(core: &Core, peer: &Peer, body: Bytes) -> Option<Bytes> {
    let what = match RetainedAsk::decode(body).ok()?.what? {
        retained_ask::What::Compare(theirs) => retained_answer::What::State(state(core, theirs.total)),
        retained_ask::What::List(list) => retained_answer::What::Page(page(core, list).await?),
        retained_ask::What::Fetch(fetch) => retained_answer::What::Messages(messages(core, peer, fetch)),
    };
    Some(RetainedAnswer { what: Some(what) }.encode_to_vec().into())
}

fn state(core: &Core, theirs: u64) -> RetainedState {
    let replica = &core.replica;
    // The clock is read first: what is deleted from then on is no part of this.
    let now = core.parts.clock.now();
    let (digests, _) = replica.store.digests();
    let is_same = digests.total == theirs;
    RetainedState {
        total: digests.total,
        buckets: if is_same { Vec::new() } else { digests.buckets },
        now,
        since: replica.since(),
        horizon: replica.store.horizon(),
        full: replica.store.is_full(),
    }
}

async fn page(core: &Core, ask: RetainedList) -> Option<RetainedPage> {
    let buckets = Buckets::from_bytes(&ask.buckets)?;
    let (store, mut after) = (&core.replica.store, ask.after);
    let (mut heads, mut bytes) = (Vec::new(), 0);
    for _ in 0..LOOKS {
        let List { heads: found, next } = if ask.deletions {
            store.deletions(&buckets, after.as_deref(), HEADS)
        } else {
            store.list(&buckets, after.as_deref(), HEADS, core.time())
        };
        after = next;
        for head in found {
            if bytes >= ANSWER || heads.len() >= HEADS {
                // The next page begins behind the last that this one has.
                let next = heads.last().map(|last: &RetainedHead| last.topic.clone());
                return Some(RetainedPage { heads, next });
            }
            bytes += head.topic.len() + HEAD;
            heads.push(RetainedHead { topic: head.topic.to_string(), stamp: head.stamp.hlc, origin: head.stamp.node });
        }
        if after.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    Some(RetainedPage { heads, next: after })
}

fn messages(core: &Core, peer: &Peer, ask: RetainedFetch) -> RetainedMessages {
    let (now, store) = (core.time(), &core.replica.store);
    let (mut found, mut large, mut bytes, mut answered) = (Vec::new(), Vec::new(), 0, 0);
    for topic in ask.topics.iter().take(TOPICS) {
        if bytes >= ANSWER {
            break;
        }
        answered += 1;
        let Some((message, stamp)) = store.message(topic, now) else { continue };
        let size = message.heap_size();
        let mut outbound = Outbound { message, ticket: None, share: None, retained_at: stamp.hlc };
        if size > LARGE {
            // Its subscribers there have it, or never were to.
            outbound.share = Some(Arc::new(Share { only_groups: true, ..Share::default() }));
            large.push(outbound);
        } else {
            bytes += size;
            found.push(outbound);
        }
    }
    core.replica.tally.add(Metric::RetainedSent, (found.len() + large.len()) as u64);
    if !large.is_empty() && !core.is_congested() {
        core.forward(peer.slot, &mut large);
    }
    let messages = inbound::encode(&found, now, |_: PeerSet| Vec::new());
    RetainedMessages { messages, answered }
}
