//! Random lives of one session beside a reference that is slow and simple: what must hold after every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::packets::*;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// The client publishes with one of few ids.
    Publish(Qos, u16),
    Release(u16),
    /// The router answers one of those it works on.
    Route {
        which: usize,
        is_refused: bool,
    },
    Deliver {
        qos: Qos,
        expires: bool,
    },
    /// An acknowledgement, mostly of nothing or of the wrong kind.
    Stray(u8, u16),
    /// The right next acknowledgement of one of those in flight.
    Acknowledge {
        which: usize,
        is_refused: bool,
    },
    Flush,
    Pass(u64),
    Lose,
    Attach {
        is_v5: bool,
        window: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let qos = || prop_oneof![Just(Q0), Just(Q1), Just(Q2)];
    prop_oneof![
        4 => (qos(), 1..6_u16).prop_map(|(qos, id)| Step::Publish(qos, id)),
        2 => (1..6_u16).prop_map(Step::Release),
        5 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, is_refused)| Step::Route { which, is_refused }),
        6 => (qos(), prop::bool::weighted(0.2)).prop_map(|(qos, expires)| Step::Deliver { qos, expires }),
        2 => (0..4_u8, 1..30_u16).prop_map(|(kind, id)| Step::Stray(kind, id)),
        5 => (any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(which, is_refused)| Step::Acknowledge { which, is_refused }),
        3 => Just(Step::Flush),
        1 => (1..3000_u64).prop_map(Step::Pass),
        1 => Just(Step::Lose),
        2 => (any::<bool>(), 1..4_u16).prop_map(|(is_v5, window)| Step::Attach { is_v5, window }),
    ]
}

/// A publication that the router was given, and whether this connection waits for the answer.
struct Owed {
    token: u64,
    id: u16,
    qos: Qos,
    answer: Option<bool>,
    is_asked: bool,
}

/// What the client holds of one identifier of ours.
struct Held {
    number: u32,
    qos: Qos,
    is_received: bool,
    /// Whether it was sent on this connection.
    is_sent: bool,
    /// Whether that was a PUBLISH: PUBREL alone takes nothing from the client's Receive Maximum (5.0, 4.9).
    is_counted: bool,
}

struct World {
    pair: Pair,
    is_attached: bool,
    window: usize,
    seen: usize,
    /// Where a message's number is its payload.
    delivered: u32,
    newest: Option<u32>,
    again: Option<u32>,
    flight: BTreeMap<u16, Held>,
    sent_qos0: u64,
    acked: u64,
    dropped: u64,
    owed: VecDeque<Owed>,
    exchanges: BTreeSet<u16>,
    carried: usize,
    answers: Vec<String>,
}

