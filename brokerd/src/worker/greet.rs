//! A socket before its CONNECT is understood: what is below MQTT (PROXY header, TLS, WebSocket), then that one packet,
//! all under one deadline; then the session's worker is found. Never touches a session: until here the peer is nobody.

use std::net::IpAddr;
use std::sync::Arc;

use mqtt::ReasonCode;
use mqtt::codec::{self, Limits, Recipient};
use mqtt::session::{Negotiated, negotiate};
use tokio::time::{Instant, timeout_at};

use super::attach::Handover;
use super::exchange::Applicant;
use super::greeting::Greeting;
use super::mailbox::Mail;
use super::partials::Stranger;
use super::refusal::{Refusal, refuse};
use super::rewrite::Who;
use super::shard::Handle;
use crate::access::{Action, Credentials, Denied, Identity, Mechanism, Principal};
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
    let stranger = Stranger::of(&shard.borrow());
    let sent_away = stranger.sent_away();
    let received = tokio::select! {
        received = receive(&shard, accepted, stranger) => received,
        () = cutting.cancelled() => return, // its listener was stopped
        () = sent_away.notified() => return, // half a CONNECT held too much for too long
    };
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
async fn receive(shard: &Handle, accepted: Accepted, stranger: Stranger) -> Option<Handover> {
    let mut connected = accepted.connected;
    let deadline = Instant::now() + shard.borrow().shared.settings.connect_timeout;
    let met = timeout_at(deadline, meet(shard, accepted.socket, &mut connected, stranger)).await;
    let (transport, mut greeting) = met.ok().flatten()?;
    let (mut negotiated, proof) = match understand(shard, &connected, greeting.packet()) {
        Ok(understood) => understood,
        Err(refusal) => {
            if let Some((recipient, refusal)) = refusal {
                refuse(shard, transport, recipient, &refusal).await;
            }
            return None;
        }
    };
    let proven = match proof {
        Proof::Credentials(credentials) => authenticate(shard, credentials, deadline).await,
        Proof::Exchange(mechanism, data) => {
            let limits = limits_before_connack(shard, &connected);
            let (transport, greeting, negotiated) = (&transport, &mut greeting, &mut negotiated);
            let mut applicant = Applicant { transport, greeting, limits, negotiated, deadline };
            applicant.prove(shard, &*mechanism, data).await
        }
    };
    let admitted = admit(shard, connected.peer().ip(), proven, &negotiated);
    let identity = match admitted {
        Ok(identity) => identity,
        Err(refusal) => {
            if let Some(refusal) = refusal {
                refuse(shard, transport, negotiated.recipient(), &refusal).await;
            }
            return None;
        }
    };
    let transport = transport.detach().ok()?;
    let rest = greeting.rest().to_vec();
    Some(Handover { transport, negotiated, rest, connected, identity })
}

/// By what a client proves who it is.
enum Proof {
    /// User name and password, or nothing.
    Credentials(Credentials),
    /// A mechanism, and the first that the client says to it.
    Exchange(Arc<dyn Mechanism>, Option<Box<[u8]>>),
}

/// Everything before the CONNECT is looked at, each layer on top of the one before; what one of them read too much is
/// the begin of the next.
async fn meet(
    shard: &Handle,
    socket: StdSocket,
    connected: &mut Connected,
    stranger: Stranger,
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
    let mut greeting = Greeting::new(&early, stranger);
    let limits = limits_before_connack(shard, connected);
    let read = greeting.read(shard, &transport, None, &limits, |_| Ok(())).await.map(drop);
    if let Err(Some(_)) = read {
        shard.borrow().counters.inc(Metric::ProtocolErrors);
    }
    read.ok()?; // [MQTT-3.1.0-1]: nothing is said to one who is no client
    Some((transport, greeting))
}

