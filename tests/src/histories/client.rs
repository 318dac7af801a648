//! A client of a story: a task that reads, acknowledges and records for as long as the connection lasts, and commands that
//! write. Never retries or reconnects.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::AbortHandle;

use super::record::{Event, Record};
use crate::packet::{self, Connect, DISCONNECT, PINGREQ, PublishOut, Version};
use crate::read::{self, Packet, Publish};

/// Identifiers of QoS 2 whose PUBREL has not come: of the session, not of the connection.
pub(super) type Known = Arc<Mutex<HashSet<u16>>>;

/// What an answer will be the answer to.
enum Asked {
    Subscribe(String),
    Unsubscribe(String),
    Publish(usize),
}

#[derive(Clone)]
struct Shared {
    conn: usize,
    version: Version,
    record: Arc<Record>,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    asked: Arc<Mutex<HashMap<u16, Asked>>>,
    known: Known,
}

pub(super) struct Client {
    pub(super) conn: usize,
    shared: Shared,
    reader: AbortHandle,
    last_id: u16,
}

impl Client {
    /// Writes CONNECT. What comes of it is in the record.
    pub(super) async fn connect(
        stream: TcpStream,
        connect: &Connect,
        conn: usize,
        known: Known,
        record: Arc<Record>,
    ) -> Self {
        let _ = stream.set_nodelay(true);
        let (reads, writer) = stream.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let version = connect.version;
        let shared = Shared { conn, version, record, writer, asked: Arc::default(), known };
        shared.write(&connect.encode()).await;
        let reader = tokio::spawn(shared.clone().read(reads)).abort_handle();
        Self { conn, shared, reader, last_id: 0 }
    }

    fn id(&mut self, asked: Asked) -> u16 {
        self.last_id += 1;
        self.shared.asked.lock().expect("nobody panicked with it").insert(self.last_id, asked);
        self.last_id
    }

    pub(super) async fn subscribe(&mut self, filter: &str, qos: u8) {
        let id = self.id(Asked::Subscribe(filter.into()));
        self.shared.write(&packet::subscribe(self.shared.version, id, &[(filter, qos)])).await;
    }

    pub(super) async fn unsubscribe(&mut self, filter: &str) {
        let id = self.id(Asked::Unsubscribe(filter.into()));
        self.shared.write(&packet::unsubscribe(self.shared.version, id, &[filter])).await;
    }

    pub(super) async fn publish(&mut self, topic: &str, number: usize, qos: u8, is_retained: bool, is_empty: bool) {
        let id = self.id(Asked::Publish(number));
        let payload = if is_empty { String::new() } else { number.to_string() };
        let mut publish = PublishOut::new(topic, payload.as_bytes(), qos, id);
        publish.retain = is_retained;
        self.shared.write(&publish.encode(self.shared.version)).await;
    }

    pub(super) async fn ping(&self) {
        self.shared.write(PINGREQ).await;
    }

    pub(super) async fn leave(self) {
        self.shared.record.note(Event::Leaving(self.conn));
        self.shared.write(DISCONNECT).await;
        // It goes on reading until the broker closes.
    }

    pub(super) fn tear(self) {
        self.reader.abort();
        self.shared.record.note(Event::Leaving(self.conn));
    }
}

impl Shared {
    /// A broker that has closed meanwhile is seen by reading.
    async fn write(&self, bytes: &[u8]) {
        let _ = self.writer.lock().await.write_all(bytes).await;
    }

    async fn read(self, mut reads: OwnedReadHalf) {
        let (mut bytes, mut code) = (Vec::new(), None);
        loop {
            match read::packet(&bytes, self.version) {
                Ok(Some((packet, length))) => {
                    bytes.drain(..length);
                    if let Packet::Disconnect(given) = packet {
                        code = Some(given);
                    }
                    self.take(packet).await;
                    continue;
                }
                Ok(None) => {}
                Err(why) => panic!("the broker sent {why}"),
            }
            if reads.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return self.record.note(Event::Closed { conn: self.conn, code });
            }
        }
    }

    async fn take(&self, packet: Packet) {
        let conn = self.conn;
        let asked = |id| self.asked.lock().expect("nobody panicked with it").remove(&id);
        match packet {
            Packet::Connack(connack) if connack.code == 0 => {
                if !connack.session_present {
                    self.known.lock().expect("nobody panicked with it").clear();
                }
                self.record.note(Event::Connected { conn, is_present: connack.session_present });
            }
            Packet::Publish(publish) => self.publication(&publish).await,
            Packet::Suback(id, codes) => {
                if let (Some(Asked::Subscribe(filter)), [code]) = (asked(id), codes.as_slice()) {
                    self.record.note(Event::Subscribed { conn, filter: bare(&filter), code: *code });
                }
            }
            Packet::Unsuback(id, _) => {
                if let Some(Asked::Unsubscribe(filter)) = asked(id) {
                    self.record.note(Event::Unsubscribed { conn, filter: bare(&filter) });
                }
            }
            Packet::Puback(id, code) | Packet::Pubrec(id, code) => {
                let is_second = matches!(packet, Packet::Pubrec(..)) && code < 0x80;
                if let Some(Asked::Publish(number)) = asked(id) {
                    self.record.note(Event::Acknowledged { number, code });
                }
                if is_second {
                    self.write(&packet::acknowledge(0x62, id)).await;
                }
            }
            Packet::Pubrel(id, _) => {
                self.known.lock().expect("nobody panicked with it").remove(&id);
                self.write(&packet::acknowledge(0x70, id)).await;
            }
            Packet::Pingresp => self.record.note(Event::Fenced(conn)),
            _ => {}
        }
    }

    async fn publication(&self, publish: &Publish) {
        let is_new = publish.qos < 2 || self.known.lock().expect("nobody panicked with it").insert(publish.id);
        if is_new && let Ok(number) = publish.text().parse() {
            let (conn, qos) = (self.conn, publish.qos);
            let (is_dup, is_retained) = (publish.dup, publish.retain);
            self.record.note(Event::Came { conn, number, qos, is_dup, is_retained });
        }
        match publish.qos {
            1 => self.write(&packet::acknowledge(0x40, publish.id)).await,
            2 => self.write(&packet::acknowledge(0x50, publish.id)).await,
            _ => {}
        }
    }
}

/// With the name of the story in front, so that stories on the same nodes do not see each other.
pub(super) fn named(story: &str, filter: &str) -> String {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => format!("$share/{group}/{story}/{filter}"),
        None => format!("{story}/{filter}"),
    }
}

/// Without it.
fn bare(filter: &str) -> String {
    let without = |filter: &str| filter.split_once('/').map_or("", |(_, bare)| bare).to_owned();
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => format!("$share/{group}/{}", without(filter)),
        None => without(filter),
    }
}
