//! WebSocket framing (RFC 6455) of one connection, as MQTT uses it: a stream of bytes in binary frames, cut anywhere.
//! Payload is unmasked where it was read, so that neither a frame nor a message is ever held: an idle connection has no
//! buffer, and a claimed length costs nothing. Never touches the socket.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest header from a client: 2 bytes, 8 of length, 4 of mask.
const LONGEST_HEADER: usize = 14;
/// Payload of a control frame (5.5).
const MOST_CONTROL: u64 = 125;
/// Pongs that wait for the kernel; the answer to a further ping is left out, as 5.5.3 allows.
const MOST_WAITING: usize = 512;

/// Why a connection is closed: the status code of 7.4.1 that the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Protocol = 1002,
    /// A text frame [MQTT-6.0.0-1].
    Unsupported = 1003,
    TooBig = 1009,
}

/// What the payload of the frame under way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// None is under way: a header comes.
    Header,
    Data,
    Control(Control),
}

/// The state of one connection; moves between threads.
pub(super) struct WebSocket {
    /// Came behind the upgrade request, not decoded yet.
    pub(super) unread: Vec<u8>,
    header: [u8; LONGEST_HEADER],
    header_length: u8,
    frame: Frame,
    /// Bytes of the frame's payload to come.
    left: u64,
    mask: [u8; 4],
    is_final: bool,
    is_in_message: bool,
    message: u64,
    most: u64,
    control: Vec<u8>,
    /// Of the frame that is being sent.
    out_header: [u8; 10],
    out_header_left: u8,
    out_left: usize,
    /// Whole control frames to send.
    out_control: Vec<u8>,
    pub(super) has_ended: bool,
}

impl WebSocket {
    /// `most` bounds a message. It costs no memory, so that it may be generous.
    pub(super) fn new(unread: Vec<u8>, most: u64) -> Self {
        Self {
            unread,
            header: [0; LONGEST_HEADER],
            header_length: 0,
            frame: Frame::Header,
            left: 0,
            mask: [0; 4],
            is_final: true,
            is_in_message: false,
            message: 0,
            most,
            control: Vec::new(),
            out_header: [0; 10],
            out_header_left: 0,
            out_left: 0,
            out_control: Vec::new(),
            has_ended: false,
        }
    }

