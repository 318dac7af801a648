//! What we send: byte for byte where it is ours, and read back by mqttbytes where it can.

use mqtt::codec::{AuthOut, ConnAck, MAX_PACKET_LEN, PublishOut, ack, auth, connack, disconnect, pingresp, redirect};
use mqtt::codec::{Recipient, codes_fit, publish, publish_len, suback, unsuback};
use mqtt::packet::AckKind;
use mqtt::{PacketId, Qos, ReasonCode, Version};
use mqttbytes::{v4, v5};

use crate::notation::bytes;
use crate::oracle::{read_v4, read_v5};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn codes() -> impl Iterator<Item = ReasonCode> {
    (0..=255).filter_map(ReasonCode::from_byte)
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let is_written = write(&mut out);
    let ours = out.split_off(6);
    assert_eq!(out, b"before", "what stood in the buffer is changed");
    assert_eq!(is_written, !ours.is_empty());
    is_written.then_some(ours)
}

#[test]
fn connack_of_3x_has_two_bytes_and_tells_session_present_only_in_3_1_1_and_with_success() {
    for reason in codes() {
        for version in [Version::V31, Version::V311] {
            let out = written(|out| connack(out, version, &ConnAck::new(reason, true), Some(2))).unwrap();
            let present = u8::from(version == Version::V311 && !reason.is_error());
            assert_eq!(out, [0x20, 2, present, reason.connack_code_v3()], "{version:?} {reason:?}");
            assert!(matches!(read_v4(&out), Ok(v4::Packet::ConnAck(_))));
        }
    }
}

#[test]
fn connack_of_5_without_properties_still_has_their_length() {
    let out = written(|out| connack(out, Version::V5, &ConnAck::new(ReasonCode::Success, true), None));
    assert_eq!(out, Some(bytes("20 <01 00 <>>")));
    let out = written(|out| connack(out, Version::V5, &ConnAck::new(ReasonCode::ServerBusy, true), None));
    assert_eq!(out, Some(bytes("20 <00 89 <>>")), "[MQTT-3.2.2-6]");
}

#[test]
fn connack_of_5_has_the_codes_of_its_table_and_no_other() {
    for reason in codes() {
        let out = written(|out| connack(out, Version::V5, &ConnAck::new(reason, false), None)).unwrap();
        let in_table = matches!(reason as u8, 0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F);
        assert_eq!(out[3], if in_table { reason as u8 } else { 0x80 }, "{reason:?}");
        assert!(matches!(read_v5(&out), Ok(v5::Packet::ConnAck(_))), "{reason:?}");
    }
}

