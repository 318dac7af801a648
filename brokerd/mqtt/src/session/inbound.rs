//! Publications arriving from the client. Owns the packet identifiers the *client* has in use. Never decides who
//! receives a message, and never acknowledges one before the router has answered.

use std::collections::{BTreeSet, VecDeque};

use super::connection::{Connection, Topic};
use super::lazy::{Empty, Lazy};
use super::{Change, Event, Outputs};
use crate::codec::{self, Recipient, Violation};
use crate::packet::{AckKind, Publish};
use crate::{Message, PacketId, Qos, ReasonCode, Time, Version};

/// Publications received and not yet finished.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    open: Lazy<Open>,
    /// Outlives `open`: what is late must not find another's name.
    last_token: u64,
}

/// What has begun.
#[derive(Debug, Default)]
struct Open {
    /// Acknowledgements owed, in the order of the PUBLISHes, which is the order they leave in [MQTT-4.6.0-2, -3].
    owed: VecDeque<Owed>,
    /// QoS 2 identifiers whose PUBREL has not come. A PUBLISH that repeats one is a duplicate, not news.
    awaiting_release: BTreeSet<PacketId>,
    /// QoS 1 messages in `owed`.
    owed_qos1: usize,
    /// How many ids were awaiting release when the connection began: the client's quota does not count them.
    carried: usize,
}

impl Empty for Open {
    const EMPTY: &'static Self =
        &Self { owed: VecDeque::new(), awaiting_release: BTreeSet::new(), owed_qos1: 0, carried: 0 };

    fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.awaiting_release.is_empty()
    }
}

#[derive(Debug)]
struct Owed {
    token: u64,
    id: PacketId,
    qos: Qos,
    /// `None` while the router works on it.
    answer: Option<ReasonCode>,
    /// Whether [`Change::Received`] was said already.
    is_noted: bool,
    /// False where the connection that sent it ended: the answer is kept, but is given only if asked again.
    is_asked: bool,
}

impl Inbound {
    pub(super) fn restore(received: impl IntoIterator<Item = PacketId>) -> Self {
        let open = Open { awaiting_release: received.into_iter().collect(), ..Open::default() };
        Self { open: open.into(), ..Self::default() }
    }

    pub(super) fn publish(
        &mut self,
        publish: &Publish<'_>,
        connection: &mut Connection,
        now: Time,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let topic = connection.resolve(publish)?;
        let Some(id) = publish.packet_id else {
            out.events.push(Event::Publish(message(publish, &topic, now), None));
            return Ok(());
        };
        if publish.qos == Qos::ExactlyOnce && self.open.awaiting_release.contains(&id) {
            self.repeated(id, connection.recipient(), out);
            return Ok(());
        }
        let open = &mut *self.open;
        let unfinished = open.owed_qos1 + open.awaiting_release.len();
        let most = open.carried + usize::from(connection.our_receive_maximum);
        if connection.version == Version::V5 && unfinished >= most {
            return Err(Violation::ReceiveMaximumExceeded); // [MQTT-3.3.4-9]
        }
        if publish.qos == Qos::ExactlyOnce {
            open.awaiting_release.insert(id); // before the fan-out, so that a repeat is known as one
        } else {
            open.owed_qos1 += 1;
        }
        self.last_token += 1;
        let token = self.last_token;
        open.owed.push_back(Owed { token, id, qos: publish.qos, answer: None, is_noted: false, is_asked: true });
        out.events.push(Event::Publish(message(publish, &topic, now), Some(token)));
        Ok(())
    }

    /// A QoS 2 PUBLISH came again [MQTT-4.3.3-10]. If the first copy is still being routed, its answer serves both.
    fn repeated(&mut self, id: PacketId, to: Recipient, out: &mut Outputs) {
        let under_way = self.open.owed.iter_mut().find(|owed| owed.id == id && owed.qos == Qos::ExactlyOnce);
        match under_way {
            Some(owed) => owed.is_asked = true,
            None => send(AckKind::PubRec, id, ReasonCode::Success, to, out),
        }
    }

