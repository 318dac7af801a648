//! A client that publishes with many messages in flight, and takes its exchanges up again after every kill. Owns the state
//! that MQTT wants of a client; never takes anything for sent that was not acknowledged.

use std::collections::VecDeque;

use tests::packet::{Connect, PublishOut, Version, acknowledge};
use tests::raw::Raw;
use tests::read::Packet;
use tests::seed::Seeded;
use tests::wait::SOON;

use crate::history::{Message, Sent};
use crate::world::{Phase, World};

const WINDOW: usize = 30;
const TOPICS: u32 = 3;

/// A message under way.
#[derive(Debug)]
struct Open {
    id: u16,
    message: Message,
    payload: Vec<u8>,
    /// PUBREC came.
    is_received: bool,
}

pub(crate) struct Publisher {
    name: String,
    version: Version,
    qos: u8,
    is_persistent: bool,
    world: World,
    open: VecDeque<Open>,
    next_number: u32,
    next_id: u16,
    sent: Vec<Sent>,
}

impl Publisher {
    pub(crate) fn new(name: String, version: Version, qos: u8, is_persistent: bool, world: World) -> Self {
        let (open, sent) = (VecDeque::new(), vec![]);
        Self { name, version, qos, is_persistent, world, open, next_number: 0, next_id: 0, sent }
    }

    /// Publishes until the run drains, and answers what was acknowledged.
    pub(crate) async fn run(mut self, mut chance: Seeded) -> Vec<Sent> {
        let mut now = self.world.watch();
        let mut last_start = 0;
        loop {
            let (start, _) = *now.wait_for(|(starts, _)| *starts > last_start).await.expect("a run");
            let is_first = last_start == 0;
            last_start = start;
            let connect = Connect::new(self.version, &self.name);
            let connect = if self.is_persistent { connect.persistent() } else { connect };
            let Some((client, connack)) = connect_if_there(&self.world, &connect).await else { continue };
            let is_expected = self.is_persistent && !is_first;
            assert_eq!(connack, is_expected, "{}: Session Present after start {start}", self.name);
            if self.publish(client, &now, &mut chance).await {
                return self.sent;
            }
        }
    }

    /// Answers true once there is nothing more to do, false when the connection has ended.
    async fn publish(
        &mut self,
        mut client: Raw,
        now: &tokio::sync::watch::Receiver<(u64, Phase)>,
        chance: &mut Seeded,
    ) -> bool {
        client.send(&self.again()).await;
        loop {
            let is_over = now.borrow().1 != Phase::Load;
            if is_over && self.open.is_empty() {
                return true;
            }
            if !is_over {
                client.send(&self.more(chance)).await;
            }
            let answer = match client.next_or_end().await {
                None => return false,
                Some(Packet::Puback(id, code)) if self.qos == 1 => self.finished(id, code),
                Some(Packet::Pubrec(id, code)) if self.qos == 2 => self.received(id, code),
                Some(Packet::Pubcomp(id, _)) if self.qos == 2 => self.completed(id),
                Some(other) => panic!("{}: {other:?}", self.name),
            };
            client.send(&answer).await;
        }
    }

    /// What was under way on the last connection, in its order [MQTT-4.4.0-1].
    fn again(&self) -> Vec<u8> {
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
            let number = self.next_number;
            self.next_number += 1;
            let topic = format!("load/{}/{}", self.name, number % TOPICS);
            let payload = [&number.to_be_bytes()[..], &chance.bytes(number as usize % 200)].concat();
            let message = Message { topic, number };
            let open = Open { id: self.next_id, message, payload, is_received: false };
            wire.extend(self.encode(&open, false));
            self.open.push_back(open);
        }
        wire
    }

    fn encode(&self, open: &Open, is_again: bool) -> Vec<u8> {
        let publish = PublishOut::new(&open.message.topic, &open.payload, self.qos, open.id);
        let publish = if is_again { publish.again() } else { publish };
        publish.encode(self.version)
    }

    fn finished(&mut self, id: u16, code: u8) -> Vec<u8> {
        let at = self.open.iter().position(|open| open.id == id).expect("an acknowledgement of what was sent");
        assert!(code == 0 || code == 0x10, "{}: PUBACK {code:#04x}", self.name);
        let open = self.open.remove(at).expect("it is there");
        self.sent.push(Sent { message: open.message, qos: self.qos });
        self.world.acknowledged();
        vec![]
    }

    fn received(&mut self, id: u16, code: u8) -> Vec<u8> {
        let open = self.open.iter_mut().find(|open| open.id == id).expect("a PUBREC of what was sent");
        assert!(code == 0 || code == 0x10, "{}: PUBREC {code:#04x}", self.name);
        if !std::mem::replace(&mut open.is_received, true) {
            self.sent.push(Sent { message: open.message.clone(), qos: self.qos });
            self.world.acknowledged();
        }
        acknowledge(0x62, id)
    }

    /// Also of what the node has forgotten: its last PUBCOMP may have been lost.
    fn completed(&mut self, id: u16) -> Vec<u8> {
        let at = self.open.iter().position(|open| open.id == id && open.is_received);
        assert!(at.is_some(), "{}: PUBCOMP of {id}, which was not released", self.name);
        self.open.remove(at.expect("it is there"));
        vec![]
    }
}

/// A connection and Session Present; `None` where the node was killed meanwhile.
pub(crate) async fn connect_if_there(world: &World, connect: &Connect) -> Option<(Raw, bool)> {
    let mut client = Raw::open_if_there(world.address(), connect.version).await?.patient(6 * SOON);
    client.send(&connect.encode()).await;
    match client.next_or_end().await? {
        Packet::Connack(connack) if connack.code == 0 => Some((client, connack.session_present)),
        other => panic!("{}: {other:?}", connect.client_id),
    }
}
