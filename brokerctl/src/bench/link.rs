//! The bytes of one connection, plain or under TLS. Never blocks and never looks at what it carries.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;

use rustls::ClientConnection;

/// A socket, and TLS over it if it has that.
#[derive(Debug)]
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) stream: TcpStream,
    pub(crate) session: ClientConnection,
}

impl Link {
    /// The socket, to be watched.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.stream,
        }
    }

    /// Reads once; 0 at the end.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }

    /// Whether a read of fewer bytes than there was room for says that nothing is left.
    pub(crate) const fn short_read_is_last(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Writes once; an empty slice only what TLS still holds.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(_) if bytes.is_empty() => Ok(0),
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => {
                tls.push()?;
                let taken = tls.session.writer().write(bytes)?;
                match tls.push() {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
                    _ => Ok(taken),
                }
            }
        }
    }

    /// Whether the handshake resumed an earlier session; `None` without TLS, or before its end.
    pub(crate) fn resumed(&self) -> Option<bool> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.session.handshake_kind().map(|kind| kind == rustls::HandshakeKind::Resumed),
        }
    }
}

impl Tls {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            self.session.process_new_packets().map_err(std::io::Error::other)?;
            match self.push() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    fn push(&mut self) -> Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}
