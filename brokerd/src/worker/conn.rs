//! One connection of a worker: its transport, the bytes that wait on either side, and the task that waits for the socket.
//! Never understands a packet: the session does.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::{Poll, Waker};

use mqtt::codec::{self, Framed, Violation};
use mqtt::session::Closing;

use super::held::Held;
use super::partials::Partial;
use super::shard::{Handle, Shard};
use crate::access::Conversation;
use crate::listener::Connected;
use crate::metrics::Metric;
use crate::transport::Transport;

/// The connection of a session.
pub(super) struct Conn {
    pub(super) transport: Rc<Transport>,
    /// Bytes to send; without memory while there are none.
    pub(super) wire: Vec<u8>,
    /// Whether anything has left: the CONNACK is the first that does.
    has_begun: bool,
    /// Those that wait for the store; without memory while there are none.
    held: Option<Box<Held>>,
    /// The begin of a packet whose rest has not come; without memory while there is none.
    pub(super) partial: Option<Box<Partial>>,
    /// Whether it is on the list of the next flush.
    pub(super) is_dirty: bool,
    /// Whether the kernel takes no more: the task waits for it to.
    pub(super) is_blocked: bool,
    /// Whether nothing is read because it published into what is full.
    is_congested: bool,
    /// Whether nothing is read because too much is owed to it.
    is_owed: bool,
    /// Whether a write has failed: nothing is written any more. What the client sent before it went is read to its
    /// end, for a DISCONNECT there deletes the will.
    is_broken: bool,
    waker: Option<Waker>,
    /// With its mechanism, while it authenticates again and it is its turn.
    pub(super) conversation: Option<Box<Box<dyn Conversation>>>,
    /// Counts as a connection of its listener until dropped.
    pub(super) connected: Connected,
}

impl Conn {
    pub(super) fn new(transport: Transport, connected: Connected) -> Self {
        Self {
            transport: Rc::new(transport),
            wire: Vec::new(),
            has_begun: false,
            held: None,
            partial: None,
            is_dirty: false,
            is_blocked: false,
            is_congested: false,
            is_owed: false,
            is_broken: false,
            waker: None,
            conversation: None,
            connected,
        }
    }

    /// Whether nothing is read until there is room elsewhere.
    pub(super) const fn is_paused(&self) -> bool {
        self.is_congested || self.is_owed
    }

    /// Whether so much waits for the kernel that no more answers may join it: messages stop at `write_buffer`, beyond
    /// twice of that there are acknowledgements that the client asks for and does not take.
    const fn is_stuffed(&self, write_buffer: usize) -> bool {
        self.is_blocked && self.wire.len() > 2 * write_buffer
    }

    /// A promise was written behind the first `at` bytes.
    /// Answers whether it is the first of this turn.
    pub(super) fn promise(&mut self, at: usize) -> bool {
        self.held.get_or_insert_default().promise(at)
    }

    /// Where the promises of this turn begin, if there are any.
    pub(super) fn take_promised(&mut self) -> Option<usize> {
        let promised = self.held.as_mut()?.take_promised();
        self.held.take_if(|held| held.is_empty());
        promised
    }

    pub(super) fn hold(&mut self, batch: u64, from: usize) {
        self.held.get_or_insert_default().hold(batch, from);
    }