    /// Of a kept session: all who get the message of `token` are kept in one with this, so that it is known before it is
    /// acknowledged.
    pub(super) fn received(&mut self, token: u64, out: &mut Outputs) {
        let is_it = |owed: &&mut Owed| owed.token == token && owed.qos == Qos::ExactlyOnce;
        let owed = self.open.existing().and_then(|open| open.owed.iter_mut().find(is_it));
        if let Some(owed) = owed.filter(|owed| !owed.is_noted) {
            owed.is_noted = true;
            out.changes.push(Change::Received(owed.id));
        }
    }

    /// The router is done with the message of `token`. `to` is `None` while there is no connection.
    pub(super) fn routed(
        &mut self,
        token: u64,
        reason: ReasonCode,
        is_kept: bool,
        to: Option<Recipient>,
        out: &mut Outputs,
    ) {
        let Some(open) = self.open.existing() else { return };
        let Some(owed) = open.owed.iter_mut().find(|owed| owed.token == token) else { return };
        owed.answer = Some(reason);
        while let Some((owed, answer)) = open.owed.front().and_then(|owed| Some((owed, owed.answer?))) {
            match owed.qos {
                Qos::ExactlyOnce if answer.is_error() => {
                    open.awaiting_release.remove(&owed.id); // the exchange ends with this PUBREC
                    if owed.is_noted {
                        out.changes.push(Change::Finished(owed.id));
                    }
                }
                // Only now: a node that dies before has promised nothing, and the client sends it again.
                Qos::ExactlyOnce if is_kept && !owed.is_noted => out.changes.push(Change::Received(owed.id)),
                Qos::ExactlyOnce => {}
                _ => open.owed_qos1 -= 1,
            }
            if let Some(to) = to.filter(|_| owed.is_asked) {
                let kind = if owed.qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
                send(kind, owed.id, answer, to, out);
            }
            open.owed.pop_front();
        }
    }

    /// PUBREL. Of an unknown id it is answered all the same: 5.0 with 0x92.
    pub(super) fn release(&mut self, id: PacketId, is_kept: bool, to: Recipient, out: &mut Outputs) {
        let is_known = self.open.existing().is_some_and(|open| open.awaiting_release.remove(&id));
        let reason = if is_known {
            if is_kept {
                out.changes.push(Change::Finished(id));
            }
            ReasonCode::Success
        } else {
            out.tally.acks_missed[AckKind::PubRel as usize] += 1;
            ReasonCode::PacketIdentifierNotFound
        };
        send(AckKind::PubComp, id, reason, to, out);
    }

    /// A connection begins. The client's quota begins anew (5.0 section 4.9).
    pub(super) fn attach(&mut self) {
        if let Some(open) = self.open.existing() {
            open.carried = open.awaiting_release.len();
        }
    }

    /// The connection ended. A QoS 1 message will come again as a new one; a QoS 2 message is still the same.
    pub(super) fn detach(&mut self) {
        let Some(open) = self.open.existing() else { return };
        open.owed_qos1 = 0;
        open.owed.retain_mut(|owed| {
            owed.is_asked = false;
            owed.qos == Qos::ExactlyOnce
        });
        self.rest();
    }

    pub(super) const fn is_at_rest(&self) -> bool {
        self.open.is_none()
    }

    /// Gives back the memory of what is empty.
    pub(super) fn rest(&mut self) {
        self.open.rest();
    }

    pub(super) fn owed(&self) -> usize {
        self.open.owed.len()
    }

    pub(super) fn awaiting_release_ids(&self) -> impl Iterator<Item = PacketId> {
        self.open.awaiting_release.iter().copied()
    }

    pub(super) fn awaiting_release(&self) -> usize {
        self.open.awaiting_release.len()
    }
}

fn send(kind: AckKind, id: PacketId, reason: ReasonCode, to: Recipient, out: &mut Outputs) {
    codec::ack(&mut out.wire, to, kind, id, reason);
    out.tally.acks_sent[kind as usize] += 1;
    out.promises = true;
}

fn message(publish: &Publish<'_>, topic: &Topic, now: Time) -> Message {
    let topic = match topic {
        Topic::Given => publish.topic,
        Topic::Known(topic) => topic,
    };
    let properties = codec::forwardable(publish.properties);
    let mut message = Message::new(topic, &properties, publish.payload);
    message.qos = publish.qos;
    message.retain = publish.retain;
    message.expires_at = publish.expiry.map(|seconds| now.after_secs(u64::from(seconds)));
    message
}
