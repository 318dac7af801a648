//! TLS of one connection: decrypts what the socket gives, encrypts what it takes. Holds no buffer while nothing is
//! under way. Never chooses a certificate: its configuration did.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};

use super::socket::Socket;

/// Plain bytes encrypted at a time: four records.
const CHUNK: usize = 64 * 1024;
/// What encryption adds to them at most, with room to spare.
const OVERHEAD: usize = 1024;
/// A handshake message has at most 64 KiB, in records of 16 KiB; who sends more without a whole one is no client.
const MOST_PARTIAL: usize = 80 * 1024;
/// Answers of the protocol itself that a client does not take, before it is given up.
const MOST_UNSENT: usize = 128 * 1024;

thread_local! {
    /// Where this thread's connections decrypt and encrypt: nothing stays in it between two calls.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The state of one TLS connection; moves between threads.
pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    /// The begin of a record, or of a handshake message, whose rest has not come.
    partial: Vec<u8>,
    /// Decrypted, and more than the reader had room for.
    plain: Vec<u8>,
    /// Encrypted, and not yet taken by the kernel.
    unsent: Vec<u8>,
    /// Whether `partial` holds what came before the first read, so that the socket may never say it is ready.
    is_fed: bool,
    has_ended: bool,
    /// After an error nothing is asked of the state machine any more.
    is_broken: bool,
}

impl Tls {
    /// `partial` is what was read from the socket already, behind a PROXY header.
    pub(super) fn new(config: Arc<ServerConfig>, partial: Vec<u8>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let is_fed = !partial.is_empty();
        Ok(Self {
            connection,
            partial,
            plain: Vec::new(),
            unsent: Vec::new(),
            is_fed,
            has_ended: false,
            is_broken: false,
        })
    }

    /// Whether there is something to read without the socket.
    pub(super) fn has_input(&self) -> bool {
        !self.plain.is_empty() || self.is_fed || self.has_ended
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Gives the kernel what is encrypted.
    pub(super) fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.unsent.len() {
                break Ok(());
            }
            match socket.try_write(&self.unsent[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if sent == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..sent);
        }
        outcome
    }

    /// Reads and decrypts once. `WouldBlock` where that gave nothing for the reader; 0 at the end.
    pub(super) fn read(&mut self, socket: &Socket, out: &mut [u8]) -> io::Result<usize> {
        if !self.plain.is_empty() {
            let count = self.plain.len().min(out.len());
            out[..count].copy_from_slice(&self.plain[..count]);
            self.plain.drain(..count);
            if self.plain.is_empty() {
                self.plain = Vec::new();
            }
            return Ok(count);
        }
        if self.has_ended {
            return Ok(0);
        }
        if self.is_broken {
            return Err(ErrorKind::InvalidData.into());
        }
        SCRATCH.with_borrow_mut(|scratch| self.read_by(scratch, socket, out))
    }

    fn read_by(&mut self, scratch: &mut Vec<u8>, socket: &Socket, out: &mut [u8]) -> io::Result<usize> {
        let kept = self.partial.len();
        scratch.resize((kept + CHUNK).max(scratch.len()), 0);
        scratch[..kept].copy_from_slice(&self.partial);
        let read = match socket.try_read(&mut scratch[kept..kept + CHUNK]) {
            Ok(0) => return Ok(0), // no close_notify: a truncation, as the end of a TCP connection without DISCONNECT is
            Ok(read) => read,
            // What came behind a PROXY header may be a whole ClientHello, and nothing more comes until it is answered.
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.is_fed => 0,
            Err(error) => return Err(error),
        };
        self.is_fed = false;
        let (used, given, outcome) = self.process(&mut scratch[..kept + read], out);
        self.partial.clear();
        self.partial.extend_from_slice(&scratch[used..kept + read]);
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        scratch.truncate(CHUNK + OVERHEAD);
        scratch.shrink_to(CHUNK + OVERHEAD);
        if let Err(error) = self.flush(socket)
            && (error.kind() != ErrorKind::WouldBlock || self.unsent.len() > MOST_UNSENT)
        {
            return Err(error);
        }
        outcome?;
        if self.partial.len() > MOST_PARTIAL {
            return Err(ErrorKind::InvalidData.into());
        }
        match given {
            0 if self.has_ended => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            given => Ok(given),
        }
    }

