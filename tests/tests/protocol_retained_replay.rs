//! All that is retained reaches who subscribes to it, at the client's own pace, also where it goes away in the middle
//! and comes back to its session.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use tests::broker::Broker;
use tests::packet::{self, Connect, PublishOut, Version, acknowledge, property_two};
use tests::raw::Raw;

const RETAINED: usize = 80_000;

/// Retains a message under each of so many topics, and waits until the last is.
async fn retain(broker: &Broker, count: usize, qos: u8) {
    let mut publisher = Raw::connect(broker.address(), &Connect::v5("publisher")).await;
    for numbers in (1..=count).collect::<Vec<_>>().chunks(500) {
        let one = |number: &usize| {
            let id = (number % 500) as u16 + 1;
            PublishOut::new(&format!("r/{number}"), b"x", qos, id).retained().encode(Version::V5)
        };
        publisher.send(&numbers.iter().flat_map(one).collect::<Vec<_>>()).await;
        for _ in 0..numbers.len() {
            publisher.expect().await; // PUBACK
        }
    }
}

/// How often each topic came, and how often as news.
#[derive(Default)]
struct Received(BTreeMap<String, (u32, u32)>);

impl Received {
    /// Takes so many publications, acknowledging them by tens, and leaves the last few unacknowledged.
    async fn take(&mut self, client: &mut Raw, count: usize) {
        let mut acks = Vec::new();
        for number in 0..count {
            let publish = client.expect_publish().await;
            assert!(publish.retain && publish.qos == 1, "{publish:?}");
            let (times, news) = self.0.entry(publish.topic).or_default();
            (*times, *news) = (*times + 1, *news + u32::from(!publish.dup));
            acks.extend(acknowledge(0x40, publish.id));
            if number % 10 == 9 {
                client.send(&std::mem::take(&mut acks)).await;
            }
        }
    }

    /// Takes until there is nothing left.
    async fn take_all(&mut self, client: &mut Raw, count: usize) {
        while self.0.len() < count {
            self.take(client, 10.min(count - self.0.len()).max(1)).await;
        }
    }
}

fn reader(receive_maximum: u16) -> Connect {
    Connect::v5("reader").persistent().property(property_two(0x21, receive_maximum))
}

#[tokio::test]
async fn all_80000_retained_messages_arrive_though_the_client_comes_and_goes_with_a_small_receive_maximum() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return; // it may have retained messages of others, and may end a replay with the connection
    }
    retain(&broker, RETAINED, 1).await;
    let mut received = Received::default();
    let mut client = Raw::connect(broker.address(), &reader(20)).await;
    assert_eq!(client.subscribe("#", 1).await, 1);
    received.take(&mut client, 20_005).await;
    client.abandon();
    let (mut client, connack) = Raw::connect_with_answer(broker.address(), &reader(30)).await;
    assert!(connack.session_present);
    received.take(&mut client, 20_005).await;
    let (mut taker, connack) = Raw::connect_with_answer(broker.address(), &reader(25)).await;
    assert!(connack.session_present);
    assert_eq!(client.expect_close().await, Some(0x8e));
    received.take_all(&mut taker, RETAINED).await;
    let as_news_twice: Vec<_> = received.0.iter().filter(|(_, (_, news))| *news > 1).take(3).collect();
    assert!(as_news_twice.is_empty(), "what came again says so: {as_news_twice:?}");
    let times: u32 = received.0.values().map(|(times, _)| times).sum();
    assert!(times as usize <= RETAINED + 100, "only what was in flight came again: {times}");
}

#[tokio::test]
async fn a_replay_goes_on_as_the_subscription_stands_when_the_client_is_back() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return;
    }
    retain(&broker, 100, 1).await;
    let mut client = Raw::connect(broker.address(), &reader(10)).await;
    client.subscribe("r/#", 1).await;
    let mut received = Received::default();
    received.take(&mut client, 20).await;
    client.abandon();
    let mut client = Raw::connect(broker.address(), &reader(10)).await;
    const QOS_0_AND_NO_RETAINED: u8 = 0x20;
    let id = client.new_id();
    client.send(&packet::subscribe(Version::V5, id, &[("r/#", QOS_0_AND_NO_RETAINED)])).await;
    let mut lowered = 0;
    while received.0.len() < 100 {
        match client.expect().await {
            tests::read::Packet::Publish(publish) => {
                lowered += usize::from(publish.qos == 0);
                client.complete(&publish).await;
                received.0.insert(publish.topic, (1, 1));
            }
            tests::read::Packet::Suback(_, codes) => assert_eq!(codes, [0]),
            other => panic!("{other:?}"),
        }
    }
    assert!(lowered > 60, "{lowered} came at the QoS that was granted last");
    client.expect_silence().await;
}

#[tokio::test]
async fn a_replay_ends_with_the_session_or_the_subscription() {
    let broker = Broker::start().await;
    if broker.is_foreign() {
        return;
    }
    retain(&broker, 100, 1).await;
    let mut client = Raw::connect(broker.address(), &reader(10)).await;
    client.subscribe("r/#", 1).await;
    client.abandon();
    let clean = Connect { clean: true, ..reader(10) };
    let mut client = Raw::connect(broker.address(), &clean).await;
    client.expect_silence().await;
    client.subscribe("r/#", 1).await;
    let window: Vec<_> = [client.expect_publish().await, client.expect_publish().await].into();
    client.unsubscribe("r/#").await;
    for publish in &window {
        client.complete(publish).await;
    }
    let came = client.fence().await.len();
    assert!(came <= 10, "what was on its way may come, no more: {came}");
}