    pub(super) fn is_held_by(&self, batch: u64) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_held_by(batch))
    }

    pub(super) fn release(&mut self, batch: u64) {
        if let Some(held) = &mut self.held {
            held.release(batch);
            self.held.take_if(|held| held.is_empty());
        }
    }

    /// Drops what was promised and is not kept: the connection ends.
    pub(super) fn drop_held(&mut self) {
        let free = self.free();
        self.wire.truncate(free);
        self.held = None;
    }

    /// Whether not even the CONNACK has left or may: nothing else may come before it [MQTT-3.2.0-1].
    pub(super) fn is_unanswered(&self) -> bool {
        !self.has_begun && self.free() == 0
    }

    /// How many bytes of the wire buffer may leave.
    fn free(&self) -> usize {
        self.held.as_ref().map_or(self.wire.len(), |held| held.free(self.wire.len()))
    }

    /// What the kernel has taken is gone from the buffer.
    fn drain(&mut self, written: usize) {
        self.wire.drain(..written);
        if let Some(held) = &mut self.held {
            held.left(written);
        }
    }

    /// Lets its task look again.
    pub(super) fn kick(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What the socket is ready for.
enum Ready {
    Read,
    Write,
    Gone,
}

/// Waits for one connection's socket until the connection is gone.
pub(super) async fn drive(shard: Handle, transport: Rc<Transport>, slot: u32, incarnation: u32) {
    loop {
        let ready = poll_fn(|cx| {
            let mut shard = shard.borrow_mut();
            let write_buffer = shard.shared.settings.session.write_buffer;
            let conn = shard.entry(slot, incarnation).and_then(|entry| entry.conn.as_mut());
            let Some(conn) = conn.filter(|conn| Rc::ptr_eq(&conn.transport, &transport)) else {
                return Poll::Ready(Ready::Gone);
            };
            if conn.is_blocked && transport.poll_write_ready(cx).is_ready() {
                return Poll::Ready(Ready::Write);
            }
            let is_reading = conn.is_broken || !(conn.is_paused() || conn.is_stuffed(write_buffer));
            if is_reading && transport.poll_read_ready(cx).is_ready() {
                return Poll::Ready(Ready::Read);
            }
            if !conn.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                conn.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        });
        match ready.await {
            Ready::Read => {
                let has_more = {
                    let mut shard = shard.borrow_mut();
                    let has_more = shard.read_turn(slot);
                    if transport.wants_write() {
                        shard.note_blocked(slot, incarnation);
                    }
                    has_more
                };
                if has_more {
                    // Others first, and the flush: else one that sends without end is read without end, and what it is
                    // answered piles up.
                    tokio::task::yield_now().await;
                }
            }
            Ready::Write => {
                let mut shard = shard.borrow_mut();
                shard.begin_turn();
                shard.unblock(slot);
            }
            Ready::Gone => return,
        }
    }
}

impl Shard {
    /// Reads a socket once and handles every whole packet that came. Answers whether the read took all that fitted, so
    /// that there may be more.
    fn read_turn(&mut self, slot: u32) -> bool {
        let Some(conn) = self.sessions.get_mut(slot as usize).and_then(|entry| entry.conn.as_mut()) else {
            return false;
        };
        let transport = conn.transport.clone();
        let partial = conn.partial.as_ref().map_or(&[][..], |partial| &partial.bytes);
        let kept = partial.len();
        if kept >= self.read_buffer.len() / 2 {
            return self.read_large(slot, &transport);
        }
        self.read_buffer[..kept].copy_from_slice(partial);
        match transport.try_read(&mut self.read_buffer[kept..]) {
            Ok(0) => self.close(slot, Closing::Lost),
            Ok(read) => {
                self.counters.add(Metric::BytesReceived, read as u64);
                self.begin_turn(); // after the read: the leases are looked at now
                let buffer = std::mem::take(&mut self.read_buffer);
                let used = self.packets(slot, &buffer[..kept + read]);
                self.keep_partial(slot, &buffer[used..kept + read], used > 0);
                self.read_buffer = buffer;
                return kept + read == self.read_buffer.len();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.close(slot, Closing::Lost),
        }
        false
    }

    /// Reads on into a packet that is larger than the read buffer. The memory grows with what came, not with what the
    /// packet's header claims.
    fn read_large(&mut self, slot: u32, transport: &Transport) -> bool {
        let Some(conn) = self.sessions.get_mut(slot as usize).and_then(|entry| entry.conn.as_mut()) else {
            return false;
        };
        let mut partial = conn.partial.as_mut().map(|partial| std::mem::take(&mut partial.bytes)).unwrap_or_default();
        let read = match transport.try_read(&mut self.read_buffer) {
            Ok(read) if read > 0 => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::Interrupted => {
                self.put_back(slot, partial);
                return false;
            }
            Ok(_) | Err(_) => {
                self.close(slot, Closing::Lost);
                return false;
            }
        };
        self.counters.add(Metric::BytesReceived, read as u64);
        partial.extend_from_slice(&self.read_buffer[..read]);
        self.begin_turn();
        let used = self.packets(slot, &partial);
        if used > 0 {
            partial.drain(..used);
            partial.shrink_to_fit();
        }
        self.put_back(slot, partial);
        self.note_partial(slot, used > 0);
        self.after_packets(slot);
        read == self.read_buffer.len()
    }

    fn put_back(&mut self, slot: u32, partial: Vec<u8>) {
        if let Some(conn) = self.sessions.get_mut(slot as usize).and_then(|entry| entry.conn.as_mut()) {
            conn.partial.get_or_insert_default().bytes = partial;
        }
    }

    /// Keeps the begin of a packet until its rest comes; an idle connection keeps no memory. `is_another` where a packet
    /// came whole before it.
    pub(super) fn keep_partial(&mut self, slot: u32, rest: &[u8], is_another: bool) {
        if let Some(conn) = self.sessions.get_mut(slot as usize).and_then(|entry| entry.conn.as_mut()) {
            if !rest.is_empty() {
                let partial = conn.partial.get_or_insert_default();
                partial.bytes.clear();
                partial.bytes.extend_from_slice(rest);
            } else if let Some(partial) = &mut conn.partial {
                partial.bytes = Vec::new();
            }
        }
        self.note_partial(slot, is_another);
        self.after_packets(slot);
    }

    /// Handles the whole packets at the begin of `bytes`; answers how many bytes they were.
    pub(super) fn packets(&mut self, slot: u32, bytes: &[u8]) -> usize {
        let mut limits = self.shared.settings.decode;
        let conn = self.sessions.get(slot as usize).and_then(|entry| entry.conn.as_ref());
        if let Some(limit) = conn.and_then(|conn| conn.connected.through().max_packet_size()) {
            limits.max_packet_size = limit;
        }
        let mut used = 0;
        while let Some(entry) = self.sessions.get(slot as usize) {
            if entry.conn.is_none() {
                break;
            }
            let version = entry.session.version();
            let packet = match codec::frame(&bytes[used..], Some(version), &limits) {
                Ok(Framed::Packet { len }) => &bytes[used..used + len],
                Ok(Framed::Incomplete { .. }) => break,
                Err(violation) => {
                    self.violated(slot, violation);
                    break;
                }
            };
            used += packet.len();
            self.counters.inc(Metric::PacketsReceived);
            match codec::decode(version, packet, &limits) {
                Ok(packet) => self.packet(slot, packet),
                Err(violation) => self.violated(slot, violation),
            }
        }
        used
    }

    pub(super) fn violated(&mut self, slot: u32, violation: Violation) {
        self.counters.inc(Metric::ProtocolErrors);
        tracing::debug!(%violation, client = &*self.client_id(slot), "protocol error");
        self.close(slot, Closing::Violation(violation));
    }

    /// Back-pressure: a client that publishes into what is full is not read until there is room.
    fn after_packets(&mut self, slot: u32) {
        let is_congested = self.turn.published_under_pressure(slot);
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let is_owed = entry.session.owes_too_many();
        if let Some(conn) = &mut entry.conn {
            conn.is_owed = is_owed;
            if is_congested {
                self.counters.add(Metric::StorePaused, u64::from(self.journal.is_congested));
                conn.is_congested = true;
                self.turn.paused.insert((slot, entry.incarnation));
            }
        }
    }

    /// Reads on from a client that was paused because it was owed too much.
    pub(super) fn resume_reading(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let Some(conn) = entry.conn.as_mut().filter(|conn| conn.is_owed) else {
            return;
        };
        if !entry.session.owes_too_many() {
            conn.is_owed = false;
            conn.kick();
            entry.session.heard(self.turn.now);
        }
    }

    /// There is room again: those who published into what was full are read on.
    pub(super) fn resume_paused(&mut self) {
        let now = self.turn.now;
        for (slot, incarnation) in std::mem::take(&mut self.turn.paused) {
            if let Some(entry) = self.entry(slot, incarnation)
                && let Some(conn) = &mut entry.conn
            {
                conn.is_congested = false;
                conn.kick();
                entry.session.heard(now);
            }
        }
    }

    /// Writes what a connection's buffer holds. Answers whether all of it went. A write that fails does not end the
    /// connection: reading what came before it does.
    pub(super) fn write(&mut self, slot: u32) -> bool {
        let Some(conn) = self.sessions.get_mut(slot as usize).and_then(|entry| entry.conn.as_mut()) else {
            return false;
        };
        let mut taken = 0;
        while !conn.is_broken {
            // TLS and WebSocket may hold bytes back that they took: those count as not written.
            let free = conn.free();
            let outcome = match &conn.wire[taken..free] {
                [] => match conn.transport.flush() {
                    Ok(()) => break,
                    Err(error) => Err(error),
                },
                bytes => conn.transport.try_write(bytes),
            };
            match outcome {
                Ok(written) => {
                    taken += written;
                    conn.has_begun |= written > 0;
                    self.counters.add(Metric::BytesSent, written as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    conn.is_blocked = true;
                    conn.drain(taken); // so that its length says what waits
                    conn.kick();
                    return false;
                }
                Err(_) => {
                    conn.is_broken = true;
                    conn.kick();
                    break;
                }
            }
        }
        if conn.held.is_some() && !conn.is_broken && conn.free() < conn.wire.len() {
            conn.drain(taken);
            return false; // the rest waits for the store
        }
        conn.held = None;
        let is_broken = conn.is_broken;
        let buffer = std::mem::take(&mut conn.wire);
        self.recycle(buffer);
        !is_broken
    }

    /// What the transport itself has to say (a pong, an answer of TLS) waits for the kernel.
    fn note_blocked(&mut self, slot: u32, incarnation: u32) {
        if let Some(conn) = self.entry(slot, incarnation).and_then(|entry| entry.conn.as_mut()) {
            conn.is_blocked = true;
        }
    }

    /// The kernel takes more again.
    fn unblock(&mut self, slot: u32) {
        let (now, write_buffer) = (self.turn.now, self.shared.settings.session.write_buffer);
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if let Some(conn) = &mut entry.conn {
            if conn.is_stuffed(write_buffer) {
                entry.session.heard(now); // it is not read, but it takes what we send
            }
            conn.is_blocked = false;
            self.flush_one(slot);
        }
    }
}
