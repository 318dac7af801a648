//! A client with a persistent session that receives, stays or comes and goes, and subscribes and unsubscribes on the way.
//! Owns the state that MQTT wants of a receiver at QoS 2; never judges what came but for its own session.

use std::collections::{BTreeMap, BTreeSet};

use tests::packet::{Connect, PINGREQ, Version, acknowledge, subscribe, unsubscribe};
use tests::raw::Raw;
use tests::read::{Packet, Publish};
use tests::seed::Seeded;
use tests::wait::SOON;
use tokio::sync::watch;

use crate::history::Message;
use crate::publisher::connect_if_there;
use crate::world::{Phase, World};

/// Filters of its own that it subscribes to and unsubscribes from.
pub(crate) const FILTERS: usize = 8;

/// When it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Whenever the node is.
    Stays,
    /// Goes without a word now and then, and comes back at once or after the next kill.
    ComesAndGoes,
    /// At the end.
    Away,
}

/// What it has had, in order, QoS 2 repetitions left out as a client does.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) qos: u8,
    pub(crate) messages: Vec<Message>,
    pub(crate) faults: Vec<String>,
}

/// What it last asked for about a filter of its own, and whether that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Subscribed { is_answered: bool },
    Unsubscribed { is_answered: bool },
}

pub(crate) struct Subscriber {
    version: Version,
    habit: Habit,
    world: World,
    chance: Seeded,
    now: watch::Receiver<(u64, Phase)>,
    client: Option<Raw>,
    /// Identifiers at QoS 2 whose PUBREL has not come.
    received: BTreeSet<u16>,
    /// Filters of its own, and the packet that asked last.
    asked: BTreeMap<usize, (u16, Asked)>,
    last_id: u16,
    seen: Seen,
}

enum End {
    Lost,
    Left,
    Done,
}

impl Subscriber {
    pub(crate) fn new(name: String, version: Version, qos: u8, habit: Habit, world: World, chance: Seeded) -> Self {
        world.joins(&name);
        let now = world.watch();
        let seen = Seen { name, qos, messages: vec![], faults: vec![] };
        let (received, asked) = (BTreeSet::new(), BTreeMap::new());
        Self { version, habit, world, chance, now, client: None, received, asked, last_id: 1, seen }
    }

    /// Subscribed, for good.
    pub(crate) async fn ready(mut self) -> Self {
        let connect = Connect::new(self.version, &self.seen.name).persistent();
        let mut client = Raw::connect(self.world.address(), &connect).await.patient(6 * SOON);
        assert_eq!(client.subscribe("load/#", self.seen.qos).await, self.seen.qos);
        if self.habit != Habit::Away {
            self.client = Some(client);
        }
        self
    }

    pub(crate) async fn run(mut self) -> Seen {
        loop {
            let start = self.now.borrow_and_update().0;
            let end = match self.client.take() {
                Some(client) => self.receive(client).await,
                None if self.habit == Habit::Away => End::Left,
                None => self.connect().await,
            };
            match end {
                End::Done => {
                    self.check_subscriptions();
                    return self.seen;
                }
                End::Left if self.habit == Habit::ComesAndGoes && self.chance.below(2) == 0 => {} // back at once
                End::Left | End::Lost => {
                    let is_away = self.habit == Habit::Away;
                    let is_time = |now: &(u64, Phase)| now.1 != Phase::Load || (!is_away && now.0 > start);
                    self.now.wait_for(is_time).await.expect("a run");
                    if self.now.borrow().1 != Phase::Load {
                        self.habit = Habit::Stays;
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> End {
        let connect = Connect::new(self.version, &self.seen.name).persistent();
        let Some((client, is_present)) = connect_if_there(&self.world, &connect).await else { return End::Lost };
        if !is_present {
            self.seen.faults.push(format!("{}: the session is gone", self.seen.name));
            self.received.clear();
        }
        self.receive(client).await
    }

    async fn receive(&mut self, mut client: Raw) -> End {
        let mut left = if self.habit == Habit::ComesAndGoes { 20 + self.chance.below(400) } else { usize::MAX };
        let mut now = self.now.clone();
        let mut is_ending = false;
        loop {
            let is_done = now.borrow_and_update().1 == Phase::Done;
            if is_done && !std::mem::replace(&mut is_ending, true) {
                client.send(PINGREQ).await;
            }
            let packet = tokio::select! {
                packet = client.next_or_end() => packet,
                _ = now.changed() => continue,
            };
            let answer = match packet {
                None => return End::Lost,
                Some(Packet::Pingresp) => return End::Done,
                Some(packet) => self.packet(packet),
            };
            client.send(&answer).await;
            if left % 50 == 49 && now.borrow().1 == Phase::Load {
                let ask = self.ask();
                client.send(&ask).await;
            }
            left -= 1;
            if left == 0 {
                client.abandon();
                return End::Left;
            }
        }
    }

    fn packet(&mut self, packet: Packet) -> Vec<u8> {
        match packet {
            Packet::Publish(publish) => self.published(&publish),
            Packet::Pubrel(id, _) => {
                self.received.remove(&id);
                acknowledge(0x70, id)
            }
            Packet::Suback(id, _) => self.answered(id, Asked::Subscribed { is_answered: true }),
            Packet::Unsuback(id, _) => self.answered(id, Asked::Unsubscribed { is_answered: true }),
            other => panic!("{}: {other:?}", self.seen.name),
        }
    }

    fn published(&mut self, publish: &Publish) -> Vec<u8> {
        let is_news = publish.qos != 2 || self.received.insert(publish.id);
        if is_news {
            let number = u32::from_be_bytes(publish.payload[..4].try_into().expect("four bytes"));
            let message = Message { topic: publish.topic.clone(), number };
            self.world.had(&self.seen.name, &message);
            self.seen.messages.push(message);
        }
        acknowledge(if publish.qos == 2 { 0x50 } else { 0x40 }, publish.id)
    }

    /// Subscribes to a filter of its own, or unsubscribes from one.
    fn ask(&mut self) -> Vec<u8> {
        self.last_id = self.last_id % 60_000 + 1;
        let (id, number) = (self.last_id, self.chance.below(FILTERS));
        let filter = format!("own/{}/{number}", self.seen.name);
        let is_there = matches!(self.asked.get(&number), Some((_, Asked::Subscribed { .. })));
        if is_there {
            self.asked.insert(number, (id, Asked::Unsubscribed { is_answered: false }));
            unsubscribe(self.version, id, &[&filter])
        } else {
            self.asked.insert(number, (id, Asked::Subscribed { is_answered: false }));
            subscribe(self.version, id, &[(&filter, 1)])
        }
    }

    fn answered(&mut self, id: u16, answered: Asked) -> Vec<u8> {
        if let Some((_, asked)) = self.asked.values_mut().find(|(asked_by, _)| *asked_by == id) {
            *asked = answered;
        }
        vec![]
    }

    /// Each of its filters was published to at the end: what was answered last is so.
    fn check_subscriptions(&mut self) {
        for (number, (_, asked)) in &self.asked {
            let probe = Message { topic: format!("own/{}/{number}", self.seen.name), number: 0 };
            let came = self.seen.messages.contains(&probe);
            let is_wrong = match asked {
                Asked::Subscribed { is_answered: true } => !came,
                Asked::Unsubscribed { is_answered: true } => came,
                _ => false, // either may be
            };
            if is_wrong {
                self.seen
                    .faults
                    .push(format!("{}: {asked:?} from {}, and came is {came}", self.seen.name, probe.topic));
            }
        }
    }
}
