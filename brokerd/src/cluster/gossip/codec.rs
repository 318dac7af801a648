//! chitchat's private codec, reached through a UDP socket of chitchat's own on loopback. Never carries anything between
//! nodes, and hands out only what this process put in.
//!
//! chitchat 0.13 keeps the encoding of its messages to itself; its `UdpSocket` is public. One such socket is used purely
//! to encode (it sends to our feeder, which reads the bytes) and to decode (our feeder sends it bytes, it yields the
//! message). The feeder is connected, so the kernel drops what others send to it. chitchat's socket is not: of what it
//! yields only what came from the feeder's address counts, and nobody else can hold that port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, Socket, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

/// A datagram over loopback is there when the send returns, or lost; this only bounds the wait for a lost one.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Codec {
    chitchat: UdpSocket,
    feeder: tokio::net::UdpSocket,
    chitchat_addr: SocketAddr,
    feeder_addr: SocketAddr,
    encoded: Box<[u8]>,
    /// Something was fed and its message did not come yet: until then, at most.
    expected_until: Option<Instant>,
}

impl Codec {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let chitchat = UdpSocket::open(loopback).await?;
        let chitchat_addr = chitchat.local_addr()?;
        let feeder = tokio::net::UdpSocket::bind(loopback).await?;
        feeder.connect(chitchat_addr).await?;
        let feeder_addr = feeder.local_addr()?;
        let encoded = vec![0; u16::MAX as usize].into_boxed_slice();
        feeder.writable().await?;
        let mut codec = Self { chitchat, feeder, chitchat_addr, feeder_addr, encoded, expected_until: None };
        codec.discard_what_came_before_connect();
        Ok(codec)
    }

    fn discard_what_came_before_connect(&mut self) {
        let socket = socket2::SockRef::from(&self.feeder);
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        while socket.recv(&mut byte).is_ok() {}
    }

    /// The bytes of a message. `None` where they were lost on the way through the kernel.
    pub(super) async fn encode(&mut self, message: ChitchatEnvelope) -> anyhow::Result<Option<&[u8]>> {
        let sent = self.chitchat.send(self.feeder_addr, message).await;
        let received = timeout(PATIENCE, self.feeder.recv(&mut self.encoded)).await;
        let length = match (sent, received) {
            (Ok(sent), Ok(Ok(length))) if sent.num_bytes_sent == length => length,
            _ => {
                // Whatever is still under way must not be taken for the next message.
                self.reopen().await?;
                return Ok(None);
            }
        };
        Ok(Some(&self.encoded[..length]))
    }

    /// Puts bytes in; [`Codec::decoded`] gives their message. False where the kernel has no room.
    pub(super) fn feed(&mut self, plain: &[u8]) -> bool {
        let is_fed = matches!(self.feeder.try_send(plain), Ok(length) if length == plain.len());
        self.expected_until = is_fed.then(|| Instant::now() + PATIENCE);
        is_fed
    }

    /// Whether something was fed whose message was not taken yet.
    pub(super) const fn is_fed(&self) -> bool {
        self.expected_until.is_some()
    }

    /// The message of what was fed; `None` where it has none. Cancel-safe: cancelled, it is called again.
    pub(super) async fn decoded(&mut self) -> anyhow::Result<Option<ChitchatEnvelope>> {
        let Some(until) = self.expected_until else {
            return Ok(None);
        };
        let decoded = timeout_at(until, from_feeder(&mut self.chitchat, self.feeder_addr)).await;
        match decoded {
            Ok(Some(Ok(message))) => {
                self.expected_until = None;
                Ok(Some(message))
            }
            _ => self.reopen().await.map(|()| None),
        }
    }

    async fn reopen(&mut self) -> anyhow::Result<()> {
        tracing::debug!(codec = %self.chitchat_addr, "a datagram was lost in the gossip codec: opened anew");
        *self = Self::open().await?;
        Ok(())
    }
}

/// The next message that came from `feeder`. `None` where chitchat's decoder panicked.
async fn from_feeder(chitchat: &mut UdpSocket, feeder: SocketAddr) -> Option<anyhow::Result<ChitchatEnvelope>> {
    loop {
        match caught(chitchat.recv()).await? {
            Ok(RecvOutcome { from_addr, envelope, .. }) if from_addr == feeder => return Some(Ok(envelope)),
            Ok(_) => {} // another process of this machine found the port
            Err(error) => return Some(Err(error)),
        }
    }
}

/// `None` instead of a panic: any local process can put bytes before the decoder.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

/// Whether a socket that reports this is still of use.
pub(super) fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, OutOfMemory, WouldBlock,
    };
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkUnreachable
            | OutOfMemory
            | WouldBlock
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chitchat::{ChitchatConfig, ChitchatId, ProtocolVersion, spawn_chitchat};

    use super::*;

    /// What a plain chitchat node of cluster `c` says first.
    async fn plaintext_syn() -> Vec<u8> {
        let ear = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new("stranger", 1, "127.0.0.1:9".parse().unwrap()),
            cluster_id: "c".to_owned(),
            gossip_interval: Duration::from_millis(20),
            listen_addr: "127.0.0.1:0".parse().unwrap(),
            seed_nodes: vec![ear.local_addr().unwrap().to_string()],
            failure_detector_config: chitchat::FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: Duration::from_secs(60),
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let _node = spawn_chitchat(config, Vec::new(), &chitchat::transport::UdpTransport).await.unwrap();
        let mut bytes = vec![0; 65_536];
        let length = ear.recv(&mut bytes).await.unwrap();
        bytes.truncate(length);
        bytes
    }

    #[tokio::test]
    async fn bytes_go_in_and_the_same_bytes_come_out() {
        let syn = plaintext_syn().await;
        let mut codec = Codec::open().await.unwrap();
        assert!(codec.feed(&syn));
        let message = codec.decoded().await.unwrap().unwrap();
        assert_eq!(codec.encode(message).await.unwrap(), Some(&syn[..]));
    }

    #[tokio::test]
    async fn what_others_send_to_the_codec_is_never_taken_for_a_message() {
        let syn = plaintext_syn().await;
        let mut codec = Codec::open().await.unwrap();
        let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for bytes in [&b"junk"[..], &[], &syn] {
            stranger.send_to(bytes, codec.chitchat_addr).await.unwrap();
            stranger.send_to(bytes, codec.feeder_addr).await.unwrap();
        }
        assert_eq!(codec.decoded().await.unwrap(), None, "nothing was fed");
        assert!(codec.feed(b"not a message"));
        assert_eq!(codec.decoded().await.unwrap(), None, "a stranger's message was taken for ours");

        for bytes in [&b"junk"[..], &syn[..syn.len() - 1]] {
            stranger.send_to(bytes, codec.chitchat_addr).await.unwrap();
            stranger.send_to(bytes, codec.feeder_addr).await.unwrap();
        }
        assert!(codec.feed(&syn));
        let message = codec.decoded().await.unwrap().unwrap();
        assert_eq!(codec.encode(message).await.unwrap(), Some(&syn[..]));
    }

    #[tokio::test]
    async fn a_cancelled_decode_is_taken_up_again() {
        let syn = plaintext_syn().await;
        let mut codec = Codec::open().await.unwrap();
        assert!(codec.feed(&syn));
        drop(Box::pin(codec.decoded()));
        assert!(codec.is_fed());
        assert!(codec.decoded().await.unwrap().is_some());
    }
}
