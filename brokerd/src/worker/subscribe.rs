//! SUBSCRIBE and UNSUBSCRIBE: the index, the wait for the peers, the answer, and the retained messages after it.
//! Never sends a retained message faster than the client takes it: what waits is a place in the store, not a copy.

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt::packet::SubscriptionOptions;
use mqtt::session::{Delivery, Granted, Requested};
use mqtt::topic::{is_shared, parse_exclusive};
use mqtt::{PacketId, ReasonCode, RetainHandling};

use super::shard::Shard;
use super::turn::Waiting;
use crate::access::Action;
use crate::metrics::Metric;
use crate::registry::Epoch;
use crate::router::Subscriber;

/// Retained messages read from the store at a time.
const PAGE: usize = 64;
/// Pages read for one client before others have their turn.
const PAGES: usize = 8;

/// A SUBACK in the making.
pub(super) struct Answer {
    /// `None` where the broker subscribed the client by itself: nobody waits for a SUBACK.
    packet_id: Option<PacketId>,
    /// Of the connection that asked.
    epoch: Epoch,
    codes: Vec<ReasonCode>,
    /// Subscriptions that get what is retained.
    replays: Vec<Granted>,
}

/// Retained messages that a subscription is still to get.
#[derive(Debug)]
struct Replay {
    /// The topic after which the next page begins.
    after: Option<String>,
    /// How many messages are read next: as many as there was room for last.
    page: usize,
}

/// All of a session's, one a subscription at most: by serial. They are the session's, not the connection's: who comes
/// back to its session gets the rest.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "one word of each idle session, not three")]
pub(super) struct Replays(Option<Box<BTreeMap<u32, Replay>>>);

impl Replays {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |replays| replays.len())
    }

    fn made(&mut self) -> &mut BTreeMap<u32, Replay> {
        self.0.get_or_insert_default()
    }

    fn get_mut(&mut self, serial: u32) -> Option<&mut Replay> {
        self.0.as_mut()?.get_mut(&serial)
    }

    fn first(&self) -> Option<(u32, &Replay)> {
        self.0.as_ref()?.first_key_value().map(|(serial, replay)| (*serial, replay))
    }

    fn remove(&mut self, serial: u32) {
        if let Some(replays) = &mut self.0 {
            replays.remove(&serial);
            self.0.take_if(|replays| replays.is_empty());
        }
    }
}

impl Shard {
    /// Makes a SUBSCRIBE's subscriptions live; `epoch` is that of the connection that asked. The SUBACK leaves when every
    /// peer knows (or floods), also where nothing changed: another client's change of the same row may still be on its
    /// way (trap 2).
    pub(super) fn make_live(
        &mut self,
        slot: u32,
        epoch: Epoch,
        packet_id: Option<PacketId>,
        requested: Vec<Requested>,
    ) {
        let codes = Vec::with_capacity(requested.len());
        let mut answer = Answer { packet_id, epoch, codes, replays: Vec::new() };
        let mut version = 0;
        for one in requested {
            match self.subscribe_one(slot, one, &mut answer) {
                Ok(row) => version = version.max(row),
                Err(reason) => answer.codes.push(reason),
            }
        }
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let incarnation = entry.incarnation;
        self.save(slot);
        let shared = self.shared.clone();
        let waiting = Waiting::Live { slot, incarnation, answer: Box::new(answer) };
        let ticket = self.turn.wait(self.worker, waiting);
        if shared.forward.when_live(version, ticket)
            && let Some(Waiting::Live { answer, .. }) = self.turn.give_up(ticket)
        {
            self.answer_subscribe(slot, incarnation, *answer);
        }
    }

