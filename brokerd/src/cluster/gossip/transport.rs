//! chitchat's transport over the node's own UDP socket, sealed. Never lets a byte reach chitchat that was not sealed
//! by a holder of the cluster secret, and never believes a datagram twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::codec::{Codec, is_transient};
use super::seal::{MAX_DATAGRAM, OVERHEAD, Opener, Rejected, Sealer};
use crate::cluster::core::wall_millis;
use crate::cluster::quiet::Quiet;
use crate::cluster::secret::Ring;
use crate::metrics::{Counters, Metric};

/// Gives chitchat the one socket it was made with.
pub(super) struct SealedTransport(Mutex<Option<SealedSocket>>);

impl SealedTransport {
    pub(super) async fn new(
        udp: UdpSocket,
        ring: watch::Receiver<Ring>,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let sealer = Sealer::new(ring.borrow().current(), wall_seconds());
        let sealer = sealer.context("the system has no randomness to give")?;
        let mut opener = Opener::default();
        opener.disown(sealer.session());
        let socket = SealedSocket {
            udp,
            codec: Codec::open().await.context("the gossip codec on loopback")?,
            ring,
            sealer,
            opener,
            counters,
            said: Quiet::default(),
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
    ring: watch::Receiver<Ring>,
    sealer: Sealer,
    opener: Opener,
    counters: Arc<Counters>,
    said: Quiet,
    received: Box<[u8]>,
    sealed: Vec<u8>,
    /// Whose datagram the codec holds, and how long it was. Outlives a cancelled `recv`.
    being_decoded: Option<(SocketAddr, usize)>,
}

impl SealedSocket {
    fn reject(&self, from: SocketAddr, why: Rejected) {
        if why == Rejected::Own {
            return;
        }
        self.counters.inc(Metric::GossipRejected);
        tracing::debug!(%from, ?why, "dropped a gossip datagram");
        let told = match why {
            Rejected::Stranger => "of a node with another secret, or of a cluster of another name",
            Rejected::Stale => "recorded over an hour ago, or of a node whose clock is far off",
            _ => "",
        };
        match why {
            Rejected::Stranger => self.counters.inc(Metric::GossipStranger),
            Rejected::Replayed | Rejected::Stale => self.counters.inc(Metric::GossipReplayed),
            _ => {}
        }
        if !told.is_empty() && self.said.allows(Instant::now()) {
            tracing::warn!(%from, "gossip is not heard: it is {told}");
        }
    }

    /// Begins another session where one is due.
    fn renew(&mut self) {
        let (ring, now) = (self.ring.borrow(), wall_seconds());
        if !self.sealer.is_over(ring.current(), now) {
            return;
        }
        match Sealer::new(ring.current(), now) {
            Some(sealer) => {
                self.opener.disown(sealer.session());
                self.sealer = sealer;
            }
            None => tracing::error!("the system has no randomness to give: gossip goes on as it was sealed"),
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
        let opened = self.opener.open(&mut self.received[..length], &self.ring.borrow(), wall_seconds());
        match opened {
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
        self.renew();
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

/// Until 2106.
fn wall_seconds() -> u32 {
    u32::try_from(wall_millis() / 1000).unwrap_or(u32::MAX)
}
