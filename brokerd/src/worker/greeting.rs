//! The packets that come before the CONNACK, read one by one from the bare transport. Never reads more of the next than
//! came along, and never understands one.

use bytes::{Buf, BytesMut};
use mqtt::Version;
use mqtt::codec::{self, Framed, Limits, Violation};

use super::partials::Stranger;
use super::shard::Handle;
use crate::metrics::Metric;
use crate::transport::Transport;

/// What was read: a packet of `used` bytes, and perhaps more behind it.
pub(super) struct Greeting {
    bytes: BytesMut,
    used: usize,
    /// Holds a part of what all packets that are not whole may take.
    stranger: Stranger,
}

impl Greeting {
    /// One that begins with what another layer read too much.
    pub(super) fn new(early: &[u8], stranger: Stranger) -> Self {
        let mut bytes = BytesMut::with_capacity(512);
        bytes.extend_from_slice(early);
        Self { bytes, used: 0, stranger }
    }

    /// The packet that was read last.
    pub(super) fn packet(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// What came behind it.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Reads until the next packet is whole. It grows with what came, never by what a header claims.
    ///
    /// # Errors
    /// The packet's header, or its first byte, is not what may come; `None` where the connection ended.
    pub(super) async fn read(
        &mut self,
        shard: &Handle,
        transport: &Transport,
        version: Option<Version>,
        limits: &Limits,
        may_come: impl Fn(u8) -> Result<(), Violation>,
    ) -> Result<&[u8], Option<Violation>> {
        self.bytes.advance(std::mem::take(&mut self.used));
        loop {
            self.bytes.first().map_or(Ok(()), |first| may_come(*first))?;
            if let Framed::Packet { len } = codec::frame(&self.bytes, version, limits)? {
                self.used = len;
                return Ok(self.packet());
            }
            let length = self.bytes.len();
            self.bytes.resize(length + length.max(512), 0);
            if length > 0 {
                self.stranger.hold(self.bytes.capacity());
                let mut shard = shard.borrow_mut();
                shard.begin_turn();
                shard.send_holders_away();
            }
            let read = transport.read(&mut self.bytes[length..]).await.map_err(|_| None)?;
            self.bytes.truncate(length + read);
            if read == 0 {
                return Err(None);
            }
            shard.borrow().counters.add(Metric::BytesReceived, read as u64);
        }
    }
}
