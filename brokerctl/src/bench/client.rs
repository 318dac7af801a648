//! One connection under load. Owns a socket that does not block, what is to be written, and what was read and is not
//! yet a whole packet. Never waits.

use std::io::{Error, ErrorKind, Result};
use std::net::TcpStream;

use super::link::Link;
use super::wire::{Packet, frame};

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    link: Link,
    out: Vec<u8>,
    /// Bytes of `out` that the socket has taken.
    written: usize,
    input: Vec<u8>,
}

impl Client {
    /// Over this link, with what is to be sent first.
    pub(crate) const fn new(link: Link, first: Vec<u8>) -> Self {
        Self { link, out: first, written: 0, input: vec![] }
    }

    /// The socket, to be watched.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.link.socket()
    }

    /// Whether TLS resumed a session.
    pub(crate) fn resumed(&self) -> Option<bool> {
        self.link.resumed()
    }

    /// Where to put packets that [`Client::flush`] writes.
    pub(crate) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that the socket has not taken.
    pub(crate) const fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&mut self) -> Result<()> {
        loop {
            match self.link.write(&self.out[self.written..]) {
                // TLS has no room, and sends on when its handshake is done.
                Ok(0) if self.unwritten() > 0 => return Ok(()),
                Ok(written) => self.written += written,
                Err(error) if is_not_ready(&error) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                return Ok(());
            }
        }
    }

    /// Reads all that there is and hands over each whole packet; `false` at the end of the stream.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        hung_up: bool,
        each: &mut impl FnMut(Packet<'_>, &mut Vec<u8>),
    ) -> Result<bool> {
        loop {
            let read = match self.link.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if is_not_ready(&error) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            };
            if self.input.is_empty() {
                let used = packets(&scratch[..read], &mut self.out, each)?;
                self.input.extend_from_slice(&scratch[used..read]);
            } else {
                self.input.extend_from_slice(&scratch[..read]);
                let used = packets(&self.input, &mut self.out, each)?;
                self.input.drain(..used);
            }
            // Under edge triggers the end of a stream is news of its own, unless it came with these bytes.
            if read < scratch.len() && self.link.short_read_is_last() && !hung_up {
                return Ok(true);
            }
        }
    }
}

/// Also of a socket that is still connecting.
fn is_not_ready(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// Hands over whole packets and tells how many bytes they were.
fn packets(bytes: &[u8], out: &mut Vec<u8>, each: &mut impl FnMut(Packet<'_>, &mut Vec<u8>)) -> Result<usize> {
    let mut at = 0;
    while let Some((start, end)) = frame(&bytes[at..]).map_err(Error::other)? {
        each(Packet { first: bytes[at], body: &bytes[at + start..at + end] }, out);
        at += end;
    }
    Ok(at)
}
