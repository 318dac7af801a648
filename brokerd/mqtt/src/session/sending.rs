//! PUBLISH and PUBREL as they are written for one client. Never decides what is sent, nor when.

use super::aliases::Naming;
use super::connection::Connection;
use super::{Delivery, Outputs};
use crate::codec::{self, PublishOut, Recipient};
use crate::packet::AckKind;
use crate::{PacketId, Qos, ReasonCode, Time};

pub(super) fn release(id: PacketId, reason: ReasonCode, to: Recipient, out: &mut Outputs) {
    codec::ack(&mut out.wire, to, AckKind::PubRel, id, reason);
    out.tally.acks_sent[AckKind::PubRel as usize] += 1;
    out.promises = true;
}

/// Answers whether it fits the client; if not it is dropped and counts as acknowledged [MQTT-3.1.2-25].
pub(super) fn send(
    delivery: &Delivery,
    packet_id: Option<PacketId>,
    dup: bool,
    connection: &mut Connection,
    now: Time,
    out: &mut Outputs,
) -> bool {
    let message = &delivery.message;
    let publish = PublishOut {
        topic: message.topic_bytes(),
        properties: message.properties(),
        payload: message.payload(),
        qos: delivery.qos,
        dup,
        retain: delivery.retain,
        packet_id,
        expiry: message.seconds_left(now),
        subscription_ids: &delivery.subscription_ids,
        topic_alias: None,
    };
    if !write(publish, connection, &mut out.wire) {
        out.tally.too_large += 1;
        return false;
    }
    out.tally.published[delivery.qos as usize] += 1;
    out.promises |= delivery.qos == Qos::ExactlyOnce;
    true
}

/// Writes it with as few bytes for its topic as can be, if it fits the client at all: an alias that would make it too
/// large is not set.
fn write(publish: PublishOut<'_>, connection: &mut Connection, wire: &mut Vec<u8>) -> bool {
    let (version, limit) = (connection.version, connection.maximum_packet_size);
    let put = |publish: &PublishOut<'_>, wire: &mut Vec<u8>| {
        let fits = limit == u32::MAX || codec::publish_len(version, publish) <= limit as usize;
        fits && codec::publish(wire, version, publish)
    };
    let Some(aliases) = &mut connection.ours else {
        return put(&publish, wire);
    };
    match aliases.naming(publish.topic) {
        Naming::Known(alias) => put(&PublishOut { topic: &[], topic_alias: Some(alias), ..publish }, wire),
        Naming::Introduce(alias) if put(&PublishOut { topic_alias: Some(alias), ..publish }, wire) => {
            aliases.introduced(publish.topic, alias);
            true
        }
        Naming::Introduce(_) | Naming::Plain => put(&publish, wire),
    }
}
