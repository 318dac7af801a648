//! rumqttc, a client that many Rust programs use, with a task that turns its event loop. Never resubscribes by itself.

use std::net::SocketAddr;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, v5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::wait::soon;

/// What a test looks at of what the event loop reports.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// CONNACK
    Connected {
        /// Session Present.
        session_present: bool,
    },
    /// SUBACK
    Subscribed,
    /// PUBACK
    Acknowledged,
    /// PUBCOMP
    Completed,
    /// PUBLISH
    Message {
        /// Topic.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
    },
    /// The event loop ended with this error.
    Failed(String),
}

/// A client of 3.1.1.
#[derive(Debug)]
pub struct V4 {
    /// To publish and subscribe with.
    pub client: AsyncClient,
    events: Events,
}

/// A client of 5.0.
#[derive(Debug)]
pub struct V5 {
    /// To publish and subscribe with.
    pub client: v5::AsyncClient,
    events: Events,
}

#[derive(Debug)]
struct Events {
    seen_rx: mpsc::Receiver<Seen>,
    turning: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.turning.abort();
    }
}

impl Events {
    async fn next(&mut self) -> Seen {
        soon("rumqttc reports something", self.seen_rx.recv()).await.expect("the event loop has ended")
    }
}

impl V4 {
    /// Connects.
    pub async fn connect(broker: SocketAddr, id: &str, clean: bool) -> (Self, bool) {
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_clean_session(clean);
        options.set_inflight(16); // mosquitto 2.0.11 loses count above its own limit of 20
        let (client, mut event_loop) = AsyncClient::new(options, 64);
        let (seen_tx, seen_rx) = mpsc::channel(1024);
        let turning = tokio::spawn(async move {
            loop {
                let polled = event_loop.poll().await;
                let is_end = polled.is_err();
                let seen = polled.map_or_else(|error| Some(Seen::Failed(error.to_string())), seen_v4);
                let Some(seen) = seen else { continue };
                if seen_tx.send(seen).await.is_err() || is_end {
                    return;
                }
            }
        });
        let mut events = Events { seen_rx, turning };
        let session_present = connected(&events.next().await);
        (Self { client, events }, session_present)
    }

    /// Subscribes and waits for the SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).await.expect("a running event loop");
        assert_eq!(self.events.next().await, Seen::Subscribed);
    }

    /// What comes next.
    pub async fn next(&mut self) -> Seen {
        self.events.next().await
    }
}

impl V5 {
    /// Connects; a session that is not clean is kept for an hour.
    pub async fn connect(broker: SocketAddr, id: &str, clean: bool) -> (Self, bool) {
        let mut options = v5::MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_clean_start(clean);
        options.set_session_expiry_interval((!clean).then_some(3600));
        let (client, mut event_loop) = v5::AsyncClient::new(options, 64);
        let (seen_tx, seen_rx) = mpsc::channel(1024);
        let turning = tokio::spawn(async move {
            loop {
                let polled = event_loop.poll().await;
                let is_end = polled.is_err();
                let seen = polled.map_or_else(|error| Some(Seen::Failed(error.to_string())), seen_v5);
                let Some(seen) = seen else { continue };
                if seen_tx.send(seen).await.is_err() || is_end {
                    return;
                }
            }
        });
        let mut events = Events { seen_rx, turning };
        let session_present = connected(&events.next().await);
        (Self { client, events }, session_present)
    }

    /// Subscribes and waits for the SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: v5::mqttbytes::QoS) {
        self.client.subscribe(filter, qos).await.expect("a running event loop");
        assert_eq!(self.events.next().await, Seen::Subscribed);
    }

    /// What comes next.
    pub async fn next(&mut self) -> Seen {
        self.events.next().await
    }
}

fn connected(seen: &Seen) -> bool {
    match seen {
        Seen::Connected { session_present } => *session_present,
        other => panic!("a CONNACK was expected, this came: {other:?}"),
    }
}

fn seen_v4(event: Event) -> Option<Seen> {
    let Event::Incoming(packet) = event else { return None };
    Some(match packet {
        Packet::ConnAck(connack) => Seen::Connected { session_present: connack.session_present },
        Packet::SubAck(_) => Seen::Subscribed,
        Packet::PubAck(_) => Seen::Acknowledged,
        Packet::PubComp(_) => Seen::Completed,
        Packet::Publish(publish) => Seen::Message { topic: publish.topic, payload: publish.payload.to_vec() },
        _ => return None,
    })
}

fn seen_v5(event: v5::Event) -> Option<Seen> {
    use v5::mqttbytes::v5::Packet;
    let v5::Event::Incoming(packet) = event else {
        return None;
    };
    Some(match packet {
        Packet::ConnAck(connack) => Seen::Connected { session_present: connack.session_present },
        Packet::SubAck(_) => Seen::Subscribed,
        Packet::PubAck(_) => Seen::Acknowledged,
        Packet::PubComp(_) => Seen::Completed,
        Packet::Publish(publish) => Seen::Message {
            topic: String::from_utf8(publish.topic.to_vec()).expect("a topic of UTF-8"),
            payload: publish.payload.to_vec(),
        },
        _ => return None,
    })
}
