//! First packets that are refused, and how.

use super::ConnectInvalid;
use mqtt::ReasonCode::{self, ClientIdentifierNotValid, MalformedPacket, ProtocolError, TopicNameInvalid};
use mqtt::Version::{self, V5, V31, V311};
use mqtt::codec::Violation::*;

const CLOSE: Option<(Version, ReasonCode)> = None;
const LEVEL_3X: Option<(Version, ReasonCode)> = Some((V311, ReasonCode::UnsupportedProtocolVersion));
const LEVEL_5: Option<(Version, ReasonCode)> = Some((V5, ReasonCode::UnsupportedProtocolVersion));
const MALFORMED: Option<(Version, ReasonCode)> = Some((V5, MalformedPacket));
const PROTOCOL: Option<(Version, ReasonCode)> = Some((V5, ProtocolError));
const TOPIC: Option<(Version, ReasonCode)> = Some((V5, TopicNameInvalid));

// One line a frame.
#[rustfmt::skip]
pub(crate) const CONNECT_INVALID: &[ConnectInvalid] = &[
    // Not a CONNECT.
    ("3.1.0-1", "PUBLISH first", "30 <'a/b' 68>", FirstPacketNotConnect, CLOSE),
    ("3.1.0-1", "PINGREQ first", "C0 <>", FirstPacketNotConnect, CLOSE),
    ("3.1.0-1", "type 0 first", "00 <>", FirstPacketNotConnect, CLOSE),
    ("3.1.0-1", "the start of an HTTP request", "474554202F20485454502F312E310D0A", FirstPacketNotConnect, CLOSE),
    ("2.2.2-2", "the start of a TLS handshake", "1603010200", HeaderFlagsInvalid, CLOSE),
    ("2.2.2-2", "CONNECT with RETAIN", "11 <'MQTT' 04 02 003C 'c'>", HeaderFlagsInvalid, CLOSE),
    ("2.2.2-2", "3.1 CONNECT with DUP", "18 <'MQIsdp' 03 02 003C 'c'>", HeaderFlagsInvalid, CLOSE),
    ("2.2.3", "Remaining Length of five bytes", "10 FFFFFFFF01", IntegerTooLong, CLOSE),
    ("3.1.2.11.4", "over the limit", "10 EEA204", PacketTooLarge, CLOSE),
    // Name and level.
    ("3.1.2-1", "empty body", "10 <>", Truncated, CLOSE),
    ("3.1.2-1", "name longer than the packet", "10 <0004 4D51>", Truncated, CLOSE),
    ("3.1.2-1", "another name", "10 <'MQTX' 04 02 003C 'c'>", ProtocolNameInvalid, CLOSE),
    ("3.1.2-1", "a name in lower case", "10 <'mqtt' 05 02 003C <> 'c'>", ProtocolNameInvalid, CLOSE),
    ("3.1.2-1", "an empty name", "10 <'' 04 02 003C 'c'>", ProtocolNameInvalid, CLOSE),
    ("3.1.2-1", "no level", "10 <'MQTT'>", Truncated, CLOSE),
    ("3.1.2-2", "MQTT level 3", "10 <'MQTT' 03 02 003C 'c'>", UnsupportedVersion, LEVEL_3X),
    ("3.1.2-2", "MQTT level 0", "10 <'MQTT' 00 02 003C 'c'>", UnsupportedVersion, LEVEL_3X),
    ("3.1.2-2", "MQTT level 4 with the bit of a bridge", "10 <'MQTT' 84 02 003C 'c'>", UnsupportedVersion, LEVEL_3X),
    ("3.1.2-2", "MQTT level 6", "10 <'MQTT' 06 02 003C <> 'c'>", UnsupportedVersion, LEVEL_5),
    ("3.1.2-2", "MQIsdp level 4", "10 <'MQIsdp' 04 02 003C 'c'>", UnsupportedVersion, LEVEL_3X),
    ("3.1.2-2", "MQIsdp level 5", "10 <'MQIsdp' 05 02 003C 'c'>", UnsupportedVersion, LEVEL_3X),
    // Flags.
    ("3.1.2-3", "3.1.1, reserved flag", "10 <'MQTT' 04 03 003C 'c'>", ConnectFlagReserved, CLOSE),
    ("3.1.2-3", "3.1, reserved flag", "10 <'MQIsdp' 03 03 003C 'c'>", ConnectFlagReserved, CLOSE),
    ("3.1.2-3", "5.0, reserved flag", "10 <'MQTT' 05 03 003C <> 'c'>", ConnectFlagReserved, MALFORMED),
    ("3.1.2-11", "3.1.1, will QoS without a will", "10 <'MQTT' 04 0A 003C 'c'>", WillFlagsInvalid, CLOSE),
    ("3.1.2-15", "3.1.1, will retain without a will", "10 <'MQTT' 04 22 003C 'c'>", WillFlagsInvalid, CLOSE),
    ("3.1.2-11", "5.0, will QoS without a will", "10 <'MQTT' 05 12 003C <> 'c'>", WillFlagsInvalid, MALFORMED),
    ("3.1.2-13", "5.0, will retain without a will", "10 <'MQTT' 05 22 003C <> 'c'>", WillFlagsInvalid, MALFORMED),
    ("3.1.2-14", "3.1.1, will QoS 3", "10 <'MQTT' 04 1E 003C 'c' 'w' ()>", QosInvalid, CLOSE),
    ("3.1.2-12", "5.0, will QoS 3", "10 <'MQTT' 05 1E 003C <> 'c' <> 'w' ()>", QosInvalid, MALFORMED),
    ("3.1.2-22", "3.1.1, password without a user name", "10 <'MQTT' 04 42 003C 'c' 'p'>", PasswordWithoutUserName, CLOSE),
    ("3.1 of 3.1", "3.1, password without a user name", "10 <'MQIsdp' 03 42 003C 'c' 'p'>", PasswordWithoutUserName, CLOSE),
    // Fields.
    ("3.1.2.10", "3.1.1, no keep alive", "10 <'MQTT' 04 02 00>", Truncated, CLOSE),
    ("3.1.3", "3.1.1, no client id", "10 <'MQTT' 04 02 003C>", Truncated, CLOSE),
    ("3.1.3-8", "3.1.1, empty id without clean session", "10 <'MQTT' 04 00 003C ''>", ClientIdInvalid, Some((V311, ClientIdentifierNotValid))),
    ("3.1 of 3.1", "3.1, empty id", "10 <'MQIsdp' 03 02 003C ''>", ClientIdInvalid, Some((V31, ClientIdentifierNotValid))),
    ("3.1 of 3.1", "3.1, an id of 24 characters", "10 <'MQIsdp' 03 02 003C '123456789012345678901234'>", ClientIdInvalid, Some((V31, ClientIdentifierNotValid))),
    ("1.5.3-2", "3.1.1, NUL in the id", "10 <'MQTT' 04 02 003C (00)>", TextHasNul, CLOSE),
    ("1.5.3-1", "3.1.1, id that is not UTF-8", "10 <'MQTT' 04 02 003C (FF)>", TextNotUtf8, CLOSE),
    ("1.5.4-2", "5.0, NUL in the id", "10 <'MQTT' 05 02 003C <> (00)>", TextHasNul, MALFORMED),
    ("1.5.4-1", "5.0, id with a surrogate", "10 <'MQTT' 05 02 003C <> (EDA080)>", TextNotUtf8, MALFORMED),
    ("1.5.3-2", "3.1.1, NUL in the user name", "10 <'MQTT' 04 82 003C 'c' (75 00)>", TextHasNul, CLOSE),
    ("3.1.3.5", "5.0, user name that is not UTF-8", "10 <'MQTT' 05 82 003C <> 'c' (C328)>", TextNotUtf8, MALFORMED),
    ("3.1.2-19", "3.1.1, no user name", "10 <'MQTT' 04 82 003C 'c'>", Truncated, CLOSE),
    ("3.1.2-21", "3.1.1, no password", "10 <'MQTT' 04 C2 003C 'c' 'u'>", Truncated, CLOSE),
    ("3.1.2-19", "5.0, password longer than the packet", "10 <'MQTT' 05 C2 003C <> 'c' 'u' 0005 70>", Truncated, MALFORMED),
    ("3.1.2-18", "3.1.1, bytes after the last field", "10 <'MQTT' 04 02 003C 'c' 00>", TrailingBytes, CLOSE),
    ("3.1.2-18", "3.1.1, a user name without its flag", "10 <'MQTT' 04 02 003C 'c' 'u'>", TrailingBytes, CLOSE),
    ("3.1.2-20", "3.1.1, a password without its flag", "10 <'MQTT' 04 82 003C 'c' 'u' 'p'>", TrailingBytes, CLOSE),
    ("3.1.2-11", "3.1.1, a will without its flag", "10 <'MQTT' 04 02 003C 'c' 'w' (01)>", TrailingBytes, CLOSE),
    ("3.1.3-11", "3.1.1, user name that is not UTF-8", "10 <'MQTT' 04 82 003C 'c' (C328)>", TextNotUtf8, CLOSE),
    ("3.1.2-18", "3.1, a user name without its flag", "10 <'MQIsdp' 03 02 003C 'c' 'u'>", TrailingBytes, CLOSE),
    ("3.1.2-17", "5.0, no user name", "10 <'MQTT' 05 82 003C <> 'c'>", Truncated, MALFORMED),
    ("3.1.2-19", "5.0, no password", "10 <'MQTT' 05 C2 003C <> 'c' 'u'>", Truncated, MALFORMED),
    ("3.1.2-18", "5.0, a password without its flag", "10 <'MQTT' 05 82 003C <> 'c' 'u' 'p'>", TrailingBytes, MALFORMED),
    ("3.1.2-16", "5.0, a user name without its flag", "10 <'MQTT' 05 02 003C <> 'c' 'u'>", TrailingBytes, MALFORMED),
    // The will.
    ("3.1.3-10", "3.1.1, no will payload", "10 <'MQTT' 04 06 003C 'c' 'w'>", Truncated, CLOSE),
    ("3.1.2-9", "3.1.1, neither topic nor payload of the will", "10 <'MQTT' 04 06 003C 'c'>", Truncated, CLOSE),
    ("3.1.3-10", "3.1.1, will topic that is not UTF-8", "10 <'MQTT' 04 06 003C 'c' (C328) ()>", TextNotUtf8, CLOSE),
    ("1.5.3-2", "3.1.1, NUL in the will topic", "10 <'MQTT' 04 06 003C 'c' (00) ()>", TextHasNul, CLOSE),
    ("4.7.3-1", "3.1.1, empty will topic", "10 <'MQTT' 04 06 003C 'c' '' ()>", TopicEmpty, CLOSE),
    ("4.7.1-1", "3.1.1, will topic with a wildcard", "10 <'MQTT' 04 06 003C 'c' 'w/#' ()>", TopicHasWildcard, CLOSE),
    ("4.7.1-1", "5.0, will topic with a wildcard", "10 <'MQTT' 05 06 003C <> 'c' <> '+' ()>", TopicHasWildcard, TOPIC),
    ("4.7.3-1", "5.0, empty will topic", "10 <'MQTT' 05 06 003C <> 'c' <> '' ()>", TopicEmpty, PROTOCOL),
    ("1.5.4-2", "5.0, NUL in the will topic", "10 <'MQTT' 05 06 003C <> 'c' <> (00) ()>", TextHasNul, MALFORMED),
    ("3.1.3-11", "5.0, will topic that is not UTF-8", "10 <'MQTT' 05 06 003C <> 'c' <> (C328) ()>", TextNotUtf8, MALFORMED),
    ("3.1.2-9", "5.0, will without a payload", "10 <'MQTT' 05 06 003C <> 'c' <> 'w'>", Truncated, MALFORMED),
    ("4.7.3", "5.0, will topic of 21 levels", "10 <'MQTT' 05 06 003C <> 'c' <> '////////////////////' ()>", TopicTooLong, TOPIC),
    ("2.2.2.2", "5.0, topic alias in the will", "10 <'MQTT' 05 06 003C <> 'c' <23 0001> 'w' ()>", PropertyNotAllowed, PROTOCOL),
    ("3.1.3.2.2", "5.0, will delay twice", "10 <'MQTT' 05 06 003C <> 'c' <18 00000001 18 00000001> 'w' ()>", PropertyDuplicate, PROTOCOL),
    ("3.1.3.2.3", "5.0, will payload format 2", "10 <'MQTT' 05 06 003C <> 'c' <01 02> 'w' ()>", PropertyValueInvalid, PROTOCOL),
    ("2.2.2.1", "5.0, will without properties", "10 <'MQTT' 05 06 003C <> 'c'>", Truncated, MALFORMED),
    // Properties.
    ("1.5.5-1", "5.0, Remaining Length not minimal", "10 8E00 'MQTT' 05 02 003C <> 'c'", IntegerNotMinimal, MALFORMED),
    ("1.5.5-1", "5.0, property length not minimal", "10 <'MQTT' 05 02 003C 8000 'c'>", IntegerNotMinimal, MALFORMED),
    ("2.2.2.1", "5.0, property length after the end", "10 <'MQTT' 05 02 003C 10 21 0001>", Truncated, MALFORMED),
    ("2.2.2.1", "5.0, no property length", "10 <'MQTT' 05 02 003C>", Truncated, MALFORMED),
    ("2.2.2.2", "5.0, property 5", "10 <'MQTT' 05 02 003C <05 00> 'c'>", PropertyUnknown, MALFORMED),
    ("2.2.2.2", "5.0, will delay in CONNECT", "10 <'MQTT' 05 02 003C <18 00000001> 'c'>", PropertyNotAllowed, PROTOCOL),
    ("2.2.2.2", "5.0, server keep alive from a client", "10 <'MQTT' 05 02 003C <13 0001> 'c'>", PropertyNotAllowed, PROTOCOL),
    ("3.1.2.11.2", "5.0, session expiry twice", "10 <'MQTT' 05 02 003C <11 00000001 11 00000001> 'c'>", PropertyDuplicate, PROTOCOL),
    ("3.1.2.11.3", "5.0, receive maximum twice", "10 <'MQTT' 05 02 003C <21 0001 21 0001> 'c'>", PropertyDuplicate, PROTOCOL),
    ("3.1.2.11.5", "5.0, topic alias maximum twice", "10 <'MQTT' 05 02 003C <22 0001 22 0001> 'c'>", PropertyDuplicate, PROTOCOL),
    ("3.1.2.11.9", "5.0, two methods", "10 <'MQTT' 05 02 003C <15 'a' 15 'a'> 'c'>", PropertyDuplicate, PROTOCOL),
    ("3.1.2.11.3", "5.0, receive maximum 0", "10 <'MQTT' 05 02 003C <21 0000> 'c'>", PropertyValueInvalid, PROTOCOL),
    ("3.1.2.11.4", "5.0, maximum packet size 0", "10 <'MQTT' 05 02 003C <27 00000000> 'c'>", PropertyValueInvalid, PROTOCOL),
    ("3.1.2.11.6", "5.0, request response information 2", "10 <'MQTT' 05 02 003C <19 02> 'c'>", PropertyValueInvalid, PROTOCOL),
    ("3.1.2.11.7", "5.0, request problem information 2", "10 <'MQTT' 05 02 003C <17 02> 'c'>", PropertyValueInvalid, PROTOCOL),
    ("3.1.2.11.10", "5.0, authentication data without a method", "10 <'MQTT' 05 02 003C <16 (00)> 'c'>", AuthDataWithoutMethod, PROTOCOL),
    ("2.2.2.1", "5.0, value that leaves the section", "10 <'MQTT' 05 02 003C <11 0000> 0001 'c'>", Truncated, MALFORMED),
];
