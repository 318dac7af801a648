//! A socket before its CONNECT is understood: what is below MQTT (PROXY header, TLS, WebSocket), then that one packet,
//! all under one deadline; then the session's worker is found. Never touches a session: until here the peer is nobody.

use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use mqtt::codec::{self, ConnAck, Framed, Limits};
use mqtt::session::{Negotiated, negotiate};
use mqtt::{ReasonCode, Version};
use tokio::time::{Instant, timeout, timeout_at};

use super::attach::Handover;
use super::mailbox::Mail;
use super::partials::Stranger;
use super::rewrite::Who;
use super::shard::Handle;
use crate::access::{Action, Credentials, Denied, Identity, Principal};
use crate::listener::Connected;
use crate::metrics::Metric;
use crate::transport::proxy::{self, Header};
use crate::transport::{StdSocket, Transport};

/// A message of WebSocket may hold several small packets, whatever the largest one may be.
const SMALLEST_MESSAGE: u32 = 64 * 1024;

/// A socket from a listener.
pub(super) struct Accepted {
    /// The socket, in non-blocking mode, of no runtime.
    pub(super) socket: StdSocket,
    /// Where it came in; counts as a connection of its listener until dropped.
    pub(super) connected: Connected,
}

/// Reads the CONNECT, finds out whose it is, and hands the connection on. Whatever goes wrong ends this connection and
/// nothing else.
pub(super) async fn greet(shard: Handle, accepted: Accepted) {
    let cutting = accepted.connected.cutting();
    let mut stranger = Stranger::of(&shard.borrow());
    let sent_away = stranger.sent_away();
    let received = tokio::select! {
        received = receive(&shard, accepted, &mut stranger) => received,
        () = cutting.cancelled() => return, // its listener was stopped
        () = sent_away.notified() => return, // half a CONNECT held too much for too long
    };
    drop(stranger);
    let Some(handover) = received else { return };
    let shared = shard.borrow().shared.clone();
    let worker = shared.boxes.worker_of(&handover.negotiated.client_id);
    if worker == shard.borrow().worker {
        super::attach::attach(shard, handover).await;
    } else {
        shared.boxes.of(worker).post(Mail::Attach(Box::new(handover)));
    }
}

/// Everything up to a client that is known and let in.
async fn receive(shard: &Handle, accepted: Accepted, stranger: &mut Stranger) -> Option<Handover> {
    let mut connected = accepted.connected;
    let deadline = Instant::now() + shard.borrow().shared.settings.connect_timeout;
    let met = timeout_at(deadline, meet(shard, accepted.socket, &mut connected, stranger)).await;
    let (transport, buffer) = met.ok().flatten()?;
    let understood = understand(shard, &connected, &buffer.bytes[..buffer.connect]);
    let (negotiated, credentials) = match understood {
        Ok(understood) => understood,
        Err(refusal) => {
            if let Some((version, reason)) = refusal {
                refuse(shard, transport, version, reason).await;
            }
            return None;
        }
    };
    let identity = match admit(shard, connected.peer.ip(), credentials, &negotiated, deadline).await {
        Ok(identity) => identity,
        Err(reason) => {
            refuse(shard, transport, negotiated.version, reason).await;
            return None;
        }
    };
    let transport = transport.detach().ok()?;
    let rest = buffer.bytes[buffer.connect..].to_vec();
    Some(Handover { transport, negotiated, rest, connected, identity })
}

/// What was read: a whole first packet of `connect` bytes, and perhaps more behind it.
struct Greeting {
    bytes: BytesMut,
    connect: usize,
}

/// Everything before the CONNECT is looked at, each layer on top of the one before; what one of them read too much is
/// the begin of the next.
async fn meet(
    shard: &Handle,
    socket: StdSocket,
    connected: &mut Connected,
    stranger: &mut Stranger,
) -> Option<(Transport, Greeting)> {
    let listener = connected.through().clone();
    let mut transport = Transport::plain(socket).ok()?;
    let mut early = Vec::new();
    if listener.has_proxy_protocol() {
        early = introduced(shard, &transport, connected).await?;
    }
    if let Some(config) = listener.tls() {
        let (_permit, has_waited) = listener.handshake().await;
        let secured = transport.secured(config, std::mem::take(&mut early)).await;
        let counters = &shard.borrow().counters;
        if has_waited {
            counters.inc(Metric::TlsWaited);
        }
        counters.inc(match &secured {
            Ok((_, true)) => Metric::TlsResumed,
            Ok((_, false)) => Metric::TlsFull,
            Err(_) => Metric::TlsFailed,
        });
        transport = secured.ok()?.0;
    }
    if let Some(path) = listener.path() {
        let limit = listener.max_packet_size().unwrap_or(shard.borrow().shared.settings.decode.max_packet_size);
        let upgraded = transport.upgraded(path, limit.max(SMALLEST_MESSAGE).into(), std::mem::take(&mut early)).await;
        if upgraded.is_err() {
            shard.borrow().counters.inc(Metric::WebSocketRefused);
        }
        transport = upgraded.ok()?;
    }
    let mut limits = limits(shard, connected);
    limits.max_packet_size = limits.max_packet_size.min(shard.borrow().shared.settings.max_connect_size);
    let greeting = read_connect(shard, &transport, &early, &limits, stranger).await?;
    Some((transport, greeting))
}

