//! What is in the packets that are taken: the fields that mqttbytes does not tell, or tells otherwise.

use mqtt::codec::{Property, decode, decode_connect};
use mqtt::packet::{Packet, SubscriptionOptions};
use mqtt::{Qos, ReasonCode, RetainHandling, Version};

use crate::LIMITS;
use crate::notation::bytes;

#[test]
fn a_connect_without_properties_has_the_defaults_of_the_specification() {
    let packet = bytes("10 <'MQTT' 05 00 003C <> 'c'>");
    let connect = decode_connect(&packet, &LIMITS).unwrap();
    assert_eq!((connect.session_expiry, connect.maximum_packet_size), (None, None));
    assert_eq!((connect.receive_maximum, connect.topic_alias_maximum), (65_535, 0));
    assert!(connect.request_problem_information && !connect.request_response_information);
    assert_eq!((connect.username, connect.password, &connect.will), (None, None, &None));
}

#[test]
fn a_connect_has_its_fields() {
    let text = "10 <'MQTT' 05 F6 001E <11 00000001 21 0014 27 00010000 22 000A 19 01 17 00 26 'k' 'v' 15 'M' 16 (01)> \
                'c' <18 00000005 02 00000007> 'w' (00) 'u' (FF)>";
    let packet = bytes(text);
    let connect = decode_connect(&packet, &LIMITS).unwrap();
    assert_eq!((connect.client_id, connect.clean_start, connect.keep_alive), ("c", true, 30));
    assert_eq!((connect.session_expiry, connect.receive_maximum), (Some(1), 20));
    assert_eq!((connect.maximum_packet_size, connect.topic_alias_maximum), (Some(65_536), 10));
    assert!(!connect.request_problem_information && connect.request_response_information);
    assert_eq!((connect.authentication_method, connect.authentication_data), (Some("M"), Some(&[1][..])));
    assert_eq!((connect.username, connect.password), (Some("u"), Some(&[0xFF][..])));
    assert!(connect.properties.iter().any(|property| property == Property::User("k", "v")));
    let will = connect.will.unwrap();
    assert_eq!((will.topic, will.payload, will.qos, will.retain), ("w", &[0][..], Qos::ExactlyOnce, true));
    assert_eq!((will.delay, will.expiry), (5, Some(7)));
}

#[test]
fn present_but_empty_is_not_absent() {
    let packet = bytes("10 <'MQTT' 04 C2 0000 'c' '' ()>");
    let connect = decode_connect(&packet, &LIMITS).unwrap();
    assert_eq!((connect.username, connect.password), (Some(""), Some(&[][..])));
    let packet = bytes("10 <'MQIsdp' 03 82 0000 'c'>");
    assert_eq!(decode_connect(&packet, &LIMITS).unwrap().username, None);
}

#[test]
fn subscription_options_are_read_bit_by_bit() {
    let packet = bytes("82 <000A <0B 8001> 'a' 2E 'b' 1D '$share/g/c' 00>");
    let Ok(Packet::Subscribe(subscribe)) = decode(Version::V5, &packet, &LIMITS) else { panic!() };
    assert_eq!((subscribe.packet_id.get(), subscribe.subscription_id), (10, Some(128)));
    let read: Vec<_> = subscribe.filters().map(|one| (one.filter, one.options)).collect();
    let options = |qos, no_local, retain_as_published, retain_handling| SubscriptionOptions {
        qos,
        no_local,
        retain_as_published,
        retain_handling,
    };
    let expected = [
        ("a", options(Qos::ExactlyOnce, true, true, RetainHandling::Never)),
        ("b", options(Qos::AtLeastOnce, true, true, RetainHandling::IfNew)),
        ("$share/g/c", SubscriptionOptions::default()),
    ];
    assert_eq!(read, expected);
}

#[test]
fn disconnect_and_auth_have_their_fields_in_short_and_long_form() {
    let read = |text: &str| {
        let packet = bytes(text);
        match decode(Version::V5, &packet, &LIMITS) {
            Ok(Packet::Disconnect(disconnect)) => (disconnect.reason, disconnect.session_expiry),
            other => panic!("{text}: {other:?}"),
        }
    };
    assert_eq!(read("E0 <>"), (ReasonCode::Success, None));
    assert_eq!(read("E0 <04>"), (ReasonCode::DisconnectWithWill, None));
    assert_eq!(read("E0 <00 <11 00000E10>>"), (ReasonCode::Success, Some(3600)));
    let packet = bytes("F0 <19 <15 'SCRAM' 16 (00FF)>>");
    let Ok(Packet::Auth(auth)) = decode(Version::V5, &packet, &LIMITS) else { panic!() };
    assert_eq!(
        (auth.reason, auth.method, auth.data),
        (ReasonCode::ReAuthenticate, Some("SCRAM"), Some(&[0, 0xFF][..]))
    );
}

#[test]
fn a_publish_fits_in_a_cache_line_and_a_bit() {
    // It is returned by value for each message: it must not grow unseen.
    assert!(size_of::<Packet<'_>>() <= 96, "{}", size_of::<Packet<'_>>());
}
