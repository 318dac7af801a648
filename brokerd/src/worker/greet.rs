//! A socket before its CONNECT is understood: reads that one packet, under a deadline, and finds the session's worker.
//! Never touches a session: until here the peer is nobody.

use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use mqtt::codec::{self, ConnAck, Framed, Limits};
use mqtt::session::{Negotiated, negotiate};
use mqtt::{ReasonCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::attach::Handover;
use super::mailbox::Mail;
use super::rewrite::Who;
use super::shard::Handle;
use crate::access::{Action, Credentials, Denied, Identity, Principal};
use crate::listener::Connected;
use crate::metrics::Metric;

/// A socket from a listener.
pub(crate) struct Accepted {
    /// The socket, in non-blocking mode, of no runtime.
    pub(crate) socket: std::net::TcpStream,
    /// Where it came in; counts as a connection of its listener until dropped.
    pub(crate) connected: Connected,
}

/// Reads the CONNECT, finds out whose it is, and hands the socket on. Whatever goes wrong ends this connection and
/// nothing else.
pub(super) async fn greet(shard: Handle, accepted: Accepted) {
    let Ok(mut stream) = TcpStream::from_std(accepted.socket) else {
        return;
    };
    let deadline = Instant::now() + shard.borrow().shared.settings.connect_timeout;
    let Ok(Some(buffer)) = timeout_at(deadline, read_connect(&shard, &mut stream)).await else {
        return;
    };
    let understood = understand(&shard, &accepted.connected, &buffer.bytes[..buffer.connect]);
    let (negotiated, credentials) = match understood {
        Ok(understood) => understood,
        Err(Some((version, reason))) => return refuse(&shard, stream, version, reason).await,
        Err(None) => return,
    };
    let admitted = admit(&shard, accepted.connected.peer.ip(), credentials, &negotiated, deadline).await;
    let identity = match admitted {
        Ok(identity) => identity,
        Err(reason) => return refuse(&shard, stream, negotiated.version, reason).await,
    };
    let Ok(socket) = stream.into_std() else { return };
    let rest = buffer.bytes[buffer.connect..].to_vec();
    let handover = Handover { socket, negotiated, rest, connected: accepted.connected, identity };
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

/// Decodes the CONNECT and settles the terms; `Err` holds the refusal, or nothing to say.
fn understand(
    shard: &Handle,
    connected: &Connected,
    packet: &[u8],
) -> Result<(Negotiated, Credentials), Option<(Version, ReasonCode)>> {
    let shard = shard.borrow();
    shard.counters.inc(Metric::ConnectReceived);
    shard.counters.inc(Metric::PacketsReceived);
    let settings = &shard.shared.settings;
    let mut connect = codec::decode_connect(packet, &settings.decode).map_err(|error| {
        shard.counters.inc(Metric::ProtocolErrors);
        error.answer
    })?;
    let who = Who { client_id: connect.client_id, username: connect.username };
    let topic = connect.will.as_ref().and_then(|will| shard.shared.rewrite.name(will.topic, who));
    if let (Some(will), Some(topic)) = (&mut connect.will, &topic) {
        will.topic = topic;
    }
    let negotiated =
        negotiate(&connect, &settings.server, assigned_client_id).map_err(|reason| Some((connect.version, reason)))?;
    // A client that takes no packet of the size of its CONNACK cannot be served [MQTT-3.1.2-24]; known here, it takes
    // over nobody.
    let connack = negotiated.connack(false);
    if !codec::connack(&mut Vec::new(), connect.version, &connack, negotiated.maximum_packet_size) {
        return Err(None);
    }
    let credentials = Credentials {
        username: connect.username.map(Into::into),
        password: connect.password.map(Into::into),
        may_be_anonymous: connected.allows_anonymous(),
    };
    Ok((negotiated, credentials))
}

/// Finds out who it is, within the time that a CONNECT has, and whether it may have the will that it asks for.
async fn admit(
    shard: &Handle,
    ip: IpAddr,
    credentials: Credentials,
    negotiated: &Negotiated,
    deadline: Instant,
) -> Result<Identity, ReasonCode> {
    let access = shard.borrow().shared.access.clone();
    let answer = timeout_at(deadline, access.authenticate(credentials)).await.unwrap_or(Err(Denied::Busy));
    let shard = shard.borrow();
    shard.counters.inc(Metric::ClientAuthenticate);
    let principal = answer.map_err(|denied| {
        let busy = if denied == Denied::Busy { Metric::AuthenticationBusy } else { Metric::AuthenticationFailure };
        shard.counters.inc(busy);
        denied.reason()
    })?;
    shard.counters.inc(Metric::AuthenticationSuccess);
    if principal == Principal::Anonymous {
        shard.counters.inc(Metric::AuthenticationAnonymous);
        shard.counters.inc(Metric::ClientAuthAnonymous);
    }
    let identity = Identity { principal, ip };
    if let Some(will) = &negotiated.will {
        let action = Action::Publish(will.message.topic());
        if !shard.count_decision(shard.rules.authorize(&negotiated.client_id, &identity, action)) {
            return Err(ReasonCode::NotAuthorized);
        }
    }
    Ok(identity)
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
pub(super) async fn refuse(shard: &Handle, mut stream: TcpStream, version: Version, reason: ReasonCode) {
    let mut answer = Vec::new();
    codec::connack(&mut answer, version, &ConnAck::new(reason, false), None);
    {
        let shard = shard.borrow();
        shard.counters.inc(Metric::ConnackError);
        let is_about_rights = matches!(reason, ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized);
        shard.counters.add(Metric::ConnackAuthError, u64::from(is_about_rights));
    }
    let _ = timeout(Duration::from_secs(1), stream.write_all(&answer)).await;
    let _ = stream.shutdown().await;
}
