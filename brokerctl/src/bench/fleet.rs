//! Many connections of one thread under one epoll. Owns them by number; what their packets mean is the scenario's.
//! Never waits for one of them while another has something.

use std::io;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::client::Client;
use super::wire::Packet;

/// What a connection has to say.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Packet(Packet<'a>),
    /// It is over, and gone from the fleet; with why, unless the broker ended it in order.
    Closed(Option<io::Error>),
}

/// TLS handshakes of connections that are over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Handshakes {
    pub(crate) full: u64,
    pub(crate) resumed: u64,
}

/// Connections by number.
pub(crate) struct Fleet {
    epoll: OwnedFd,
    clients: Vec<Option<Client>>,
    open: usize,
    handshakes: Handshakes,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
}

impl Fleet {
    /// None yet.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let scratch = vec![0; 256 * 1024];
        Ok(Self {
            epoll,
            clients: vec![],
            open: 0,
            handshakes: Handshakes::default(),
            events: Vec::with_capacity(512),
            scratch,
        })
    }

    /// Takes in a connection under a number.
    pub(crate) fn add(&mut self, number: usize, client: Client) -> io::Result<()> {
        // Edge triggers: no call to change what is waited for, ever.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, client.socket(), epoll::EventData::new_u64(number as u64), flags)?;
        if self.clients.len() <= number {
            self.clients.resize_with(number + 1, || None);
        }
        self.clients[number] = Some(client);
        self.open += 1;
        Ok(())
    }

    /// The connection of that number, while it is open.
    pub(crate) fn client(&mut self, number: usize) -> Option<&mut Client> {
        self.clients.get_mut(number)?.as_mut()
    }

    /// Open connections.
    pub(crate) const fn open(&self) -> usize {
        self.open
    }

    /// Closes one without a word.
    pub(crate) fn close(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(number).and_then(Option::take) else { return };
        self.open -= 1;
        match client.resumed() {
            Some(true) => self.handshakes.resumed += 1,
            Some(false) => self.handshakes.full += 1,
            None => {}
        }
    }

    /// Closes all without a word.
    pub(crate) fn close_all(&mut self) {
        (0..self.clients.len()).for_each(|number| self.close(number));
        self.clients.clear();
    }

    /// Of those that were closed.
    pub(crate) const fn handshakes(&self) -> Handshakes {
        self.handshakes
    }

    /// Writes what is queued for one.
    pub(crate) fn flush(&mut self, number: usize, each: &mut impl FnMut(usize, Event<'_>, &mut Vec<u8>)) {
        if let Some(Err(error)) = self.client(number).map(Client::flush) {
            self.close(number);
            each(number, Event::Closed(Some(error)), &mut vec![]);
        }
    }

    /// Waits for sockets, for at most that long; reads those that have something, and writes what the answers are.
    /// Says how many there were.
    pub(crate) fn turn(
        &mut self,
        timeout: Duration,
        each: &mut impl FnMut(usize, Event<'_>, &mut Vec<u8>),
    ) -> io::Result<usize> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(0),
            waited => waited?,
        };
        let events = std::mem::take(&mut self.events);
        for event in &events {
            self.serve(event.data.u64() as usize, event.flags, each);
        }
        let count = events.len();
        self.events = events;
        Ok(count)
    }

    fn serve(
        &mut self,
        number: usize,
        flags: epoll::EventFlags,
        each: &mut impl FnMut(usize, Event<'_>, &mut Vec<u8>),
    ) {
        let Some(client) = self.clients.get_mut(number).and_then(Option::as_mut) else {
            return;
        };
        let hung_up = flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        let mut done = Ok(true);
        if hung_up || flags.contains(epoll::EventFlags::IN) {
            done = client.read(&mut self.scratch, hung_up, &mut |packet, out| each(number, Event::Packet(packet), out));
        }
        if matches!(done, Ok(true)) {
            done = client.flush().map(|()| true);
        }
        let why = match done {
            Ok(true) => return,
            Ok(false) => None,
            Err(error) => Some(error),
        };
        self.close(number);
        each(number, Event::Closed(why), &mut vec![]);
    }
}
