//! A socket before its CONNECT is understood: reads that one packet, under a deadline, and finds the session's worker.
//! Never touches a session: until here the peer is nobody.

use std::time::Duration;

use bytes::BytesMut;
use mqtt::codec::{self, ConnAck, Framed, Limits};
use mqtt::session::{Negotiated, negotiate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::attach::Handover;
use super::mailbox::Mail;
use super::shard::Handle;
use crate::listener::Connected;
use crate::metrics::Metric;

/// A socket from a listener.
pub(crate) struct Accepted {
    /// The socket, in non-blocking mode, of no runtime.
    pub(crate) socket: std::net::TcpStream,
    /// Where it came in; counts as a connection of its listener until dropped.
    pub(crate) connected: Connected,
}

/// Reads the CONNECT and hands the socket on. Whatever goes wrong ends this connection and nothing else.
pub(super) async fn greet(shard: Handle, accepted: Accepted) {
    let Ok(mut stream) = TcpStream::from_std(accepted.socket) else {
        return;
    };
    let deadline = shard.borrow().shared.settings.connect_timeout;
    let Ok(Some(buffer)) = tokio::time::timeout(deadline, read_connect(&shard, &mut stream)).await else {
        return;
    };
    let negotiated = match decide(&shard, &accepted.connected, &buffer.bytes[..buffer.connect]) {
        Ok(negotiated) => negotiated,
        Err(answer) => {
            shard.borrow().counters.inc(Metric::ConnackError);
            return refuse(stream, &answer).await;
        }
    };
    let Ok(socket) = stream.into_std() else { return };
    let rest = buffer.bytes[buffer.connect..].to_vec();
    let handover = Handover { socket, negotiated, rest, connected: accepted.connected };
    let shared = shard.borrow().shared.clone();
    let worker = shared.boxes.worker_of(&handover.negotiated.client_id);
    if worker == shard.borrow().worker {
        super::attach::attach(shard, handover).await;
    } else {
        shared.boxes.of(worker).post(Mail::Attach(Box::new(handover)));
    }
}

/// What was read: a whole first packet of `connect` bytes, and perhaps more behind it.
struct Greeting {
    bytes: BytesMut,
    connect: usize,
}

/// Reads until the first packet is whole; `None` if it is no CONNECT or never will be whole.
async fn read_connect(shard: &Handle, stream: &mut TcpStream) -> Option<Greeting> {
    let limits: Limits = shard.borrow().shared.settings.decode;
    let mut bytes = BytesMut::with_capacity(512); // grows with what came, never by what a header claims
    loop {
        match codec::frame(&bytes, None, &limits) {
            Ok(Framed::Packet { len }) => return Some(Greeting { bytes, connect: len }),
            Ok(Framed::Incomplete { .. }) => {}
            Err(_) => {
                shard.borrow().counters.inc(Metric::ProtocolErrors);
                return None; // [MQTT-3.1.0-1]: nothing is said to one who is no client
            }
        }
        let read = stream.read_buf(&mut bytes).await.ok()?;
        if read == 0 {
            return None;
        }
        shard.borrow().counters.add(Metric::BytesReceived, read as u64);
    }
}

/// Decodes the CONNECT, asks who it is, and settles the terms; `Err` holds the bytes of the refusal.
fn decide(shard: &Handle, connected: &Connected, packet: &[u8]) -> Result<Negotiated, Vec<u8>> {
    let shard = shard.borrow();
    shard.counters.inc(Metric::ConnectReceived);
    shard.counters.inc(Metric::PacketsReceived);
    let refusal = |version, reason| {
        let mut answer = Vec::new();
        codec::connack(&mut answer, version, &ConnAck::new(reason, false), None);
        answer
    };
    let connect = codec::decode_connect(packet, &shard.shared.settings.decode).map_err(|error| {
        shard.counters.inc(Metric::ProtocolErrors);
        error.answer.map_or_else(Vec::new, |(version, reason)| refusal(version, reason))
    })?;
    let version = connect.version;
    let settings = &shard.shared.settings;
    shard.shared.access.authenticate(connected, &connect).map_err(|reason| refusal(version, reason))?;
    let negotiated =
        negotiate(&connect, &settings.server, assigned_client_id).map_err(|reason| refusal(version, reason))?;
    // A client that takes no packet of the size of its CONNACK cannot be served [MQTT-3.1.2-24]; known here, it takes
    // over nobody.
    let fits = codec::connack(&mut Vec::new(), version, &negotiated.connack(false), negotiated.maximum_packet_size);
    if fits { Ok(negotiated) } else { Err(Vec::new()) }
}

/// A client id nobody else has: 120 random bits.
fn assigned_client_id() -> String {
    let mut random = [0_u8; 15];
    // Without randomness from the system there is no service at all: TLS and gossip need it too. A clash of ids then
    // ends in a takeover, not in a fault.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    random.iter().fold(String::from("auto-"), |id, byte| id + &format!("{byte:02x}"))
}

/// Says no and closes. The answer is one small packet into an empty socket buffer: it is not waited for long.
async fn refuse(mut stream: TcpStream, answer: &[u8]) {
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(answer)).await;
    let _ = stream.shutdown().await;
}
