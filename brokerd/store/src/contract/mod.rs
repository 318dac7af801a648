//! What every backend promises, as checks that a test of a backend calls. Each check is given an empty store by the
//! factory, and panics with what it expected. Never knows which backend it looks at, but for its [`Caps`](crate::Caps).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod others;
mod owners;
mod queues;
pub mod servers;
mod sessions;

use std::future::Future;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;

use mqtt::{Message, MessageId, PacketId, Qos, Version};

use crate::backend::{Backend, Claim, Stored, Survives, Waiting};
use crate::op::{Body, Entry, Op, Outcome};
use crate::record::{SessionRecord, Sid};

/// A store to check: one that can be closed and opened again is one that outlives its process.
pub trait Place: Send + Sync {
    /// Opens it: the first time it is empty, then it has what was committed.
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>>;
}

/// Makes empty places.
pub type Factory<'a> = &'a dyn Fn() -> Box<dyn Place>;

/// One check: its name says what is promised.
pub type Check = (&'static str, fn(Box<dyn Place>) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! checks {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// All checks, for a harness that runs them one by one.
        pub const CHECKS: &[Check] = &[$((stringify!($name), |place| Box::pin($module::$name(place)))),*];
    };
}

checks! {
    queues::entries_come_back_in_order_whatever_their_size,
    queues::pages_are_bounded_and_lose_nothing,
    queues::the_same_batch_again_changes_nothing,
    queues::a_message_for_many_is_stored_once_and_goes_with_its_last_entry,
    queues::a_shared_message_survives_a_reopen_and_then_goes,
    queues::entries_leave_one_by_one_or_in_a_range,
    queues::changes_of_one_commit_see_each_other,
    queues::ten_thousand_changes_are_one_batch,
    sessions::a_session_comes_back_as_it_was_saved,
    sessions::what_is_in_flight_comes_back_in_its_state,
    sessions::received_packet_ids_come_back_until_they_are_released,
    sessions::a_dropped_session_leaves_nothing,
    sessions::sessions_are_listed_page_by_page_with_their_queues,
    sessions::a_session_ends_when_its_time_comes_and_not_before,
    sessions::a_message_expires_but_not_in_flight,
    owners::the_higher_epoch_wins_a_claim,
    owners::the_same_claim_again_is_granted,
    owners::a_stale_owner_changes_nothing,
    owners::only_one_of_many_claims_at_an_epoch_wins,
    owners::claims_that_go_together_are_answered_each_by_itself,
    owners::a_clean_start_gets_an_empty_session,
    owners::what_a_process_before_had_under_way_is_refused_after_the_fence,
    owners::a_claim_of_who_still_has_it_is_refused_where_another_had_it_since,
    owners::only_its_owner_changes_a_session,
    owners::a_publish_is_not_received_where_an_entry_of_its_batch_is_refused,
    owners::a_claim_that_was_never_saved_is_dropped_at_its_epoch_and_at_no_earlier_one,
    others::the_later_retained_message_stands,
    others::retained_messages_are_listed_page_by_page,
    others::delayed_messages_come_back_until_they_are_dropped,
    others::large_values_come_back_whole,
}

/// All checks side by side: they wait for a disk or a server most of the time.
pub fn run_side_by_side(make: impl Fn() -> Box<dyn Place> + Sync) {
    std::thread::scope(|scope| {
        let start = |(name, check): &'static Check| {
            let (place, thread) = (make(), std::thread::Builder::new().name((*name).into()));
            let run = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(check(place));
            };
            thread.spawn_scoped(scope, run).unwrap()
        };
        let threads: Vec<_> = CHECKS.iter().map(start).collect();
        let ended =
            CHECKS.iter().zip(threads).filter_map(|((name, _), thread)| thread.join().is_err().then_some(*name));
        let failed: Vec<&str> = ended.collect();
        assert!(failed.is_empty(), "not kept: {failed:?}");
    });
}

/// Runs all checks, each in a place of its own.
pub async fn run_all(make: Factory<'_>) {
    for (name, check) in CHECKS {
        println!("{name}");
        check(make()).await;
    }
}

/// Applies one batch, durably.
async fn apply(store: &Arc<dyn Backend>, ops: &[Op]) -> Outcome {
    store.apply(&[ops], true).await.unwrap().remove(0)
}

async fn claim(store: &Arc<dyn Backend>, client_id: &str, epoch: u64) -> Sid {
    store.claim(&claim_of(client_id, epoch)).await.unwrap().sid
}

fn claim_of(client_id: &str, epoch: u64) -> Claim {
    Claim { client_id: client_id.into(), epoch, node: "a".into(), is_clean: false, held: None }
}

async fn fetch_all(store: &Arc<dyn Backend>, sid: Sid) -> Vec<Stored> {
    store.fetch(sid, 0, usize::MAX, usize::MAX).await.unwrap()
}

async fn seqs(store: &Arc<dyn Backend>, sid: Sid) -> Vec<u64> {
    fetch_all(store, sid).await.iter().map(|stored| stored.seq).collect()
}

/// Until there is nothing left to tidy up.
async fn settle(store: &Arc<dyn Backend>) {
    while store.maintain().await.unwrap() {}
}

fn message(sequence: u64, payload: &[u8]) -> Arc<Message> {
    let mut message = Message::new("a/b", &[0x01, 0x01], payload);
    message.id = MessageId { origin: 7, worker: 2, sequence };
    message.qos = Qos::ExactlyOnce;
    message.retain = true;
    Arc::new(message)
}

fn entry(body: Body) -> Entry {
    Entry {
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: Box::new([3, 500_000]),
        shared: None,
        expires_at: None,
        body,
    }
}

fn inline(sid: Sid, seq: u64) -> Op {
    Op::Enqueue { sid, epoch: 1, seq, entry: entry(Body::Inline(message(seq, b"inline"))) }
}

fn shared(sid: Sid, seq: u64, id: MessageId) -> Op {
    Op::Enqueue { sid, epoch: 1, seq, entry: entry(Body::Shared(id, 40)) }
}

fn packet_id(id: u16) -> PacketId {
    NonZeroU16::new(id).unwrap()
}

fn record(client_id: &str) -> SessionRecord {
    SessionRecord {
        client_id: client_id.into(),
        version: Version::V5,
        expiry: 60,
        detached_at: None,
        principal: Some("someone".into()),
        subscriptions: Vec::new(),
        will: None,
        next_seq: 1,
        first_serial: 11,
        serials: 2,
    }
}

/// Closes the store and opens it again; `None` where it does not outlive that.
async fn reopen(place: &dyn Place, store: Arc<dyn Backend>) -> Option<Arc<dyn Backend>> {
    let survives = store.caps().survives;
    drop(store);
    if survives == Survives::Nothing { None } else { Some(place.open().await) }
}

/// Where there is something to check either way.
async fn reopen_or_keep(place: &dyn Place, store: Arc<dyn Backend>) -> Arc<dyn Backend> {
    if store.caps().survives == Survives::Nothing {
        return store;
    }
    drop(store);
    place.open().await
}
