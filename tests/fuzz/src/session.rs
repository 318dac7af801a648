//! The session machine, fed by any sequence of packets of the client, answers of the router, deliveries, losses and
//! returns. What must hold after each is checked from outside; the model of the unit tests knows more, and tries less.

use std::sync::Arc;

use mqtt::codec::{self, Framed, Limits};
use mqtt::session::{
    Capabilities, Closing, Delivery, Event, Outputs, Priorities, QueueLimits, ServerLimits, Session, SessionLimits,
    WhenFull, negotiate,
};
use mqtt::{Message, Qos, ReasonCode, Time, Version};

const DECODE: Limits = Limits {
    max_packet_size: 10_000,
    max_topic_len: 200,
    max_filter_len: 200,
    max_topic_levels: 10,
    max_user_properties: 100,
};
/// Small enough to be reached.
const DEPTH: usize = 5;
const QUEUE_BYTES: usize = 3_000;
const WINDOW: u16 = 3;
const RECEIVE_MAXIMUM: u16 = 4;

fn server() -> ServerLimits {
    ServerLimits {
        receive_maximum: RECEIVE_MAXIMUM,
        max_inflight: WINDOW,
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
        depth: DEPTH,
        bytes: QUEUE_BYTES,
        when_full: WhenFull::DropOldest,
        qos0: false,
        priorities: Priorities::default(),
    };
    SessionLimits {
        queue,
        write_buffer: 500,
        max_subscriptions: 8,
        capabilities: Capabilities::default(),
        auth_timeout: 3_000,
    }
}

/// The bytes of a run, as choices; at the end all are 0.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let count = usize::from(self.byte()).min(most).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    fn qos(&mut self) -> Qos {
        Qos::from_bits(self.byte() % 3).unwrap()
    }
}

struct World<'a> {
    session: Session,
    choices: Choices<'a>,
    limits: SessionLimits,
    now: Time,
    out: Outputs,
    tokens: Vec<u64>,
    /// SUBSCRIBEs without their SUBACK.
    subscribing: Vec<(mqtt::PacketId, usize)>,
    delivered: u64,
    sent_qos0: u64,
    acked: u64,
    dropped: u64,
    reclaimed: u64,
}

/// Each step is a byte that chooses it, and what it needs.
pub(crate) fn target(bytes: &[u8]) {
    let now = Time(1_000_000);
    let mut world = World {
        session: Session::new(Arc::from("client"), Version::V311, 1, now),
        choices: Choices(bytes),
        limits: limits(),
        now,
        out: Outputs::default(),
        tokens: Vec::new(),
        subscribing: Vec::new(),
        delivered: 0,
        sent_qos0: 0,
        acked: 0,
        dropped: 0,
        reclaimed: 0,
    };
    while !world.choices.0.is_empty() {
        world.step();
        world.check();
    }
}

