//! Single packets at the edge of what the protocol can say.

use tests::cluster::metric;
use tests::node::NodeOptions;
use tests::packet::{
    Connect, PublishOut, Version, Will, frame, string, subscribe, unsubscribe, user_property, with_length,
};
use tests::raw::Raw;
use tests::read::{Packet, Value};
use tests::wait::{SOON, eventually};

use crate::{MIB, Measured};

const USER_PROPERTIES: usize = 20_000;
/// A topic of as many levels as a string has room for, less one.
const LEVELS: usize = 65_535;
const SUBSCRIPTIONS: usize = 10_000;
/// Connections that say the same.
const REPEATED: usize = 50;

fn user_properties() -> Vec<u8> {
    (0..USER_PROPERTIES).flat_map(|number| user_property("n", &number.to_string())).collect()
}

fn publish_with_user_properties() -> Vec<u8> {
    PublishOut { properties: user_properties(), ..PublishOut::new("t", b"x", 0, 0) }.encode(Version::V5)
}

#[tokio::test]
async fn twenty_thousand_user_properties_are_over_the_quota_of_every_packet() {
    let measured = Measured::start(NodeOptions::alone("n1")).await;
    let address = measured.node.mqtt();
    let section = with_length(&user_properties());
    let packets = [
        ("PUBLISH", publish_with_user_properties()),
        ("SUBSCRIBE", frame(0x82, &[&[0, 1][..], &section, &string("t"), &[0]].concat())),
        ("UNSUBSCRIBE", frame(0xa2, &[&[0, 1][..], &section, &string("t")].concat())),
        ("PUBACK", frame(0x40, &[&[0, 1, 0][..], &section].concat())),
        ("DISCONNECT", frame(0xe0, &[&[0][..], &section].concat())),
    ];
    for (name, packet) in packets {
        let mut client = Raw::connect(address, &Connect::v5(name)).await;
        client.send(&packet).await;
        assert_eq!(client.expect_close().await, Some(0x97), "{name}");
    }
    let will = Will { properties: user_properties(), ..Will::new("w", "x") };
    for connect in [Connect::v5("c").property(user_properties()), Connect::v5("w").will(will)] {
        let (_, connack) = Raw::try_connect(address, &connect).await;
        assert_eq!(connack.code, 0x97);
    }
    measured.assert_bounded(16 * MIB, "20,000 user properties").await;
}

#[tokio::test]
async fn where_they_are_allowed_twenty_thousand_user_properties_arrive_in_order_at_every_subscriber() {
    let options = NodeOptions::alone("n1").set("mqtt.max_user_properties", "20000");
    let measured = Measured::start(options).await;
    let mut subscribers = vec![];
    for number in 0..20 {
        let mut subscriber = Raw::connect(measured.node.mqtt(), &Connect::v5(&format!("s{number}"))).await;
        subscriber.subscribe("t", 0).await;
        subscribers.push(subscriber);
    }
    let mut publisher = Raw::connect(measured.node.mqtt(), &Connect::v5("publisher")).await;
    publisher.send(&publish_with_user_properties()).await;
    for subscriber in &mut subscribers {
        let properties = subscriber.receive().await.properties.0;
        assert_eq!(properties.len(), USER_PROPERTIES);
        let is_in_order = |(at, (_, value)): (usize, &(u8, Value))| *value == Value::Pair("n".into(), at.to_string());
        assert!(properties.iter().enumerate().all(is_in_order));
    }
    measured.assert_bounded(32 * MIB, "20,000 user properties to 20 subscribers").await;
}

#[tokio::test]
async fn a_topic_of_65_535_levels_is_no_valid_name_and_no_valid_filter() {
    let measured = Measured::start(NodeOptions::alone("n1")).await;
    let address = measured.node.mqtt();
    let deep = "/".repeat(LEVELS - 1);
    let shared = format!("$share/g/{}", "/".repeat(60_000));
    for (packet, reason) in [
        (PublishOut::new(&deep, b"x", 1, 1).encode(Version::V5), 0x90),
        (PublishOut::new(&deep, b"x", 0, 0).retained().encode(Version::V5), 0x90),
        (subscribe(Version::V5, 1, &[(&deep, 0)]), 0x8f),
        (subscribe(Version::V5, 1, &[(&shared, 0)]), 0x8f),
        (unsubscribe(Version::V5, 1, &[&deep]), 0x8f),
    ] {
        for number in 0..REPEATED {
            let mut client = Raw::connect(address, &Connect::v5(&format!("deep{number}"))).await;
            client.send(&packet).await;
            assert_eq!(client.expect_close().await, Some(reason));
        }
    }
    let (_, connack) = Raw::try_connect(address, &Connect::v5("w").will(Will::new(&deep, "x"))).await;
    assert_eq!(connack.code, 0x90);
    measured.assert_bounded(16 * MIB, "65,535 levels").await;
}

