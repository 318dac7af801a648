//! Where clients come in: binds, accepts, counts, and hands sockets on; knows what each listener speaks and whom it
//! trusts. Never reads a byte of a connection.

mod accept;
mod bind;
mod certificate;
mod control;
mod expiry;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio_util::sync::CancellationToken;

pub use self::bind::BindError;
pub use self::certificate::Certificate;
pub use self::control::{ControlError, Listeners};
use crate::config::{self, Bind};
use crate::transport::StdSocket;

/// What a listener does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It is closed and has no client.
    Stopped = 0,
    /// It accepts.
    Running = 1,
    /// It is closed; its clients stay.
    Drained = 2,
}

impl State {
    /// As `brokerctl listeners` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Drained => "drained",
        }
    }
}

/// A listener, as others see it.
#[derive(Debug)]
pub struct Listener {
    /// As configured, with the real address: port 0 is resolved.
    pub config: config::Listener,
    tls: Option<RwLock<certificate::Loaded>>,
    handshakes: Semaphore,
    state: AtomicU8,
    /// How often its clients were sent away: whoever came before the last time has to go.
    cut: AtomicU32,
    /// Cancelled when they are.
    cutting: Mutex<CancellationToken>,
    connections: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Listener {
    fn new(config: config::Listener, tls: Option<certificate::Loaded>) -> Self {
        let handshakes = config.tls.as_ref().map_or(1, |tls| tls.max_handshakes);
        Self {
            config,
            tls: tls.map(RwLock::new),
            handshakes: Semaphore::new(handshakes),
            state: AtomicU8::new(State::Stopped as u8),
            cut: AtomicU32::new(0),
            cutting: Mutex::default(),
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// `tcp:default` and the like.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.config.kind.name(), self.config.name)
    }
    /// Its address, unless it is a Unix socket.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match &self.config.bind {
            Bind::Address(address) => Some(*address),
            Bind::Path { .. } => None,
        }
    }
    /// What it does now.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Stopped,
            1 => State::Running,
            _ => State::Drained,
        }
    }
    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
    /// Connections it has now, those before their CONNECT included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
    /// Connections it has accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
    /// Connections it has closed at once since the start, for `max_connections`.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
    /// What it speaks TLS with, if it does: the newest certificate.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|loaded| loaded.read().config.clone())
    }
    /// The path of its WebSocket, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.config.path.as_deref()
    }
    /// Bytes of a packet, where it has a limit of its own.
    #[must_use]
    pub const fn max_packet_size(&self) -> Option<u32> {
        self.config.max_packet_size
    }
    /// A client that came in here, for people: `IP:port`, or `unix` for one of this machine without an address.
    pub(crate) fn peername(&self, peer: SocketAddr) -> String {
        match &self.config.bind {
            Bind::Path { .. } if peer.port() == 0 => "unix".into(),
            _ => peer.to_string(),
        }
    }
    /// Whether a connection begins with a PROXY protocol header.
    #[must_use]
    pub const fn has_proxy_protocol(&self) -> bool {
        self.config.proxy_protocol
    }
    /// Whether that address may send one.
    #[must_use]
    pub fn trusts(&self, source: IpAddr) -> bool {
        match (&self.config.bind, &self.config.proxy_protocol_from[..]) {
            (Bind::Path { .. }, _) => true,
            (_, []) => source.to_canonical().is_loopback(),
            (_, networks) => networks.iter().any(|network| network.contains(source)),
        }
    }
    /// Waits for its turn to shake hands. Answers whether it had to wait, too.
    pub async fn handshake(&self) -> (Option<SemaphorePermit<'_>>, bool) {
        match self.handshakes.try_acquire() {
            Ok(permit) => (Some(permit), false),
            Err(TryAcquireError::NoPermits) => (self.handshakes.acquire().await.ok(), true),
            Err(TryAcquireError::Closed) => (None, false), // nobody closes it
        }
    }
    /// Sends the clients it has away: [`Connected::is_cut_off`] is true of them from now on.
    fn cut_off(&self) {
        self.cut.fetch_add(1, Ordering::AcqRel);
        std::mem::take(&mut *self.cutting.lock()).cancel();
    }
}

/// Who takes what a listener accepts. The workers do.
pub trait Clients: Send + Sync {
    /// Takes a new socket, in non-blocking mode, of no runtime. Must not block.
    fn accept(&self, socket: StdSocket, connected: Connected);
    /// Sends away the clients of listeners that were stopped (5.0: 0x8B), their wills included.
    fn send_cut_off_away(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A connection of a listener: counts as one until dropped.
#[derive(Debug)]
pub struct Connected {
    ip: IpAddr,
    port: u16,
    listener: Arc<Listener>,
    cut: u32,
}

impl Connected {
    fn new(peer: SocketAddr, listener: Arc<Listener>) -> Self {
        listener.connections.fetch_add(1, Ordering::Relaxed);
        let cut = listener.cut.load(Ordering::Acquire);
        Self { ip: peer.ip(), port: peer.port(), listener, cut }
    }
    /// The client's address: behind a load balancer the one that the PROXY protocol names. Of a client on a Unix socket
    /// it is the loopback address with port 0.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
    /// Somebody who is trusted says that it is another's.
    pub const fn set_peer(&mut self, peer: SocketAddr) {
        (self.ip, self.port) = (peer.ip(), peer.port());
    }
    /// Whether its listener lets in who gives no user name.
    #[must_use]
    pub fn allows_anonymous(&self) -> bool {
        self.listener.config.allow_anonymous
    }
    /// Where it came in: `tcp:default` and the like.
    #[must_use]
    pub fn listener(&self) -> String {
        self.listener.id()
    }
    /// Where it came in.
    #[must_use]
    pub const fn through(&self) -> &Arc<Listener> {
        &self.listener
    }
    /// `IP:port`, or `unix` for a client of this machine without one.
    #[must_use]
    pub fn peername(&self) -> String {
        self.listener.peername(self.peer())
    }
    /// Whether its listener was stopped since it came.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.listener.cut.load(Ordering::Acquire) != self.cut
    }
    /// Cancelled when it is cut off; for who waits.
    #[must_use]
    pub fn cutting(&self) -> CancellationToken {
        // A child, for the parent is that of clients to come where this one is cut off already.
        let cutting = self.listener.cutting.lock().child_token();
        if self.is_cut_off() {
            cutting.cancel();
        }
        cutting
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
