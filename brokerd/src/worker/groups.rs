//! A worker's part in shared groups: its members come, go and are away; a chosen member gets its copy; and what a member
//! that went has not acknowledged goes to another. Never chooses a member: the router's groups do.

use std::num::NonZeroU32;
use std::sync::Arc;

use mqtt::Qos;
use mqtt::message::SharedMessage;
use mqtt::session::{Delivery, Granted};

use super::shard::Shard;
use super::turn::Waiting;
use crate::metrics::Metric;
use crate::router::{
    self, Chosen, ForGroup, Mailboxes, OnDelivered, Outbound, PeerSet, PeerSlot, Share, Subscriber, Target, Terms,
    Ticket, publisher_key,
};

/// How often a message may find its member gone before it is dropped: by then every node knows who is left.
const MAX_HOPS: u8 = 4;

impl Shard {
    /// Chooses a member of each group that the topic matches. Answers the publisher's key.
    pub(super) fn choose_members(&self, topic: &str, from: Option<u32>, up: PeerSet, chosen: &mut Vec<Chosen>) -> u64 {
        let groups = self.shared.index.groups();
        if groups.is_empty() {
            return 0;
        }
        let publisher = from.filter(|_| groups.goes_by_publisher()).and_then(|slot| self.sessions.get(slot as usize));
        let key = publisher.map_or(0, |entry| publisher_key(entry.session.client_id()));
        groups.choose(&Terms { topic, key, peers: up, here: true }, chosen);
        key
    }

    /// The members of this node that were chosen get their copies.
    pub(super) fn serve_members(
        &mut self,
        message: &SharedMessage,
        chosen: &[Chosen],
        key: u64,
        from: Option<u32>,
        ticket: Option<Ticket>,
    ) {
        for Chosen { group, target } in chosen {
            if let Target::Here(member) = target {
                let for_group = ForGroup { group: group.clone(), key, hops: 0 };
                if member.worker == self.worker {
                    self.deliver_to_member(message, Some(member), &for_group, None);
                } else {
                    self.hand_over(member.worker, message, &[*member], Some(for_group), from, ticket);
                }
            }
        }
    }

    /// Gives a member its copy. One that is no member any more, or has lost its connection where another has one, does
    /// not get it: another does.
    pub(super) fn deliver_to_member(
        &mut self,
        message: &SharedMessage,
        member: Option<&Subscriber>,
        for_group: &ForGroup,
        done: Option<&Arc<OnDelivered>>,
    ) {
        let is_here = |member: &&Subscriber| {
            let entry = self.sessions.get(member.session as usize);
            entry.is_some_and(|entry| {
                let is_away = entry.conn.is_none() && for_group.hops < MAX_HOPS && self.has_online(&for_group.group);
                entry.session.is_subscribed(member.serial) && !is_away
            })
        };
        let Some(member) = member.filter(is_here) else {
            return self.redispatch(message, for_group, done);
        };
        let retain = message.retain && member.flags & Subscriber::RETAIN_AS_PUBLISHED != 0;
        let subscription_ids =
            if member.subscription_id == 0 { Box::default() } else { [member.subscription_id].into() };
        let (qos, shared) = (message.qos.min(member.qos), NonZeroU32::new(member.serial));
        let delivery = Delivery { message: message.clone(), qos, retain, subscription_ids, shared };
        self.step(member.session, |session, limits, now, out| session.deliver(delivery, limits, now, out));
    }