    /// Answers the version of the row, which the SUBACK waits for.
    fn subscribe_one(&mut self, slot: u32, one: Requested, answer: &mut Answer) -> Result<u64, ReasonCode> {
        let granted = one.outcome?;
        if !self.may(slot, Action::Subscribe(granted.plain())) {
            self.counters.inc(Metric::SubscribeAuthError);
            if let Some(entry) = self.sessions.get_mut(slot as usize) {
                entry.session.forget_subscription(&granted.filter);
            }
            self.unindex(slot, &granted.filter);
            return Err(ReasonCode::NotAuthorized);
        }
        let version = self.index(slot, &granted);
        answer.codes.push(match granted.options.qos {
            mqtt::Qos::AtMostOnce => ReasonCode::Success,
            mqtt::Qos::AtLeastOnce => ReasonCode::GrantedQos1,
            mqtt::Qos::ExactlyOnce => ReasonCode::GrantedQos2,
        });
        let wants_retained = match granted.options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => one.is_new,
            RetainHandling::Never => false,
        };
        if wants_retained && !granted.is_shared() {
            // 5.0 section 4.8.2: a shared subscription gets none.
            answer.replays.push(granted);
        }
        Ok(version)
    }

    /// Puts a subscription into the index. Answers the version of its row.
    pub(super) fn index(&self, slot: u32, granted: &Granted) -> u64 {
        let (shared, subscriber) = (&self.shared, subscriber(self.worker, slot, granted));
        if granted.is_shared() {
            let announce = |weight| shared.forward.group_changed(&granted.filter, weight);
            return shared.index.groups().subscribe(&granted.filter, subscriber, announce);
        }
        let filter = granted.exclusive().map_or_else(|| granted.filter.clone(), Arc::from);
        let first = || shared.forward.route_changed(&filter, true);
        shared.index.subscribe(&filter, subscriber, first)
    }

    /// The subscriptions are live: SUBACK, then what is retained.
    pub(super) fn answer_subscribe(&mut self, slot: u32, incarnation: u32, answer: Answer) {
        let Some(entry) = self.entry(slot, incarnation) else {
            return;
        };
        let is_waiting = entry.conn.is_some() && entry.epoch == answer.epoch;
        for granted in answer.replays {
            let replay = Replay { after: None, page: PAGE };
            if !entry.session.is_subscribed(granted.serial) {
                continue;
            }
            if is_waiting {
                entry.replays.made().insert(granted.serial, replay);
            } else {
                entry.replays.made().entry(granted.serial).or_insert(replay); // it may have asked again meanwhile
            }
        }
        if !is_waiting {
            return self.refill(slot); // who asked is gone, but its session has the subscription
        }
        if let Some(packet_id) = answer.packet_id {
            self.counters.inc(Metric::SubackSent);
            self.counters.inc(Metric::PacketsSent);
            self.step(slot, |session, _, _, out| session.suback(packet_id, &answer.codes, out));
        }
        self.resume_reading(slot);
        self.refill(slot);
    }

    pub(super) fn unsubscribe(&mut self, slot: u32, gone: &[Granted]) {
        for granted in gone {
            self.unindex(slot, &granted.filter);
        }
        if let Some(entry) = self.sessions.get_mut(slot as usize) {
            for granted in gone {
                entry.replays.remove(granted.serial);
            }
        }
        self.save(slot);
        // What was sent stays: the client has it, and its connection.
        let left = self.reclaim(slot, gone.iter().cloned(), false);
        self.pass_on(left);
    }

    pub(super) fn unindex(&self, slot: u32, filter: &Arc<str>) {
        if is_shared(filter) {
            let announce = |weight| self.shared.forward.group_changed(filter, weight);
            self.shared.index.groups().unsubscribe(filter, self.worker, slot, announce);
            return;
        }
        let exclusive = parse_exclusive(filter).map(Arc::from);
        let plain = exclusive.as_ref().unwrap_or(filter);
        let last = || {
            self.shared.forward.route_changed(plain, false);
        };
        self.shared.index.unsubscribe(plain, self.worker, slot, last);
        if let Some(filter) = &exclusive {
            self.let_go(slot, filter);
        }
    }

    /// Sends on what waits for a client: its queue first, then retained messages, as far as there is room.
    pub(super) fn refill(&mut self, slot: u32) {
        self.step(slot, |session, limits, now, out| session.pump(limits, now, out));
        for _ in 0..PAGES {
            if !self.has_room(slot) || !self.replay_page(slot) {
                return;
            }
        }
        self.note_dirty(slot);
    }

    /// Whether a message would leave at once, as far as the wire buffer and the queue are concerned.
    fn has_room(&self, slot: u32) -> bool {
        let room = self.shared.settings.session.write_buffer;
        self.sessions.get(slot as usize).is_some_and(|entry| {
            entry.conn.as_ref().is_some_and(|conn| conn.wire.len() < room) && !entry.session.has_backlog()
        })
    }

    /// Sends a page of retained messages, or as much of it as there is room for: what does not leave at once is not
    /// taken from the store, but for one message, for the queue may be shorter than a page. Answers false where none
    /// waits.
    fn replay_page(&mut self, slot: u32) -> bool {
        let Some(entry) = self.sessions.get(slot as usize) else {
            return false;
        };
        let Some((serial, replay)) = entry.replays.first() else {
            return false;
        };
        // As it stands now: since the replay began it may have been replaced, or ended by new rules.
        let Some(granted) = entry.session.subscription(serial).cloned() else {
            self.forget_replay(slot, serial);
            return true;
        };
        let now = self.turn.now;
        let page = self.shared.retained_for(granted.plain()).matching(
            granted.plain(),
            replay.after.as_deref(),
            replay.page,
            now,
        );
        let (mut after, mut sent, count) = (page.next, 0, page.messages.len());
        for message in page.messages {
            let qos = message.qos.min(granted.options.qos);
            let subscription_ids = if granted.id == 0 { Box::default() } else { Box::from([granted.id]) };
            let delivery = Delivery { message: message.clone(), qos, retain: true, subscription_ids, shared: None }; // [MQTT-3.3.1-8]
            self.step(slot, |session, limits, now, out| session.deliver(delivery, limits, now, out));
            sent += 1;
            if sent < count && !self.has_room(slot) {
                after = Some(message.topic().to_owned());
                break;
            }
        }
        if let Some(entry) = self.sessions.get_mut(slot as usize) {
            let is_cut = sent < count;
            match (after, entry.replays.get_mut(serial)) {
                (Some(after), Some(replay)) => {
                    (replay.after, replay.page) = (Some(after), if is_cut { sent } else { PAGE });
                }
                _ => self.forget_replay(slot, serial),
            }
        }
        true
    }

    fn forget_replay(&mut self, slot: u32, serial: u32) {
        if let Some(entry) = self.sessions.get_mut(slot as usize) {
            entry.replays.remove(serial);
        }
    }
}

/// A granted subscription as the index holds it.
fn subscriber(worker: u16, slot: u32, granted: &Granted) -> Subscriber {
    let SubscriptionOptions { qos, no_local, retain_as_published, .. } = granted.options;
    let no_local = if no_local { Subscriber::NO_LOCAL } else { 0 };
    let as_published = if retain_as_published { Subscriber::RETAIN_AS_PUBLISHED } else { 0 };
    Subscriber {
        session: slot,
        serial: granted.serial,
        subscription_id: granted.id,
        worker,
        qos,
        flags: no_local | as_published,
    }
}
