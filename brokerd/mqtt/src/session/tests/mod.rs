//! The session machine without a socket. This file owns the kit: packets in as bytes, through the decoder; bytes out,
//! as lines of text. The cases are in files by subject, the property test in `model`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod aliases;
mod answers;
mod authenticating;
mod crashes;
mod inbound;
mod keeping;
mod lines;
mod model;
mod negotiating;
mod outbound;
mod packets;
mod priorities;
mod queueing;
mod resuming;
mod subscribing;
mod wills;
mod wire;

use std::sync::Arc;

use super::*;
use crate::codec::{Limits, Violation};
use crate::{Qos, Time};
use packets::Connect;

/// Limits small enough to be reached.
fn server() -> ServerLimits {
    ServerLimits {
        receive_maximum: 4,
        max_inflight: 3,
        max_packet_size: 10_000,
        topic_alias_maximum: 2,
        topic_alias_out: 2,
        max_keep_alive: 0,
        session_expiry: 100,
        max_session_expiry: 1000,
        max_client_id_len: 64,
        capabilities: Capabilities::default(),
        response_information: None,
    }
}

fn limits() -> SessionLimits {
    let queue = QueueLimits {
        depth: 5,
        bytes: 100_000,
        when_full: WhenFull::DropOldest,
        qos0: false,
        priorities: Priorities::default(),
    };
    SessionLimits {
        queue,
        write_buffer: 100_000,
        max_subscriptions: 0,
        capabilities: Capabilities::default(),
        auth_timeout: 5000,
    }
}

const DECODE: Limits = Limits {
    max_packet_size: 10_000,
    max_topic_len: 100,
    max_filter_len: 100,
    max_topic_levels: 10,
    max_user_properties: 20,
};

/// A client and the session on the other side, at a time that stands still.
struct Pair {
    session: Session,
    version: Version,
    limits: SessionLimits,
    server: ServerLimits,
    now: Time,
    out: Outputs,
}

impl Pair {
    /// Not connected yet.
    fn new(version: Version) -> Self {
        let (now, out) = (Time(1_000_000), Outputs::default());
        let session = Session::new(Arc::from("client"), version, 1, now);
        Self { session, version, limits: limits(), server: server(), now, out }
    }

    /// Connected, its session kept for 100 seconds, nothing in the way.
    fn connected(version: Version) -> Self {
        let mut pair = Self::new(version);
        pair.attach(Connect::kept(version));
        assert_eq!(pair.sent(), Vec::<String>::new());
        pair
    }

    fn v5() -> Self {
        Self::connected(Version::V5)
    }

    fn v311() -> Self {
        Self::connected(Version::V311)
    }

    /// A connection that resumes the session.
    fn attach(&mut self, connect: Connect) {
        let bytes = connect.bytes();
        let decoded = codec::decode_connect(&bytes, &DECODE).expect("a CONNECT that is valid");
        let mut negotiated = negotiate(&decoded, &self.server, || "made-up".into()).expect("terms that suit");
        self.version = negotiated.version;
        self.session.attach(&mut negotiated, &self.limits, self.now, &mut self.out);
    }

    /// The connection fails; answers the will that is sent, as a line.
    fn lost(&mut self) -> Option<String> {
        self.detach(Closing::Lost)
    }

    fn detach(&mut self, closing: Closing) -> Option<String> {
        self.out.wire.clear(); // what was not flushed is gone
        self.session.detach(closing, self.now).map(|message| wire::message(&message, self.now))
    }

    /// Lost, and connected again as before.
    fn again(&mut self) {
        let _ = self.lost();
        self.attach(Connect::kept(self.version));
    }

    /// Feeds what the client sends; a packet or several.
    fn feed(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let mut bytes = bytes.as_ref();
        while !bytes.is_empty() {
            let Ok(codec::Framed::Packet { len }) = codec::frame(bytes, Some(self.version), &DECODE) else {
                panic!("the test's own packet has no frame: {bytes:02x?}");
            };
            let packet = codec::decode(self.version, &bytes[..len], &DECODE).expect("a packet that is valid");
            self.session.packet(packet, &self.limits, self.now, &mut self.out);
            bytes = &bytes[len..];
        }
        self
    }

    /// What is in the wire buffer, a line a packet, and empties it.
    fn sent(&mut self) -> Vec<String> {
        lines::lines(self.version, &std::mem::take(&mut self.out.wire))
    }

    /// What the session asked for, a line an event.
    fn asked(&mut self) -> Vec<String> {
        let now = self.now;
        std::mem::take(&mut self.out.events).iter().map(|event| wire::event(event, now)).collect()
    }

    /// Every token asked for is answered with success, in order.
    fn route_all(&mut self) -> &mut Self {
        for event in std::mem::take(&mut self.out.events) {
            if let Event::Publish(_, Some(token)) = event {
                self.session.routed(token, ReasonCode::Success, &mut self.out);
            }
        }
        self
    }

    fn routed(&mut self, token: u64, reason: ReasonCode) -> &mut Self {
        self.session.routed(token, reason, &mut self.out);
        self
    }

    /// Delivers a message of one letter.
    fn deliver(&mut self, qos: Qos, payload: &str) -> &mut Self {
        self.deliver_message(qos, Message::new("t", &[], payload.as_bytes()))
    }

    fn deliver_message(&mut self, qos: Qos, message: Message) -> &mut Self {
        self.deliver_shared(qos, message, 0)
    }

    /// As a member of the shared group of this serial; 0 is none.
    fn deliver_shared(&mut self, qos: Qos, mut message: Message, serial: u32) -> &mut Self {
        message.qos = qos;
        let shared = std::num::NonZeroU32::new(serial);
        let subscription_ids = Box::default();
        let delivery = Delivery { message: Arc::new(message), qos, retain: false, subscription_ids, shared };
        self.session.deliver(delivery, &self.limits, self.now, &mut self.out);
        self
    }

    /// What another member of the group is to get.
    fn reclaim(&mut self, serial: u32, in_flight: bool) -> Vec<crate::message::SharedMessage> {
        self.session.reclaim(serial, in_flight, &mut self.out)
    }

    /// The wire buffer was flushed: what waits may follow.
    fn pump(&mut self) -> &mut Self {
        self.session.pump(&self.limits, self.now, &mut self.out);
        self
    }

    fn pass(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.after_millis(millis);
        self
    }

    fn due(&mut self) -> String {
        match self.session.due(self.now) {
            Due::Nothing => "nothing".into(),
            Due::KeepAlive => "keep alive".into(),
            Due::Unauthenticated => "unauthenticated".into(),
            Due::Will(message) => wire::message(&message, self.now),
            Due::Expired => "expired".into(),
        }
    }

    fn tally(&mut self) -> Tally {
        std::mem::take(&mut self.out.tally)
    }
}

const Q0: Qos = Qos::AtMostOnce;
const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;
