//! The first exchange on a link: TLS, then both sides prove the cluster secret over it. A stranger costs at most five
//! seconds and four kilobytes, and changes nothing. Never acts on what a hello asks before it is proven.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proto::peer::{Hello, Link, Refused, Welcome, frame::Body, refused::Reason};
use rustls::pki_types::ServerName;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::core::{Core, Refusal, Visitor};
use super::fence::Passage;
use super::frames::{FrameReader, FrameWriter, MAX_CONTROL, MAX_MESSAGES};
use super::identity::{Role, exporter};
use super::peer::Peer;
use super::secret::{KeyId, Keys};
use super::versions;

/// From the connection to the welcome.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A node name is no longer.
const MAX_NAME: usize = 256;

pub(super) type Reader = FrameReader<ReadHalf<TlsStream<TcpStream>>>;
pub(super) type Writer = FrameWriter<WriteHalf<TlsStream<TcpStream>>>;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("it does not speak the peer protocol")]
    NotAPeer,
    #[error("it does not hold the cluster secret")]
    BadProof,
    #[error("it refused: {}", .0.text)]
    Refused(Refused),
    #[error("refused: {}", .0.1)]
    Unwanted(Refusal),
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self::Io(io::Error::other(error))
    }
}

/// A link that this node dialed.
pub(super) struct Dialed {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) welcome: Welcome,
}

