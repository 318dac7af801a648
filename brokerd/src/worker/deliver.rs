//! Deliveries to sessions of this worker: one copy a session, whoever the publisher is and wherever it is. Never decides
//! who is subscribed.

use std::sync::Arc;

use mqtt::Qos;
use mqtt::message::SharedMessage;
use mqtt::session::{Delivery, Session};

use super::joint::Joint;
use super::shard::Shard;
use crate::metrics::Metric;
use crate::router::{self, OnDelivered, Subscriber};

impl Shard {
    /// Deliveries that came through another worker or from a peer.
    pub(super) fn delivered(
        &mut self,
        batch: Vec<router::Delivery>,
        done: Option<Arc<OnDelivered>>,
        joint: Option<Arc<Joint>>,
    ) {
        let mark = self.journal.mark();
        self.hear(&batch);
        for delivery in batch {
            match &delivery.shared {
                None => self.deliver_here(&delivery.message, &delivery.subscribers, None, true),
                Some(shared) => {
                    let member = delivery.subscribers.first();
                    self.deliver_to_member(&delivery.message, member, shared, done.as_ref());
                }
            }
        }
        if let Some(joint) = joint {
            self.journal.join(joint, self.worker, mark);
            self.dirty_notify.notify_one();
        }
        self.receipt(done);
    }

    /// Delivers to sessions of this worker. `subscribers` is sorted by session where one can appear twice. `check` is
    /// for deliveries that were under way while a subscription could end: then it is looked up again.
    pub(super) fn deliver_here(
        &mut self,
        message: &SharedMessage,
        subscribers: &[Subscriber],
        from: Option<u32>,
        check: bool,
    ) {
        for of_session in subscribers.chunk_by(|a, b| a.session == b.session) {
            let slot = of_session[0].session;
            let Some(entry) = self.sessions.get(slot as usize) else {
                continue;
            };
            let Some(delivery) = merge(message, of_session, from == Some(slot), check.then_some(&entry.session)) else {
                self.counters.add(Metric::DeliveryDroppedNoLocal, u64::from(from == Some(slot)));
                continue;
            };
            if self.had_before(slot, message.id) || self.is_second_copy(slot, delivery.copy_id()) {
                continue;
            }
            self.step(slot, |session, limits, now, out| session.deliver(delivery, limits, now, out));
        }
    }
}

/// One delivery out of all of a session's subscriptions that match: at the highest QoS, with every identifier
/// [MQTT-3.3.4-2, -3]. `None` if all of them are No Local and it is the client's own, or none stands any more.
fn merge(
    message: &SharedMessage,
    of_session: &[Subscriber],
    is_own: bool,
    check: Option<&Session>,
) -> Option<Delivery> {
    let stands = |subscriber: &&Subscriber| {
        let is_echo = is_own && subscriber.flags & Subscriber::NO_LOCAL != 0; // [MQTT-3.8.3-3]
        !is_echo && check.is_none_or(|session| session.is_subscribed(subscriber.serial))
    };
    if let [only] = of_session {
        return stands(&only).then(|| delivery(message, only.qos, only.flags, ids([only])));
    }
    let qos = of_session.iter().filter(stands).map(|subscriber| subscriber.qos).max()?;
    let flags = of_session.iter().filter(stands).fold(0, |flags, subscriber| flags | subscriber.flags);
    Some(delivery(message, qos, flags, ids(of_session.iter().filter(stands))))
}

fn ids<'a>(subscribers: impl IntoIterator<Item = &'a Subscriber>) -> Box<[u32]> {
    subscribers.into_iter().map(|subscriber| subscriber.subscription_id).filter(|id| *id != 0).collect()
}

fn delivery(message: &SharedMessage, qos: Qos, flags: u8, subscription_ids: Box<[u32]>) -> Delivery {
    let retain = message.retain && flags & Subscriber::RETAIN_AS_PUBLISHED != 0; // [MQTT-3.3.1-12, -13]
    Delivery { message: message.clone(), qos: message.qos.min(qos), retain, subscription_ids, shared: None }
}
