//! The floor that brokers are measured against: one thread that reads, looks the topic up in a hash map and writes. Speaks as
//! much of MQTT 3.1.1 as `brokerctl bench` does at QoS 0 and 1, and checks nothing: never anything else than a measure.
//!
//! `floor` listens at a port of the kernel's choice on 127.0.0.1, says so, and runs until it is stopped.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// Events and bytes of a turn.
const EVENTS: usize = 1024;
const READ: usize = 64 << 10;
/// A client that takes nothing is let go of beyond this.
const MOST: usize = 64 << 20;
/// The listener's place; those of clients follow.
const LISTENER: u64 = 0;

struct Client {
    socket: TcpStream,
    /// The begin of a packet.
    rest: Vec<u8>,
    out: Vec<u8>,
    last_id: u16,
    is_dirty: bool,
    is_blocked: bool,
}

/// Who gets the messages of a topic: each, or of a shared subscription one after the other.
#[derive(Default)]
struct Readers {
    each: Vec<u64>,
    members: Vec<u64>,
    next: usize,
}

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    /// By key; keys are not used again.
    clients: Vec<Option<Client>>,
    topics: HashMap<Vec<u8>, Readers>,
    dirty: Vec<u64>,
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    // The first place is the listener's.
    let mut floor = Floor { epoll, listener, clients: vec![None], topics: HashMap::new(), dirty: Vec::new() };
    let (mut events, mut buffer) = (Vec::with_capacity(EVENTS), vec![0; READ]);
    loop {
        epoll::wait(&floor.epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => floor.accept()?,
                key => floor.serve(key, event.flags, &mut buffer),
            }
        }
        for key in std::mem::take(&mut floor.dirty) {
            floor.flush(key);
        }
    }
}

impl Floor {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            epoll::add(&self.epoll, &socket, EventData::new_u64(self.clients.len() as u64), EventFlags::IN)?;
            let (rest, out) = (Vec::new(), Vec::new());
            let client = Client { socket, rest, out, last_id: 0, is_dirty: false, is_blocked: false };
            self.clients.push(Some(client));
        }
    }

    fn serve(&mut self, key: u64, flags: EventFlags, buffer: &mut [u8]) {
        if flags.contains(EventFlags::OUT) {
            self.flush(key);
        }
        let Some(client) = place(&mut self.clients, key) else { return };
        let read = match client.socket.read(buffer) {
            Ok(0) => return self.end(key),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.end(key),
        };
        let mut rest = std::mem::take(&mut client.rest);
        let used = if rest.is_empty() {
            let used = self.packets(key, &buffer[..read]);
            rest.extend_from_slice(&buffer[used..read]);
            0
        } else {
            rest.extend_from_slice(&buffer[..read]);
            self.packets(key, &rest)
        };
        rest.drain(..used);
        if let Some(client) = place(&mut self.clients, key) {
            client.rest = rest;
        }
    }

    /// Carries out the packets that are whole, and answers how many bytes they have.
    fn packets(&mut self, key: u64, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((header, length)) =
            measured(&bytes[at..]).filter(|(header, length)| bytes.len() - at >= header + length)
        {
            let packet = &bytes[at..at + header + length];
            at += packet.len();
            match packet[0] >> 4 {
                1 => self.answer(key, &[0x20, 2, 0, 0]),
                3 => self.publish(key, packet, header),
                8 => self.subscribe(key, packet, header),
                12 => self.answer(key, &[0xd0, 0]),
                14 => self.end(key),
                _ => {} // PUBACK: nothing waits for it
            }
        }
        at
    }

    fn publish(&mut self, from: u64, packet: &[u8], header: usize) {
        let qos = packet[0] >> 1 & 3;
        let Some(topic) = string(packet, header) else { return };
        let id_at = header + 2 + topic.len();
        let wildcard = topic.iter().rposition(|byte| *byte == b'/').map(|slash| &topic[..slash]);
        for name in [Some(topic), wildcard].into_iter().flatten() {
            let Some(readers) = self.topics.get_mut(name) else { continue };
            let member = readers.members.get(readers.next % readers.members.len().max(1)).copied();
            readers.next += 1;
            for key in readers.each.iter().copied().chain(member) {
                let Some(client) = place(&mut self.clients, key) else { continue };
                let begin = client.out.len();
                client.out.extend_from_slice(packet);
                client.out[begin] = 0x30 | qos << 1;
                if qos > 0 {
                    client.last_id = client.last_id.checked_add(1).unwrap_or(1);
                    client.out[begin + id_at..begin + id_at + 2].copy_from_slice(&client.last_id.to_be_bytes());
                }
                if !std::mem::replace(&mut client.is_dirty, true) {
                    self.dirty.push(key);
                }
            }
        }
        if qos > 0 && packet.len() >= id_at + 2 {
            self.answer(from, &[0x40, 2, packet[id_at], packet[id_at + 1]]);
        }
    }

    fn subscribe(&mut self, key: u64, packet: &[u8], header: usize) {
        let mut suback = vec![0x90, 2, packet[header], packet[header + 1]];
        let mut at = header + 2;
        while let Some(filter) = string(packet, at) {
            at += 2 + filter.len();
            suback.push(packet.get(at).copied().unwrap_or_default());
            suback[1] += 1;
            at += 1;
            let shared = filter.strip_prefix(b"$share/").and_then(|rest| rest.splitn(2, |byte| *byte == b'/').nth(1));
            let topic = shared.unwrap_or(filter);
            let topic = topic.strip_suffix(b"/+").or(topic.strip_suffix(b"/#")).unwrap_or(topic);
            let readers = self.topics.entry(topic.to_vec()).or_default();
            if shared.is_some() { &mut readers.members } else { &mut readers.each }.push(key);
        }
        self.answer(key, &suback);
    }

    fn answer(&mut self, key: u64, bytes: &[u8]) {
        if let Some(client) = place(&mut self.clients, key) {
            client.out.extend_from_slice(bytes);
            if !std::mem::replace(&mut client.is_dirty, true) {
                self.dirty.push(key);
            }
        }
    }

    fn flush(&mut self, key: u64) {
        let Some(client) = place(&mut self.clients, key) else { return };
        client.is_dirty = false;
        let mut written = 0;
        while written < client.out.len() {
            match client.socket.write(&client.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock && client.out.len() < MOST => break,
                Err(_) => return self.end(key),
            }
        }
        client.out.drain(..written);
        let is_blocked = !client.out.is_empty();
        if is_blocked != std::mem::replace(&mut client.is_blocked, is_blocked) {
            let flags = if is_blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            if epoll::modify(&self.epoll, &client.socket, EventData::new_u64(key), flags).is_err() {
                self.end(key);
            }
        }
    }

    fn end(&mut self, key: u64) {
        if let Some(place) = self.clients.get_mut(usize::try_from(key).unwrap_or_default()) {
            *place = None;
        }
        for readers in self.topics.values_mut() {
            readers.each.retain(|reader| *reader != key);
            readers.members.retain(|reader| *reader != key);
        }
    }
}

fn place(clients: &mut [Option<Client>], key: u64) -> Option<&mut Client> {
    clients.get_mut(usize::try_from(key).ok()?)?.as_mut()
}

/// How many bytes the fixed header has, and how many follow.
fn measured(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (place, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((2 + place, length));
        }
    }
    None
}

/// The string at a place.
fn string(packet: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    packet.get(at + 2..at + 2 + length)
}
