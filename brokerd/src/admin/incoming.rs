//! The connections to the management API: few at a time, and each must begin like HTTP/2 soon. Never reads beyond
//! counting the first bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::metrics::{Counters, Metric};

/// Connections at a time; the next one is closed, and counted.
const MAX_CONNECTIONS: usize = 256;
/// The length of HTTP/2's connection preface (RFC 9113, 3.4).
const PREFACE: usize = 24;
/// From accept to a whole preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// Where accepting fails, for want of file descriptors say, it is tried again after this.
const RETRY: Duration = Duration::from_millis(100);

/// The listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Who is at the other end, as far as the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A Unix socket: the effective user at connect.
    User(u32),
    /// TCP.
    Anyone,
}

/// The stream of connections that tonic serves.
pub(super) struct Incoming {
    listener: Listener,
    permits: Arc<Semaphore>,
    counters: Arc<Counters>,
    retry: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(listener: Listener, counters: Arc<Counters>) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), counters, retry: None }
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Io, Caller)>> {
        Poll::Ready(match &self.listener {
            Listener::Unix(listener) => ready!(listener.poll_accept(context)).and_then(|(stream, _)| {
                let uid = stream.peer_cred()?.uid();
                Ok((Io::Unix(stream), Caller::User(uid)))
            }),
            Listener::Tcp(listener) => ready!(listener.poll_accept(context)).and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok((Io::Tcp(stream), Caller::Anyone))
            }),
        })
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(retry) = &mut self.retry {
                ready!(retry.as_mut().poll(context));
                self.retry = None;
            }
            let Ok((io, caller)) = ready!(self.poll_accept(context)) else {
                self.retry = Some(Box::pin(tokio::time::sleep(RETRY)));
                continue;
            };
            match self.permits.clone().try_acquire_owned() {
                Ok(permit) => return Poll::Ready(Some(Ok(Connection::new(io, caller, permit)))),
                Err(_) => self.counters.inc(Metric::AcceptRefused),
            }
        }
    }
}

#[derive(Debug)]
enum Io {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    io: Io,
    caller: Caller,
    /// Until the preface is read: the bytes that are missing, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(io: Io, caller: Caller, permit: OwnedSemaphorePermit) -> Self {
        let deadline = Box::pin(tokio::time::sleep(PREFACE_TIMEOUT));
        Self { io, caller, preface: Some((PREFACE, deadline)), _permit: permit }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some((_, deadline)) = &mut self.preface
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(match &mut self.io {
            Io::Unix(stream) => Pin::new(stream).poll_read(context, buf),
            Io::Tcp(stream) => Pin::new(stream).poll_read(context, buf),
        })?;
        let read = buf.filled().len() - before;
        self.preface = self.preface.take().and_then(|(missing, deadline)| {
            let missing = missing.checked_sub(read).filter(|missing| *missing > 0)?;
            Some((missing, deadline))
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Unix(stream) => Pin::new(stream).poll_flush(context),
            Io::Tcp(stream) => Pin::new(stream).poll_flush(context),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn connection() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Connection::new(Io::Unix(ours), Caller::Anyone, permit), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_begin_is_closed() {
        let (mut connection, mut theirs) = connection();
        theirs.write_all(b"PRI * HTTP/2").await.unwrap();
        let error = connection.read_exact(&mut [0; PREFACE]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_began_may_idle() {
        let (mut connection, mut theirs) = connection();
        theirs.write_all(&[0; PREFACE]).await.unwrap();
        connection.read_exact(&mut [0; PREFACE]).await.unwrap();
        let idle = tokio::time::timeout(PREFACE_TIMEOUT * 3, connection.read_u8()).await;
        assert!(idle.is_err(), "closed while idle: {idle:?}");
    }
}
