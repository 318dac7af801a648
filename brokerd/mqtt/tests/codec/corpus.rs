//! Each frame of the corpus is taken or refused as it says; and a part of a frame is never refused.

use mqtt::ReasonCode;
use mqtt::codec::{ConnectError, Framed, Violation, decode, decode_connect, frame};
use mqtt::packet::Packet;

use crate::LIMITS;
use crate::data::{CONNECT_INVALID, CONNECT_VALID, INVALID_V3, INVALID_V5, VALID};
use crate::notation::bytes;

/// What a connection does with `frame`: finds the packet, then reads it.
fn read(version: mqtt::Version, frame_bytes: &[u8]) -> Result<(), Violation> {
    match frame(frame_bytes, Some(version), &LIMITS)? {
        Framed::Packet { len } => {
            decode(version, &frame_bytes[..len], &LIMITS).map(|_| assert_eq!(len, frame_bytes.len()))
        }
        Framed::Incomplete { needed } => panic!("{frame_bytes:02x?} is taken for a part of {needed}"),
    }
}

#[test]
fn valid_packets_are_taken() {
    for (versions, clause, what, text) in VALID {
        for &version in *versions {
            assert_eq!(read(version, &bytes(text)), Ok(()), "{version:?} {clause}: {what}: {text}");
        }
    }
}

#[test]
fn invalid_packets_are_refused_by_name() {
    for (versions, clause, what, text, violation) in INVALID_V3.iter().chain(INVALID_V5) {
        for &version in *versions {
            assert_eq!(read(version, &bytes(text)), Err(*violation), "{version:?} {clause}: {what}: {text}");
        }
    }
}

#[test]
fn valid_connects_are_taken_for_their_version() {
    for (clause, what, text, version) in CONNECT_VALID {
        let frame_bytes = bytes(text);
        assert_eq!(
            frame(&frame_bytes, None, &LIMITS),
            Ok(Framed::Packet { len: frame_bytes.len() }),
            "{clause}: {what}"
        );
        let decoded = decode_connect(&frame_bytes, &LIMITS).map(|connect| connect.version);
        assert_eq!(decoded, Ok(*version), "{clause}: {what}: {text}");
    }
}

#[test]
fn invalid_first_packets_are_refused_by_name_and_answered_in_a_form_the_client_can_read() {
    for (clause, what, text, violation, answer) in CONNECT_INVALID {
        let frame_bytes = bytes(text);
        let refused = match frame(&frame_bytes, None, &LIMITS) {
            Err(violation) => ConnectError { violation, answer: None, maximum_packet_size: None },
            Ok(Framed::Packet { len }) => decode_connect(&frame_bytes[..len], &LIMITS).unwrap_err(),
            Ok(Framed::Incomplete { .. }) => panic!("{clause}: {what}: taken for a part: {text}"),
        };
        assert_eq!((refused.violation, refused.answer), (*violation, *answer), "{clause}: {what}: {text}");
    }
}

#[test]
fn a_part_of_a_valid_packet_is_incomplete_and_never_an_error() {
    let later = VALID.iter().flat_map(|row| row.0.iter().map(move |&version| (Some(version), row.3)));
    for (version, text) in later.chain(CONNECT_VALID.iter().map(|row| (None, row.2))) {
        let frame_bytes = bytes(text);
        for len in 0..frame_bytes.len() {
            match frame(&frame_bytes[..len], version, &LIMITS) {
                Ok(Framed::Incomplete { needed }) => {
                    assert!(needed == 0 || needed == frame_bytes.len(), "{needed} of {len} bytes of {text}");
                }
                other => panic!("{other:?} for {len} bytes of {text}"),
            }
        }
    }
}

#[test]
fn what_follows_a_packet_is_not_part_of_it() {
    let mut two = bytes("30 <'a' 31>");
    let len = two.len();
    two.extend(bytes("E0 <>"));
    assert_eq!(frame(&two, Some(mqtt::Version::V311), &LIMITS), Ok(Framed::Packet { len }));
    assert_eq!(decode(mqtt::Version::V311, &two, &LIMITS), Err(Violation::TrailingBytes));
    assert_eq!(decode(mqtt::Version::V311, &two[..len - 1], &LIMITS), Err(Violation::Truncated));
}

#[test]
fn the_limit_counts_the_header_and_is_met_before_the_body_arrives() {
    let limits = mqtt::codec::Limits { max_packet_size: 100, ..LIMITS };
    assert_eq!(frame(&[0x30, 98], Some(mqtt::Version::V5), &limits), Ok(Framed::Incomplete { needed: 100 }));
    assert_eq!(frame(&[0x30, 99], Some(mqtt::Version::V5), &limits), Err(Violation::PacketTooLarge));
    assert_eq!(frame(&[0x10, 99], None, &limits), Err(Violation::PacketTooLarge));
}

