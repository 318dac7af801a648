//! Reads archives that stand one after the other, record by record. Never gives one out whose checksum is wrong, and
//! takes no end for one that is not announced.

use std::io::{BufRead, Read};

use super::frame::{CHECKSUM, Frame, MAGIC, PREFIX, VERSION};
use super::{ArchiveError, Contents, Head};

/// A record is a session or a message: none is as long as this.
const LONGEST: u64 = 1 << 30;

/// Where it is read from, and how far it is.
pub(super) struct Records<R> {
    source: R,
    /// Bytes read.
    at: u64,
    /// Of the part that is read; `None` between two.
    head: Option<Head>,
    /// Parts read to their end.
    ended: u16,
    /// Parts there are; 0 before the first.
    parts: u16,
    /// Of this part.
    seen: Contents,
    /// The last delivery of the last session, if there is one.
    last_seq: Option<u64>,
    buffer: Vec<u8>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(source: R) -> Self {
        let (seen, last_seq) = (Contents::default(), None);
        Self { source, at: 0, head: None, ended: 0, parts: 0, seen, last_seq, buffer: Vec::new() }
    }

    /// The next session, delivery, retained or delayed message; `None` behind the end of the last part.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, ArchiveError> {
        loop {
            if self.head.is_none() {
                if self.parts > 0 && self.ended == self.parts {
                    return self.end();
                }
                self.begin()?;
            }
            let at = self.at;
            match self.frame()? {
                Frame::Head(_) => return Err(ArchiveError::Damaged { at, what: "a second beginning" }),
                Frame::End(contents) if contents == self.seen => {
                    (self.head, self.seen, self.last_seq) = (None, Contents::default(), None);
                    self.ended += 1;
                }
                Frame::End(_) => return Err(ArchiveError::Damaged { at, what: "records are missing before its end" }),
                frame => {
                    self.count(&frame, at)?;
                    return Ok(Some(frame));
                }
            }
        }
    }

    /// What is wrong where the last record ended.
    pub(super) const fn damaged(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged { at: self.at, what }
    }

    fn end(&mut self) -> Result<Option<Frame>, ArchiveError> {
        match self.source.fill_buf()? {
            [] => Ok(None),
            _ => Err(ArchiveError::Damaged { at: self.at, what: "something follows its end" }),
        }
    }

    fn begin(&mut self) -> Result<(), ArchiveError> {
        let at = self.at;
        self.bytes(MAGIC.len() as u64 + 1)?;
        let (magic, version) = self.buffer.split_at_checked(MAGIC.len()).unwrap_or_default();
        match version {
            [VERSION] if magic == MAGIC => {}
            [version] if magic == MAGIC => return Err(ArchiveError::Version(*version)),
            [] if at > 0 || !self.buffer.is_empty() && MAGIC.starts_with(&self.buffer) => {
                return Err(ArchiveError::Truncated(self.at));
            }
            _ => return Err(ArchiveError::Foreign),
        }
        let Frame::Head(head) = self.frame()? else {
            return Err(ArchiveError::Damaged { at, what: "it has no beginning" });
        };
        let is_next = head.part == self.ended + 1 && (self.parts == 0 || head.parts == self.parts);
        if !is_next || head.parts < head.part {
            return Err(ArchiveError::Damaged { at, what: "its parts are not in order" });
        }
        self.parts = head.parts;
        self.head = Some(head);
        Ok(())
    }

    /// One record, whole.
    fn frame(&mut self) -> Result<Frame, ArchiveError> {
        let at = self.at;
        let prefix: [u8; PREFIX] = self.whole(PREFIX as u64)?.try_into().unwrap_or_default();
        let [kind, length @ ..] = prefix;
        let length = u64::from(u32::from_be_bytes(length));
        if length > LONGEST {
            return Err(ArchiveError::Damaged { at, what: "a record is too long" });
        }
        let rest = self.whole(length + CHECKSUM as u64)?;
        let (content, checksum) = rest.split_at(rest.len() - CHECKSUM);
        let covered = [&prefix, content].concat();
        if !Frame::is_whole(&covered, checksum.try_into().unwrap_or_default()) {
            return Err(ArchiveError::Damaged { at, what: "a checksum is wrong" });
        }
        Frame::decode(kind, content).map_err(|error| ArchiveError::Record(at, error))
    }

    fn count(&mut self, frame: &Frame, at: u64) -> Result<(), ArchiveError> {
        match frame {
            Frame::Session { .. } => {
                self.seen.sessions += 1;
                self.last_seq = Some(0);
            }
            Frame::Entry { seq, .. } if self.last_seq.is_some_and(|last| *seq > last) => {
                self.seen.messages += 1;
                self.last_seq = Some(*seq);
            }
            Frame::Entry { .. } => return Err(ArchiveError::Damaged { at, what: "a delivery is out of order" }),
            Frame::Retained(_) => self.seen.retained += 1,
            Frame::Delayed(_) => self.seen.delayed += 1,
            Frame::Head(_) | Frame::End(_) => {}
        }
        Ok(())
    }

    fn whole(&mut self, length: u64) -> Result<&[u8], ArchiveError> {
        self.bytes(length)?;
        if (self.buffer.len() as u64) < length { Err(ArchiveError::Truncated(self.at)) } else { Ok(&self.buffer) }
    }

    /// As many bytes as there are, up to so many. What is claimed and not there takes no memory.
    fn bytes(&mut self, most: u64) -> Result<&[u8], ArchiveError> {
        self.buffer.clear();
        (&mut self.source).take(most).read_to_end(&mut self.buffer)?;
        self.at += self.buffer.len() as u64;
        Ok(&self.buffer)
    }
}
