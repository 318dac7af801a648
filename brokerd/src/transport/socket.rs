//! The socket below everything: TCP or Unix, non-blocking. Never knows what its bytes mean.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A socket of the current runtime.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket of no runtime, on its way to one.
#[derive(Debug)]
pub enum StdSocket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix.
    Unix(std::os::unix::net::UnixStream),
}

impl StdSocket {
    pub(super) fn register(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(socket) => Socket::Tcp(TcpStream::from_std(socket)?),
            Self::Unix(socket) => Socket::Unix(UnixStream::from_std(socket)?),
        })
    }
}

impl Socket {
    pub(super) fn deregister(self) -> io::Result<StdSocket> {
        Ok(match self {
            Self::Tcp(socket) => StdSocket::Tcp(socket.into_std()?),
            Self::Unix(socket) => StdSocket::Unix(socket.into_std()?),
        })
    }

    /// Reads once. A read that does not fill the buffer has emptied the socket, which is noted: that saves the read
    /// that would only say so. Data that comes from then on is a new edge for epoll.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Tcp(socket) => socket.try_read(buffer)?,
            Self::Unix(socket) => socket.try_read(buffer)?,
        };
        if read > 0 && read < buffer.len() {
            self.forget_readiness();
        }
        Ok(read)
    }

    fn forget_readiness(&self) {
        let empty = || Err(ErrorKind::WouldBlock.into());
        let _: io::Result<()> = match self {
            Self::Tcp(socket) => socket.try_io(Interest::READABLE, empty),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, empty),
        };
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            Self::Unix(socket) => socket.try_write(bytes),
        }
    }

    pub(super) fn try_write_two(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let both = [IoSlice::new(first), IoSlice::new(second)];
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(&both),
            Self::Unix(socket) => socket.try_write_vectored(&both),
        }
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            Self::Unix(socket) => socket.poll_write_ready(cx),
        }
    }
}
