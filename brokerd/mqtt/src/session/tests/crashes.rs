//! A kept session whose process dies at any moment, before and after what changed was kept: nothing that was promised is
//! lost, QoS 2 comes once, and order holds. Time stands still; the client and the store are a few lines each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::packets::*;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Somebody publishes to the client.
    Deliver(Qos),
    /// The client publishes.
    Publish(Qos),
    /// The client handles the next packet that came, and answers.
    Handle,
    /// The connection fails, and a new one comes.
    Reconnect,
    /// The connection fails, and none comes yet.
    Leave,
    /// The process dies; what the next step changes is not kept, and nothing it wrote leaves.
    DieBefore,
    /// The process dies; what the last step changed is kept.
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = || prop_oneof![Just(Q1), Just(Q2)];
    prop_oneof![
        5 => qos().prop_map(Step::Deliver),
        4 => qos().prop_map(Step::Publish),
        10 => Just(Step::Handle),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Leave),
        1 => Just(Step::DieBefore),
        1 => Just(Step::Die),
    ]
}

/// What is kept, as a store has it.
#[derive(Default)]
struct Store {
    messages: BTreeMap<u64, (Delivery, Stage)>,
    received: BTreeSet<crate::PacketId>,
    kept: Option<Kept>,
}

impl Store {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Queued { seq, delivery, id } => {
                    let known = self.messages.insert(seq, (delivery, id.map_or(Stage::Queued, Stage::Sent)));
                    assert!(known.is_none(), "the name {seq} is used again");
                }
                Change::Sent { seq, id } => self.messages.get_mut(&seq).expect("queued before").1 = Stage::Sent(id),
                Change::Released { seq, .. } => {
                    let message = self.messages.get_mut(&seq).expect("queued before");
                    let Stage::Sent(id) = message.1 else { panic!("{seq} was not sent: {:?}", message.1) };
                    message.1 = Stage::Released(id);
                }
                Change::Gone { seq } => drop(self.messages.remove(&seq).expect("queued before")),
                Change::Received(id) => assert!(self.received.insert(id), "{id} was received before"),
                Change::Finished(id) => assert!(self.received.remove(&id), "{id} was not received"),
            }
        }
    }

    fn session(&self, now: Time) -> Session {
        let messages = self.messages.iter().map(|(seq, (delivery, stage))| KeptMessage {
            seq: *seq,
            qos: delivery.qos,
            size: delivery.message.heap_size(),
            expires_at: None,
            stage: *stage,
        });
        let kept = self.kept.clone().expect("it was saved when it began");
        let mut session = Session::restore(Arc::from("client"), kept, self.received.iter().copied(), messages, now);
        while let Some(seq) = session.missing() {
            session.load(seq, self.messages[&seq].0.clone());
        }
        session
    }
}

/// A client that keeps its own state for good.
#[derive(Default)]
struct Client {
    inbox: VecDeque<String>,
    /// QoS 2 identifiers it has delivered and not seen released.
    delivered: BTreeSet<u16>,
    log: Vec<(u32, Qos)>,
    /// What it publishes: identifier, number, QoS, and whether PUBREC came.
    publishing: BTreeMap<u16, (u32, Qos, bool)>,
}

struct World {
    pair: Pair,
    store: Store,
    client: Client,
    /// Messages for the client that were promised, and all that were tried.
    promised: Vec<(u32, Qos)>,
    tried: u32,
    /// The client's messages as the router got them and kept them.
    routed: Vec<u32>,
    published: Vec<(u32, Qos)>,
    dies_before: bool,
}

impl World {
    fn new() -> Self {
        let mut pair = Pair::new(Version::V5);
        pair.limits.queue.depth = 1000;
        pair.session.keep(true);
        let store = Store { kept: Some(pair.session.kept()), ..Store::default() };
        let client = Client::default();
        let mut world = Self {
            pair,
            store,
            client,
            promised: vec![],
            tried: 0,
            routed: vec![],
            published: vec![],
            dies_before: false,
        };
        world.reconnect();
        world
    }

    /// What a step wrote leaves when what it changed is kept; or neither does. Answers whether it was kept.
    fn commit(&mut self) -> bool {
        let routed: Vec<u32> = std::mem::take(&mut self.pair.out.events).iter().filter_map(number_published).collect();
        if std::mem::take(&mut self.dies_before) {
            self.die();
            return false;
        }
        self.store.apply(std::mem::take(&mut self.pair.out.changes));
        self.routed.extend(routed);
        self.client.inbox.extend(self.pair.sent());
        true
    }

    fn die(&mut self) {
        self.pair.out = Outputs::default();
        self.pair.session = self.store.session(self.pair.now);
        self.client.inbox.clear();
        self.reconnect();
    }