impl World<'_> {
    fn step(&mut self) {
        match self.choices.byte() % 12 {
            0 => self.connect(),
            1 => {
                self.session_packet_of_any_bytes();
            }
            2 => self.publish(),
            3 => self.acknowledge(),
            4 => self.subscribe(),
            5 => self.deliver(),
            6 => self.route(),
            7 => self.suback(),
            8 => {
                self.flush();
                self.session.pump(&self.limits, self.now, &mut self.out);
            }
            9 => self.lose(Closing::Lost),
            10 => {
                self.now = self.now.after_millis(u64::from(self.choices.byte()) * 100);
                let _ = (self.session.next_timeout(), self.session.due(self.now));
            }
            _ => self.reclaim(),
        }
    }

    /// Any CONNECT that is valid, or one that is made here.
    fn connect(&mut self) {
        self.lose(Closing::Lost);
        let flags = self.choices.byte();
        let own = self.choices.bytes(120);
        let plain: &[&[u8]] = &[
            b"\x10\x12\0\x06MQIsdp\x03\0\0\x0a\0\x04abcd",
            b"\x10\x10\0\x04MQTT\x04\0\0\x0a\0\x04abcd",
            b"\x10\x16\0\x04MQTT\x05\0\0\x0a\x05\x11\0\0\0\x64\0\x04abcd",
            b"\x10\x19\0\x04MQTT\x05\0\0\x0a\x08\x11\0\0\0\x64\x21\0\x02\0\x04abcd",
            b"\x10\x19\0\x04MQTT\x05\0\0\x0a\x08\x11\0\0\0\x64\x22\0\x03\0\x04abcd",
            b"\x10\x1b\0\x04MQTT\x05\0\0\x0a\x0a\x11\0\0\0\x64\x27\0\0\0\x40\0\x04abcd",
        ];
        let bytes = if own.is_empty() { plain[usize::from(flags) % plain.len()] } else { own };
        let Ok(connect) = codec::decode_connect(bytes, &DECODE) else { return };
        let Ok(mut negotiated) = negotiate(&connect, &server(), || "made-up".into()) else { return };
        self.session.attach(&mut negotiated, &self.limits, self.now, &mut self.out);
    }

    /// Packets as a stream would bring them.
    fn session_packet_of_any_bytes(&mut self) {
        let bytes = self.choices.bytes(255);
        self.feed(bytes);
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        let version = self.session.version();
        while let Ok(Framed::Packet { len }) = codec::frame(bytes, Some(version), &DECODE) {
            let Ok(packet) = codec::decode(version, &bytes[..len], &DECODE) else { return };
            if self.session.connection().is_none() || self.session.owes_too_many() && version != Version::V5 {
                return; // nothing is read
            }
            self.session.packet(packet, &self.limits, self.now, &mut self.out);
            self.take_events();
            bytes = &bytes[len..];
        }
    }

    fn publish(&mut self) {
        let (qos, id, dup) = (self.choices.qos(), self.choices.byte() % 8 + 1, self.choices.byte() & 1);
        let qos = qos as u8;
        let mut body = b"\0\x01t".to_vec();
        if qos > 0 {
            body.extend([0, id]);
        }
        if self.session.version() == Version::V5 {
            body.push(0);
        }
        body.push(b'x');
        let dup = if qos > 0 { dup << 3 } else { 0 };
        self.feed(&[&[0x30 | qos << 1 | dup, body.len() as u8], &body[..]].concat());
    }

    fn acknowledge(&mut self) {
        let (kind, id, reason) = (self.choices.byte() % 4, self.choices.byte() % 12 + 1, self.choices.byte());
        let first = [0x40, 0x50, 0x62, 0x70][usize::from(kind)];
        let failed = if kind < 2 { 0x97 } else { 0x92 };
        if self.session.version() == Version::V5 && reason & 7 == 0 {
            self.feed(&[first, 3, 0, id, failed]);
        } else {
            self.feed(&[first, 2, 0, id]);
        }
    }

    fn subscribe(&mut self) {
        let filter = [&b"t"[..], b"+", b"a/#", b"$share/g/t", b"$share/g/+", b"b", b"c", b"d", b"e", b"f"]
            [usize::from(self.choices.byte()) % 10];
        let (options, id) = (self.choices.byte() % 3, self.choices.byte() | 1);
        let is_v5 = self.session.version() == Version::V5;
        let mut body = vec![0, id];
        body.extend(is_v5.then_some(0));
        body.extend([0, filter.len() as u8]);
        body.extend(filter);
        let first = if self.choices.byte() & 3 == 0 {
            0xa2
        } else {
            body.push(options);
            0x82
        };
        self.feed(&[&[first, body.len() as u8], &body[..]].concat());
    }

    fn deliver(&mut self) {
        let (qos, flags, payload) = (self.choices.qos(), self.choices.byte(), self.choices.bytes(200));
        let properties: &[u8] = if flags & 1 == 0 { &[] } else { &[1, 1] };
        let topic = if flags & 2 == 0 { "t" } else { "topic/that/is/long/enough/for/an/alias" };
        let mut message = Message::new(topic, properties, payload);
        message.qos = qos;
        message.expires_at = (flags & 4 != 0).then(|| self.now.after_secs(2));
        let shared =
            self.session.shared_subscriptions().next().filter(|_| flags & 8 != 0).map(|granted| granted.serial);
        let subscription_ids = if flags & 16 == 0 { Box::default() } else { Box::from([1, 268_435_455]) };
        let retain = flags & 32 != 0;
        let shared = shared.and_then(std::num::NonZeroU32::new);
        let delivery = Delivery { message: Arc::new(message), qos, retain, subscription_ids, shared };
        self.delivered += 1;
        self.session.deliver(delivery, &self.limits, self.now, &mut self.out);
    }

    fn route(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let at = usize::from(self.choices.byte()) % self.tokens.len();
        let token = self.tokens.swap_remove(at);
        let reason = if self.choices.byte() & 7 == 0 { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
        self.session.routed(token, reason, &mut self.out);
    }

    fn suback(&mut self) {
        if let Some((id, count)) = self.subscribing.pop() {
            self.session.suback(id, &vec![ReasonCode::GrantedQos1; count], &mut self.out);
        }
    }

    fn reclaim(&mut self) {
        let serial = self.session.shared_subscriptions().next().map(|granted| granted.serial);
        if let Some(serial) = serial {
            let in_flight = self.choices.byte() & 1 == 0 && self.session.connection().is_none();
            self.reclaimed += self.session.reclaim(serial, in_flight, &mut self.out).len() as u64;
        }
    }

    fn lose(&mut self, closing: Closing) {
        self.flush();
        self.subscribing.clear();
        let _ = self.session.detach(closing, self.now);
    }

    fn take_events(&mut self) {
        for event in std::mem::take(&mut self.out.events) {
            match event {
                Event::Publish(message, token) => {
                    assert!(mqtt::topic::valid_name(message.topic()), "{message:?}");
                    assert!(codec::check_forwardable(message.properties()), "{message:?}");
                    self.tokens.extend(token);
                }
                Event::Subscribe(id, requested) => self.subscribing.push((id, requested.len())),
                Event::Close(closing) => return self.lose(closing),
                _ => {}
            }
        }
    }

    /// The client reads all that was written: whole packets, which a client can read.
    fn flush(&mut self) {
        let wire = std::mem::take(&mut self.out.wire);
        let mut rest = &wire[..];
        while let Some((first, after)) = rest.split_first() {
            let width = after.iter().take_while(|byte| **byte >= 0x80).count() + 1;
            let mut length = 0;
            for (at, byte) in after[..width].iter().enumerate() {
                length |= usize::from(byte & 0x7f) << (7 * at);
            }
            let (packet, behind) = rest.split_at(1 + width + length);
            assert!(matches!(first >> 4, 3..=7 | 9 | 11 | 13 | 14 | 15), "{packet:02x?} from a server");
            if first >> 4 == 3 {
                self.check_publish(packet);
            }
            rest = behind;
        }
    }

    /// What we send is valid for whoever reads it, but for what only a server sends.
    fn check_publish(&self, packet: &[u8]) {
        let version = self.session.version();
        match codec::decode(version, packet, &DECODE) {
            Ok(_) | Err(codec::Violation::PropertyNotAllowed) => {}
            Err(violation) => panic!("{violation} in {packet:02x?}"),
        }
    }

    fn check(&mut self) {
        self.take_events();
        let tally = std::mem::take(&mut self.out.tally);
        self.sent_qos0 += tally.published[0];
        self.acked += tally.acked;
        self.dropped += tally.queue_full + tally.qos0_away + tally.too_large + tally.expired;
        let (in_flight, awaiting, queued, bytes) = self.session.depths();
        assert!(in_flight <= 2 * usize::from(WINDOW), "{in_flight} in flight");
        assert!(awaiting <= 16, "{awaiting} exchanges are kept of 8 identifiers");
        assert!(queued <= DEPTH && bytes <= QUEUE_BYTES, "{queued} messages of {bytes} bytes queued");
        assert!(self.session.subscriptions().len() <= self.limits.max_subscriptions);
        let accounted = self.sent_qos0 + self.acked + in_flight as u64 + queued as u64 + self.dropped + self.reclaimed;
        assert_eq!(
            accounted, self.delivered,
            "sent, acknowledged, in flight, queued, taken back or counted as dropped"
        );
    }
}
