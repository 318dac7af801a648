//! mqtt-proto at the other end: what it writes as a client we read to equal fields, and what we write as a server it
//! reads to equal fields, from arbitrary parts.

use mqtt::codec::{AuthOut, ConnAck, PublishOut, ack, auth, connack, decode, decode_connect, disconnect, pingresp};
use mqtt::codec::{Recipient, publish, suback, unsuback};
use mqtt::packet::{AckKind, Packet};
use mqtt::{PacketId, Qos, ReasonCode, Version};
use mqtt_proto::v5::VarByteInt;
use mqtt_proto::{v3, v5};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::LIMITS;
use crate::generated::{data, id, text, v3_connect, v3_packet, v5_acks, v5_connect, v5_others, v5_publish};
use crate::third;

proptest! {
    #[test]
    fn what_mqtt_proto_writes_in_5_we_read_to_equal_fields(
        theirs in prop_oneof![v5_publish(), v5_acks(), v5_others(), v5_connect()]
    ) {
        let bytes = theirs.encode().unwrap();
        let ours = match &theirs {
            v5::Packet::Connect(_) => decode_connect(bytes.as_ref(), &LIMITS).map(|connect| Packet::Connect(connect.into())).unwrap(),
            _ => decode(Version::V5, bytes.as_ref(), &LIMITS).unwrap(),
        };
        prop_assert_eq!(third::as_v5(&ours), theirs);
    }

    #[test]
    fn what_mqtt_proto_writes_in_3_we_read_to_equal_fields(
        theirs in prop_oneof![3 => v3_packet(), 1 => v3_connect()], is_31: bool
    ) {
        let bytes = theirs.encode().unwrap();
        let version = if is_31 { Version::V31 } else { Version::V311 };
        let ours = match &theirs {
            v3::Packet::Connect(_) => decode_connect(bytes.as_ref(), &LIMITS).map(|connect| Packet::Connect(connect.into())).unwrap(),
            _ => decode(version, bytes.as_ref(), &LIMITS).unwrap(),
        };
        prop_assert_eq!(third::as_v3(&ours), theirs);
    }

    #[test]
    fn a_publish_that_we_write_mqtt_proto_reads_to_equal_fields(
        theirs in v5_publish(), subscription_id in option::of(1..=268_435_455_u32)
    ) {
        let v5::Packet::Publish(mut theirs) = theirs else { unreachable!() };
        // Our properties come as encoded: those of a client's packet, which is written by them.
        let bytes = v5::Packet::Publish(theirs.clone()).encode().unwrap();
        let Packet::Publish(read) = decode(Version::V5, bytes.as_ref(), &LIMITS).unwrap() else { panic!() };
        theirs.properties.subscription_id = subscription_id.map(|id| VarByteInt::try_from(id).unwrap());
        let forwardable = mqtt::codec::forwardable(read.properties);
        let sent = PublishOut {
            topic: read.topic.as_bytes(),
            properties: &forwardable,
            payload: read.payload,
            qos: read.qos,
            dup: read.dup,
            retain: read.retain,
            packet_id: read.packet_id,
            expiry: read.expiry,
            subscription_ids: subscription_id.as_slice(),
            topic_alias: read.topic_alias,
        };
        let mut out = Vec::new();
        prop_assert!(publish(&mut out, Version::V5, &sent));
        let as_v3 = v3::Publish {
            dup: theirs.dup,
            retain: theirs.retain,
            qos_pid: theirs.qos_pid,
            topic_name: theirs.topic_name.clone(),
            payload: theirs.payload.clone(),
        };
        prop_assert_eq!(v5::Packet::decode(&out), Ok(Some(v5::Packet::Publish(theirs))));
        for version in [Version::V31, Version::V311] {
            let mut out = Vec::new();
            prop_assert!(publish(&mut out, version, &sent));
            prop_assert_eq!(v3::Packet::decode(&out), Ok(Some(v3::Packet::Publish(as_v3.clone()))));
        }
    }

    #[test]
    fn an_ack_that_we_write_mqtt_proto_reads_to_equal_fields(
        id in id(), (failed, wants_reasons) in any::<(bool, bool)>(), kind in 0..4_usize
    ) {
        let kind = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp][kind];
        let is_first = matches!(kind, AckKind::PubAck | AckKind::PubRec);
        let failure = if is_first { ReasonCode::QuotaExceeded } else { ReasonCode::PacketIdentifierNotFound };
        let reason = if failed { failure } else { ReasonCode::Success };
        for version in [Version::V31, Version::V311, Version::V5] {
            let mut out = Vec::new();
            ack(&mut out, Recipient { wants_reasons, ..Recipient::of(version) }, kind, id, reason);
            let packet = decode(version, &out, &LIMITS).unwrap();
            prop_assert_eq!(third::differs(version, &out, &packet), None);
        }
    }

    #[test]
    fn a_connack_that_we_write_mqtt_proto_reads_to_equal_fields(
        (session_present, numbers) in any::<(bool, [Option<u16>; 3])>(),
        (expiry, size, flags) in any::<(Option<u32>, Option<u32>, [Option<bool>; 4])>(),
        (client_id, response, method, data) in (option::of(text()), option::of(text()), option::of(text()), option::of(data())),
    ) {
        let sent = ConnAck {
            assigned_client_id: client_id.as_deref(),
            server_keep_alive: numbers[0],
            session_expiry: expiry,
            receive_maximum: numbers[1].filter(|maximum| *maximum > 0),
            maximum_qos: flags[0].map(|one| if one { Qos::AtLeastOnce } else { Qos::AtMostOnce }),
            retain_available: flags[1],
            maximum_packet_size: size.filter(|size| *size > 0),
            topic_alias_maximum: numbers[2],
            wildcard_available: flags[2],
            subscription_ids_available: flags[3],
            shared_available: flags[2],
            response_information: response.as_deref(),
            authentication_method: method.as_deref(),
            authentication_data: data.as_deref(),
            ..ConnAck::new(ReasonCode::Success, session_present)
        };
        let mut out = Vec::new();
        prop_assert!(connack(&mut out, Version::V5, &sent, None));
        let properties = v5::ConnackProperties {
            session_expiry_interval: sent.session_expiry,
            receive_max: sent.receive_maximum,
            max_qos: sent.maximum_qos.map(third::qos),
            retain_available: sent.retain_available,
            max_packet_size: sent.maximum_packet_size,
            assigned_client_id: client_id.clone(),
            topic_alias_max: sent.topic_alias_maximum,
            wildcard_subscription_available: sent.wildcard_available,
            subscription_id_available: sent.subscription_ids_available,
            shared_subscription_available: sent.shared_available,
            server_keep_alive: sent.server_keep_alive,
            response_info: response.clone(),
            auth_method: method.clone(),
            auth_data: data.clone(),
            ..v5::ConnackProperties::default()
        };
        let expected = v5::Connack { session_present, reason_code: v5::ConnectReasonCode::Success, properties };
        prop_assert_eq!(v5::Packet::decode(&out), Ok(Some(v5::Packet::Connack(expected))));
    }

    #[test]
    fn answers_that_we_write_mqtt_proto_reads_to_equal_fields(
        id in id(), codes in vec(0..3_usize, 1..5), wants_reasons: bool, reason in option::of("[a-z]{1,20}"), method in text(), data in option::of(data())
    ) {
        use v5::{SubscribeReasonCode as S, UnsubscribeReasonCode as U};
        let granted = [ReasonCode::Success, ReasonCode::GrantedQos2, ReasonCode::NotAuthorized];
        let gone = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted, ReasonCode::NotAuthorized];
        let pick = |from: [ReasonCode; 3]| codes.iter().map(|code| from[*code]).collect::<Vec<_>>();
        let mut out = Vec::new();
        let to = Recipient { wants_reasons, ..Recipient::of(Version::V5) };
        let explains = wants_reasons && codes.contains(&2);
        prop_assert!(suback(&mut out, to, id, &pick(granted)));
        let topics: Vec<S> = codes.iter().map(|code| [S::GrantedQoS0, S::GrantedQoS2, S::NotAuthorized][*code]).collect();
        let Ok(Some(v5::Packet::Suback(read))) = v5::Packet::decode(&out) else { panic!("{out:02x?}") };
        prop_assert_eq!((read.pid, read.topics, read.properties.reason_string.is_some()), (third::pid(id), topics, explains));
        out.clear();
        prop_assert!(unsuback(&mut out, to, id, &pick(gone)));
        let topics: Vec<U> = codes.iter().map(|code| [U::Success, U::NoSubscriptionExisted, U::NotAuthorized][*code]).collect();
        let Ok(Some(v5::Packet::Unsuback(read))) = v5::Packet::decode(&out) else { panic!("{out:02x?}") };
        prop_assert_eq!((read.pid, read.topics, read.properties.reason_string.is_some()), (third::pid(id), topics, explains));
        out.clear();
        prop_assert!(disconnect(&mut out, Version::V5, ReasonCode::SessionTakenOver, reason.as_deref(), None));
        let mut expected = v5::Disconnect::new(v5::DisconnectReasonCode::SessionTakenOver);
        expected.properties.reason_string = reason.map(Into::into);
        prop_assert_eq!(v5::Packet::decode(&out), Ok(Some(expected.into())));
        out.clear();
        let sent = AuthOut { reason: ReasonCode::ContinueAuthentication, method: &method, data: data.as_deref() };
        prop_assert!(auth(&mut out, &sent, None));
        let mut expected = v5::Auth::new(v5::AuthReasonCode::ContinueAuthentication);
        (expected.properties.auth_method, expected.properties.auth_data) = (Some(method), data);
        prop_assert_eq!(v5::Packet::decode(&out), Ok(Some(expected.into())));
    }
}

