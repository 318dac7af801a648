//! From a publication to its receivers: the sessions of this worker at once, other workers and peers in one batch at
//! the end of the turn. Never waits for any of them.

use std::sync::Arc;

use mqtt::message::SharedMessage;
use mqtt::session::Closing;
use mqtt::{Message, Qos, ReasonCode, Version, topic};

use super::groups::share;
use super::mailbox::Boxes;
use super::shard::Shard;
use super::turn::Waiting;
use crate::access::{Action, Identity};
use crate::metrics::Metric;
use crate::retain::Full;
use crate::router::{
    self, Chosen, ForGroup, Mailboxes, Matches, OnDelivered, Outbound, Outcome, PeerSet, PeerSlot, Subscriber, Target,
    Ticket,
};

/// Where a message went.
struct Routed {
    /// Whether its acknowledgement waits for somebody.
    is_waiting: bool,
    /// Whether all who get it are this node's, and none as a member of a group, who might pass it on.
    is_all_here: bool,
}

impl Shard {
    pub(super) fn refresh_now(&mut self) {
        self.turn.now = self.shared.now();
    }

    /// Starts a turn: the time, and which peers are in sync now. After the socket read that brought the packets, so
    /// that a node which was stopped sees that its leases are over before it routes by what it knew (trap 1).
    pub(super) fn begin_turn(&mut self) {
        self.refresh_now();
        self.turn.up = self.shared.forward.up();
        let held = self.shared.forward.held();
        self.turn.living = held.iter().fold(self.turn.up, PeerSet::without);
        self.turn.flood = if self.turn.up.is_empty() { PeerSet::default() } else { self.shared.forward.flood() };
    }

    /// Routes a client's publication. `token` is the session's name for the acknowledgement it owes.
    pub(super) fn publish(&mut self, slot: u32, mut message: Message, token: Option<u64>) {
        self.count_received(&message);
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        entry.history.received += 1;
        let incarnation = entry.incarnation;
        let can_be_refused = token.is_some() && entry.session.version() == Version::V5;
        if !self.may(slot, Action::Publish(message.topic())) {
            return self.deny_publish(slot, incarnation, token);
        }
        if topic::is_delayed(message.topic()) {
            return self.publish_delayed(slot, &message, token);
        }
        if let Some(reason) = token.and_then(|_| self.store_trouble()) {
            return self.refuse(slot, incarnation, token, reason);
        }
        self.identify(&mut message);
        let message = Arc::new(message);
        let retained_at = if message.retain { self.retain(&message) } else { Some(0) };
        if retained_at.is_none() && can_be_refused {
            return self.settle(slot, incarnation, token, ReasonCode::QuotaExceeded);
        }
        let ticket = |turn: &mut Self, remaining| {
            token.map(|token| {
                let waiting = Waiting::Routed { slot, incarnation, token, remaining, is_refused: false };
                turn.turn.wait(turn.worker, waiting)
            })
        };
        // Whoever cannot be told that it is not retained gets it delivered at least to those who are there.
        let routed = self.route(&message, retained_at.unwrap_or(0), Some(slot), ticket);
        if let Some(token) = token.filter(|_| routed.is_all_here) {
            self.step(slot, |session, _, _, out| session.received(token, out));
        }
        if self.is_store_behind() {
            self.turn.under_pressure = Some(slot);
        }
        if !routed.is_waiting {
            self.settle(slot, incarnation, token, ReasonCode::Success);
        }
    }

    fn publish_delayed(&mut self, slot: u32, message: &Message, token: Option<u64>) {
        let Some(entry) = self.sessions.get(slot as usize) else {
            return;
        };
        let (incarnation, is_v5) = (entry.incarnation, entry.session.version() == Version::V5);
        let (client_id, identity) = (entry.session.client_id().clone(), entry.identity.clone());
        let reason = self.delay(client_id, identity, message);
        // 3.x has no word for a refusal.
        self.settle(slot, incarnation, token, if is_v5 { reason } else { ReasonCode::Success });
    }

    /// Asks the rules for a session. Every path of a client does.
    pub(super) fn may(&self, slot: u32, action: Action<'_>) -> bool {
        let Some(entry) = self.sessions.get(slot as usize) else {
            return false;
        };
        let is_allowed = self.rules.authorize(entry.session.client_id(), &entry.identity, action);
        self.count_decision(is_allowed)
    }

