//! A frame of messages from a peer, on its way to this node's sessions. Checks everything again, matches local
//! subscribers only, and acknowledges when the workers have carried it out. Never forwards: a message makes one hop.

use std::sync::Arc;

use bytes::BytesMut;
use mqtt::message::SharedMessage;
use mqtt::{Message, MessageId, Qos, Time, codec, topic};
use proto::peer;

use crate::router::{
    Delivery, ForGroup, Index, Mailboxes, Matches, OnDelivered, Outbound, PeerSet, PeerSlot, Share, Subscriber, Target,
    Terms,
};

/// Bytes of a PUBLISH beside topic, properties and payload, at most.
const OVERHEAD: usize = 16;

/// A message that must not reach a client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadMessage {
    #[error("a topic name with a wildcard or NUL, or that is empty, too long or not UTF-8")]
    Topic,
    #[error("properties that a PUBLISH does not forward")]
    Properties,
    #[error("QoS {0}")]
    Qos(u32),
    #[error("worker {0}")]
    Worker(u32),
    #[error("a message of {0} bytes, more than `mqtt.max_packet_size`")]
    TooLarge(usize),
}

/// What is sent for a frame of messages. Their bytes are copied once, into one allocation that all share.
pub(super) fn encode(messages: &[Outbound], now: Time, names: impl Fn(PeerSet) -> Vec<String>) -> Vec<peer::Message> {
    let parts =
        |message: &SharedMessage| [message.topic_bytes().len(), message.properties().len(), message.payload().len()];
    let mut arena = BytesMut::with_capacity(messages.iter().flat_map(|outbound| parts(&outbound.message)).sum());
    for Outbound { message, .. } in messages {
        arena.extend_from_slice(message.topic_bytes());
        arena.extend_from_slice(message.properties());
        arena.extend_from_slice(message.payload());
    }
    let (mut arena, nothing) = (arena.freeze(), Share::default());
    let encode = |Outbound { message, share, retained_at, .. }: &Outbound| {
        let share = share.as_deref().unwrap_or(&nothing);
        let texts = |groups: &[Arc<str>]| groups.iter().map(ToString::to_string).collect();
        let [topic, properties, payload] = parts(message).map(|length| arena.split_to(length));
        peer::Message {
            origin: message.id.origin,
            worker: u32::from(message.id.worker),
            sequence: message.id.sequence,
            qos: message.qos as u32,
            retain: message.retain,
            expires_in: message.expires_at.map(|at| at.since(now)),
            topic,
            properties,
            payload,
            stamp: *retained_at,
            served_groups: texts(&share.served),
            epoch: 0,
            serve_groups: texts(&share.serve),
            flooded: if share.flooded.is_empty() { Vec::new() } else { names(share.flooded) },
            publisher_key: share.key,
            only_groups: share.only_groups,
            hops: u32::from(share.hops),
        }
    };
    messages.iter().map(encode).collect()
}

/// The message that was sent.
pub(super) fn decode(sent: &peer::Message, now: Time, max_packet_size: u32) -> Result<Message, BadMessage> {
    let size = sent.topic.len() + sent.properties.len() + sent.payload.len();
    if size > max_packet_size as usize + OVERHEAD {
        return Err(BadMessage::TooLarge(size));
    }
    let topic = std::str::from_utf8(&sent.topic).ok().filter(|topic| topic::valid_name(topic));
    let topic = topic.ok_or(BadMessage::Topic)?;
    if !codec::check_forwardable(&sent.properties) {
        return Err(BadMessage::Properties);
    }
    let qos = u8::try_from(sent.qos).ok().and_then(Qos::from_bits).ok_or(BadMessage::Qos(sent.qos))?;
    let worker = u16::try_from(sent.worker).map_err(|_| BadMessage::Worker(sent.worker))?;
    let mut message = Message::new(topic, &sent.properties, &sent.payload);
    message.id = MessageId { origin: sent.origin, worker, sequence: sent.sequence };
    message.qos = qos;
    message.retain = sent.retain;
    message.expires_at = sent.expires_in.map(|millis| now.after_millis(millis));
    Ok(message)
}

/// A message as it arrived, with what its sender says of shared groups.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub(super) message: SharedMessage,
    pub(super) sent: &'a peer::Message,
}

/// What [`deliver`] needs to know of this node.
pub(super) struct Here<'a> {
    pub(super) index: &'a Index,
    pub(super) mailboxes: &'a dyn Mailboxes,
    /// This node's name.
    pub(super) own: &'a str,
}

/// The groups that this node is to serve: those that it is told, and of a flooded message those that nobody is told and
/// that fall to it. `slots` finds peers by name.
fn groups(
    incoming: &Incoming<'_>,
    here: &Here<'_>,
    slots: &impl Fn(&[String]) -> Vec<(PeerSlot, Arc<str>)>,
) -> Vec<Arc<str>> {
    let (sent, topic) = (incoming.sent, incoming.message.topic());
    let matches = |text: &&String| topic::parse_share(text).is_some_and(|(_, filter)| topic::matches(filter, topic));
    let mut groups: Vec<Arc<str>> =
        sent.serve_groups.iter().filter(matches).map(|text| Arc::from(text.as_str())).collect();
    if !sent.flooded.is_empty() && !here.index.groups().is_empty() {
        let is_named = |text: &str| sent.serve_groups.iter().chain(&sent.served_groups).any(|named| named == text);
        groups.append(&mut here.index.groups().unserved(topic, here.own, &slots(&sent.flooded), is_named));
    }
    groups
}