#[tokio::test]
async fn where_they_are_allowed_65_535_levels_are_matched_retained_and_forgotten() {
    let options = NodeOptions::alone("n1").set("mqtt.max_topic_levels", "65535");
    let measured = Measured::start(options).await;
    let deep = "/".repeat(LEVELS - 1);
    // As many wildcards as fit, with branches on the way.
    let plus = format!("{}#", "+/".repeat(32_767));
    let branch = format!("{}x", "/".repeat(30_000));
    let filters = [deep.as_str(), &plus, &branch, "#", "/#"];
    let mut client = Raw::connect(measured.node.mqtt(), &Connect::v5("deep")).await;
    for filter in filters {
        assert_eq!(client.subscribe(filter, 0).await, 0, "a filter of {} bytes", filter.len());
    }
    client.send(&PublishOut::new(&deep, b"x", 0, 0).retained().encode(Version::V5)).await;
    let came = client.receive().await;
    assert!(came.topic == deep, "a topic of {} bytes", came.topic.len());
    assert_eq!(client.subscribe(&plus, 0).await, 0);
    assert!(client.receive().await.retain, "the retained message is found by wildcards");
    client.send(&unsubscribe(Version::V5, 9, &filters)).await;
    let Packet::Unsuback(_, codes) = client.expect().await else { panic!("not an UNSUBACK") };
    assert_eq!(codes, [0; 5]);
    client.send(&PublishOut::new(&deep, b"", 0, 0).retained().encode(Version::V5)).await;
    client.expect_silence().await;
    measured.assert_bounded(32 * MIB, "65,535 levels where allowed").await;
}

#[tokio::test]
async fn a_claim_of_256_mb_is_refused_by_its_header_before_connect_and_after() {
    let measured = Measured::start(NodeOptions::alone("n1")).await;
    let claim = [0xff, 0xff, 0xff, 0x7f];
    let mut liars = vec![];
    for number in 0..REPEATED {
        let mut stranger = Raw::open(measured.node.mqtt(), Version::V5).await;
        stranger.send(&[&[0x10], &claim[..], &string("MQTT")].concat()).await;
        let mut client = Raw::connect(measured.node.mqtt(), &Connect::v5(&format!("liar{number}"))).await;
        client.send(&[&[0x30], &claim[..], &string("t")].concat()).await;
        liars.push((stranger, client));
    }
    for (stranger, client) in &mut liars {
        assert_eq!(stranger.expect_close().await, None, "nothing is said to one who is no client");
        assert_eq!(client.expect_close().await, Some(0x95));
    }
    measured.assert_bounded(8 * MIB, "a claim of 256 MB").await;
}

fn filters() -> Vec<String> {
    (0..SUBSCRIPTIONS).map(|number| format!("many/{number}/+")).collect()
}

async fn subscribe_to_all(client: &mut Raw) -> Vec<u8> {
    let filters = filters();
    let requested: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
    client.send(&subscribe(Version::V5, 1, &requested)).await;
    let Packet::Suback(1, codes) = client.expect().await else { panic!("not the SUBACK") };
    codes
}

#[tokio::test]
async fn ten_thousand_subscriptions_in_one_packet_are_granted_and_taken_back() {
    let measured = Measured::start(NodeOptions::alone("n1")).await;
    let mut client = Raw::connect(measured.node.mqtt(), &Connect::v5("many")).await;
    assert_eq!(subscribe_to_all(&mut client).await, vec![1; SUBSCRIPTIONS]);
    client.publish("many/9999/x", b"found", 1).await;
    assert_eq!(client.receive().await.text(), "found");
    measured.assert_bounded(32 * MIB, "10,000 subscriptions").await;
    let filters = filters();
    client.send(&unsubscribe(Version::V5, 2, &filters.iter().map(String::as_str).collect::<Vec<_>>())).await;
    let Packet::Unsuback(2, codes) = client.expect().await else { panic!("not the UNSUBACK") };
    assert_eq!(codes, vec![0; SUBSCRIPTIONS]);
}

#[tokio::test]
async fn of_ten_thousand_subscriptions_in_one_packet_those_over_the_limit_are_refused_one_by_one() {
    let measured = Measured::start(NodeOptions::alone("n1").set("mqtt.max_subscriptions", "100")).await;
    let mut client = Raw::connect(measured.node.mqtt(), &Connect::v5("many")).await;
    let codes = subscribe_to_all(&mut client).await;
    assert_eq!((codes.len(), &codes[..100]), (SUBSCRIPTIONS, &[1; 100][..]));
    assert!(codes[100..].iter().all(|code| *code == 0x97), "{:02x?}", &codes[100..110]);
    client.publish("many/99/x", b"found", 1).await;
    assert_eq!(client.receive().await.text(), "found");
    client.publish("many/100/x", b"refused", 1).await;
    client.expect_silence().await;
    measured.assert_bounded(8 * MIB, "10,000 subscriptions, 100 allowed").await;
}

#[tokio::test]
async fn a_client_that_never_reads_costs_its_queue_and_the_rest_is_dropped_and_counted() {
    let options = NodeOptions::alone("n1").set("persistence.queue_bytes", "1MiB");
    let measured = Measured::start(options).await;
    let mut deaf = vec![];
    for number in 0..4 {
        let mut client = Raw::connect(measured.node.mqtt(), &Connect::v5(&format!("deaf{number}"))).await;
        client.subscribe("flood", number % 3).await;
        deaf.push(client);
    }
    let mut publisher = Raw::connect(measured.node.mqtt(), &Connect::v5("publisher")).await;
    let packet = PublishOut::new("flood", &vec![7; 100_000], 0, 0).encode(Version::V5);
    for _ in 0..1000 {
        publisher.send(&packet).await;
    }
    publisher.fence().await;
    eventually(SOON, "what does not fit is dropped", async || {
        let dropped = metric(&measured.node, "delivery.dropped.queue_full").await;
        if dropped > 3000 { Ok(()) } else { Err(format!("{dropped} of 4000")) }
    })
    .await;
    measured.assert_bounded(24 * MIB, "100 MB to four clients that never read").await;
}
