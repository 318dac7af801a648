//! A client that publishes with many messages in flight, and takes its exchanges up again after every loss. Owns the state
//! that MQTT wants of a client; never takes anything for acknowledged that was not.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::world::Now;
use super::{Opened, Phase, World, open};
use crate::history::{Message, Publication};
use crate::packet::{Connect, PublishOut, Version, acknowledge};
use crate::raw::Raw;
use crate::read::Packet;
use crate::seed::Seeded;

/// Messages in flight.
const WINDOW: usize = 50;
const TOPICS: u32 = 3;
/// Of so many messages one is for the filters that subscribers come and go with.
const SIDE: u32 = 8;
/// Filters that subscribers come and go with.
pub(super) const SIDES: u32 = 4;

/// A message under way.
#[derive(Debug)]
struct Open {
    id: u16,
    message: Message,
    topic: String,
    payload: Vec<u8>,
    /// PUBREC came.
    is_received: bool,
}

/// One publisher.
#[derive(Debug)]
pub struct Publisher {
    number: u16,
    name: String,
    version: Version,
    qos: u8,
    is_persistent: bool,
    world: World,
    open: VecDeque<Open>,
    next_number: u32,
    next_id: u16,
}

impl Publisher {
    /// Its messages carry its number.
    #[must_use]
    pub fn new(number: u16, version: Version, qos: u8, is_persistent: bool, world: World) -> Self {
        let name = format!("publisher-{number}");
        let open = VecDeque::new();
        Self { number, name, version, qos, is_persistent, world, open, next_number: 0, next_id: 0 }
    }

    /// Publishes until the run drains and all exchanges are finished.
    pub async fn run(mut self, mut chance: Seeded) {
        let now = self.world.watch();
        // Nothing was said before the first CONNECT, and after a CONNACK something was kept.
        let mut expected = Some(false);
        loop {
            let Some(address) = self.world.place(usize::from(self.number), &mut chance).await else { return };
            let connect = Connect::new(self.version, &self.name);
            let connect = if self.is_persistent { connect.persistent() } else { connect };
            let client = match open(address, &connect).await {
                Opened::Accepted(client, is_present) => {
                    self.world.connected(&self.name, address, is_present, expected);
                    expected = Some(self.is_persistent);
                    client
                }
                Opened::Refused(code) => {
                    self.world.refused("CONNACK", code);
                    self.world.pause().await;
                    continue;
                }
                Opened::Lost => {
                    expected = if expected == Some(true) || !self.is_persistent { expected } else { None };
                    self.world.pause().await;
                    continue;
                }
            };
            if self.publish(*client, &now, &mut chance).await {
                return;
            }
            self.world.pause().await;
        }
    }

    /// Answers true once there is nothing more to do, false when the connection has ended.
    async fn publish(&mut self, mut client: Raw, now: &watch::Receiver<Now>, chance: &mut Seeded) -> bool {
        client.send(&self.again()).await;
        loop {
            let is_over = now.borrow().phase != Phase::Load;
            if is_over && self.open.is_empty() {
                return true;
            }
            if !is_over {
                client.send(&self.more(chance)).await;
            }
            let answer = match client.next_or_end().await {
                None => {
                    self.world.refused("end of a connection", 0);
                    return false;
                }
                Some(Packet::Disconnect(code)) => {
                    self.world.refused("DISCONNECT", code);
                    return false;
                }
                Some(Packet::Puback(id, code)) if self.qos == 1 => self.finished(id, "PUBACK", code),
                Some(Packet::Pubrec(id, code)) if self.qos == 2 && code >= 0x80 => self.finished(id, "PUBREC", code),
                Some(Packet::Pubrec(id, _)) if self.qos == 2 => self.received(id),
                Some(Packet::Pubcomp(id, _)) if self.qos == 2 => self.completed(id),
                Some(other) => panic!("{}: {other:?}", self.name),
            };
            client.send(&answer).await;
            if !is_over {
                self.world.pace().await;
            }
        }
    }

    /// What was under way on the last connection, in its order [MQTT-4.4.0-1].
    fn again(&self) -> Vec<u8> {
        self.world.with_history(|history| {
            for open in self.open.iter().filter(|open| !open.is_received) {
                history.publications.get_mut(&open.message).expect("what was sent").is_resent = true;
            }
        });
        let again = |open: &Open| match open.is_received {
            true => acknowledge(0x62, open.id),
            false => self.encode(open, self.is_persistent),
        };
        self.open.iter().flat_map(again).collect()
    }

    fn more(&mut self, chance: &mut Seeded) -> Vec<u8> {
        let mut wire = vec![];
        while self.open.len() < WINDOW {
            self.next_id = self.next_id % 60_000 + 1;
            let message = Message { publisher: self.number, number: self.next_number };
            self.next_number += 1;
            let topic = match message.number {
                number if number.is_multiple_of(SIDE) => format!("side/{}", number / SIDE % SIDES),
                number => format!("load/{}/{}", self.name, number % TOPICS),
            };
            let payload = [&message.encode()[..], &chance.bytes(message.number as usize % 200)].concat();
            let (topic_name, sent) = (topic.clone(), self.world.moment());
            let published =
                Publication { topic: topic_name, qos: self.qos, sent, is_resent: false, acknowledged: None };
            self.world.with_history(|history| history.publications.insert(message, published));
            let open = Open { id: self.next_id, message, topic, payload, is_received: false };
            wire.extend(self.encode(&open, false));
            self.open.push_back(open);
        }
        wire
    }

    fn encode(&self, open: &Open, is_again: bool) -> Vec<u8> {
        let publish = PublishOut::new(&open.topic, &open.payload, self.qos, open.id);
        let publish = if is_again { publish.again() } else { publish };
        // What is retained at the end is the last of each topic of this one.
        let publish = if self.retains() { publish.retained() } else { publish };
        publish.encode(self.version)
    }

    const fn retains(&self) -> bool {
        self.number == 0
    }

    /// PUBACK, or a PUBREC that says no: of the message nothing more is to be said.
    fn finished(&mut self, id: u16, by: &'static str, code: u8) -> Vec<u8> {
        let at = self.open.iter().position(|open| open.id == id).expect("an acknowledgement of what was sent");
        let open = self.open.remove(at).expect("it is there");
        if code < 0x80 {
            self.acknowledged(open.message);
        } else {
            self.world.refused(by, code);
        }
        vec![]
    }

    fn received(&mut self, id: u16) -> Vec<u8> {
        let open = self.open.iter_mut().find(|open| open.id == id).expect("a PUBREC of what was sent");
        let message = open.message;
        if !std::mem::replace(&mut open.is_received, true) {
            self.acknowledged(message);
        }
        acknowledge(0x62, id)
    }

    fn acknowledged(&self, message: Message) {
        let now = self.world.moment();
        self.world.with_history(|history| {
            history.publications.get_mut(&message).expect("what was sent").acknowledged = Some(now);
        });
        self.world.acknowledged();
    }

    /// Also of what the node has forgotten: its last PUBCOMP may have been lost.
    fn completed(&mut self, id: u16) -> Vec<u8> {
        let at = self.open.iter().position(|open| open.id == id && open.is_received);
        self.open.remove(at.unwrap_or_else(|| panic!("{}: PUBCOMP of {id}, which was not released", self.name)));
        vec![]
    }
}