#[test]
fn connack_of_5_states_each_property_that_is_given() {
    let full = ConnAck {
        assigned_client_id: Some("auto-1"),
        server_keep_alive: Some(60),
        session_expiry: Some(3600),
        receive_maximum: Some(20),
        maximum_qos: Some(Qos::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: Some(65_536),
        topic_alias_maximum: Some(10),
        wildcard_available: Some(false),
        subscription_ids_available: Some(true),
        shared_available: Some(false),
        response_information: Some("reply/"),
        reason_string: Some("welcome"),
        authentication_method: Some("SCRAM"),
        authentication_data: Some(&[0xFF, 0]),
        ..ConnAck::new(ReasonCode::Success, true)
    };
    let out = written(|out| connack(out, Version::V5, &full, None)).unwrap();
    let Ok(v5::Packet::ConnAck(read)) = read_v5(&out) else { panic!("{out:02x?}") };
    let expected = v5::ConnAckProperties {
        session_expiry_interval: Some(3600),
        receive_max: Some(20),
        max_qos: Some(1),
        retain_available: Some(0),
        max_packet_size: Some(65_536),
        assigned_client_identifier: Some("auto-1".to_owned()),
        topic_alias_max: Some(10),
        response_information: Some("reply/".to_owned()),
        reason_string: Some("welcome".to_owned()),
        wildcard_subscription_available: Some(0),
        subscription_identifiers_available: Some(1),
        shared_subscription_available: Some(0),
        server_keep_alive: Some(60),
        authentication_method: Some("SCRAM".to_owned()),
        authentication_data: Some(vec![0xFF, 0].into()),
        ..v5::ConnAckProperties::new()
    };
    assert_eq!(read.properties, Some(expected));
    assert!(read.session_present);
}

#[test]
fn a_reason_string_goes_before_the_clients_limit_is_broken_and_then_the_packet() {
    let with = ConnAck { reason_string: Some("because"), ..ConnAck::new(ReasonCode::NotAuthorized, false) };
    let (long, short) = (bytes("20 <00 87 <1F 'because'>>"), bytes("20 <00 87 <>>"));
    let limited = |limit| written(|out| connack(out, Version::V5, &with, Some(limit)));
    assert_eq!(limited(15), Some(long));
    assert_eq!(limited(14), Some(short.clone()));
    assert_eq!(limited(5), Some(short.clone()));
    assert_eq!(limited(4), None);
    let served = ConnAck { reason: ReasonCode::Success, response_information: Some("r/"), ..with };
    let limited_too = |limit| written(|out| connack(out, Version::V5, &served, Some(limit)));
    assert_eq!(limited_too(10), Some(bytes("20 <00 00 <1A 'r/'>>")), "the reason string goes first");
    assert_eq!(limited_too(9), Some(bytes("20 <00 00 <>>")), "then the response information");
    let huge = "x".repeat(65_536);
    let with = ConnAck { reason_string: Some(&huge), ..with };
    assert_eq!(written(|out| connack(out, Version::V5, &with, None)), Some(short));
    let with = ConnAck { assigned_client_id: Some(&huge), ..with };
    assert_eq!(written(|out| connack(out, Version::V5, &with, None)), None);

    let limited =
        |limit| written(|out| disconnect(out, Version::V5, ReasonCode::ServerBusy, Some("busy"), Some(limit)));
    assert_eq!(limited(11), Some(bytes("E0 <89 <1F 'busy'>>")));
    assert_eq!(limited(10), Some(bytes("E0 <89 <>>")));
    assert_eq!(limited(4), Some(bytes("E0 <89 <>>")));
    assert_eq!(limited(3), None);
    let out = written(|out| disconnect(out, Version::V5, ReasonCode::ServerBusy, Some(&huge), None));
    assert_eq!(out, Some(bytes("E0 <89 <>>")));
}

#[test]
fn a_client_that_is_sent_elsewhere_is_told_where_if_that_fits() {
    let sent = |reference, limit| written(|out| redirect(out, ReasonCode::UseAnotherServer, reference, limit));
    assert_eq!(sent(Some("b2:1883"), None), Some(bytes("E0 <9C <1C 'b2:1883'>>")));
    assert_eq!(sent(Some("b2:1883"), Some(14)), Some(bytes("E0 <9C <1C 'b2:1883'>>")));
    assert_eq!(sent(Some("b2:1883"), Some(13)), Some(bytes("E0 <9C <>>")), "the reference goes first");
    assert_eq!(sent(None, None), Some(bytes("E0 <9C <>>")));
    assert_eq!(sent(Some(""), None), Some(bytes("E0 <9C <>>")));
    assert_eq!(sent(None, Some(3)), None, "not even that fits");
}

#[test]
fn disconnect_of_5_says_its_reason_in_a_form_that_mqttbytes_can_read_and_3x_has_none() {
    for reason in codes() {
        let out = written(|out| disconnect(out, Version::V5, reason, None, None)).unwrap();
        let from_server = !matches!(
            reason as u8,
            0x01..=0x7F | 0x84..=0x86 | 0x88 | 0x8A | 0x8C | 0x91 | 0x92
        );
        let code = if from_server { reason as u8 } else { 0x80 };
        assert_eq!(out, [0xE0, 2, code, 0], "{reason:?}");
        let Ok(v5::Packet::Disconnect(read)) = read_v5(&out) else { panic!("{reason:?}") };
        assert_eq!((read.reason_code as u8, read.properties), (code, None));
        for version in [Version::V31, Version::V311] {
            assert_eq!(written(|out| disconnect(out, version, reason, None, None)), None);
        }
    }
}

#[test]
fn suback_has_a_code_for_each_filter_and_3x_one_for_all_failures() {
    let codes = [ReasonCode::Success, ReasonCode::GrantedQos1, ReasonCode::GrantedQos2, ReasonCode::NotAuthorized];
    for (version, expected) in
        VERSIONS.iter().zip(["90 <000A 00010280>", "90 <000A 00010280>", "90 <000A <> 00010287>"])
    {
        let mut out = Vec::new();
        assert!(suback(&mut out, silent(*version), id(10), &codes));
        assert_eq!(out, bytes(expected), "{version:?}");
        assert!(if *version == Version::V5 { read_v5(&out).is_ok() } else { read_v4(&out).is_ok() });
    }
    for code in self::codes().filter(|code| code.is_error()) {
        let mut out = Vec::new();
        suback(&mut out, silent(Version::V5), id(1), &[code]);
        let in_table = matches!(code as u8, 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2);
        assert_eq!(out[5], if in_table { code as u8 } else { 0x80 }, "{code:?}");
    }
}

#[test]
fn unsuback_has_a_code_for_each_filter_in_5_and_none_in_3x() {
    let codes = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted, ReasonCode::NotAuthorized, ReasonCode::Banned];
    for (version, expected) in VERSIONS.iter().zip(["B0 <FFFF>", "B0 <FFFF>", "B0 <FFFF <> 00118780>"]) {
        let mut out = Vec::new();
        assert!(unsuback(&mut out, silent(*version), id(65_535), &codes));
        assert_eq!(out, bytes(expected), "{version:?}");
        assert!(if *version == Version::V5 { read_v5(&out).is_ok() } else { read_v4(&out).is_ok() });
    }
}

