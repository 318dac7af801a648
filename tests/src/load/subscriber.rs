//! A client with a kept session that receives, stays or comes and goes or is away, and subscribes and unsubscribes on the
//! way. Owns the state that MQTT wants of a receiver at QoS 2; never judges what came.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::publisher::SIDES;
use super::world::Now;
use super::{Opened, PATIENCE, Phase, World, open};
use crate::history::{Delivery, Message, Receiver, Subscription};
use crate::packet::{Connect, PINGREQ, Version, acknowledge, subscribe, unsubscribe};
use crate::raw::Raw;
use crate::read::{Packet, Publish};
use crate::seed::Seeded;

/// When it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Whenever a node is.
    Stays,
    /// Goes without a word now and then, and comes back at once or after the next kill.
    ComesAndGoes,
    /// At the end.
    Away,
}

/// One receiver.
#[derive(Debug)]
pub struct Subscriber {
    /// Its place in the record.
    index: usize,
    name: String,
    version: Version,
    qos: u8,
    habit: Habit,
    world: World,
    chance: Seeded,
    now: watch::Receiver<Now>,
    client: Option<Raw>,
    session: u32,
    /// Identifiers at QoS 2 whose PUBREL has not come.
    received: BTreeSet<u16>,
    /// By packet id, the subscription in the record that its answer is about.
    asked: BTreeMap<u16, usize>,
    /// Filters that it comes and goes with: whether it was subscribed last.
    sides: BTreeMap<u32, usize>,
    last_id: u16,
}

enum End {
    Lost,
    Left,
    Done,
}