/// Reads the PROXY protocol header and takes the client's address from it. Answers what came behind it; `None` ends the
/// connection.
async fn introduced(shard: &Handle, transport: &Transport, connected: &mut Connected) -> Option<Vec<u8>> {
    let refuse = || {
        shard.borrow().counters.inc(Metric::ProxyRefused);
        None
    };
    if !connected.through().trusts(connected.peer.ip()) {
        tracing::debug!(peer = %connected.peer, "a PROXY protocol header from a source that is not trusted");
        return refuse();
    }
    let mut bytes = Vec::new();
    loop {
        let length = bytes.len();
        bytes.resize(length + 512, 0);
        let read = transport.read(&mut bytes[length..]).await.ok()?;
        bytes.truncate(length + read);
        match proxy::parse(&bytes) {
            // A load balancer that looks whether the port is open, and says nothing at all.
            Ok(None) if read == 0 && bytes.is_empty() => return None,
            Ok(None) if read == 0 => return refuse(),
            Ok(None) => {}
            Ok(Some((_, Header::HealthCheck))) => return None,
            Ok(Some((length, Header::Client(source)))) => {
                connected.peer = source.unwrap_or(connected.peer);
                return Some(bytes.split_off(length));
            }
            Err(malformed) => {
                tracing::debug!(peer = %connected.peer, %malformed, "PROXY protocol");
                return refuse();
            }
        }
    }
}

/// What this client may send.
fn limits(shard: &Handle, connected: &Connected) -> Limits {
    let limits = shard.borrow().shared.settings.decode;
    let max_packet_size = connected.through().max_packet_size().unwrap_or(limits.max_packet_size);
    Limits { max_packet_size, ..limits }
}

/// Reads until the first packet is whole; `None` if it is no CONNECT or never will be whole.
async fn read_connect(
    shard: &Handle,
    transport: &Transport,
    early: &[u8],
    limits: &Limits,
    stranger: &mut Stranger,
) -> Option<Greeting> {
    let mut bytes = BytesMut::with_capacity(512); // grows with what came, never by what a header claims
    bytes.extend_from_slice(early);
    loop {
        match codec::frame(&bytes, None, limits) {
            Ok(Framed::Packet { len }) => return Some(Greeting { bytes, connect: len }),
            Ok(Framed::Incomplete { .. }) => {}
            Err(_) => {
                shard.borrow().counters.inc(Metric::ProtocolErrors);
                return None; // [MQTT-3.1.0-1]: nothing is said to one who is no client
            }
        }
        let length = bytes.len();
        bytes.resize(length + length.max(512), 0);
        if length > 0 {
            stranger.hold(bytes.capacity());
            let mut shard = shard.borrow_mut();
            shard.begin_turn();
            shard.send_holders_away();
        }
        let read = transport.read(&mut bytes[length..]).await.ok()?;
        bytes.truncate(length + read);
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
    let limits = limits(shard, connected);
    let shard = shard.borrow();
    shard.counters.inc(Metric::ConnectReceived);
    shard.counters.inc(Metric::PacketsReceived);
    let mut server = shard.shared.settings.server.clone();
    server.max_packet_size = limits.max_packet_size;
    let mut connect = codec::decode_connect(packet, &limits).map_err(|error| {
        shard.counters.inc(Metric::ProtocolErrors);
        error.answer
    })?;
    let who = Who { client_id: connect.client_id, username: connect.username };
    let topic = connect.will.as_ref().and_then(|will| shard.shared.rewrite.name(will.topic, who));
    if let (Some(will), Some(topic)) = (&mut connect.will, &topic) {
        will.topic = topic;
    }
    let negotiated =
        negotiate(&connect, &server, assigned_client_id).map_err(|reason| Some((connect.version, reason)))?;
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
pub(super) async fn refuse(shard: &Handle, transport: Transport, version: Version, reason: ReasonCode) {
    let mut answer = Vec::new();
    codec::connack(&mut answer, version, &ConnAck::new(reason, false), None);
    {
        let shard = shard.borrow();
        shard.counters.inc(Metric::ConnackError);
        let is_about_rights = matches!(reason, ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized);
        shard.counters.add(Metric::ConnackAuthError, u64::from(is_about_rights));
    }
    let _ = timeout(Duration::from_secs(1), transport.write_all(&answer)).await;
    transport.close();
}
