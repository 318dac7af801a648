//! The task that keeps the view of the members current and publishes heads at a bounded rate. Never waits for a peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chitchat::ChitchatHandle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::member::{self, KEY_ROUTES, Members, RouteHead};

/// Between two publications of the head.
const HEAD_GAP: Duration = Duration::from_millis(200);
/// Between two pushes to all live peers.
const PUSH_GAP: Duration = Duration::from_millis(50);

pub(super) struct Driver {
    pub(super) chitchat: Arc<ChitchatHandle>,
    /// A key of some node was set.
    pub(super) changed: Arc<Notify>,
    pub(super) push: Arc<Notify>,
    pub(super) head: watch::Receiver<RouteHead>,
    pub(super) members: watch::Sender<Members>,
    pub(super) unusable: watch::Sender<member::Unusable>,
    pub(super) interval: Duration,
    /// How many keys of all nodes are known.
    pub(super) keys: Arc<AtomicU64>,
}

impl Driver {
    /// Ends when the `Gossip` that it belongs to is dropped.
    pub(super) async fn run(mut self) {
        // Deaths and forgetting have no event: they are looked for at every round.
        let mut round = interval(self.interval);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut head, mut push) = (Paced::new(HEAD_GAP), Paced::new(PUSH_GAP));
        loop {
            tokio::select! {
                _ = round.tick() => self.refresh().await,
                () = self.changed.notified() => self.refresh().await,
                () = self.push.notified() => push.request(),
                changed = self.head.changed() => match changed {
                    Ok(()) => head.request(),
                    Err(_) => return,
                },
                () = head.due() => {
                    head.done();
                    self.publish_head().await;
                    push.request();
                }
                () = push.due() => {
                    push.done();
                    self.push_to_all();
                }
            }
        }
    }

    /// Reads what chitchat knows; tells watchers only of a change.
    pub(super) async fn refresh(&mut self) {
        let look = |chitchat: &mut chitchat::Chitchat| (member::view(chitchat), member::keys(chitchat));
        let ((members, unusable), keys) = self.chitchat.with_chitchat(look).await;
        self.keys.store(keys, Ordering::Relaxed);
        if *self.unusable.borrow() != unusable {
            for (name, why) in &unusable {
                tracing::warn!(node = name, why, "a node says of itself what cannot be read: not used");
            }
            self.unusable.send_replace(unusable);
        }
        self.members.send_if_modified(|known| {
            let is_changed = **known != members;
            if is_changed {
                *known = Arc::new(members);
            }
            is_changed
        });
    }

    async fn publish_head(&mut self) {
        let head = *self.head.borrow_and_update();
        self.chitchat.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY_ROUTES, head)).await;
    }

    fn push_to_all(&self) {
        let own = self.chitchat.chitchat_id();
        let members = self.members.borrow().clone();
        for member in members.values().filter(|member| member.alive && *member.name != *own.node_id) {
            // Fails only when chitchat's task has ended, which `Gossip::failed` reports.
            let _ = self.chitchat.gossip(member.address);
        }
    }
}

/// Something that is done soon after it was asked for, and not more often than every `gap`.
struct Paced {
    gap: Duration,
    not_before: Instant,
    is_requested: bool,
}

impl Paced {
    fn new(gap: Duration) -> Self {
        let (not_before, is_requested) = (Instant::now(), false);
        Self { gap, not_before, is_requested }
    }
    const fn request(&mut self) {
        self.is_requested = true;
    }
    async fn due(&self) {
        if self.is_requested {
            sleep_until(self.not_before).await;
        } else {
            std::future::pending().await
        }
    }
    fn done(&mut self) {
        self.is_requested = false;
        self.not_before = Instant::now() + self.gap;
    }
}