#[test]
fn user_properties_have_a_limit_in_every_packet_and_in_a_will() {
    let limits = mqtt::codec::Limits { max_user_properties: 2, ..LIMITS };
    let (two, three) = ("26 'k' 'v'".repeat(2), "26 'k' 'v'".repeat(3));
    for packet in [
        "30 <'a' <_>>",
        "40 <0001 00 <_>>",
        "50 <0001 00 <_>>",
        "62 <0001 00 <_>>",
        "70 <0001 00 <_>>",
        "82 <0001 <_> 'a' 00>",
        "A2 <0001 <_> 'a'>",
        "E0 <00 <_>>",
        "F0 <18 <15 'M' _>>",
    ] {
        let with = |properties: &str| bytes(&packet.replace('_', properties));
        assert!(decode(mqtt::Version::V5, &with(&two), &limits).is_ok(), "{packet}");
        let over = with(&three);
        assert_eq!(decode(mqtt::Version::V5, &over, &limits), Err(Violation::UserPropertiesTooMany), "{packet}");
    }
    for packet in ["10 <'MQTT' 05 02 0000 <_> 'c'>", "10 <'MQTT' 05 06 0000 <> 'c' <_> 'w' 'p'>"] {
        let with = |properties: &str| bytes(&packet.replace('_', properties));
        assert!(decode_connect(&with(&two), &limits).is_ok(), "{packet}");
        let over = with(&three);
        let refused = decode_connect(&over, &limits).map_err(|error| (error.violation, error.answer));
        let answer = Some((mqtt::Version::V5, ReasonCode::QuotaExceeded));
        assert_eq!(refused.err(), Some((Violation::UserPropertiesTooMany, answer)), "{packet}");
    }
}

#[test]
fn a_length_that_is_not_minimal_is_refused_by_frame_and_by_decode_in_5_and_by_neither_in_3x() {
    let packet = bytes("C0 8000");
    let whole = Ok(Framed::Packet { len: 3 });
    for (version, framed, decoded) in [
        (mqtt::Version::V31, whole, Ok(Packet::PingReq)),
        (mqtt::Version::V311, whole, Ok(Packet::PingReq)),
        (mqtt::Version::V5, Err(Violation::IntegerNotMinimal), Err(Violation::IntegerNotMinimal)),
    ] {
        assert_eq!(frame(&packet, Some(version), &LIMITS), framed, "{version:?}");
        assert_eq!(decode(version, &packet, &LIMITS), decoded, "{version:?}");
    }
}

#[test]
fn each_violation_has_the_reason_code_of_its_kind() {
    for (violation, reason) in [
        (Violation::Truncated, ReasonCode::MalformedPacket),
        (Violation::TrailingBytes, ReasonCode::MalformedPacket),
        (Violation::TextNotUtf8, ReasonCode::MalformedPacket),
        (Violation::TextHasNul, ReasonCode::MalformedPacket),
        (Violation::HeaderFlagsInvalid, ReasonCode::MalformedPacket),
        (Violation::IntegerNotMinimal, ReasonCode::MalformedPacket),
        (Violation::PropertyUnknown, ReasonCode::MalformedPacket),
        (Violation::PacketIdZero, ReasonCode::MalformedPacket),
        (Violation::QosInvalid, ReasonCode::MalformedPacket),
        (Violation::SubscriptionOptionsReserved, ReasonCode::MalformedPacket),
        (Violation::ConnectFlagReserved, ReasonCode::MalformedPacket),
        (Violation::PropertyNotAllowed, ReasonCode::ProtocolError),
        (Violation::PropertyDuplicate, ReasonCode::ProtocolError),
        (Violation::PropertyValueInvalid, ReasonCode::ProtocolError),
        (Violation::NoFilter, ReasonCode::ProtocolError),
        (Violation::NoLocalOnShared, ReasonCode::ProtocolError),
        (Violation::ServerPacket, ReasonCode::ProtocolError),
        (Violation::SecondConnect, ReasonCode::ProtocolError),
        (Violation::TopicEmpty, ReasonCode::ProtocolError),
        (Violation::AuthMethodMissing, ReasonCode::ProtocolError),
        (Violation::TopicHasWildcard, ReasonCode::TopicNameInvalid),
        (Violation::TopicTooLong, ReasonCode::TopicNameInvalid),
        (Violation::FilterInvalid, ReasonCode::TopicFilterInvalid),
        (Violation::FilterTooLong, ReasonCode::TopicFilterInvalid),
        (Violation::TopicAliasZero, ReasonCode::TopicAliasInvalid),
        (Violation::TopicAliasTooLarge, ReasonCode::TopicAliasInvalid),
        (Violation::PacketTooLarge, ReasonCode::PacketTooLarge),
        (Violation::ReceiveMaximumExceeded, ReasonCode::ReceiveMaximumExceeded),
        (Violation::UnsupportedVersion, ReasonCode::UnsupportedProtocolVersion),
        (Violation::ClientIdInvalid, ReasonCode::ClientIdentifierNotValid),
        (Violation::KeepAliveTimeout, ReasonCode::KeepAliveTimeout),
    ] {
        assert_eq!(violation.reason(), reason, "{violation:?}");
    }
}