impl World {
    fn new() -> Self {
        let mut pair = Pair::v5();
        pair.limits.write_buffer = 60;
        pair.limits.queue.depth = 4;
        pair.limits.queue.bytes = 600;
        Self {
            pair,
            is_attached: true,
            window: 3,
            seen: 0,
            delivered: 0,
            newest: None,
            again: None,
            flight: BTreeMap::new(),
            sent_qos0: 0,
            acked: 0,
            dropped: 0,
            owed: VecDeque::new(),
            exchanges: BTreeSet::new(),
            carried: 0,
            answers: Vec::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish(qos, id) if self.is_attached => self.publish(qos, id),
            Step::Release(id) if self.is_attached && !self.owed.iter().any(|owed| owed.id == id) => self.release(id),
            Step::Route { which, is_refused } if !self.owed.is_empty() => {
                let owed = &self.owed[which % self.owed.len()];
                let reason = if is_refused { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
                let token = owed.token;
                self.pair.routed(token, reason);
                self.route(token, is_refused);
            }
            Step::Deliver { qos, expires } => {
                let mut message = Message::new("t", &[], self.delivered.to_string().as_bytes());
                message.expires_at = expires.then(|| self.pair.now.after_secs(2));
                self.delivered += 1;
                self.pair.deliver_message(qos, message);
            }
            Step::Stray(kind, id) if self.is_attached => self.stray(kind, id),
            Step::Acknowledge { which, is_refused } if self.is_attached && !self.flight.is_empty() => {
                self.acknowledge(which, is_refused);
            }
            Step::Flush if self.is_attached => {
                self.pair.out.wire.clear();
                self.seen = 0;
                self.pair.pump();
            }
            Step::Pass(millis) => drop(self.pair.pass(millis)),
            Step::Lose if self.is_attached => self.lose(Closing::Lost),
            Step::Attach { is_v5, window } if !self.is_attached => self.attach(is_v5, window),
            _ => {}
        }
    }

    fn publish(&mut self, qos: Qos, id: u16) {
        let version = self.pair.version;
        self.pair.feed(publish(version, qos, id, "x"));
        let events = self.pair.asked();
        let is_known = qos == Q2 && self.exchanges.contains(&id);
        let unfinished = self.owed.iter().filter(|owed| owed.qos == Q1).count() + self.exchanges.len();
        if is_known {
            assert_eq!(events, Vec::<String>::new(), "a QoS 2 message is routed once");
            match self.owed.iter_mut().find(|owed| owed.id == id && owed.qos == Q2) {
                Some(owed) => owed.is_asked = true,
                None => self.answers.push(format!("PUBREC #{id}")),
            }
        } else if qos == Q0 {
            assert_eq!(events, ["publish t=x q0"]);
        } else if version == Version::V5 && unfinished >= 4 + self.carried {
            assert_eq!(events, ["close Violation(ReceiveMaximumExceeded)"]);
            self.lose(Closing::Violation(Violation::ReceiveMaximumExceeded));
        } else {
            let token = events[0].rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(events, [format!("publish t=x q{} token {token}", qos as u8)]);
            self.owed.push_back(Owed { token, id, qos, answer: None, is_asked: true });
            if qos == Q2 {
                self.exchanges.insert(id);
            }
        }
    }

    fn release(&mut self, id: u16) {
        self.pair.feed(pubrel(id));
        let is_unknown = !self.exchanges.remove(&id) && self.pair.version == Version::V5;
        self.answers.push(format!("PUBCOMP #{id}{}", if is_unknown { " 0x92" } else { "" }));
    }

    fn route(&mut self, token: u64, is_refused: bool) {
        let owed = self.owed.iter_mut().find(|owed| owed.token == token).unwrap();
        owed.answer = Some(is_refused);
        while let Some(is_refused) = self.owed.front().and_then(|owed| owed.answer) {
            let owed = self.owed.pop_front().unwrap();
            if owed.qos == Q2 && is_refused {
                self.exchanges.remove(&owed.id);
            }
            if self.is_attached && owed.is_asked {
                let name = if owed.qos == Q2 { "PUBREC" } else { "PUBACK" };
                let code = if is_refused && self.pair.version == Version::V5 { " 0x97" } else { "" };
                self.answers.push(format!("{name} #{}{code}", owed.id));
            }
        }
    }

    fn stray(&mut self, kind: u8, id: u16) {
        let (packet, suits) = match (kind, self.flight.get(&id)) {
            (0, held) => (puback(id), held.is_some_and(|held| held.qos == Q1)),
            (1, held) => (pubrec(id), held.is_some_and(|held| held.qos == Q2)),
            (2, held) => (pubcomp(id), held.is_some_and(|held| held.is_received)),
            (_, _) => (pingreq(), false),
        };
        self.pair.feed(packet);
        match kind {
            0 | 2 if suits => drop(self.flight.remove(&id)),
            1 if suits => self.flight.get_mut(&id).unwrap().is_received = true,
            _ => {}
        }
    }

    fn acknowledge(&mut self, which: usize, is_refused: bool) {
        let ids: Vec<u16> = self.flight.keys().copied().collect();
        let id = ids[which % ids.len()];
        let held = self.flight.get_mut(&id).unwrap();
        let refuses = is_refused && self.pair.version == Version::V5;
        let code = |ack: Vec<u8>| if refuses { refused(ack, 0x97) } else { ack };
        let (packet, is_over) = match (held.qos, held.is_received) {
            (Q1, _) => (code(puback(id)), true),
            (_, false) => (code(pubrec(id)), refuses),
            (_, true) => (pubcomp(id), true),
        };
        held.is_received = !is_over;
        if is_over {
            self.flight.remove(&id);
        }
        self.pair.feed(packet);
    }

    fn lose(&mut self, closing: Closing) {
        self.look(); // at what left before
        self.pair.detach(closing);
        self.is_attached = false;
        self.seen = 0;
        self.owed.retain_mut(|owed| {
            owed.is_asked = false;
            owed.qos == Q2
        });
    }

    fn attach(&mut self, is_v5: bool, window: u16) {
        let connect =
            if is_v5 { Connect::kept(Version::V5).receive_maximum(window) } else { Connect::new(Version::V311) };
        (self.is_attached, self.again, self.carried) = (true, None, self.exchanges.len());
        self.window = if is_v5 { window.into() } else { 3 };
        self.flight.values_mut().for_each(|held| (held.is_sent, held.is_counted) = (false, false));
        self.pair.attach(connect);
    }

    /// Reads what was written since the last look as the client would.
    fn look(&mut self) {
        let lines = super::lines::lines(self.pair.version, &self.pair.out.wire[self.seen..]);
        self.seen = self.pair.out.wire.len();
        assert!(self.is_attached || lines.is_empty(), "{lines:?} while the client is away");
        let is_answer = |line: &&String| !line.starts_with("PUBLISH") && !line.starts_with("PUBREL");
        let answers: Vec<&String> = lines.iter().filter(is_answer).filter(|line| *line != "PINGRESP").collect();
        assert_eq!(answers, self.answers.iter().collect::<Vec<_>>(), "acknowledgements, in order");
        self.answers.clear();
        for line in &lines {
            match super::lines::payload_of(line) {
                Some(payload) => self.publication(line, payload.parse().unwrap()),
                None if line.starts_with("PUBREL") && !line.ends_with("0x92") => self.pubrel(line),
                None => {}
            }
        }
    }

    fn publication(&mut self, line: &str, number: u32) {
        let Some(id) = lines::id_of(line) else {
            self.sent_qos0 += 1;
            return self.in_order(line, number);
        };
        if line.contains("dup") {
            let held = self.flight.get_mut(&id).unwrap_or_else(|| panic!("{line} is not in flight"));
            assert!(held.number == number && !held.is_sent && !held.is_received, "{line} again, for {}", held.number);
            assert!(self.again.is_none_or(|last| last < number), "{line} after {:?}: first order", self.again);
            (held.is_sent, held.is_counted) = (true, true);
            self.again = Some(number);
        } else {
            let waits = self.flight.values().filter(|held| !held.is_sent).count();
            assert_eq!(waits, 0, "{line} before what goes out again");
            let qos = if line.contains(" q2") { Q2 } else { Q1 };
            let held = Held { number, qos, is_received: false, is_sent: true, is_counted: true };
            assert!(self.flight.insert(id, held).is_none(), "{line} takes an id in flight");
            self.in_order(line, number);
        }
        let open = self.flight.values().filter(|held| held.is_counted).count();
        assert!(open <= self.window, "{line} is beyond the window of {}", self.window);
    }

    fn pubrel(&mut self, line: &str) {
        // That of a version 3 client for a PUBREC of nothing looks like any other.
        if let Some(held) = lines::id_of(line).and_then(|id| self.flight.get_mut(&id)) {
            held.is_sent |= held.is_received;
        }
    }

    fn in_order(&mut self, line: &str, number: u32) {
        assert!(self.newest.is_none_or(|newest| newest < number), "{line} after {:?}: order", self.newest);
        self.newest = Some(number);
    }

    fn check(&mut self) {
        self.look();
        let tally = self.pair.tally();
        self.acked += tally.acked;
        self.dropped += tally.queue_full + tally.qos0_away + tally.too_large + tally.expired;
        let (in_flight, awaiting, queued, bytes) = self.pair.session.depths();
        assert_eq!(in_flight, self.flight.len(), "in flight");
        assert_eq!(awaiting, self.exchanges.len(), "exchanges of the client");
        assert!(queued <= 4 && bytes <= 600, "{queued} messages, {bytes} bytes queued");
        assert!((queued == 0) == (bytes == 0));
        let accounted = self.sent_qos0 + self.acked + in_flight as u64 + queued as u64 + self.dropped;
        assert_eq!(accounted, u64::from(self.delivered), "sent, acknowledged, in flight, queued or counted as dropped");
        assert!(self.pair.out.events.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_keeps_its_promises_whatever_happens(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
            world.check();
        }
    }
}