#[test]
fn pingresp_and_auth_are_written() {
    let mut out = Vec::new();
    pingresp(&mut out);
    assert_eq!(out, [0xD0, 0]);
    let step = AuthOut { reason: ReasonCode::ContinueAuthentication, method: "SCRAM", data: Some(&[0xFF]) };
    assert_eq!(written(|out| auth(out, &step, None)), Some(bytes("F0 <18 <15 'SCRAM' 16 (FF)>>")));
    let done = AuthOut { reason: ReasonCode::Success, data: None, ..step };
    assert_eq!(written(|out| auth(out, &done, None)), Some(bytes("F0 <00 <15 'SCRAM'>>")));
    let long = AuthOut { data: Some(&[0; 65_536]), ..step };
    assert_eq!(written(|out| auth(out, &long, None)), None);
    assert_eq!(written(|out| auth(out, &done, Some(12))), Some(bytes("F0 <00 <15 'SCRAM'>>")));
    assert_eq!(written(|out| auth(out, &done, Some(11))), None, "more than the client takes");
}

/// A client that asked for no reason strings.
const fn silent(version: Version) -> Recipient {
    Recipient { wants_reasons: false, ..Recipient::of(version) }
}

#[test]
fn an_error_is_explained_to_who_wants_it_and_has_room_for_it() {
    let full = Recipient::of(Version::V5);
    let limited = |maximum_packet_size| Recipient { maximum_packet_size, ..full };
    let error = ReasonCode::NotAuthorized;
    let long = bytes("40 <0102 87 <1F 'not authorized'>>");
    let length = u32::try_from(long.len()).unwrap();
    let acked = |to: Recipient, reason| {
        let mut out = Vec::new();
        ack(&mut out, to, AckKind::PubAck, id(258), reason);
        out
    };
    assert_eq!(acked(full, error), long);
    assert!(read_v5(&long).is_ok());
    assert_eq!(acked(limited(length), error), long);
    assert_eq!(acked(limited(length - 1), error), bytes("40 <0102 87>"));
    assert_eq!(acked(silent(Version::V5), error), bytes("40 <0102 87>"));
    assert_eq!(acked(full, ReasonCode::Success), bytes("40 <0102>"));
    assert_eq!(acked(full, ReasonCode::NoMatchingSubscribers), bytes("40 <0102 10>"));
    assert_eq!(acked(Recipient::of(Version::V311), error), bytes("40 <0102>"));

    let codes = [ReasonCode::Success, error, ReasonCode::QuotaExceeded];
    for (first, put) in
        [("90", suback as fn(&mut Vec<u8>, Recipient, PacketId, &[ReasonCode]) -> bool), ("B0", unsuback)]
    {
        let put = |to: Recipient, codes: &[ReasonCode]| written(|out| put(out, to, id(258), codes));
        let last = if first == "90" { "97" } else { "80" };
        let (long, short) = (
            bytes(&format!("{first} <0102 <1F 'not authorized'> 0087{last}>")),
            bytes(&format!("{first} <0102 <> 0087{last}>")),
        );
        let length = u32::try_from(long.len()).unwrap();
        assert!(read_v5(&long).is_ok());
        assert_eq!(put(full, &codes), Some(long.clone()), "the first error is the one that is explained");
        assert_eq!(put(limited(length), &codes), Some(long));
        assert_eq!(put(limited(length - 1), &codes), Some(short.clone()));
        assert_eq!(put(limited(8), &codes), Some(short.clone()));
        assert_eq!(put(silent(Version::V5), &codes), Some(short));
        assert_eq!(put(limited(7), &codes), None);
        assert!(codes_fit(limited(8), 3) && !codes_fit(limited(7), 3));
    }
}

