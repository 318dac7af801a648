//! Frames on a stream: a big-endian u32 length, then one protobuf message. Never looks into a frame, and never
//! allocates for a length before it is checked.

use std::io;

use bytes::{Buf, BytesMut};
use prost::Message;
use proto::peer::{Frame, frame::Body};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame of a control link.
pub(super) const MAX_CONTROL: usize = 8 << 20;
/// The longest frame of a messages link: the longest packet of MQTT, and a batch that it ends.
pub(super) const MAX_MESSAGES: usize = (256 << 20) + (1 << 20);
/// The longest frame of a handshake: the sender is a stranger still.
pub(super) const MAX_HANDSHAKE: usize = 4 << 10;
/// Capacity that a write buffer keeps between frames.
const KEPT: usize = 512 << 10;

/// Reads frames.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), limit: MAX_HANDSHAKE }
    }

    /// The handshake is over: longer frames are taken. Memory grows as their bytes come, not as they are announced.
    pub(super) const fn trust(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next frame; `None` at the end of the stream. Cancel-safe: what was read stays in the buffer.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(16 << 10);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// A whole frame that has been read already.
    pub(super) fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > self.limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        let body = self.buffer.split_to(length).freeze();
        Frame::decode(body).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Writes frames: some at a time, then one flush.
#[derive(Debug)]
pub(super) struct FrameWriter<W> {
    stream: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Appends a frame to what the next flush writes. One that is too long is a bug of the caller and is an error.
    pub(super) fn push(&mut self, hlc: u64, body: Body) -> io::Result<()> {
        let frame = Frame { hlc, body: Some(body) };
        let length = frame.encoded_len();
        if length > MAX_MESSAGES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a frame of {length} bytes")));
        }
        self.buffer.reserve(4 + length);
        self.buffer.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        frame.encode(&mut self.buffer).map_err(io::Error::other)
    }

    /// Whether a flush has anything to write.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Bytes that the next flush writes.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Writes everything.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.buffer).await?;
        self.stream.flush().await?;
        if self.buffer.capacity() > KEPT {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// One frame, at once.
    pub(super) async fn send(&mut self, hlc: u64, body: Body) -> io::Result<()> {
        self.push(hlc, body)?;
        self.flush().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proto::peer::Probe;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut writer = FrameWriter::new(Vec::new());
        for id in 0..3 {
            writer.push(id, Body::Probe(Probe { id, sent_ms: 0 })).unwrap();
        }
        writer.flush().await.unwrap();
        let bytes = writer.stream;
        for cut in 1..bytes.len() {
            let mut reader = FrameReader::new(&bytes[..cut] as &[u8]);
            while let Ok(Some(frame)) = reader.next().await {
                assert_eq!(frame.body, Some(Body::Probe(Probe { id: frame.hlc, sent_ms: 0 })));
            }
        }
        let mut reader = FrameReader::new(&bytes[..]);
        for id in 0..3 {
            assert_eq!(reader.next().await.unwrap().unwrap().body, Some(Body::Probe(Probe { id, sent_ms: 0 })));
        }
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_before_anything_is_allocated_for_it() {
        let mut reader = FrameReader::new(&[0, 0, 16, 1, 0][..]);
        assert!(reader.next().await.is_err());
        let mut reader = FrameReader::new(&[0xff; 64][..]);
        reader.trust(MAX_CONTROL);
        assert!(reader.next().await.is_err());
    }
}