    /// Counts, and answers what it was given.
    pub(super) fn count_decision(&self, is_allowed: bool) -> bool {
        self.counters.inc(Metric::ClientAuthorize);
        self.counters.inc(if is_allowed { Metric::AuthorizationAllow } else { Metric::AuthorizationDeny });
        is_allowed
    }

    /// A publication is refused: 5.0 is told in its acknowledgement; 3.x is acknowledged, or closed where configured.
    fn deny_publish(&mut self, slot: u32, incarnation: u32, token: Option<u64>) {
        self.counters.inc(Metric::PublishAuthError);
        self.counters.inc(Metric::MessagesDropped);
        let is_v5 = self.sessions.get(slot as usize).is_some_and(|entry| entry.session.version() == Version::V5);
        if !is_v5 && self.shared.settings.deny_disconnects {
            return self.close(slot, Closing::Server(ReasonCode::NotAuthorized));
        }
        self.settle(slot, incarnation, token, ReasonCode::NotAuthorized);
    }

    /// Publishes a will or what was delayed, if whose it is still may: it was asked before, and that may be long ago.
    /// It has its identity already.
    pub(super) fn publish_late(&mut self, client_id: &str, identity: &Identity, message: Message) {
        let is_allowed = self.rules.knows(&identity.principal)
            && self.rules.authorize(client_id, identity, Action::Publish(message.topic()));
        if !self.count_decision(is_allowed) {
            self.counters.inc(Metric::PublishAuthError);
            return;
        }
        if topic::is_delayed(message.topic()) {
            self.delay(client_id.into(), identity.clone(), &message);
            return;
        }
        let message = Arc::new(message);
        let retained_at = if message.retain { self.retain(&message).unwrap_or(0) } else { 0 };
        let own = self.slot_of(client_id); // for No Local
        let under_pressure = self.turn.under_pressure;
        self.route(&message, retained_at, own, |_, _| None);
        self.turn.under_pressure = under_pressure; // a client that is gone is not read anyway
    }

    /// Retains a message here; when, for the peers that are to do the same.
    fn retain(&mut self, message: &SharedMessage) -> Option<u64> {
        self.counters.inc(Metric::MessagesRetained);
        let clock = &self.shared.hybrid;
        match self.shared.retained.set_at(message.clone(), |floor| clock.above(floor)) {
            Ok((stamp, what)) => {
                if self.shared.store.is_some() {
                    self.note_retained(message, stamp, &what);
                }
                Some(stamp.hlc)
            }
            Err(Full) => {
                self.counters.inc(Metric::RetainedFull);
                None
            }
        }
    }