    /// A message goes to another member than the one that it was meant for. `done` waits for it.
    fn redispatch(&mut self, message: &SharedMessage, for_group: &ForGroup, done: Option<&Arc<OnDelivered>>) {
        let ForGroup { group, key, hops } = for_group;
        let terms =
            Terms { topic: message.topic(), key: *key, peers: self.shared.forward.up(), here: !self.is_stopping };
        let target = self.shared.index.groups().choose_in(group, &terms);
        let Some(target) = target.filter(|_| *hops < MAX_HOPS) else {
            self.counters.inc(Metric::MessagesDropped);
            self.counters.inc(Metric::DroppedNoSubscribers);
            return;
        };
        self.counters.inc(Metric::SharedRedispatched);
        let for_group = ForGroup { group: group.clone(), key: *key, hops: hops + 1 };
        match target {
            Target::Here(member) if member.worker == self.worker => {
                self.deliver_to_member(message, Some(&member), &for_group, done);
            }
            Target::Here(member) => {
                let subscribers = vec![member];
                let delivery = router::Delivery { message: message.clone(), subscribers, shared: Some(for_group) };
                self.shared.boxes.deliver(member.worker, vec![delivery], done.cloned());
            }
            Target::There(peer) => {
                let waiting = Waiting::Redispatched { _done: done.cloned() };
                let ticket = (message.qos != Qos::AtMostOnce).then(|| self.turn.wait(self.worker, waiting));
                let ForGroup { group, key, hops } = for_group;
                let share = Share { serve: vec![group], key, hops, only_groups: true, ..Share::default() };
                let outbound =
                    Outbound { message: message.clone(), ticket, share: Some(Arc::new(share)), retained_at: 0 };
                self.turn.send(peer, outbound);
                self.dirty_notify.notify_one();
            }
        }
    }

    /// A connection came to a session.
    pub(super) fn members_return(&self, slot: u32) {
        if let Some(entry) = self.sessions.get(slot as usize) {
            entry.session.shared_subscriptions().for_each(|granted| self.set_online(slot, granted, true));
        }
    }

    /// A session lost its connection and stays: what its groups can give to members that have one goes there.
    pub(super) fn members_away(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get(slot as usize) else { return };
        let granted: Vec<Granted> = entry.session.shared_subscriptions().cloned().collect();
        granted.iter().for_each(|granted| self.set_online(slot, granted, false));
        let with_others: Vec<Granted> =
            granted.into_iter().filter(|granted| self.has_online(&granted.filter)).collect();
        let left = self.reclaim(slot, with_others, true);
        self.pass_on(left);
    }

    /// Takes what these subscriptions of a session have not delivered; with `in_flight` also what was sent.
    pub(super) fn reclaim(
        &mut self,
        slot: u32,
        granted: impl IntoIterator<Item = Granted>,
        in_flight: bool,
    ) -> Vec<(Arc<str>, Vec<SharedMessage>)> {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return Vec::new();
        };
        let out = &mut self.out;
        let of = |granted: Granted| (granted.filter, entry.session.reclaim(granted.serial, in_flight, out));
        let reclaimed = granted.into_iter().filter(Granted::is_shared).map(of).collect();
        self.note_changes(slot);
        reclaimed
    }

    /// What members left goes to others.
    pub(super) fn pass_on(&mut self, left: Vec<(Arc<str>, Vec<SharedMessage>)>) {
        for (group, messages) in left {
            let for_group = ForGroup { group, key: 0, hops: 0 };
            for message in messages {
                self.redispatch(&message, &for_group, None);
            }
        }
    }

    fn has_online(&self, group: &str) -> bool {
        self.shared.index.groups().has_online(group, self.shared.forward.up(), !self.is_stopping)
    }

    fn set_online(&self, slot: u32, granted: &Granted, online: bool) {
        let announce = |weight| self.shared.forward.group_changed(&granted.filter, weight);
        self.shared.index.groups().set_online(&granted.filter, self.worker, slot, online, announce);
    }
}

/// What a peer is told of the groups. `plain` are the peers that get it for plain subscribers, `flooded` those of them
/// that this node is not in sync with.
pub(super) fn share(
    peer: PeerSlot,
    plain: PeerSet,
    flooded: PeerSet,
    chosen: &[Chosen],
    key: u64,
) -> Option<Arc<Share>> {
    let is_its = |chosen: &&Chosen| chosen.target == Target::There(peer);
    let serve: Vec<Arc<str>> = chosen.iter().filter(is_its).map(|chosen| chosen.group.clone()).collect();
    if !flooded.contains(peer) {
        let share = Share { serve, key, only_groups: !plain.contains(peer), ..Share::default() };
        return (!share.serve.is_empty()).then(|| Arc::new(share));
    }
    let served = chosen.iter().filter(|chosen| !is_its(chosen)).map(|chosen| chosen.group.clone()).collect();
    Some(Arc::new(Share { serve, served, flooded, key, ..Share::default() }))
}