/// A link that this node let in.
pub(super) struct Admitted {
    pub(super) peer: std::sync::Arc<Peer>,
    pub(super) link: Link,
    pub(super) generation: u64,
    /// The secret that it was proven by.
    pub(super) key: KeyId,
    pub(super) passage: Passage,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Dials, proves, and checks the proof of the other side.
pub(super) async fn dial(core: &Core, to: SocketAddr, link: Link, session: u64) -> Result<Dialed, HandshakeError> {
    let dialing = async {
        let socket = connect(core.parts.settings.bind, to).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("brokerd").map_err(io::Error::other)?;
        let stream = TlsConnector::from(core.parts.identity.client.clone()).connect(name, socket).await?;
        let exporter = exporter(stream.get_ref().1)?;
        let (reader, writer) = tokio::io::split(TlsStream::Client(stream));
        let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
        writer.send(core.parts.clock.now(), Body::Hello(hello(core, link, session, &exporter))).await?;
        let frame = reader.next().await?.ok_or(HandshakeError::NotAPeer)?;
        let welcome = match frame.body {
            Some(Body::Welcome(welcome)) => welcome,
            Some(Body::Refused(refused)) => return Err(HandshakeError::Refused(refused)),
            _ => return Err(HandshakeError::NotAPeer),
        };
        let proven =
            core.parts.identity.proven_by(&exporter, Role::Acceptor, &welcome.node, welcome.generation, &welcome.proof);
        if proven.is_none() {
            return Err(HandshakeError::BadProof);
        }
        if let Err(error) = core.parts.clock.merge(frame.hlc) {
            return Err(HandshakeError::Unwanted(Refusal(Reason::Clock, error.to_string())));
        }
        reader.trust(MAX_CONTROL);
        Ok(Dialed { reader, writer, welcome })
    };
    tokio::time::timeout(PATIENCE, dialing).await.unwrap_or(Err(HandshakeError::Slow))
}

/// From the address that `cluster.bind` names, as gossip is, so that a link can be told by where it comes from.
async fn connect(bound: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let from = bound.ip();
    if from.is_unspecified() || from.is_ipv4() != to.is_ipv4() || from.is_loopback() != to.ip().is_loopback() {
        return TcpStream::connect(to).await;
    }
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

fn hello(core: &Core, link: Link, session: u64, exporter: &[u8; 32]) -> Hello {
    let own = core.own.lock().clone();
    let identity = &core.parts.identity;
    let proof = identity.proof(identity.ring().current(), exporter, Role::Dialer, &identity.node, own.generation);
    Hello {
        protocol: core.parts.settings.protocol,
        oldest: versions::OLDEST,
        cluster: core.parts.identity.cluster.clone(),
        node: core.parts.identity.node.clone(),
        generation: own.generation,
        link: link.into(),
        session,
        address: own.address.to_string(),
        version: core.parts.version.clone(),
        proof: proof.into(),
    }
}

/// Takes a connection in; `None` after a probe that was welcome.
pub(super) async fn admit(core: &Core, socket: TcpStream) -> Result<Option<Admitted>, HandshakeError> {
    tokio::time::timeout(PATIENCE, admit_unhurried(core, socket)).await.unwrap_or(Err(HandshakeError::Slow))
}

async fn admit_unhurried(core: &Core, socket: TcpStream) -> Result<Option<Admitted>, HandshakeError> {
    socket.set_nodelay(true)?;
    let from = socket.peer_addr()?.ip();
    let stream = TlsAcceptor::from(core.parts.identity.server.clone()).accept(socket).await?;
    let exporter = exporter(stream.get_ref().1)?;
    let (reader, writer) = tokio::io::split(TlsStream::Server(stream));
    let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
    let frame = reader.next().await?.ok_or(HandshakeError::NotAPeer)?;
    let Some(Body::Hello(hello)) = frame.body else {
        return Err(HandshakeError::NotAPeer);
    };
    let outcome = match check(core, &hello, &exporter, frame.hlc) {
        Ok(by) => enter(core, &hello, from).await.map(|entered| (by, entered)),
        Err(refusal) => Err(refusal),
    };
    let (by, entered) = match outcome {
        Ok(admitted) => admitted,
        Err(Refusal(reason, text)) => {
            let refused =
                Refused { reason: reason.into(), text: text.clone(), cluster: core.parts.identity.cluster.clone() };
            writer.send(core.parts.clock.now(), Body::Refused(refused)).await?;
            return Err(HandshakeError::Unwanted(Refusal(reason, text)));
        }
    };
    let generation = core.generation();
    // By the secret of the other side: it may not have the one that this node uses yet.
    let proof = core.parts.identity.proof(&by, &exporter, Role::Acceptor, &core.parts.identity.node, generation);
    let received = entered.as_ref().map_or(0, |(peer, _)| peer.received.lock().taken(hello.generation));
    let welcome = Welcome {
        node: core.parts.identity.node.clone(),
        generation,
        version: core.parts.version.clone(),
        proof: proof.into(),
        received,
        protocol: hello.protocol.min(core.parts.settings.protocol),
    };
    writer.send(core.parts.clock.now(), Body::Welcome(welcome)).await?;
    let Some((peer, passage)) = entered else {
        return Ok(None);
    };
    reader.trust(if hello.link() == Link::Messages { MAX_MESSAGES } else { MAX_CONTROL });
    let (link, generation, key) = (hello.link(), hello.generation, by.id());
    Ok(Some(Admitted { peer, link, generation, key, passage, reader, writer }))
}

/// Whether whoever says hello is one of us, and by which secret. What is not proven is told its reason and nothing else.
fn check(core: &Core, hello: &Hello, exporter: &[u8; 32], stamp: u64) -> Result<Keys, Refusal> {
    if hello.cluster != core.parts.identity.cluster {
        return Err(Refusal(Reason::Cluster, format!("this is cluster `{}`", core.parts.identity.cluster)));
    }
    let is_named = !hello.node.is_empty() && hello.node.len() <= MAX_NAME;
    let identity = &core.parts.identity;
    let proven = identity.proven_by(exporter, Role::Dialer, &hello.node, hello.generation, &hello.proof);
    let Some(by) = proven.filter(|_| is_named) else {
        return Err(Refusal(Reason::Secret, "the cluster secret differs".to_owned()));
    };
    if let Err(why) = versions::agree(core.parts.settings.protocol, hello.protocol, hello.oldest) {
        return Err(Refusal(Reason::Protocol, format!("`{}`: {why}", hello.node)));
    }
    if let Err(error) = core.parts.clock.merge(stamp) {
        let why = format!("`{}`: {error}", hello.node);
        return Err(Refusal(Reason::Clock, why));
    }
    Ok(by)
}

async fn enter(core: &Core, hello: &Hello, from: IpAddr) -> Result<Option<(std::sync::Arc<Peer>, Passage)>, Refusal> {
    if hello.node == core.parts.identity.node {
        return Err(Refusal(Reason::SameName, format!("this node is named `{}` too", hello.node)));
    }
    if core.own.lock().has_left {
        return Err(Refusal(Reason::Left, "this node has left its cluster".to_owned()));
    }
    if hello.link() == Link::Probe {
        return Ok(None);
    }
    let address = address_of(hello, from)?;
    let visitor = Visitor {
        name: hello.node.clone(),
        generation: hello.generation,
        address,
        version: hello.version.chars().take(MAX_NAME).collect(),
    };
    let peer = core.meet(&visitor, Instant::now())?;
    let entered = peer.fence.enter(hello.link(), hello.generation, hello.session).await;
    let passage = entered.ok_or_else(|| Refusal(Reason::OldSession, "a newer link took its place".to_owned()))?;
    Ok(Some((peer, passage)))
}

/// Where who says hello can be dialed; of a node that names no address, the one that it comes from.
pub(super) fn address_of(hello: &Hello, from: IpAddr) -> Result<SocketAddr, Refusal> {
    let unreadable = || {
        let said: String = hello.address.chars().take(MAX_NAME).collect();
        Refusal(Reason::Unspecified, format!("`{said}` is not an address"))
    };
    let mut address: SocketAddr = hello.address.parse().map_err(|_| unreadable())?;
    if address.ip().is_unspecified() {
        address.set_ip(from);
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// From where a peer that listens at `to` sees a node that is bound to `bound`.
    async fn seen(bound: &str, to: &str) -> IpAddr {
        let peer = tokio::net::TcpListener::bind(to).await.unwrap();
        let _dialed = connect(bound.parse().unwrap(), peer.local_addr().unwrap()).await.unwrap();
        peer.accept().await.unwrap().1.ip()
    }

    #[tokio::test]
    async fn a_node_of_several_addresses_dials_from_the_one_that_it_is_bound_to() {
        assert_eq!(seen("127.0.0.2:7946", "127.0.0.3:0").await.to_string(), "127.0.0.2");
        assert_eq!(seen("127.0.0.3:7946", "127.0.0.2:0").await.to_string(), "127.0.0.3");
    }

    #[tokio::test]
    async fn a_node_that_is_bound_to_every_address_or_cannot_reach_from_its_own_leaves_the_choice_to_the_kernel() {
        assert_eq!(seen("0.0.0.0:7946", "127.0.0.3:0").await.to_string(), "127.0.0.1");
        assert_eq!(seen("192.0.2.1:7946", "127.0.0.3:0").await.to_string(), "127.0.0.1");
        assert_eq!(seen("[::1]:7946", "127.0.0.3:0").await.to_string(), "127.0.0.1");
    }
}
