//! One connection under load. Owns a socket that does not block, what is to be written, and what was read and is not
//! yet a whole packet; never waits, but while it connects.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use tests::packet::{Connect, Version, subscribe};

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
}

/// A packet from the broker: its first byte and what follows its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    /// Type and flags.
    pub(crate) first: u8,
    /// The rest.
    pub(crate) body: &'a [u8],
}

impl Packet<'_> {
    /// Of a PUBLISH: its packet id (0 at QoS 0) and where its payload starts.
    pub(crate) fn publish(&self) -> (u16, usize) {
        let topic = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        if self.first & 0x06 == 0 {
            return (0, 2 + topic);
        }
        (u16::from_be_bytes([self.body[2 + topic], self.body[3 + topic]]), 4 + topic)
    }
}

impl Client {
    /// Connects, from a given address of this machine if there is one, with a clean session of 3.1.1.
    pub(crate) fn connect(target: SocketAddr, from: Option<IpAddr>, id: &str) -> Self {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).expect("a socket");
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into()).expect("a local address");
        }
        socket.connect(&target.into()).unwrap_or_else(|error| panic!("{target}: {error}"));
        socket.set_tcp_nodelay(true).expect("a socket option");
        let mut client = Self { stream: socket.into(), out: vec![], input: vec![] };
        client.call(&Connect::new(Version::V311, id).encode(), &[0x20, 2, 0, 0]);
        client
    }

    /// Subscribes to one filter.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.call(&subscribe(Version::V311, 1, &[(filter, qos)]), &[0x90, 3, 0, 1, qos]);
    }

    fn call(&mut self, request: &[u8], answer: &[u8]) {
        self.stream.write_all(request).expect("a broker that reads");
        let mut found = vec![0; answer.len()];
        self.stream.read_exact(&mut found).expect("a broker that answers");
        assert_eq!(found, answer, "the answer to {request:02x?}");
    }

    /// From here on nothing waits.
    pub(crate) fn stop_blocking(&mut self) {
        self.stream.set_nonblocking(true).expect("a socket option");
    }

    /// The socket, to be watched.
    pub(crate) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Where to put packets that [`Client::flush`] writes.
    pub(crate) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the broker broke a connection: {error}"),
            }
        }
    }

    /// Reads once and hands over each whole packet.
    pub(crate) fn read(&mut self, scratch: &mut [u8], mut each: impl FnMut(Packet<'_>, &mut Vec<u8>)) {
        let read = match self.stream.read(scratch) {
            Ok(0) => panic!("the broker closed a connection"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the broker broke a connection: {error}"),
        };
        if self.input.is_empty() {
            let used = packets(&scratch[..read], &mut self.out, &mut each);
            self.input.extend_from_slice(&scratch[used..read]);
        } else {
            self.input.extend_from_slice(&scratch[..read]);
            let used = packets(&self.input, &mut self.out, &mut each);
            self.input.drain(..used);
        }
    }
}

/// Hands over whole packets and tells how many bytes they were.
fn packets(bytes: &[u8], out: &mut Vec<u8>, each: &mut impl FnMut(Packet<'_>, &mut Vec<u8>)) -> usize {
    let mut at = 0;
    while let Some((start, end)) = frame(&bytes[at..]) {
        each(Packet { first: bytes[at], body: &bytes[at + start..at + end] }, out);
        at += end;
    }
    at
}

/// Where the body of the first packet starts and ends, if it is all there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, shift) in (1..=4).zip([0, 7, 14, 21]) {
        let byte = *bytes.get(index)?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let start = index + 1;
            return (bytes.len() >= start + length).then_some((start, start + length));
        }
    }
    panic!("a remaining length of more than four bytes");
}