#[test]
fn every_reason_has_a_short_text_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for reason in codes() {
        assert!((4..=60).contains(&reason.text().len()), "{reason:?}: {}", reason.text());
        assert!(seen.insert(reason.text()), "{reason:?} has the text of another");
    }
}

#[test]
fn acks_have_their_shortest_form() {
    use AckKind::{PubAck, PubComp, PubRec, PubRel};
    let error = ReasonCode::PacketIdentifierNotFound;
    for (kind, first) in [(PubAck, "40"), (PubRec, "50"), (PubRel, "62"), (PubComp, "70")] {
        for version in VERSIONS {
            let mut out = Vec::new();
            ack(&mut out, silent(version), kind, id(258), ReasonCode::Success);
            ack(&mut out, silent(version), kind, id(258), error);
            let second = if version == Version::V5 { "<0102 92>" } else { "<0102>" };
            assert_eq!(out, bytes(&format!("{first} <0102> {first} {second}")), "{version:?} {kind:?}");
        }
    }
}

#[test]
fn publish_leaves_out_what_3x_does_not_have_and_appends_ours_to_the_publishers_properties() {
    let user = bytes("26 'k' 'v'");
    let message = PublishOut {
        topic: b"a/b",
        properties: &user,
        payload: b"hi",
        qos: Qos::AtLeastOnce,
        dup: true,
        retain: true,
        packet_id: Some(id(7)),
        expiry: Some(60),
        subscription_ids: &[1, 128, 268_435_455],
        topic_alias: Some(5),
    };
    let ours = "02 0000003C 0B 01 0B 8001 0B FFFFFF7F 23 0005";
    for (version, expected) in VERSIONS.iter().zip([
        "3B <'a/b' 0007 6869>".to_owned(),
        "3B <'a/b' 0007 6869>".to_owned(),
        format!("3B <'a/b' 0007 <26 'k' 'v' {ours}> 6869>"),
    ]) {
        let out = written(|out| publish(out, *version, &message));
        assert_eq!(out, Some(bytes(&expected)), "{version:?}");
        assert_eq!(publish_len(*version, &message), bytes(&expected).len());
    }
    let qos0 = PublishOut { qos: Qos::AtMostOnce, ..message };
    let out = written(|out| publish(out, Version::V311, &qos0));
    assert_eq!(out, Some(bytes("31 <'a/b' 6869>")), "no DUP and no packet id with QoS 0");
    let alias = PublishOut { topic: b"", properties: &[], expiry: None, subscription_ids: &[], ..qos0 };
    assert_eq!(written(|out| publish(out, Version::V5, &alias)), Some(bytes("31 <'' <23 0005> 6869>")));
}

#[test]
fn a_publish_that_mqtt_cannot_carry_is_not_begun() {
    let good = PublishOut { topic: b"a", ..PublishOut::default() };
    let long_topic = vec![b'a'; 65_536];
    let payload = vec![0; MAX_PACKET_LEN - 5 - 3 + 1];
    let cases = [
        ("topic too long", PublishOut { topic: &long_topic, ..good }),
        ("no topic and no alias", PublishOut { topic: b"", ..good }),
        ("no packet id", PublishOut { qos: Qos::ExactlyOnce, ..good }),
        ("alias 0", PublishOut { topic_alias: Some(0), ..good }),
        ("identifier 0", PublishOut { subscription_ids: &[1, 0], ..good }),
        ("identifier too large", PublishOut { subscription_ids: &[268_435_456], ..good }),
        ("packet one byte too long", PublishOut { payload: &payload[1..], ..good }),
    ];
    for (what, case) in cases {
        assert_eq!(written(|out| publish(out, Version::V5, &case)), None, "{what}");
        assert_eq!(publish_len(Version::V5, &case), usize::MAX, "{what}");
    }
    let longest = PublishOut { payload: &payload[1..], ..good };
    assert_eq!(publish_len(Version::V311, &longest), MAX_PACKET_LEN);
}