    fn reconnect(&mut self) {
        self.client.inbox.clear();
        let _ = self.pair.lost();
        self.pair.session.unload();
        while let Some(seq) = self.pair.session.missing() {
            self.pair.session.load(seq, self.store.messages[&seq].0.clone());
        }
        self.pair.attach(Connect::kept(Version::V5));
        if !self.commit() {
            return; // it died over it, and came back
        }
        for (id, (number, qos, is_received)) in self.client.publishing.clone() {
            if is_received {
                self.send(pubrel(id));
            } else {
                self.send(publish_dup(Version::V5, qos, id, &number.to_string()));
            }
        }
    }

    /// The client sends, and the router does its part at once.
    fn send(&mut self, bytes: Vec<u8>) {
        if self.pair.session.connection().is_none() {
            return;
        }
        self.pair.feed(bytes);
        let tokens: Vec<u64> = self.pair.out.events.iter().filter_map(token).collect();
        for token in tokens {
            self.pair.routed(token, ReasonCode::Success);
        }
        self.commit();
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Deliver(qos) => {
                self.tried += 1;
                let number = self.tried;
                self.pair.deliver(*qos, &number.to_string());
                if self.commit() {
                    self.promised.push((number, *qos));
                }
            }
            Step::Publish(qos) => {
                let free = (1..=4).find(|id| !self.client.publishing.contains_key(id));
                if let Some(id) = free {
                    let number = self.published.len() as u32 + 1;
                    self.published.push((number, *qos));
                    self.client.publishing.insert(id, (number, *qos, false));
                    self.send(publish(Version::V5, *qos, id, &number.to_string()));
                }
            }
            Step::Handle => self.handle(),
            Step::Reconnect => self.reconnect(),
            Step::Leave => {
                let _ = self.pair.lost();
                self.pair.session.unload();
                self.client.inbox.clear();
            }
            Step::DieBefore => self.dies_before = true,
            Step::Die => self.die(),
        }
    }

    fn handle(&mut self) {
        let Some(line) = self.client.inbox.pop_front() else { return };
        let Some(id) = lines::id_of(&line) else { panic!("{line} has no identifier") };
        let client = &mut self.client;
        let answer = match line.split(' ').next() {
            Some("PUBLISH") => {
                let number = line.split(['=', ' ']).nth(2).and_then(|text| text.parse().ok()).expect("a number");
                let qos = if line.contains(" q2") { Q2 } else { Q1 };
                if qos == Q1 || client.delivered.insert(id) {
                    client.log.push((number, qos));
                }
                if qos == Q1 { puback(id) } else { pubrec(id) }
            }
            Some("PUBREL") => {
                client.delivered.remove(&id);
                pubcomp(id)
            }
            Some("PUBREC") => {
                if let Some(publishing) = client.publishing.get_mut(&id) {
                    publishing.2 = true;
                }
                pubrel(id)
            }
            Some("PUBACK" | "PUBCOMP") => {
                client.publishing.remove(&id);
                return;
            }
            _ => panic!("{line} was not expected"),
        };
        self.send(answer);
    }

    /// Everybody is there and nothing fails until nothing is left to do; then what was promised must have come.
    fn settle(&mut self) {
        self.dies_before = false;
        self.reconnect();
        while !self.client.inbox.is_empty() {
            self.handle();
        }
        let log = &self.client.log;
        for (number, qos) in &self.promised {
            let times = log.iter().filter(|(logged, _)| logged == number).count();
            assert!(times >= 1, "{number} was promised and never came");
            assert!(times == 1 || *qos == Q1, "{number} came {times} times at QoS 2");
        }
        let mut seen = BTreeSet::new();
        let firsts: Vec<u32> = log.iter().map(|(number, _)| *number).filter(|number| seen.insert(*number)).collect();
        assert!(firsts.is_sorted(), "out of order: {firsts:?}");
        assert_eq!(self.client.publishing, BTreeMap::new(), "what the client published was never answered");
        for (number, qos) in &self.published {
            let times = self.routed.iter().filter(|routed| *routed == number).count();
            assert!(times >= 1, "the client's {number} was answered and never routed");
            assert!(times == 1 || *qos == Q1, "the client's {number} was routed {times} times at QoS 2");
        }
        assert!(self.store.messages.is_empty() && self.store.received.is_empty(), "something is kept for good");
        assert_eq!(self.pair.session.depths(), (0, 0, 0, 0));
    }
}

fn token(event: &Event) -> Option<u64> {
    match event {
        Event::Publish(_, token) => *token,
        other => panic!("{other:?} was not asked for"),
    }
}

fn number_published(event: &Event) -> Option<u32> {
    match event {
        Event::Publish(message, _) => std::str::from_utf8(message.payload()).ok()?.parse().ok(),
        other => panic!("{other:?} was not asked for"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_kept_session_keeps_its_promises_through_deaths_of_its_process(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
        }
        world.settle();
    }
}