    /// Sends a message to all who are subscribed, and, where it is retained (since `retained_at`, else 0), to all peers
    /// that are up: those that come up later get it by comparing what they retain with this node. `ticket` makes the name
    /// by which the answers of peers, workers and the store are awaited, and is called only where there is somebody to
    /// wait for.
    fn route(
        &mut self,
        message: &SharedMessage,
        retained_at: u64,
        from: Option<u32>,
        ticket: impl FnOnce(&mut Self, u32) -> Option<Ticket>,
    ) -> Routed {
        let mut matches = std::mem::take(&mut self.turn.matches);
        matches.clear();
        self.shared.index.matches(message.topic(), &mut matches);
        if matches.local_filters > 1 {
            matches.local.sort_unstable_by_key(|subscriber| (subscriber.worker, subscriber.session, subscriber.serial));
        } else if self.shared.boxes.workers() > 1 {
            matches.local.sort_unstable_by_key(|subscriber| subscriber.worker); // one batch a worker
        }
        let key = self.choose_members(message.topic(), from, self.turn.living, &mut matches.shared);
        let with_members = matches.shared.iter().fold(PeerSet::default(), |peers, chosen| match chosen.target {
            Target::There(peer) => peers.with(peer),
            Target::Here(_) => peers,
        });
        let plain = matches.remote.intersection(self.turn.up).union(self.turn.flood);
        let peers = plain.union(with_members);
        if matches.local.is_empty() && matches.shared.is_empty() && peers.is_empty() {
            self.counters.inc(Metric::MessagesDropped);
            self.counters.inc(Metric::DroppedNoSubscribers);
        }
        // Asked after it is retained here: who is not up yet compares later.
        let peers = if retained_at == 0 { peers } else { peers.union(self.shared.forward.up()) };
        let is_all_here = peers.is_empty() && matches.shared.is_empty();
        let elsewhere = self.kept_elsewhere(&matches);
        if message.qos == Qos::ExactlyOnce {
            self.journal.begin_joint();
        }
        let count = peers.0.count_ones() + elsewhere;
        let count = count + u32::from(self.waits_for_itself(from, count));
        let ticket = if count == 0 || message.qos == Qos::AtMostOnce { None } else { ticket(self, count) };
        for of_worker in matches.local.chunk_by(|a, b| a.worker == b.worker) {
            let worker = of_worker[0].worker;
            if worker == self.worker {
                self.deliver_here(message, of_worker, from, false);
            } else {
                self.hand_over(worker, message, of_worker, None, from, ticket);
            }
        }
        self.serve_members(message, &matches.shared, key, from, ticket);
        if !peers.is_empty() {
            let share = |peer, flooded| share(peer, plain, flooded, &matches.shared, key);
            self.hand_to_peers(message, retained_at, peers, ticket, from, share);
        }
        if count > peers.0.count_ones() + elsewhere {
            self.turn.receipts[usize::from(self.worker)].extend(ticket);
        }
        self.turn.matches = matches;
        Routed { is_waiting: ticket.is_some(), is_all_here }
    }

    /// Whether an acknowledgement has to be told that this worker's own part is kept: one that leaves in this turn
    /// stands behind it anyway, one that waits for others, or behind one that does, leaves in a later one.
    fn waits_for_itself(&self, from: Option<u32>, others: u32) -> bool {
        let owed = || from.and_then(|slot| self.sessions.get(slot as usize)).map_or(0, |entry| entry.session.owed());
        self.shared.store.is_some() && (others > 0 || owed() > 1)
    }

