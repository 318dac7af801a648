//! Where clients come in: binds, accepts, counts, and hands sockets on. Never reads a byte of MQTT.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Listeners, TcpListener};
use crate::worker::{Accepted, Workers};

/// A listener, as others see it.
#[derive(Debug)]
pub struct Listener {
    /// `tcp` and the like.
    pub kind: &'static str,
    /// By which the configuration knows it.
    pub name: String,
    /// The real address: port 0 is resolved.
    pub bind: SocketAddr,
    /// Connections at a time; 0 is no limit.
    pub max_connections: usize,
    /// Whether a client without a user name is let in where there is an authenticator.
    pub allow_anonymous: bool,
    /// Whether it accepts.
    is_running: AtomicBool,
    connections: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Listener {
    /// `tcp:default` and the like.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.kind, self.name)
    }
    /// Whether it accepts connections now.
    pub fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Relaxed)
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
}

/// A connection of a listener: counts as one until dropped.
#[derive(Debug)]
pub struct Connected {
    /// The client's address.
    pub peer: SocketAddr,
    listener: Arc<Listener>,
}

impl Connected {
    fn new(peer: SocketAddr, listener: Arc<Listener>) -> Self {
        listener.connections.fetch_add(1, Ordering::Relaxed);
        Self { peer, listener }
    }
    /// Whether its listener lets in who gives no user name.
    #[must_use]
    pub fn allows_anonymous(&self) -> bool {
        self.listener.allow_anonymous
    }
    /// Where it came in: `tcp:default` and the like.
    #[must_use]
    pub fn listener(&self) -> String {
        self.listener.id()
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that holds its address but does not listen yet: until the node is ready, clients are refused and not kept
/// waiting.
pub struct Bound {
    socket: Socket,
    backlog: u32,
    listener: Arc<Listener>,
}

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("`listeners.{kind}.{name}.bind` = `{bind}`: {error}")]
pub struct BindError {
    kind: &'static str,
    name: String,
    bind: SocketAddr,
    error: io::Error,
}

/// Takes the address of every listener.
///
/// # Errors
/// At the first address that cannot be had, with its key.
pub fn bind_all(listeners: &Listeners) -> Result<Vec<Bound>, BindError> {
    let bind = |(name, config): (&String, &TcpListener)| {
        bind(name, config).map_err(|error| BindError { kind: "tcp", name: name.clone(), bind: config.bind, error })
    };
    listeners.tcp.iter().map(bind).collect()
}

fn bind(name: &str, config: &TcpListener) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(config.bind), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&config.bind.into())?;
    let bind = socket.local_addr()?.as_socket().unwrap_or(config.bind);
    let listener = Listener {
        kind: "tcp",
        name: name.to_owned(),
        bind,
        max_connections: config.max_connections,
        allow_anonymous: config.allow_anonymous,
        is_running: AtomicBool::new(false),
        connections: AtomicUsize::new(0),
        accepted: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    };
    Ok(Bound { socket, backlog: config.backlog, listener: Arc::new(listener) })
}

impl Bound {
    /// The listener it will be.
    #[must_use]
    pub const fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Begins to listen, and accepts in a task until `stop`.
    ///
    /// # Errors
    /// If the socket cannot listen.
    pub fn listen(self, workers: Workers, tasks: &TaskTracker, stop: CancellationToken) -> io::Result<()> {
        self.socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        let socket = tokio::net::TcpListener::from_std(StdListener::from(self.socket))?;
        let listener = self.listener;
        listener.is_running.store(true, Ordering::Relaxed);
        tasks.spawn(async move {
            tokio::select! {
                () = accept(&socket, &listener, &workers) => {}
                () = stop.cancelled() => {}
            }
            listener.is_running.store(false, Ordering::Relaxed);
        });
        Ok(())
    }
}

/// Accepts for ever.
async fn accept(socket: &tokio::net::TcpListener, listener: &Arc<Listener>, workers: &Workers) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let is_over = listener.max_connections != 0 && listener.connections() >= listener.max_connections;
                if is_over {
                    listener.refused.fetch_add(1, Ordering::Relaxed);
                    continue; // dropped: closed
                }
                listener.accepted.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                if let Ok(socket) = stream.into_std() {
                    workers.accept(Accepted { socket, connected: Connected::new(peer, listener.clone()) });
                }
            }
            Err(error) => {
                // Out of files or memory: what waits in the backlog waits on; a client that went away is no fault.
                tracing::warn!(listener = listener.id(), %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
