//! What the encoder writes, the decoder reads: PUBLISH and acks from arbitrary parts.

use std::borrow::Cow;

use mqtt::codec::{Framed, PublishOut, Recipient, ack, check_forwardable};
use mqtt::codec::{decode, forwardable, frame, publish, publish_len};
use mqtt::packet::{AckKind, Packet, Properties};
use mqtt::{PacketId, Qos, ReasonCode, Version};
use proptest::prelude::*;

use crate::notation::bytes;
use crate::{LIMITS, notation, oracle};

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)]
}

fn qos() -> impl Strategy<Value = Qos> {
    (0..3u8).prop_map(|bits| Qos::from_bits(bits).unwrap())
}

/// A string as a property holds it: any characters but NUL.
fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn with_length(id: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = id.to_vec();
    for part in parts {
        out.extend((part.len() as u16).to_be_bytes());
        out.extend(*part);
    }
    out
}

/// Properties that are passed on, in any order.
fn forwarded() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let format = any::<bool>().prop_map(|is_text| vec![1, u8::from(is_text)]);
    let content = text().prop_map(|text| with_length(&[3], &[text.as_bytes()]));
    let response = "[a-zé/]{1,9}".prop_map(|text| with_length(&[8], &[text.as_bytes()]));
    let data = proptest::collection::vec(any::<u8>(), 0..9).prop_map(|data| with_length(&[9], &[&data]));
    let users = proptest::collection::vec((text(), text()), 0..3);
    let option = proptest::option::of::<BoxedStrategy<Vec<u8>>>;
    (option(format.boxed()), option(content.boxed()), option(response.boxed()), option(data.boxed()), users)
        .prop_map(|(format, content, response, data, users)| {
            let users = users.iter().map(|(name, value)| with_length(&[38], &[name.as_bytes(), value.as_bytes()]));
            [format, content, response, data].into_iter().flatten().chain(users).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

proptest! {
    #[test]
    fn a_publish_comes_back_as_it_was(
        version in version(),
        (qos, dup, retain) in (qos(), any::<bool>(), any::<bool>()),
        topic in "[^\0+#]{1,40}",
        properties in forwarded(),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        (id, expiry, topic_alias) in (1..=u16::MAX, any::<Option<u32>>(), proptest::option::of(1..=u16::MAX)),
    ) {
        prop_assume!(topic.matches('/').count() < LIMITS.max_topic_levels);
        let properties = properties.concat();
        prop_assert!(check_forwardable(&properties));
        let sent = PublishOut {
            topic: topic.as_bytes(),
            properties: &properties,
            payload: &payload,
            qos,
            dup,
            retain,
            packet_id: PacketId::new(id),
            expiry,
            subscription_ids: &[],
            topic_alias,
        };
        let mut out = Vec::new();
        prop_assert!(publish(&mut out, version, &sent));
        prop_assert_eq!(publish_len(version, &sent), out.len());
        prop_assert_eq!(frame(&out, Some(version), &LIMITS), Ok(Framed::Packet { len: out.len() }));
        let packet = decode(version, &out, &LIMITS).unwrap();
        prop_assert_eq!(oracle::differs(version, &out, &packet), None);
        let Packet::Publish(read) = packet else { panic!("{packet:?}") };
        let has_id = qos != Qos::AtMostOnce;
        prop_assert_eq!((read.qos, read.dup, read.retain), (qos, dup && has_id, retain));
        prop_assert_eq!((read.topic, read.payload), (&*topic, &*payload));
        prop_assert_eq!(read.packet_id, PacketId::new(id).filter(|_| has_id));
        let is_v5 = version == Version::V5;
        prop_assert_eq!((read.expiry, read.topic_alias), (expiry.filter(|_| is_v5), topic_alias.filter(|_| is_v5)));
        let passed_on = forwardable(read.properties);
        prop_assert_eq!(&*passed_on, if is_v5 { &*properties } else { &[][..] });
        prop_assert!(matches!(passed_on, Cow::Borrowed(_)), "ours stand at the end: nothing to copy");
    }

    #[test]
    fn what_is_not_passed_on_is_cut_out_wherever_it_stands(
        mut properties in forwarded(),
        (expiry_at, alias_at) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let expected = properties.concat();
        properties.insert(expiry_at.index(properties.len() + 1), vec![2, 0, 0, 0, 9]);
        properties.insert(alias_at.index(properties.len() + 1), vec![35, 0, 9]);
        let mut body = bytes("'t'");
        notation::variable(&mut body, properties.concat().len());
        body.extend(properties.concat());
        let mut out = vec![0x30];
        notation::variable(&mut out, body.len());
        out.extend(body);
        let Ok(Packet::Publish(read)) = decode(Version::V5, &out, &LIMITS) else { panic!("{out:02x?}") };
        prop_assert_eq!((read.expiry, read.topic_alias), (Some(9), Some(9)));
        prop_assert_eq!(&*forwardable(read.properties), &*expected);
        prop_assert!(!check_forwardable(read.properties.as_bytes()), "the check lets through what is cut out");
    }

    #[test]
    fn an_ack_comes_back_as_it_was(
        version in version(),
        kind in prop_oneof![Just(AckKind::PubAck), Just(AckKind::PubRec), Just(AckKind::PubRel), Just(AckKind::PubComp)],
        id in 1..=u16::MAX,
        failed in any::<bool>(),
    ) {
        let packet_id = PacketId::new(id).unwrap();
        let failure = match kind {
            AckKind::PubAck | AckKind::PubRec => ReasonCode::QuotaExceeded,
            AckKind::PubRel | AckKind::PubComp => ReasonCode::PacketIdentifierNotFound,
        };
        let reason = if failed { failure } else { ReasonCode::Success };
        let mut out = Vec::new();
        ack(&mut out, Recipient::of(version), kind, packet_id, reason);
        let packet = decode(version, &out, &LIMITS).unwrap();
        prop_assert_eq!(oracle::differs(version, &out, &packet), None);
        let Packet::Ack(read) = packet else { panic!("{packet:?}") };
        let reason = if version == Version::V5 { reason } else { ReasonCode::Success };
        prop_assert_eq!((read.kind, read.packet_id, read.reason), (kind, packet_id, reason));
    }

    #[test]
    fn up_to_two_subscription_identifiers_are_read_by_mqttbytes(
        ids in proptest::collection::vec(1..=268_435_455_u32, 0..=2),
        payload in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        // It counts one byte too many for each, and with a third loses it.
        let sent = PublishOut { topic: b"t", payload: &payload, subscription_ids: &ids, ..PublishOut::default() };
        let mut out = Vec::new();
        prop_assert!(publish(&mut out, Version::V5, &sent));
        let Ok(mqttbytes::v5::Packet::Publish(read)) = oracle::read_v5(&out) else { panic!("{out:02x?}") };
        let read_ids = read.properties.map(|properties| properties.subscription_identifiers).unwrap_or_default();
        prop_assert_eq!(read_ids, ids.iter().map(|&id| id as usize).collect::<Vec<_>>());
        prop_assert_eq!(read.payload, payload);
    }
}

#[test]
fn a_property_between_those_that_are_cut_out_is_borrowed() {
    let packet = bytes("30 <'t' <23 0001 26 'k' 'v' 26 'l' 'w' 02 00000001>>");
    let Ok(Packet::Publish(read)) = decode(Version::V5, &packet, &LIMITS) else { panic!() };
    assert!(matches!(forwardable(read.properties), Cow::Borrowed(run) if run == bytes("26 'k' 'v' 26 'l' 'w'")));
    assert!(matches!(forwardable(Properties::default()), Cow::Borrowed([])));
}

#[test]
fn properties_from_a_peer_are_checked_as_if_a_client_had_sent_them() {
    for valid in ["", "01 01", "26 'k' 'v' 03 't' 26 'k' 'v' 08 'r' 09 (00)"] {
        assert!(check_forwardable(&bytes(valid)), "{valid}");
    }
    for invalid in [
        "01 02",
        "01",
        "02 00000001",
        "0B 01",
        "18 00000001",
        "23 0001",
        "01 00 01 00",
        "03 (00)",
        "08 '#'",
        "FF",
        "1F 'x'",
    ] {
        assert!(!check_forwardable(&bytes(invalid)), "{invalid}");
    }
}