    /// How often this message is handed to another worker that has to say that it is kept.
    fn kept_elsewhere(&self, matches: &Matches) -> u32 {
        if self.shared.store.is_none() {
            return 0;
        }
        let others = matches.local.chunk_by(|a, b| a.worker == b.worker).filter(|of| of[0].worker != self.worker);
        let is_other = |chosen: &&Chosen| matches!(chosen.target, Target::Here(member) if member.worker != self.worker);
        let count = others.count() + matches.shared.iter().filter(is_other).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(super) fn hand_over(
        &mut self,
        worker: u16,
        message: &SharedMessage,
        subscribers: &[Subscriber],
        shared: Option<ForGroup>,
        from: Option<u32>,
        ticket: Option<Ticket>,
    ) {
        if self.shared.boxes.is_full(worker) {
            self.turn.under_pressure = from;
        }
        let delivery = router::Delivery { message: message.clone(), subscribers: subscribers.to_vec(), shared };
        self.turn.to_workers[usize::from(worker)].push(delivery);
        if self.shared.store.is_some() {
            self.turn.receipts[usize::from(worker)].extend(ticket);
        }
        self.dirty_notify.notify_one();
    }

    fn hand_to_peers(
        &mut self,
        message: &SharedMessage,
        retained_at: u64,
        peers: PeerSet,
        ticket: Option<Ticket>,
        from: Option<u32>,
        share: impl Fn(PeerSlot, PeerSet) -> Option<Arc<router::Share>>,
    ) {
        if self.shared.forward.is_congested() {
            self.turn.under_pressure = from;
        }
        let flooded = peers.intersection(self.turn.flood);
        for peer in peers.iter() {
            let share = share(peer, flooded);
            self.turn.send(peer, Outbound { message: message.clone(), ticket, share, retained_at });
        }
        self.counters.add(Metric::MessagesForward, u64::from(peers.0.count_ones()));
        self.counters.add(Metric::Floods, u64::from(flooded.0.count_ones()));
        self.dirty_notify.notify_one();
    }

    /// The end of the turn: one batch a worker.
    pub(super) fn post_to_workers(&mut self) {
        for (worker, batch) in self.turn.to_workers.iter_mut().enumerate() {
            if !batch.is_empty() {
                let joint = self.journal.joint().inspect(|joint| joint.invite()).cloned();
                let tickets = std::mem::take(&mut self.turn.receipts[worker]);
                let done = (!tickets.is_empty()).then(|| receipt(&self.shared.boxes, tickets));
                let worker = u16::try_from(worker).unwrap_or(0);
                self.shared.boxes.deliver_jointly(worker, std::mem::take(batch), done, joint);
            }
        }
        if self.journal.close_joint(self.worker) {
            self.submit_ready(); // where nobody was invited, or all were faster
        }
    }

    /// The end of the turn: one batch a peer.
    pub(super) fn forward_to_peers(&mut self) {
        for peer in std::mem::take(&mut self.turn.peers_waiting).iter() {
            self.shared.forward.forward(peer, &mut self.turn.to_peers[usize::from(peer.0)]);
        }
    }

    /// Answers a publication's acknowledgement and what stood behind it.
    fn settle(&mut self, slot: u32, incarnation: u32, token: Option<u64>, reason: ReasonCode) {
        let Some(token) = token else { return };
        if self.entry(slot, incarnation).is_some() {
            self.step(slot, |session, _, _, out| session.routed(token, reason, out));
            self.resume_reading(slot);
        }
    }

    /// A publication was not kept. 5.0 is told in its acknowledgement; 3.x has no word for it, so its connection ends
    /// without one.
    fn refuse(&mut self, slot: u32, incarnation: u32, token: Option<u64>, reason: ReasonCode) {
        self.counters.inc(Metric::MessagesDropped);
        self.counters.inc(Metric::StoreRefused);
        let is_v5 = self.entry(slot, incarnation).is_some_and(|entry| entry.session.version() == Version::V5);
        if !is_v5 {
            self.close(slot, Closing::Server(reason));
        }
        self.settle(slot, incarnation, token, reason);
    }

    /// Peers have answered.
    pub(super) fn settled(&mut self, tickets: Vec<(u64, Outcome)>) {
        for (token, outcome) in tickets {
            match self.turn.waiting.get_mut(&token) {
                Some(Waiting::Routed { remaining, is_refused, .. }) => {
                    *remaining = remaining.saturating_sub(1);
                    *is_refused |= outcome == Outcome::Full;
                    if *remaining > 0 {
                        continue;
                    }
                }
                Some(Waiting::Live { .. } | Waiting::Redispatched { .. } | Waiting::Arrived(_)) => {}
                None => continue,
            }
            match self.turn.waiting.remove(&token) {
                Some(Waiting::Routed { slot, incarnation, token, is_refused: true, .. }) => {
                    self.refuse(slot, incarnation, Some(token), ReasonCode::QuotaExceeded);
                }
                Some(Waiting::Routed { slot, incarnation, token, .. }) => {
                    self.settle(slot, incarnation, Some(token), ReasonCode::Success);
                }
                Some(Waiting::Live { slot, incarnation, answer }) => self.answer_subscribe(slot, incarnation, *answer),
                Some(Waiting::Arrived(known)) => drop(known.send(())), // its CONNECT may have been given up
                Some(Waiting::Redispatched { .. }) | None => {}
            }
        }
    }

    fn count_received(&self, message: &Message) {
        let by_qos = match message.qos {
            Qos::AtMostOnce => Metric::MessagesQos0Received,
            Qos::AtLeastOnce => Metric::MessagesQos1Received,
            Qos::ExactlyOnce => Metric::MessagesQos2Received,
        };
        for metric in [Metric::PublishReceived, Metric::MessagesReceived, Metric::MessagesPublish, by_qos] {
            self.counters.inc(metric);
        }
    }
}

/// Tells the workers that wait once what they handed over is kept.
pub(super) fn receipt(boxes: &Arc<Boxes>, tickets: Vec<Ticket>) -> Arc<OnDelivered> {
    let boxes = boxes.clone();
    OnDelivered::patient(move |outcome| {
        let Some(worker) = tickets.first().map(|ticket| ticket.worker) else { return }; // they are all of one worker
        boxes.settled(worker, tickets.into_iter().map(|ticket| (ticket.token, outcome)).collect());
    })
}