impl Subscriber {
    /// Not there yet.
    #[must_use]
    pub fn new(name: String, version: Version, qos: u8, habit: Habit, world: World, chance: Seeded) -> Self {
        let index = world.with_history(|history| {
            history.receivers.push(Receiver { name: name.clone(), ..Receiver::default() });
            history.receivers.len() - 1
        });
        let (now, received, asked, sides) = (world.watch(), BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let (client, session, last_id) = (None, 1, 1);
        Self { index, name, version, qos, habit, world, chance, now, client, session, received, asked, sides, last_id }
    }

    /// Subscribed, for good.
    pub async fn ready(mut self) -> Self {
        let connect = Connect::new(self.version, &self.name).persistent();
        let address = self.world.place(self.index, &mut self.chance).await.expect("a node");
        let (mut client, connack) = Raw::connect_with_answer(address, &connect).await;
        self.world.connected(&self.name, address, connack.session_present, Some(false));
        let asked = self.world.moment();
        let at = self.subscribed("load/#".into(), asked);
        assert_eq!(client.subscribe("load/#", self.qos).await, self.qos);
        self.change(at, |subscription, now| subscription.begun = Some(now));
        if self.habit != Habit::Away {
            self.client = Some(client.patient(10 * PATIENCE));
        }
        self
    }

    /// Receives until the run is done.
    pub async fn run(mut self) {
        loop {
            let kills = self.now.borrow_and_update().kills;
            let end = match self.client.take() {
                Some(client) => self.receive(client).await,
                None if self.habit == Habit::Away => End::Left,
                None => self.connect().await,
            };
            match end {
                End::Done => return,
                End::Lost => self.world.pause().await,
                End::Left if self.habit == Habit::ComesAndGoes && self.chance.below(2) == 0 => {} // back at once
                End::Left => {
                    let is_away = self.habit == Habit::Away;
                    let is_time = |now: &Now| now.phase != Phase::Load || (!is_away && now.kills > kills);
                    self.now.wait_for(is_time).await.expect("a run");
                    if self.now.borrow().phase != Phase::Load {
                        self.habit = Habit::Stays;
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> End {
        let Some(address) = self.world.place(self.index, &mut self.chance).await else { return End::Done };
        let connect = Connect::new(self.version, &self.name).persistent();
        let (client, is_present) = match open(address, &connect).await {
            Opened::Accepted(client, is_present) => (client, is_present),
            Opened::Refused(code) => {
                self.world.refused("CONNACK", code);
                return End::Lost;
            }
            Opened::Lost => return End::Lost,
        };
        self.world.connected(&self.name, address, is_present, Some(true));
        if !is_present {
            self.session += 1;
            self.received.clear();
        }
        self.receive(client.patient(10 * PATIENCE)).await
    }

    async fn receive(&mut self, mut client: Raw) -> End {
        self.asked.clear(); // no answer comes to what was asked on another connection
        let mut left = if self.habit == Habit::ComesAndGoes { 20 + self.chance.below(400) } else { usize::MAX };
        let mut now = self.now.clone();
        let mut is_ending = false;
        loop {
            let is_done = now.borrow_and_update().phase == Phase::Done;
            if is_done && !std::mem::replace(&mut is_ending, true) {
                client.send(PINGREQ).await;
            }
            let packet = tokio::select! {
                packet = client.next_or_end() => packet,
                _ = now.changed() => continue,
            };
            let answer = match packet {
                None => return End::Lost,
                Some(Packet::Disconnect(code)) => {
                    self.world.refused("DISCONNECT of a subscriber", code);
                    return End::Lost;
                }
                Some(Packet::Pingresp) => return End::Done,
                Some(packet) => self.packet(packet),
            };
            client.send(&answer).await;
            if left % 50 == 49 && now.borrow().phase == Phase::Load {
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
            Packet::Suback(id, codes) => {
                let is_granted = codes.iter().all(|code| *code < 0x80);
                if let Some(at) = self.asked.remove(&id).filter(|_| is_granted) {
                    self.change(at, |subscription, now| subscription.begun = Some(now));
                }
                vec![]
            }
            Packet::Unsuback(id, codes) => {
                let is_done = codes.iter().all(|code| *code < 0x80);
                if let Some(at) = self.asked.remove(&id).filter(|_| is_done) {
                    self.change(at, |subscription, now| subscription.ended = Some(now));
                }
                vec![]
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn published(&mut self, publish: &Publish) -> Vec<u8> {
        let is_news = publish.qos != 2 || self.received.insert(publish.id);
        if is_news {
            let message = Message::decode(&publish.payload).expect("a message of this run");
            let (at, session, topic) = (self.world.moment(), self.session, publish.topic.clone());
            let delivery = Delivery { at, session, message, topic, qos: publish.qos, dup: publish.dup };
            let index = self.index;
            // What was retained before the subscription is not of the run.
            if !publish.retain {
                self.world.with_history(|history| history.receivers[index].deliveries.push(delivery));
            }
        }
        acknowledge(if publish.qos == 2 { 0x50 } else { 0x40 }, publish.id)
    }

    /// Subscribes to a filter that it is not subscribed to, or unsubscribes from one.
    fn ask(&mut self) -> Vec<u8> {
        self.last_id = self.last_id % 60_000 + 1;
        let (id, side) = (self.last_id, self.chance.below(SIDES as usize) as u32);
        let filter = format!("side/{side}");
        if let Some(at) = self.sides.remove(&side) {
            self.change(at, |subscription, now| subscription.left = Some(now));
            self.asked.insert(id, at);
            unsubscribe(self.version, id, &[&filter])
        } else {
            let asked = self.world.moment();
            let at = self.subscribed(filter.clone(), asked);
            self.sides.insert(side, at);
            self.asked.insert(id, at);
            subscribe(self.version, id, &[(&filter, self.qos)])
        }
    }

    fn subscribed(&self, filter: String, asked: std::time::Duration) -> usize {
        self.world.with_history(|history| {
            let subscriptions = &mut history.receivers[self.index].subscriptions;
            subscriptions.push(Subscription { filter, asked, begun: None, left: None, ended: None });
            subscriptions.len() - 1
        })
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Subscription, std::time::Duration)) {
        let now = self.world.moment();
        self.world.with_history(|history| change(&mut history.receivers[self.index].subscriptions[at], now));
    }
}