    /// Decodes where the bytes are. Answers how many bytes of the stream are at the begin of `bytes` now.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Result<usize, Broken> {
        let decoded = self.decode_frames(bytes);
        if let Err(broken) = decoded {
            self.say_close(Some(broken as u16));
        }
        decoded
    }

    fn decode_frames(&mut self, bytes: &mut [u8]) -> Result<usize, Broken> {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() && !self.has_ended {
            if self.frame == Frame::Header {
                self.header_byte(bytes[from])?;
                from += 1;
                continue;
            }
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let count = left.min(bytes.len() - from);
            let payload = &mut bytes[from..from + count];
            unmask(payload, self.mask);
            self.mask.rotate_left(count % 4);
            if self.frame == Frame::Data {
                bytes.copy_within(from..from + count, to);
                to += count;
            } else {
                self.control.extend_from_slice(payload);
            }
            from += count;
            self.left -= count as u64;
            if self.left == 0 {
                self.end_of_frame();
            }
        }
        Ok(to)
    }

    fn header_byte(&mut self, byte: u8) -> Result<(), Broken> {
        self.header[usize::from(self.header_length)] = byte;
        self.header_length += 1;
        if self.header_length < 2 {
            return Ok(());
        }
        let (is_masked, length) = (self.header[1] & 0x80 != 0, self.header[1] & 0x7f);
        if !is_masked {
            return Err(Broken::Protocol); // 5.1: a client masks
        }
        let wanted = match length {
            126 => 8,
            127 => 14,
            _ => 6,
        };
        if self.header_length < wanted {
            return Ok(());
        }
        let header = &self.header[..usize::from(self.header_length)];
        let Ok(Some((header, length))) = FrameHeader::parse(&mut Cursor::new(header)) else {
            return Err(Broken::Protocol);
        };
        self.header_length = 0;
        self.begin(&header, length)
    }

    fn begin(&mut self, header: &FrameHeader, length: u64) -> Result<(), Broken> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Broken::Protocol); // no extension was agreed on
        }
        self.frame = match header.opcode {
            OpCode::Data(Data::Text) => return Err(Broken::Unsupported),
            OpCode::Data(data) => {
                if (data == Data::Continue) != self.is_in_message {
                    return Err(Broken::Protocol);
                }
                self.message = self.message.saturating_add(length);
                if self.message > self.most {
                    return Err(Broken::TooBig);
                }
                Frame::Data
            }
            OpCode::Control(control) => {
                if !header.is_final || length > MOST_CONTROL {
                    return Err(Broken::Protocol);
                }
                Frame::Control(control)
            }
        };
        self.is_final = header.is_final;
        self.mask = header.mask.unwrap_or_default();
        self.left = length;
        if length == 0 {
            self.end_of_frame();
        }
        Ok(())
    }

    fn end_of_frame(&mut self) {
        let control = std::mem::take(&mut self.control);
        match std::mem::replace(&mut self.frame, Frame::Header) {
            Frame::Control(Control::Ping) if self.out_control.len() < MOST_WAITING => {
                self.say(Control::Pong, &control);
            }
            Frame::Control(Control::Close) => {
                let code = control.first_chunk().map(|code| u16::from_be_bytes(*code));
                self.say_close(code);
                self.has_ended = true;
            }
            Frame::Control(_) | Frame::Header => {}
            Frame::Data => {
                self.is_in_message = !self.is_final;
                if self.is_final {
                    self.message = 0;
                }
            }
        }
    }

    fn say(&mut self, control: Control, payload: &[u8]) {
        let header = FrameHeader { opcode: OpCode::Control(control), ..FrameHeader::default() };
        let _ = header.format(payload.len() as u64, &mut self.out_control); // a Vec takes all
        self.out_control.extend_from_slice(payload);
    }

    /// Says good-bye once.
    pub(super) fn say_close(&mut self, code: Option<u16>) {
        if !self.has_ended {
            let code = code.map(u16::to_be_bytes);
            self.say(Control::Close, code.as_ref().map_or(&[], |code| code));
            self.has_ended = true;
        }
    }

    /// Control frames that may go now: not in the middle of a data frame.
    pub(super) fn control(&self) -> &[u8] {
        if self.out_left == 0 && self.out_header_left == 0 { &self.out_control } else { &[] }
    }

    pub(super) fn sent_control(&mut self, count: usize) {
        self.out_control.drain(..count);
        if self.out_control.is_empty() {
            self.out_control = Vec::new();
        }
    }

    /// Begins a frame of `length` bytes, unless one is under way. The bytes must then come, however many calls that
    /// takes: a frame cannot be taken back.
    pub(super) fn begin_frame(&mut self, length: usize) {
        if self.out_left > 0 {
            return;
        }
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        let mut out = Cursor::new(&mut self.out_header[..]);
        let _ = header.format(length as u64, &mut out); // ten bytes hold every header without a mask
        let written = usize::try_from(out.position()).unwrap_or(0);
        self.out_header.copy_within(..written, 10 - written);
        self.out_header_left = u8::try_from(written).unwrap_or(0);
        self.out_left = length;
    }

    /// What is left of the frame's header.
    pub(super) fn frame_header(&self) -> &[u8] {
        &self.out_header[10 - usize::from(self.out_header_left)..]
    }

    /// Payload that the frame still wants.
    pub(super) const fn frame_left(&self) -> usize {
        self.out_left
    }

    /// Takes note of bytes that went, header first. Answers how many of them were payload.
    pub(super) fn sent(&mut self, count: usize) -> usize {
        let of_header = count.min(usize::from(self.out_header_left));
        self.out_header_left -= u8::try_from(of_header).unwrap_or(0);
        let payload = count - of_header;
        self.out_left -= payload;
        payload
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 0, 255, 130];
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length => bytes.extend([&[0xfe][..], &u16::try_from(length).unwrap().to_be_bytes()].concat()),
        }
        bytes.extend(mask);
        let mut payload = payload.to_vec();
        unmask(&mut payload, mask);
        [bytes, payload].concat()
    }

    /// Decodes in pieces of these sizes, over and over.
    fn decode(socket: &mut WebSocket, bytes: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Broken> {
        let (mut rest, mut stream, mut cuts) = (bytes, Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
            let mut piece = piece.to_vec();
            let count = socket.decode(&mut piece)?;
            stream.extend_from_slice(&piece[..count]);
            rest = behind;
        }
        Ok(stream)
    }

    proptest! {
        #[test]
        fn however_frames_are_cut_the_stream_is_the_same(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
            finals: u8, pings: u8, cuts in prop::collection::vec(1_usize..50, 1..9),
        ) {
            let (mut bytes, mut is_first) = (Vec::new(), true);
            for (at, part) in parts.iter().enumerate() {
                let is_final = finals >> at & 1 == 1 || at + 1 == parts.len();
                bytes.extend(frame(if is_first { 2 } else { 0 } | if is_final { 0x80 } else { 0 }, part));
                is_first = is_final;
                if pings >> at & 1 == 1 {
                    bytes.extend(frame(0x89, b"hi"));
                }
            }
            let mut socket = WebSocket::new(Vec::new(), 1 << 20);
            let stream = decode(&mut socket, &bytes, &cuts);
            prop_assert_eq!(stream, Ok(parts.concat()));
            let pongs = (0..parts.len()).filter(|at| pings >> at & 1 == 1).count();
            prop_assert_eq!(socket.control(), b"\x8a\x02hi".repeat(pongs));
        }

        #[test]
        fn no_bytes_panic_the_decoder(bytes: Vec<u8>, cuts in prop::collection::vec(1_usize..9, 1..9)) {
            let _ = decode(&mut WebSocket::new(Vec::new(), 100), &bytes, &cuts);
        }
    }

    #[test]
    fn what_mqtt_or_the_framing_forbids_is_told_apart() {
        for (bytes, broken) in [
            (frame(0x81, b"text"), Broken::Unsupported),
            (vec![0x82, 1, 0], Broken::Protocol), // not masked
            (frame(0xc2, b"rsv1: compressed"), Broken::Protocol),
            (frame(0x83, b"opcode 3"), Broken::Protocol),
            (frame(0x8b, b"opcode 11"), Broken::Protocol),
            (frame(0x80, b"continues nothing"), Broken::Protocol),
            ([frame(0x02, b"a"), frame(0x82, b"begins inside")].concat(), Broken::Protocol),
            (frame(0x09, b"a ping in pieces"), Broken::Protocol),
            (frame(0x89, &[0; 126]), Broken::Protocol),
            (frame(0x82, &[0; 1001]), Broken::TooBig),
            ([frame(0x02, &[0; 600]), frame(0x80, &[0; 401])].concat(), Broken::TooBig),
            (vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], Broken::TooBig),
        ] {
            let mut socket = WebSocket::new(Vec::new(), 1000);
            assert_eq!(decode(&mut socket, &bytes, &[64]), Err(broken), "{bytes:?}");
            let code = (broken as u16).to_be_bytes();
            assert_eq!(socket.control(), [0x88, 2, code[0], code[1]], "the client is told {broken:?}");
        }
    }

    #[test]
    fn pings_beyond_what_the_client_takes_are_not_all_answered() {
        let mut socket = WebSocket::new(Vec::new(), 1000);
        let pings = frame(0x89, &[1; 125]).repeat(1000);
        decode(&mut socket, &pings, &[4096]).unwrap();
        assert!(socket.control().len() < 1024, "{} bytes wait", socket.control().len());
    }

    #[test]
    fn an_idle_web_socket_holds_no_buffer() {
        let mut socket = WebSocket::new(Vec::new(), 1000);
        decode(&mut socket, &[frame(0x82, b"data"), frame(0x89, b"ping")].concat(), &[3]).unwrap();
        let waiting = socket.control().len();
        socket.sent_control(waiting);
        let held = [socket.unread.capacity(), socket.control.capacity(), socket.out_control.capacity()];
        assert_eq!(held, [0; 3]);
    }
}