    /// Answers how many bytes of `incoming` are done with, how many plain bytes are in `out`, and how it went. An alert
    /// for the peer may be in `unsent` also where it went wrong.
    fn process(&mut self, incoming: &mut [u8], out: &mut [u8]) -> (usize, usize, io::Result<()>) {
        let (mut used, mut given) = (0, 0);
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut incoming[used..]);
            let mut is_waiting = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let Ok(record) = record else {
                            return (used, given, Err(ErrorKind::InvalidData.into()));
                        };
                        discard += record.discard;
                        let fits = record.payload.len().min(out.len() - given);
                        out[given..given + fits].copy_from_slice(&record.payload[..fits]);
                        given += fits;
                        self.plain.extend_from_slice(&record.payload[fits..]);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.unsent);
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.has_ended = true;
                    is_waiting = true;
                }
                Ok(_) => is_waiting = true, // WriteTraffic, BlockedHandshake; early data is not offered
                Err(error) => {
                    used += discard;
                    self.is_broken = true;
                    self.take_alert(&mut incoming[used..]);
                    return (used, given, Err(io::Error::new(ErrorKind::InvalidData, error)));
                }
            }
            used += discard;
            if is_waiting {
                return (used, given, Ok(()));
            }
        }
    }

    /// After an error the state machine still gives out the alert that tells the peer why. Where it has none it is not
    /// asked: it would look at the input again, and panics at a second error.
    fn take_alert(&mut self, mut incoming: &mut [u8]) {
        while self.connection.wants_write() {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(incoming);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else {
                return;
            };
            encode(&mut data, &mut self.unsent);
            incoming = &mut incoming[discard..];
        }
    }

    /// Encrypts two pieces as one and gives the kernel what it takes; the rest is kept. What was kept before goes
    /// first: until it is gone nothing more is taken, so that at most one chunk waits.
    pub(super) fn write_two(&mut self, socket: &Socket, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let second = &second[..second.len().min(CHUNK - first.len().min(CHUNK))];
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize((CHUNK + OVERHEAD).max(scratch.len()), 0);
            let joined;
            let plain = if first.is_empty() {
                second
            } else {
                joined = [first, second].concat();
                &joined
            };
            let length = self.encrypt(plain, scratch)?;
            let mut sent = 0;
            if self.unsent.is_empty() {
                sent = match socket.try_write(&scratch[..length]) {
                    Err(error) if !is_passing(&error) => return Err(error),
                    written => written.unwrap_or(0),
                };
            }
            if sent < length {
                self.unsent.extend_from_slice(&scratch[sent..length]);
                self.flush(socket).or_else(|error| if is_passing(&error) { Ok(()) } else { Err(error) })?;
            }
            Ok(plain.len())
        })
    }

    fn encrypt(&mut self, plain: &[u8], into: &mut [u8]) -> io::Result<usize> {
        self.writing(|traffic| traffic.encrypt(plain, into).map_err(io::Error::other))
    }

    /// Does something that is possible once the handshake is over. The state machine keeps offsets into what it has not
    /// let go of, so that it is always given exactly that: with less it panics.
    fn writing<T>(
        &mut self,
        act: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.partial);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let outcome = act(&mut traffic);
                    self.partial.drain(..discard);
                    return outcome;
                }
                // A key update's answer; it goes ahead of what follows.
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.unsent),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => return Err(ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.is_broken = true;
                    return Err(io::Error::new(ErrorKind::InvalidData, error));
                }
            }
            self.partial.drain(..discard);
        }
    }

    /// Says good-bye, as far as the kernel takes it.
    pub(super) fn close(&mut self, socket: &Socket) {
        let mut notify = [0; 64];
        if let Ok(length) = self.writing(|traffic| traffic.queue_close_notify(&mut notify).map_err(io::Error::other)) {
            self.unsent.extend_from_slice(&notify[..length]);
        }
        let _ = self.flush(socket);
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Appends what the protocol itself has to say.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, to: &mut Vec<u8>) {
    let start = to.len();
    let mut room = 1024;
    loop {
        to.resize(start + room, 0);
        match data.encode(&mut to[start..]) {
            Ok(length) => return to.truncate(start + length),
            Err(EncodeError::InsufficientSize(short)) if short.required_size > room => room = short.required_size,
            Err(_) => return to.truncate(start),
        }
    }
}
