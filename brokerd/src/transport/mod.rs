//! What carries a connection's bytes: TCP or a Unix socket, and on them TLS, WebSocket, or both. Non-blocking, one
//! thread at a time, and able to move to another. Never understands MQTT, and never decides who may connect.

#[doc(hidden)]
pub mod fuzz;
mod layers;
pub mod proxy;
mod socket;
mod tls;
mod upgrade;
mod web_socket;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;

use self::layers::Layers;
use self::socket::Socket;
pub use self::socket::StdSocket;
use self::tls::Tls;
use self::web_socket::WebSocket;

/// A connection of the current thread. Plain ones are the socket and nothing else.
pub struct Transport(Kind);

enum Kind {
    Plain(Socket),
    Layered(Box<Layered>),
}

/// A socket and what is spoken on it. The cell is never borrowed while another method of it runs: every method is one
/// step without an await.
struct Layered {
    socket: Socket,
    layers: RefCell<Layers>,
}

/// A connection between two threads.
pub struct Detached {
    socket: StdSocket,
    layers: Option<Box<Layers>>,
}

impl std::fmt::Debug for Detached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detached").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Detached {
    /// Gives the connection to the runtime of this thread.
    ///
    /// # Errors
    /// If the runtime does not take the socket.
    pub fn attach(self) -> io::Result<Transport> {
        let socket = self.socket.register()?;
        Ok(Transport(match self.layers {
            None => Kind::Plain(socket),
            Some(layers) => Kind::Layered(Box::new(Layered { socket, layers: RefCell::new(*layers) })),
        }))
    }
}

impl Transport {
    /// A socket from a listener, in non-blocking mode.
    ///
    /// # Errors
    /// If the runtime does not take the socket.
    pub fn plain(socket: StdSocket) -> io::Result<Self> {
        Detached { socket, layers: None }.attach()
    }

    /// Takes the connection from the runtime of this thread, to be given to another's.
    ///
    /// # Errors
    /// If the runtime does not give it.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self.0 {
            Kind::Plain(socket) => Detached { socket: socket.deregister()?, layers: None },
            Kind::Layered(layered) => {
                let layers = Some(Box::new(layered.layers.into_inner()));
                Detached { socket: layered.socket.deregister()?, layers }
            }
        })
    }

    fn layered(self, add: impl FnOnce(&mut Layers)) -> Self {
        let (socket, mut layers) = match self.0 {
            Kind::Plain(socket) => (socket, Layers::default()),
            Kind::Layered(layered) => (layered.socket, layered.layers.into_inner()),
        };
        add(&mut layers);
        Self(Kind::Layered(Box::new(Layered { socket, layers: RefCell::new(layers) })))
    }

    /// Speaks TLS from here on, and waits for the end of the handshake. `early` is what was read of it already. Answers
    /// whether an earlier session was resumed.
    ///
    /// # Errors
    /// If the client goes away or the two do not agree; it is told why where TLS has a word for it.
    pub async fn secured(self, config: Arc<ServerConfig>, early: Vec<u8>) -> io::Result<(Self, bool)> {
        let tls = Tls::new(config, early)?;
        let this = self.layered(|layers| layers.tls = Some(Box::new(tls)));
        while this.is_handshaking() {
            match this.read_or_write(&mut []).await {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let Kind::Layered(layered) = &this.0 else { return Ok((this, false)) };
        let is_resumed = layered.layers.borrow().tls.as_ref().is_some_and(|tls| tls.is_resumed());
        Ok((this, is_resumed))
    }

    fn is_handshaking(&self) -> bool {
        let Kind::Layered(layered) = &self.0 else { return false };
        layered.layers.borrow().tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Waits for a WebSocket upgrade to `path` and answers it. `bytes` is what was read of it already; `most` bounds a
    /// message.
    ///
    /// # Errors
    /// If the client goes away, or its request is refused; it is told so.
    pub async fn upgraded(self, path: &str, most: u64, mut bytes: Vec<u8>) -> io::Result<Self> {
        loop {
            if let Some(answer) = upgrade::answer(&bytes, path) {
                self.write_all(&answer.bytes).await?;
                let Some(length) = answer.accepted else {
                    self.close();
                    return Err(ErrorKind::InvalidData.into());
                };
                let unread = bytes.split_off(length);
                return Ok(self.layered(|layers| layers.web_socket = Some(WebSocket::new(unread, most))));
            }
            let length = bytes.len();
            bytes.resize(length + 1024, 0);
            let read = self.read(&mut bytes[length..]).await?;
            bytes.truncate(length + read);
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads what is there. 0 is the end of the connection; `WouldBlock` also where bytes came and none is for the
    /// reader.
    ///
    /// # Errors
    /// `WouldBlock`, or the connection is broken.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(socket) => socket.try_read(buffer),
            Kind::Layered(layered) => layered.layers.borrow_mut().read(&layered.socket, buffer),
        }
    }

    /// Writes what goes now. Bytes once offered must be offered again until they are taken: they may be promised by a
    /// frame's header.
    ///
    /// # Errors
    /// `WouldBlock`, or the connection is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(socket) => socket.try_write(bytes),
            Kind::Layered(layered) => layered.layers.borrow_mut().write(&layered.socket, bytes),
        }
    }

    /// Whether something waits here that [`Self::flush`] would send.
    pub fn wants_write(&self) -> bool {
        match &self.0 {
            Kind::Plain(_) => false,
            Kind::Layered(layered) => layered.layers.borrow().wants_write(),
        }
    }

    /// Gives the kernel what waits here.
    ///
    /// # Errors
    /// `WouldBlock` until all is gone, or the connection is broken.
    pub fn flush(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Plain(_) => Ok(()),
            Kind::Layered(layered) => layered.layers.borrow_mut().flush(&layered.socket),
        }
    }

    /// Says good-bye in the words of TLS and WebSocket, as far as the kernel takes it. Dropping then closes.
    pub fn close(&self) {
        if let Kind::Layered(layered) = &self.0 {
            layered.layers.borrow_mut().close(&layered.socket);
        }
    }

    /// Whether reading may give something.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Kind::Plain(socket) => socket.poll_read_ready(cx),
            Kind::Layered(layered) if layered.layers.borrow().has_input() => Poll::Ready(Ok(())),
            Kind::Layered(layered) => layered.socket.poll_read_ready(cx),
        }
    }

    /// Whether the kernel takes more.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    const fn socket(&self) -> &Socket {
        match &self.0 {
            Kind::Plain(socket) => socket,
            Kind::Layered(layered) => &layered.socket,
        }
    }

    /// Waits for bytes, and sends what waits here meanwhile.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_or_write(buffer).await {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Waits until the socket is ready for something, and does it. `WouldBlock` is no failure.
    async fn read_or_write(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            if self.poll_read_ready(cx)?.is_ready() {
                return Poll::Ready(io::Result::Ok(()));
            }
            while self.wants_write() {
                ready!(self.poll_write_ready(cx))?;
                match self.flush() {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                    _ => {}
                }
            }
            Poll::Pending
        })
        .await?;
        self.try_read(buffer)
    }

    /// Writes everything and waits for the kernel to take it.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() || self.wants_write() {
            let outcome = if bytes.is_empty() { self.flush().map(|()| 0) } else { self.try_write(bytes) };
            match outcome {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => poll_fn(|cx| self.poll_write_ready(cx)).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_is_its_socket_and_one_word() {
        let socket = size_of::<tokio::net::TcpStream>();
        assert!(size_of::<Transport>() <= socket + size_of::<usize>(), "{} for {socket}", size_of::<Transport>());
    }
}