/// The copy for a group: for a member here, or for nobody, and then a worker looks for a member elsewhere.
fn for_group(incoming: &Incoming<'_>, index: &Index, group: Arc<str>) -> (u16, Delivery) {
    let (message, key) = (incoming.message.clone(), incoming.sent.publisher_key);
    let terms = Terms { topic: message.topic(), key, peers: PeerSet::default(), here: true };
    let subscribers = match index.groups().choose_in(&group, &terms) {
        Some(Target::Here(member)) => vec![member],
        _ => Vec::new(),
    };
    let hops = u8::try_from(incoming.sent.hops).unwrap_or(u8::MAX);
    let worker = subscribers.first().map_or(0, |member| member.worker);
    (worker, Delivery { message, subscribers, shared: Some(ForGroup { group, key, hops }) })
}

/// Hands messages to the workers of their local subscribers, in order. `done` is dropped once all are carried out, and
/// at once if there is nobody.
pub(super) fn deliver(
    messages: &[Incoming<'_>],
    here: &Here<'_>,
    slots: impl Fn(&[String]) -> Vec<(PeerSlot, Arc<str>)>,
    done: &Arc<OnDelivered>,
) {
    let Here { index, mailboxes, .. } = here;
    let mut batches: Vec<Vec<Delivery>> = (0..mailboxes.workers()).map(|_| Vec::new()).collect();
    let mut found = Matches::default();
    for incoming in messages {
        let message = &incoming.message;
        for group in groups(incoming, here, &slots) {
            let (worker, delivery) = for_group(incoming, index, group);
            if let Some(batch) = batches.get_mut(usize::from(worker)) {
                batch.push(delivery);
            }
        }
        if incoming.sent.only_groups {
            continue;
        }
        found.clear();
        index.matches(message.topic(), &mut found);
        // Overlapping filters of a session must be neighbours.
        found.local.sort_unstable_by_key(|subscriber| (subscriber.worker, subscriber.session));
        for subscribers in found.local.chunk_by(|one, next| one.worker == next.worker) {
            add(&mut batches, message.clone(), subscribers);
        }
    }
    for (worker, batch) in batches.into_iter().enumerate() {
        if let (false, Ok(worker)) = (batch.is_empty(), u16::try_from(worker)) {
            mailboxes.deliver(worker, batch, Some(done.clone()));
        }
    }
}

fn add(batches: &mut [Vec<Delivery>], message: SharedMessage, subscribers: &[Subscriber]) {
    let worker = subscribers.first().map_or(0, |subscriber| usize::from(subscriber.worker));
    if let Some(batch) = batches.get_mut(worker) {
        batch.push(Delivery { message, subscribers: subscribers.to_vec(), shared: None });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The last of these messages as it is sent.
    fn sent(messages: &[SharedMessage], now: Time, retained_at: u64) -> peer::Message {
        let outbound =
            |message: &SharedMessage| Outbound { message: message.clone(), ticket: None, share: None, retained_at };
        let messages: Vec<Outbound> = messages.iter().map(outbound).collect();
        encode(&messages, now, |_| Vec::new()).pop().unwrap()
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let mut message = Message::new("a/b", &[1, 1], b"payload");
        message.id = MessageId { origin: 7, worker: 2, sequence: 9 };
        message.qos = Qos::ExactlyOnce;
        message.retain = true;
        message.expires_at = Some(Time(5_000));
        let other = Arc::new(Message::new("other", &[], b"x"));
        let sent = sent(&[other, Arc::new(message.clone())], Time(1_000), 42);
        assert_eq!((sent.expires_in, sent.stamp), (Some(4_000), 42));
        let arrived = decode(&sent, Time(90_000), 1_000).unwrap();
        assert_eq!(arrived.expires_at, Some(Time(94_000)), "on the receiver's clock");
        message.expires_at = arrived.expires_at;
        assert_eq!(arrived, message);
    }

    #[test]
    fn a_message_that_no_client_may_see_is_refused() {
        let good = sent(&[Arc::new(Message::new("a", &[], b"12345678"))], Time(0), 0);
        let bad = |change: fn(&mut peer::Message)| {
            let mut sent = good.clone();
            change(&mut sent);
            decode(&sent, Time(0), 8).unwrap_err()
        };
        assert!(decode(&good, Time(0), 8).is_ok());
        assert_eq!(bad(|sent| sent.topic = "a/#".into()), BadMessage::Topic);
        assert_eq!(bad(|sent| sent.properties = vec![0x23, 0, 1].into()), BadMessage::Properties);
        assert_eq!(bad(|sent| sent.qos = 3), BadMessage::Qos(3));
        assert_eq!(bad(|sent| sent.worker = 70_000), BadMessage::Worker(70_000));
        assert_eq!(bad(|sent| sent.payload = vec![0; 24].into()), BadMessage::TooLarge(25));
    }
}