#[test]
fn answers_in_3_mqtt_proto_reads_to_equal_fields() {
    use v3::SubscribeReturnCode as Code;
    let id = PacketId::new(770).unwrap();
    let codes = [ReasonCode::Success, ReasonCode::GrantedQos1, ReasonCode::GrantedQos2, ReasonCode::QuotaExceeded];
    let topics = vec![Code::MaxLevel0, Code::MaxLevel1, Code::MaxLevel2, Code::Failure];
    for version in [Version::V31, Version::V311] {
        let mut out = Vec::new();
        suback(&mut out, Recipient::of(version), id, &codes);
        assert_eq!(v3::Packet::decode(&out), Ok(Some(v3::Suback::new(third::pid(id), topics.clone()).into())));
        out.clear();
        unsuback(&mut out, Recipient::of(version), id, &codes);
        assert_eq!(v3::Packet::decode(&out), Ok(Some(v3::Packet::Unsuback(third::pid(id)))));
        out.clear();
        connack(&mut out, version, &ConnAck::new(ReasonCode::NotAuthorized, true), None);
        let refused = v3::Connack::new(false, v3::ConnectReturnCode::NotAuthorized);
        assert_eq!(v3::Packet::decode(&out), Ok(Some(v3::Packet::Connack(refused))));
        out.clear();
        pingresp(&mut out);
        assert_eq!(v3::Packet::decode(&out), Ok(Some(v3::Packet::Pingresp)));
        assert_eq!(v5::Packet::decode(&out), Ok(Some(v5::Packet::Pingresp)));
    }
}

/// The last row of the table in `third`: it must go on so, or the property above takes several.
#[test]
fn mqtt_proto_reads_one_subscription_identifier_at_most() {
    let mut out = Vec::new();
    let sent = PublishOut { topic: b"t", subscription_ids: &[1, 2], ..PublishOut::default() };
    assert!(publish(&mut out, Version::V5, &sent));
    assert!(v5::Packet::decode(&out).is_err());
}
