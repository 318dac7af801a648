//! What is spoken on a socket: TLS, WebSocket, or the second in the first. Owns their order; never waits.

use std::io::{self, ErrorKind};

use super::socket::Socket;
use super::tls::Tls;
use super::web_socket::WebSocket;

/// TLS is a kilobyte, which a WebSocket without it does not pay for.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) tls: Option<Box<Tls>>,
    pub(super) web_socket: Option<WebSocket>,
}

impl Layers {
    pub(super) fn has_input(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_input())
            || self.web_socket.as_ref().is_some_and(|web_socket| !web_socket.unread.is_empty() || web_socket.has_ended)
    }

    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
            || self.web_socket.as_ref().is_some_and(|web_socket| !web_socket.control().is_empty())
    }

    pub(super) fn read(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(web_socket) = &mut self.web_socket else {
            return read_below(&mut self.tls, socket, buffer);
        };
        let read = if !web_socket.unread.is_empty() {
            let count = web_socket.unread.len().min(buffer.len());
            buffer[..count].copy_from_slice(&web_socket.unread[..count]);
            web_socket.unread.drain(..count);
            count
        } else if web_socket.has_ended {
            0
        } else {
            read_below(&mut self.tls, socket, buffer)?
        };
        if read == 0 {
            return Ok(0);
        }
        let decoded = web_socket.decode(&mut buffer[..read]);
        let flushed = self.flush(socket);
        match (decoded, flushed) {
            (Err(_), _) => Err(ErrorKind::InvalidData.into()),
            (_, Err(error)) if error.kind() != ErrorKind::WouldBlock => Err(error),
            (Ok(0), _) => Err(ErrorKind::WouldBlock.into()), // the next read gives the end, if this was it
            (Ok(count), _) => Ok(count),
        }
    }

    pub(super) fn write(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        let Some(web_socket) = &mut self.web_socket else {
            return write_below(&mut self.tls, socket, &[], bytes);
        };
        if web_socket.has_ended {
            return Err(ErrorKind::BrokenPipe.into()); // nothing follows a close frame
        }
        while !web_socket.control().is_empty() {
            let sent = write_below(&mut self.tls, socket, &[], web_socket.control())?;
            web_socket.sent_control(sent);
        }
        web_socket.begin_frame(bytes.len());
        loop {
            let payload = &bytes[..bytes.len().min(web_socket.frame_left())];
            let sent = write_below(&mut self.tls, socket, web_socket.frame_header(), payload)?;
            match web_socket.sent(sent) {
                0 if !payload.is_empty() => {}
                count => return Ok(count),
            }
        }
    }

    pub(super) fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        if let Some(web_socket) = &mut self.web_socket {
            while !web_socket.control().is_empty() {
                let sent = write_below(&mut self.tls, socket, &[], web_socket.control())?;
                web_socket.sent_control(sent);
            }
        }
        self.tls.as_mut().map_or(Ok(()), |tls| tls.flush(socket))
    }

    pub(super) fn close(&mut self, socket: &Socket) {
        if let Some(web_socket) = &mut self.web_socket {
            web_socket.say_close(Some(1000));
        }
        let _ = self.flush(socket);
        if let Some(tls) = &mut self.tls {
            tls.close(socket);
        }
    }
}

fn read_below(tls: &mut Option<Box<Tls>>, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    match tls {
        Some(tls) => tls.read(socket, buffer),
        None => socket.try_read(buffer),
    }
}

fn write_below(tls: &mut Option<Box<Tls>>, socket: &Socket, first: &[u8], second: &[u8]) -> io::Result<usize> {
    match tls {
        Some(tls) => tls.write_two(socket, first, second),
        None if first.is_empty() => socket.try_write(second),
        None => socket.try_write_two(first, second),
    }
}