/// Reads the PROXY protocol header and takes the client's address from it. Answers what came behind it; `None` ends the
/// connection.
async fn introduced(shard: &Handle, transport: &Transport, connected: &mut Connected) -> Option<Vec<u8>> {
    let refuse = || {
        shard.borrow().counters.inc(Metric::ProxyRefused);
        None
    };
    if !connected.through().trusts(connected.peer().ip()) {
        tracing::debug!(peer = %connected.peer(), "a PROXY protocol header from a source that is not trusted");
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
                connected.set_peer(source.unwrap_or(connected.peer()));
                return Some(bytes.split_off(length));
            }
            Err(malformed) => {
                tracing::debug!(peer = %connected.peer(), %malformed, "PROXY protocol");
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

/// The same before the CONNACK, where less is enough.
fn limits_before_connack(shard: &Handle, connected: &Connected) -> Limits {
    let limits = limits(shard, connected);
    let max_packet_size = limits.max_packet_size.min(shard.borrow().shared.settings.max_connect_size);
    Limits { max_packet_size, ..limits }
}

/// Decodes the CONNECT and settles the terms; `Err` holds the refusal, or nothing to say.
fn understand(
    shard: &Handle,
    connected: &Connected,
    packet: &[u8],
) -> Result<(Negotiated, Proof), Option<(Recipient, Refusal)>> {
    let limits = limits(shard, connected);
    let shard = shard.borrow();
    shard.counters.inc(Metric::ConnectReceived);
    shard.counters.inc(Metric::PacketsReceived);
    let mut server = shard.shared.settings.server.clone();
    server.max_packet_size = limits.max_packet_size;
    let mut connect = codec::decode_connect(packet, &limits).map_err(|error| {
        shard.counters.inc(Metric::ProtocolErrors);
        let (version, reason) = error.answer?;
        let maximum_packet_size = error.maximum_packet_size.unwrap_or(u32::MAX);
        let text = error.violation.to_string();
        Some((Recipient { maximum_packet_size, ..Recipient::of(version) }, Refusal { reason, text }))
    })?;
    let who = Who { client_id: connect.client_id, username: connect.username };
    let topic = connect.will.as_ref().and_then(|will| shard.shared.rewrite.name(will.topic, who));
    if let (Some(will), Some(topic)) = (&mut connect.will, &topic) {
        will.topic = topic;
    }
    let refused = |refusal| {
        let maximum_packet_size = connect.maximum_packet_size.unwrap_or(u32::MAX);
        Some((Recipient { maximum_packet_size, ..Recipient::of(connect.version) }, refusal))
    };
    let mechanism = connect.authentication_method.map(|method| super::exchange::mechanism(&shard, method));
    let mechanism = mechanism.transpose().map_err(refused)?;
    let negotiated = negotiate(&connect, &server, assigned_client_id).map_err(|reason| refused(reason.into()))?;
    if !is_servable(&negotiated) {
        return Err(None);
    }
    let proof = match mechanism {
        Some(mechanism) => Proof::Exchange(mechanism, connect.authentication_data.map(Into::into)),
        None => Proof::Credentials(Credentials {
            username: connect.username.map(Into::into),
            password: connect.password.map(Into::into),
            may_be_anonymous: connected.allows_anonymous(),
        }),
    };
    Ok((negotiated, proof))
}

/// A client that takes no packet of the size of its CONNACK cannot be served [MQTT-3.1.2-24]; known before it has a
/// session, it takes over nobody.
pub(super) fn is_servable(negotiated: &Negotiated) -> bool {
    let connack = negotiated.connack(false);
    codec::connack(&mut Vec::new(), negotiated.version, &connack, negotiated.maximum_packet_size)
}

/// Finds out who it is by its user name and password, within the time that a CONNECT has.
async fn authenticate(
    shard: &Handle,
    credentials: Credentials,
    deadline: Instant,
) -> Result<Principal, Option<Refusal>> {
    let access = shard.borrow().shared.access.clone();
    let answer = timeout_at(deadline, access.authenticate(credentials)).await.unwrap_or(Err(Denied::Busy));
    answer.map_err(|denied| Some(denied.reason().into()))
}

/// Counts who was found to be whom, and sees whether the client may have the will that it asks for.
fn admit(
    shard: &Handle,
    ip: IpAddr,
    proven: Result<Principal, Option<Refusal>>,
    negotiated: &Negotiated,
) -> Result<Identity, Option<Refusal>> {
    let shard = shard.borrow();
    shard.counters.inc(Metric::ClientAuthenticate);
    let principal = proven.inspect_err(|refusal| {
        let is_busy = refusal.as_ref().is_some_and(|refusal| refusal.reason == ReasonCode::ServerBusy);
        shard.counters.inc(if is_busy { Metric::AuthenticationBusy } else { Metric::AuthenticationFailure });
    })?;
    shard.counters.inc(Metric::AuthenticationSuccess);
    if principal == Principal::Anonymous {
        shard.counters.inc(Metric::AuthenticationAnonymous);
        shard.counters.inc(Metric::ClientAuthAnonymous);
    }
    let identity = Identity::new(principal, ip);
    if let Some(will) = &negotiated.will {
        let action = Action::Publish(will.message.topic());
        if !shard.count_decision(shard.rules.authorize(&negotiated.client_id, &identity, action)) {
            return Err(Some(ReasonCode::NotAuthorized.into()));
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
