//! Every packet of a client, in every version: frames found at any cut, packets decoded, and what we can write again
//! written and read back.

use mqtt::codec::{
    Framed, Limits, PublishOut, Recipient, ack, check_forwardable, decode, decode_connect, forwardable, frame, publish,
    publish_len,
};
use mqtt::packet::{Packet, Properties, Publish};
use mqtt::{Qos, Version};

/// Generous, so that only what is about limits meets them.
const LIMITS: Limits = Limits {
    max_packet_size: 70_000,
    max_topic_len: 65_000,
    max_filter_len: 65_000,
    max_topic_levels: 20,
    max_user_properties: 1000,
};
const VERSIONS: [Option<Version>; 4] = [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)];

/// The first byte chooses the version (none: CONNECT is expected), the rest is the stream.
pub(crate) fn target(bytes: &[u8]) {
    let Some((&choice, mut stream)) = bytes.split_first() else { return };
    let mut version = VERSIONS[usize::from(choice) % 4];
    while !stream.is_empty() {
        let framed = frame(stream, version, &LIMITS);
        check_cuts(stream, version, framed);
        let Ok(Framed::Packet { len }) = framed else { return };
        let (packet, rest) = stream.split_at(len);
        match version {
            None => match decode_connect(packet, &LIMITS) {
                Ok(connect) => {
                    check_connect(&connect);
                    version = Some(connect.version);
                }
                Err(_) => return,
            },
            Some(version) => match decode(version, packet, &LIMITS) {
                Ok(read) => check_packet(version, packet, &read),
                Err(_) => return,
            },
        }
        stream = rest;
    }
}

/// However the stream is cut, the answer is the same one or "wait", and it never asks for what is there already.
fn check_cuts(stream: &[u8], version: Option<Version>, whole: Result<Framed, mqtt::codec::Violation>) {
    for cut in (0..stream.len()).take(300) {
        let part = frame(&stream[..cut], version, &LIMITS);
        match part {
            Ok(Framed::Incomplete { needed }) => {
                assert!(needed == 0 || needed > cut, "{needed} bytes are asked for with {cut} there");
                let wants = matches!(whole, Ok(Framed::Packet { len }) if len <= cut);
                assert!(!wants, "a whole packet is not seen at {cut}");
            }
            _ => assert_eq!(part, whole, "cut at {cut}"),
        }
    }
}

fn check_connect(connect: &mqtt::packet::Connect<'_>) {
    walk(connect.properties);
    assert!(connect.version == Version::V5 || connect.properties.as_bytes().is_empty());
    if let Some(will) = &connect.will {
        walk(will.properties);
        assert!(mqtt::topic::valid_name(will.topic));
        assert!(check_forwardable(&forwardable(will.properties)), "{will:?}");
    }
}

fn check_packet(version: Version, bytes: &[u8], packet: &Packet<'_>) {
    for cut in (0..bytes.len()).take(300) {
        assert!(decode(version, &bytes[..cut], &LIMITS).is_err(), "a packet is taken that ends at {cut}");
    }
    match packet {
        Packet::Publish(read) => check_publish(version, read),
        Packet::Ack(read) => {
            walk(read.properties);
            let mut out = Vec::new();
            ack(&mut out, Recipient::of(version), read.kind, read.packet_id, read.reason);
            let Ok(Packet::Ack(again)) = decode(version, &out, &LIMITS) else { panic!("{out:02x?}") };
            assert_eq!((again.kind, again.packet_id, again.reason), (read.kind, read.packet_id, read.reason));
        }
        Packet::Subscribe(read) => {
            walk(read.properties);
            assert!(read.filters().count() > 0, "no filter [MQTT-3.8.3-2]");
            assert!(read.filters().all(|one| mqtt::topic::valid_filter(one.filter)));
        }
        Packet::Unsubscribe(read) => {
            walk(read.properties);
            assert!(read.filters().count() > 0, "no filter [MQTT-3.10.3-2]");
            assert!(read.filters().all(mqtt::topic::valid_filter));
        }
        Packet::Disconnect(read) => walk(read.properties),
        Packet::Auth(read) => walk(read.properties),
        Packet::PingReq => assert_eq!(bytes.last(), Some(&0)),
        Packet::Connect(_) => panic!("a second CONNECT [MQTT-3.1.0-2]"),
    }
}

/// Written as it would be forwarded, then read: the same message.
fn check_publish(version: Version, read: &Publish<'_>) {
    walk(read.properties);
    assert_eq!(read.packet_id.is_some(), read.qos != Qos::AtMostOnce);
    let passed_on = forwardable(read.properties);
    assert!(check_forwardable(&passed_on), "{read:?}");
    assert_eq!(read.forwardable(), passed_on);
    let sent = PublishOut {
        topic: read.topic.as_bytes(),
        properties: &passed_on,
        payload: read.payload,
        qos: read.qos,
        dup: read.dup,
        retain: read.retain,
        packet_id: read.packet_id,
        expiry: read.expiry,
        subscription_ids: &[],
        topic_alias: read.topic_alias,
    };
    let mut out = Vec::new();
    assert!(publish(&mut out, version, &sent), "{read:?}");
    assert_eq!(out.len(), publish_len(version, &sent));
    let Ok(Packet::Publish(again)) = decode(version, &out, &LIMITS) else { panic!("{out:02x?}") };
    assert_eq!(
        Publish { properties: Properties::default(), ..*read },
        Publish { properties: Properties::default(), ..again }
    );
    assert_eq!(forwardable(again.properties), passed_on);
}

/// What was checked can be read to its end.
fn walk(properties: Properties<'_>) {
    let count = properties.iter().count();
    assert!(count <= properties.as_bytes().len());
    assert!(count > 0 || properties.as_bytes().is_empty());
}
