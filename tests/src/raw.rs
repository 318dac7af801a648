//! A client that does exactly what a test says, byte by byte. Owns one socket; never acknowledges, retries or
//! reconnects by itself unless the name of the method says so. Silence is proved by a round trip, not by waiting.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::packet::{self, Connect, DISCONNECT, PINGREQ, PublishOut, Version};
use crate::read::{self, Connack, Packet, Publish};
use crate::wait::{SOON, soon, within};

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    version: Version,
    bytes: Vec<u8>,
    /// Packets that came while another was waited for.
    inbox: VecDeque<Packet>,
    last_id: u16,
    patience: Duration,
    most: usize,
    /// Reason String of the packet that was read last, or else its Server Reference.
    pub reason_string: Option<String>,
}

impl Raw {
    /// A TCP connection, nothing sent.
    pub async fn open(address: SocketAddr, version: Version) -> Self {
        let stream = soon("a TCP connection", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a socket option");
        Self::over(stream, version)
    }

    /// The same, or `None` where nobody listens.
    pub async fn open_if_there(address: SocketAddr, version: Version) -> Option<Self> {
        let stream = soon("a TCP connection or a refusal", TcpStream::connect(address)).await.ok()?;
        stream.set_nodelay(true).expect("a socket option");
        Some(Self::over(stream, version))
    }

    fn over(stream: TcpStream, version: Version) -> Self {
        let (bytes, inbox) = (vec![], VecDeque::new());
        let (patience, most, reason_string) = (SOON, usize::MAX, None);
        Self { stream, version, bytes, inbox, last_id: 0, patience, most, reason_string }
    }

    /// A connection with its CONNECT accepted.
    pub async fn connect(address: SocketAddr, connect: &Connect) -> Self {
        Self::connect_with_answer(address, connect).await.0
    }

    /// A connection with its CONNECT accepted, and the CONNACK.
    pub async fn connect_with_answer(address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let (client, connack) = Self::try_connect(address, connect).await;
        assert_eq!(connack.code, 0, "CONNECT of {} was refused", connect.client_id);
        (client, connack)
    }

    /// A connection with its CONNECT answered, one way or the other.
    pub async fn try_connect(address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let mut client = Self::open(address, connect.version).await;
        client.send(&connect.encode()).await;
        let Packet::Connack(connack) = client.expect().await else { panic!("not a CONNACK") };
        (client, connack)
    }

    /// The same, from an address of this machine.
    pub async fn connect_from(from: SocketAddr, address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(from).expect("an address of this machine");
        let stream = soon("a TCP connection", socket.connect(address)).await.expect("a connection");
        let mut client = Self::over(stream, connect.version);
        client.send(&connect.encode()).await;
        let Packet::Connack(connack) = client.expect().await else { panic!("not a CONNACK") };
        assert_eq!(connack.code, 0, "CONNECT of {} was refused", connect.client_id);
        (client, connack)
    }

    /// Its own end of the connection.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }

    /// With another deadline for what should come, such as an acknowledgement that waits for a node to be declared down.
    #[must_use]
    pub const fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// From here on a packet larger than this fails the test.
    #[must_use]
    pub const fn at_most(mut self, bytes: u32) -> Self {
        self.most = bytes as usize;
        self
    }

    /// Writes bytes as they are. A broker that has closed meanwhile is not an error here: reading shows it.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = within(self.patience, "room in the socket", self.stream.write_all(bytes)).await;
    }

    /// Writes bytes, and tells whether the broker has said or ended something meanwhile; it is then there to be read.
    pub async fn send_until_answered(&mut self, bytes: &[u8]) -> bool {
        self.send(bytes).await;
        let mut peeked = [0];
        let is_there = tokio::time::timeout(Duration::ZERO, self.stream.peek(&mut peeked)).await;
        is_there.is_ok()
    }

    /// The next packet, or `None` at the end of the connection.
    pub async fn next_or_end(&mut self) -> Option<Packet> {
        if let Some(packet) = self.inbox.pop_front() {
            return Some(packet);
        }
        self.read().await
    }

