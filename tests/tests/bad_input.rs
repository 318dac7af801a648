//! What a broker does with bytes that no right client sends: that connection ends with the right reason, and nothing
//! else happens. With `BROKERD_TEST_BROKER` the packets are tried on another broker, and its differences are printed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::broker::Broker;
use tests::malformed::{self, Case};
use tests::packet::{Connect, PINGREQ, PublishOut, Version};
use tests::raw::Raw;
use tests::read::Packet;

/// Sends one bad packet and tells what was wrong with the reaction, if anything was.
async fn try_case(broker: &Broker, case: &Case, connects_first: bool) -> Result<(), String> {
    let connect = Connect::new(case.version, &broker.own("rude"));
    let mut client = if connects_first {
        Raw::connect(broker.address(), &connect).await
    } else {
        Raw::open(broker.address(), case.version).await
    };
    // What follows must not be looked at: an answer to it shows that the bad packet was taken.
    client.send(&[&case.bytes[..], PINGREQ].concat()).await;
    let mut reason = None;
    while let Some(packet) = client.next_or_end().await {
        match packet {
            Packet::Disconnect(code) => reason = Some(code),
            Packet::Connack(connack) if connack.code != 0 && !connects_first => reason = Some(connack.code),
            other => return Err(format!("{}: answered with {other:?}", case.what)),
        }
    }
    let is_right = match reason {
        Some(code) => case.reasons.contains(&code),
        None => case.reasons.is_empty(),
    };
    let expected = &case.reasons;
    if is_right { Ok(()) } else { Err(format!("{}: closed with {reason:02x?}, expected {expected:02x?}", case.what)) }
}

async fn try_all(cases: Vec<Case>, connects_first: bool) {
    let broker = Broker::start().await;
    let topic = broker.own("witness");
    let mut witness = Raw::connect(broker.address(), &Connect::v311(&broker.own("witness"))).await;
    witness.subscribe(&topic, 1).await;
    let count = cases.len();
    let mut wrong = vec![];
    for case in cases {
        wrong.extend(try_case(&broker, &case, connects_first).await.err());
        witness.publish(&topic, b"served", 1).await;
        assert_eq!(witness.receive().await.text(), "served", "after {}", case.what);
    }
    let report = format!("{} of {count} reactions are wrong:\n{}", wrong.len(), wrong.join("\n"));
    if broker.is_foreign() {
        println!("{report}");
        return;
    }
    assert!(wrong.is_empty(), "{report}");
}

#[tokio::test]
async fn a_connect_that_is_wrong_is_refused_and_others_are_served() {
    try_all(malformed::connect(), false).await;
}

#[tokio::test]
async fn a_wrong_packet_closes_its_connection_with_the_reason_and_others_are_served() {
    try_all(malformed::after_connect(), true).await;
}

#[tokio::test]
async fn nobody_receives_what_a_wrong_publish_holds() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return;
    }
    let mut watcher = Raw::connect(broker.address(), &Connect::v5("watcher")).await;
    watcher.subscribe("#", 1).await;
    for case in malformed::after_connect() {
        let _ = try_case(&broker, &case, true).await;
    }
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_length_that_lies_takes_no_memory_and_is_refused_when_too_large() {
    let broker = Broker::start().await;
    let mut liars = vec![];
    for _ in 0..50 {
        let mut liar = Raw::connect(broker.address(), &Connect::v5("")).await;
        liar.send(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a']).await; // 268,435,455 bytes to come
        liars.push(liar);
    }
    if broker.is_foreign() {
        return; // their limit is their choice
    }
    for liar in &mut liars {
        assert_eq!(liar.expect_close().await, Some(0x95));
    }
}

#[tokio::test]
async fn more_in_flight_than_we_said_we_take_is_refused() {
    let broker = Broker::start().await;
    let (mut client, connack) = Raw::connect_with_answer(broker.address(), &Connect::v5(&broker.own("eager"))).await;
    let maximum = connack.properties.number(0x21).unwrap_or(65_535);
    if broker.is_foreign() || maximum == 65_535 {
        return; // a limit that packet ids cannot exceed
    }
    for id in 1..=maximum as u16 + 1 {
        client.send(&PublishOut::new("a", b"", 2, id).encode(Version::V5)).await;
    }
    assert_eq!(client.expect_close().await, Some(0x93));
}
