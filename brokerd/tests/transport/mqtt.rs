//! A client that knows just enough MQTT: written by hand, so that the broker's codec does not judge itself.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::node::{Io, soon};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// A packet: its first byte and its body.
pub(crate) type Packet = (u8, Vec<u8>);

pub(crate) struct Client {
    pub(crate) io: Io,
    pub(crate) version: Version,
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

impl Version {
    fn properties(self) -> &'static [u8] {
        if self == Self::V5 { &[0] } else { &[] }
    }
    pub(crate) fn connect(self, client_id: &str) -> Vec<u8> {
        let level = if self == Self::V5 { 5 } else { 4 };
        let head = [&text("MQTT")[..], &[level, 2, 0, 60]].concat();
        packet(0x10, &[&head[..], self.properties(), &text(client_id)].concat())
    }
    pub(crate) fn subscribe(self, filter: &str, qos: u8) -> Vec<u8> {
        packet(0x82, &[&[0, 7], self.properties(), &text(filter)[..], &[qos]].concat())
    }
    pub(crate) fn publish(self, topic: &str, qos: u8, payload: &[u8]) -> Vec<u8> {
        let id: &[u8] = if qos > 0 { &[0, 9] } else { &[] };
        packet(0x30 | qos << 1, &[&text(topic)[..], id, self.properties(), payload].concat())
    }
}

impl Client {
    pub(crate) async fn connect(io: Io, version: Version, client_id: &str) -> Self {
        let mut client = Self { io, version };
        client.send(&version.connect(client_id)).await;
        let (first, body) = client.next().await;
        assert_eq!((first, body[1]), (0x20, 0), "CONNACK {body:?}");
        client
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// The next packet; `None` at the end of the connection.
    pub(crate) async fn next_or_end(&mut self) -> Option<Packet> {
        soon("a packet", async {
            let first = self.io.read_u8().await.ok()?;
            let (mut length, mut shift) = (0_usize, 0);
            loop {
                let byte = self.io.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.io.read_exact(&mut body).await.ok()?;
            Some((first, body))
        })
        .await
    }

    pub(crate) async fn next(&mut self) -> Packet {
        self.next_or_end().await.expect("the connection ended")
    }

    pub(crate) async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert_eq!(self.next().await, (0xd0, vec![]));
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&self.version.subscribe(filter, qos)).await;
        let (first, body) = self.next().await;
        assert_eq!((first, body.last()), (0x90, Some(&qos)), "SUBACK");
    }

    /// Publishes to itself at a QoS, with every acknowledgement, and answers the payload that came back.
    pub(crate) async fn round_trip(&mut self, topic: &str, qos: u8, payload: &[u8]) -> Vec<u8> {
        self.send(&self.version.publish(topic, qos, payload)).await;
        let (mut came, mut is_done) = (None, qos == 0);
        while came.is_none() || !is_done {
            let (first, body) = self.next().await;
            match first >> 4 {
                3 => {
                    assert_eq!((first >> 1) & 3, qos, "QoS");
                    let at = 2 + topic.len() + if qos > 0 { 2 } else { 0 } + self.version.properties().len();
                    came = Some(body[at..].to_vec());
                    if qos > 0 {
                        let id = &body[2 + topic.len()..4 + topic.len()];
                        self.send(&packet(if qos == 1 { 0x40 } else { 0x50 }, id)).await;
                    }
                }
                4 | 7 => is_done = true,
                5 => self.send(&packet(0x62, &body[..2])).await,
                6 => self.send(&packet(0x70, &body[..2])).await,
                _ => panic!("{first:#x} {body:?}"),
            }
        }
        if qos == 2 {
            self.settle().await;
        }
        came.unwrap()
    }

    /// Answers what is under way until a PINGRESP shows that nothing is.
    async fn settle(&mut self) {
        self.send(&[0xc0, 0]).await;
        loop {
            match self.next().await {
                (0xd0, _) => return,
                (0x62, body) => self.send(&packet(0x70, &body[..2])).await,
                other => panic!("{other:?}"),
            }
        }
    }

    /// DISCONNECT's reason in 5.0, if one came before the end.
    pub(crate) async fn end(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some((first, body)) = self.next_or_end().await {
            if first == 0xe0 {
                reason = body.first().copied();
            }
        }
        reason
    }
}