    /// The next packet.
    #[track_caller]
    pub fn expect(&mut self) -> impl Future<Output = Packet> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let packet = self.next_or_end().await;
            packet.unwrap_or_else(|| panic!("the connection ended, a packet was expected at {caller}"))
        }
    }

    async fn read(&mut self) -> Option<Packet> {
        loop {
            match read::explained(&self.bytes, self.version) {
                Ok(Some((packet, length, reason_string))) => {
                    assert!(length <= self.most, "the broker sent {length} bytes, at most {}: {packet:?}", self.most);
                    self.bytes.drain(..length);
                    self.reason_string = reason_string;
                    return Some(packet);
                }
                Ok(None) => {}
                Err(why) => panic!("the broker sent {why}"),
            }
            let reading = self.stream.read_buf(&mut self.bytes);
            let read = within(self.patience, "a packet or the end of the connection", reading).await;
            // A reset is an end too: the broker closed with bytes of ours unread.
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The first packet that answers; others stay for later.
    async fn wait_for(&mut self, what: &str, answers: impl Fn(&Packet) -> bool) -> Packet {
        loop {
            let Some(packet) = self.read().await else { panic!("the connection ended before {what}") };
            if answers(&packet) {
                return packet;
            }
            self.inbox.push_back(packet);
        }
    }

    /// A packet id that this connection has not used.
    pub const fn new_id(&mut self) -> u16 {
        self.last_id = if self.last_id == u16::MAX { 1 } else { self.last_id + 1 };
        self.last_id
    }

    /// Subscribes to one filter and gives the code of the SUBACK.
    pub async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        let id = self.new_id();
        self.send(&packet::subscribe(self.version, id, &[(filter, options)])).await;
        match self.wait_for("SUBACK", |packet| matches!(packet, Packet::Suback(found, _) if *found == id)).await {
            Packet::Suback(_, codes) if codes.len() == 1 => codes[0],
            other => panic!("one filter was asked for, the answer is {other:?}"),
        }
    }

    /// Unsubscribes from one filter and gives the codes of the UNSUBACK.
    pub async fn unsubscribe(&mut self, filter: &str) -> Vec<u8> {
        let id = self.new_id();
        self.send(&packet::unsubscribe(self.version, id, &[filter])).await;
        match self.wait_for("UNSUBACK", |packet| matches!(packet, Packet::Unsuback(found, _) if *found == id)).await {
            Packet::Unsuback(_, codes) => codes,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes and waits until the exchange of its QoS is complete.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) {
        let id = self.new_id();
        self.exchange(PublishOut::new(topic, payload, qos, id)).await;
    }

    /// Publishes with RETAIN and waits until the exchange of its QoS is complete.
    pub async fn publish_retained(&mut self, topic: &str, payload: &[u8], qos: u8) {
        let id = self.new_id();
        self.exchange(PublishOut::new(topic, payload, qos, id).retained()).await;
    }

    /// Sends a PUBLISH and waits until the exchange of its QoS is complete.
    pub async fn exchange(&mut self, publish: PublishOut<'_>) {
        let id = publish.id;
        self.send(&publish.encode(self.version)).await;
        if publish.qos == 1 {
            self.wait_for("PUBACK", |packet| matches!(packet, Packet::Puback(found, _) if *found == id)).await;
        }
        if publish.qos == 2 {
            self.wait_for("PUBREC", |packet| matches!(packet, Packet::Pubrec(found, _) if *found == id)).await;
            self.send(&packet::acknowledge(0x62, id)).await;
            self.wait_for("PUBCOMP", |packet| matches!(packet, Packet::Pubcomp(found, _) if *found == id)).await;
        }
    }

    /// The next packet, which must be a PUBLISH. Not acknowledged.
    #[track_caller]
    pub fn expect_publish(&mut self) -> impl Future<Output = Publish> + '_ {
        let next = self.expect();
        async move {
            match next.await {
                Packet::Publish(publish) => publish,
                other => panic!("a PUBLISH was expected, this came: {other:?}"),
            }
        }
    }

    /// The next packet, which must be a PUBLISH, its exchange completed.
    #[track_caller]
    pub fn receive(&mut self) -> impl Future<Output = Publish> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let publish = match self.next_or_end().await {
                Some(Packet::Publish(publish)) => publish,
                other => panic!("a PUBLISH was expected at {caller}, this came: {other:?}"),
            };
            self.complete(&publish).await;
            publish
        }
    }

    /// Acknowledges a received PUBLISH to the end.
    pub async fn complete(&mut self, publish: &Publish) {
        let id = publish.id;
        if publish.qos == 1 {
            self.send(&packet::acknowledge(0x40, id)).await;
        }
        if publish.qos == 2 {
            self.send(&packet::acknowledge(0x50, id)).await;
            self.wait_for("PUBREL", |packet| matches!(packet, Packet::Pubrel(found, _) if *found == id)).await;
            self.send(&packet::acknowledge(0x70, id)).await;
        }
    }

    /// What the broker had for this client before it answered a PINGREQ.
    pub async fn fence(&mut self) -> Vec<Packet> {
        self.send(PINGREQ).await;
        self.wait_for("PINGRESP", |packet| *packet == Packet::Pingresp).await;
        self.inbox.drain(..).collect()
    }

    /// `None` where the connection is there; where it has ended, the code of the DISCONNECT, if one came.
    pub async fn fence_or_close(&mut self) -> Option<Option<u8>> {
        self.send(PINGREQ).await;
        let mut reason = None;
        loop {
            match self.next_or_end().await {
                Some(Packet::Pingresp) => return None,
                Some(Packet::Disconnect(code)) => reason = Some(code),
                Some(_) => {}
                None => return Some(reason),
            }
        }
    }

    /// Nothing was sent before the answer to a PINGREQ.
    #[track_caller]
    pub fn expect_silence(&mut self) -> impl Future<Output = ()> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let came = self.fence().await;
            assert!(came.is_empty(), "nothing was expected at {caller}, this came: {came:?}");
        }
    }

    /// The end of the connection, and the code of the DISCONNECT or CONNACK before it, if one came. Publications on the
    /// way to us are passed over.
    pub async fn expect_close(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(packet) = self.next_or_end().await {
            reason = match packet {
                Packet::Disconnect(code) => Some(code),
                Packet::Connack(connack) => Some(connack.code),
                _ => reason,
            };
        }
        reason
    }

    /// DISCONNECT, and the broker's close.
    pub async fn disconnect(mut self) {
        self.send(DISCONNECT).await;
        self.expect_close().await;
    }

    /// Closes the socket without a DISCONNECT.
    pub fn abandon(self) {
        drop(self.stream);
    }
}
