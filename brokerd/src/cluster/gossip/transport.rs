//! chitchat's transport over the node's own UDP socket, sealed. Never lets a byte reach chitchat that was not sealed
//! by a holder of the cluster secret, and never believes a datagram twice.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

use super::codec::{Codec, is_transient};
use super::seal::{MAX_DATAGRAM, OVERHEAD, Opener, Rejected, Sealer};
use crate::cluster::secret::Keys;
use crate::metrics::{Counters, Metric};

/// Gives chitchat the one socket it was made with.
pub(super) struct SealedTransport(Mutex<Option<SealedSocket>>);

impl SealedTransport {
    pub(super) async fn new(udp: UdpSocket, keys: &Keys, counters: Arc<Counters>) -> anyhow::Result<Self> {
        let sealer = Sealer::new(keys.gossip()).context("the system has no randomness to give")?;
        let opener = Opener::new(keys.gossip().clone(), sealer.session());
        let socket = SealedSocket {
            udp,
            codec: Codec::open().await.context("the gossip codec on loopback")?,
            sealer,
            opener,
            counters,
            received: vec![0; usize::from(u16::MAX) + 1].into_boxed_slice(),
            sealed: Vec::new(),
            being_decoded: None,
        };
        Ok(Self(Mutex::new(Some(socket))))
    }
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.0.lock().take().context("the gossip socket is open already")?;
        Ok(Box::new(socket))
    }
}

struct SealedSocket {
    udp: UdpSocket,
    codec: Codec,
    sealer: Sealer,
    opener: Opener,
    counters: Arc<Counters>,
    received: Box<[u8]>,
    sealed: Vec<u8>,
    /// Whose datagram the codec holds, and how long it was. Outlives a cancelled `recv`.
    being_decoded: Option<(SocketAddr, usize)>,
}

impl SealedSocket {
    fn reject(&self, from: SocketAddr, why: Rejected) {
        if why != Rejected::Own {
            self.counters.inc(Metric::GossipRejected);
            tracing::debug!(%from, ?why, "dropped a gossip datagram");
        }
    }

    /// Takes a datagram from the network as far as the codec.
    async fn take_datagram(&mut self) -> anyhow::Result<()> {
        let (length, from) = match self.udp.recv_from(&mut self.received).await {
            Ok(received) => received,
            Err(error) if is_transient(&error) => return Ok(()),
            Err(error) => return Err(error).context("gossip receives no more"),
        };
        // From here to the end nothing waits, so that a cancelled `recv` loses nothing.
        match self.opener.open(&mut self.received[..length]) {
            Ok(plain) => {
                if self.codec.feed(plain) {
                    self.being_decoded = Some((from, length));
                }
            }
            Err(why) => self.reject(from, why),
        }
        Ok(())
    }
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.udp.local_addr()?)
    }

    async fn send(&mut self, to: SocketAddr, message: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let Some(plain) = self.codec.encode(message).await? else {
            return Ok(SendOutcome { num_bytes_sent: 0 });
        };
        if !self.sealer.seal(plain, &mut self.sealed) {
            self.counters.inc(Metric::GossipRejected);
            let limit = MAX_DATAGRAM - OVERHEAD;
            tracing::warn!(%to, bytes = plain.len(), limit, "a gossip message is too large for a datagram: dropped");
            return Ok(SendOutcome { num_bytes_sent: 0 });
        }
        // UDP may lose it, so an unreachable network is no other case.
        let sent = self.udp.send_to(&self.sealed, to).await;
        let num_bytes_sent = sent.unwrap_or_else(|error| {
            tracing::debug!(%to, %error, "a gossip datagram was not sent");
            0
        });
        Ok(SendOutcome { num_bytes_sent })
    }

    /// Cancel-safe: what was taken from the network is in `being_decoded` and the codec.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            if let Some((from_addr, num_bytes_received)) = self.being_decoded {
                let decoded = if self.codec.is_fed() { self.codec.decoded().await? } else { None };
                self.being_decoded = None;
                match decoded {
                    Some(envelope) => {
                        return Ok(RecvOutcome { from_addr, envelope, num_bytes_received });
                    }
                    None => self.reject(from_addr, Rejected::Malformed),
                }
            }
            self.take_datagram().await?;
        }
    }
}
