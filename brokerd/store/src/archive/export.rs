//! Writes a store as an archive, a piece at a time: where it goes on is said in a cursor, so that nothing is held for a
//! reader that is slow or gone. A session, its queue and its state are as they were when it was read; one that changes
//! meanwhile is as of one moment or another.

use mqtt::MessageId;

use super::frame::{Frame, MAGIC, Stage, VERSION, with_message};
use super::{ArchiveError, Contents, Head};
use crate::backend::SessionHead;
use crate::error::StoreError;
use crate::format::{Reader, decode_id, encode_id, put_bytes, put_varint};
use crate::front::Store;
use crate::record::Sid;

/// Bytes of a piece, but for its last record.
const PIECE: usize = 256 << 10;
/// Deliveries read at a time.
const PAGE: usize = 128;

/// Part of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// To be written behind the piece before.
    pub bytes: Vec<u8>,
    /// The cursor of the next; `None` behind the last.
    pub next: Option<Vec<u8>>,
}

/// Where the next record is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A session behind this one.
    Session(Option<Sid>),
    /// A delivery behind this one, of the session that is behind `before`.
    Queue {
        before: Option<Sid>,
        sid: Sid,
        after: u64,
    },
    Retained(Option<Box<str>>),
    Delayed(Option<MessageId>),
}

struct Export<'a> {
    store: &'a Store,
    out: Vec<u8>,
    contents: Contents,
    /// The session whose queue is written, if it was read for this piece.
    session: Option<(SessionHead, Option<Sid>)>,
}

/// The piece at a cursor; empty is the first.
///
/// # Errors
/// What is wrong with the store, or with the cursor.
pub async fn export(store: &Store, head: &Head, cursor: &[u8]) -> Result<Piece, ArchiveError> {
    let mut export = Export { store, out: Vec::new(), contents: Contents::default(), session: None };
    let mut place = if cursor.is_empty() {
        store.flush().await?; // what was acknowledged is in it
        export.out.extend_from_slice(MAGIC);
        export.out.push(VERSION);
        Frame::Head(head.clone()).encode(&mut export.out);
        Place::Session(None)
    } else {
        let (place, contents) = decode_cursor(cursor).ok_or(ArchiveError::Cursor)?;
        export.contents = contents;
        place
    };
    while export.out.len() < PIECE {
        let next = match place {
            Place::Session(after) => export.session(after).await?,
            Place::Queue { before, sid, after } => export.queue(before, sid, after).await?,
            Place::Retained(after) => export.retained(after).await?,
            Place::Delayed(after) => match export.delayed(after).await? {
                Some(next) => next,
                None => {
                    Frame::End(export.contents).encode(&mut export.out);
                    return Ok(Piece { bytes: export.out, next: None });
                }
            },
        };
        place = next;
    }
    Ok(Piece { bytes: export.out, next: Some(encode_cursor(&place, export.contents)) })
}

impl Export<'_> {
    async fn session(&mut self, before: Option<Sid>) -> Result<Place, StoreError> {
        let mut page = self.store.scan_sessions(before, 1, true).await?;
        let Some(mut head) = page.items.pop() else {
            return Ok(page.next.map_or(Place::Retained(None), |next| Place::Session(Some(next))));
        };
        let following = page.next.map_or(Place::Retained(None), |next| Place::Session(Some(next)));
        let Some(record) = head.record.take() else { return Ok(following) }; // nobody was told of it
        let (epoch, received) = (head.epoch, std::mem::take(&mut head.received));
        Frame::Session { epoch, received, record: Box::new(record) }.encode(&mut self.out);
        self.contents.sessions += 1;
        if head.queue.is_empty() {
            return Ok(following);
        }
        let sid = head.sid;
        self.session = Some((head, page.next));
        Ok(Place::Queue { before, sid, after: 0 })
    }

    /// Some deliveries of a session.
    async fn queue(&mut self, before: Option<Sid>, sid: Sid, after: u64) -> Result<Place, StoreError> {
        let (head, next) = match self.session.take().filter(|(head, _)| head.sid == sid) {
            Some(read) => read,
            None => {
                let mut page = self.store.scan_sessions(before, 1, true).await?;
                match page.items.pop() {
                    Some(head) if head.sid == sid => (head, page.next),
                    _ => return Ok(Place::Session(before)), // it ended meanwhile
                }
            }
        };
        let stored = self.store.fetch(sid, after, PAGE, PIECE).await?;
        let last = stored.last().map_or(u64::MAX, |last| last.seq);
        let mut stored = stored.into_iter().peekable();
        for waiting in head.queue.iter().filter(|waiting| waiting.seq > after && waiting.seq <= last) {
            while stored.next_if(|stored| stored.seq < waiting.seq).is_some() {}
            let body = stored.next_if(|stored| stored.seq == waiting.seq);
            let (stage, body) = match (waiting.packet_id, body) {
                (Some(id), _) if waiting.is_released => (Stage::Released(id), None),
                (id, Some(stored)) => (id.map_or(Stage::Waits, Stage::Sent), Some(stored)),
                (_, None) => continue, // acknowledged meanwhile
            };
            let (entry, is_shared) = match body.map(|stored| with_message(stored.entry, &stored.message)) {
                Some((entry, is_shared)) => (Some(entry), is_shared),
                None => (None, false),
            };
            Frame::Entry { seq: waiting.seq, stage, is_shared, entry }.encode(&mut self.out);
            self.contents.messages += 1;
        }
        let is_last = head.queue.last().is_none_or(|waiting| waiting.seq <= last);
        if is_last {
            return Ok(next.map_or(Place::Retained(None), |next| Place::Session(Some(next))));
        }
        self.session = Some((head, next));
        Ok(Place::Queue { before, sid, after: last })
    }

    async fn retained(&mut self, after: Option<Box<str>>) -> Result<Place, StoreError> {
        let page = self.store.scan_retained(after, 1).await?;
        for retained in page.items.into_iter().filter(|retained| retained.message.is_some()) {
            Frame::Retained(retained).encode(&mut self.out);
            self.contents.retained += 1;
        }
        Ok(page.next.map_or(Place::Delayed(None), |next| Place::Retained(Some(next))))
    }

    /// `None` behind the last.
    async fn delayed(&mut self, after: Option<MessageId>) -> Result<Option<Place>, StoreError> {
        let page = self.store.scan_delayed(after, 1).await?;
        for delayed in page.items {
            Frame::Delayed(Box::new(delayed)).encode(&mut self.out);
            self.contents.delayed += 1;
        }
        Ok(page.next.map(|next| Place::Delayed(Some(next))))
    }
}

fn encode_cursor(place: &Place, contents: Contents) -> Vec<u8> {
    let mut out = Vec::new();
    let Contents { sessions, messages, retained, delayed } = contents;
    [sessions, messages, retained, delayed].into_iter().for_each(|count| put_varint(&mut out, count));
    let sid = |sid: Option<Sid>, out: &mut Vec<u8>| {
        out.push(u8::from(sid.is_some()));
        sid.iter().for_each(|sid| put_varint(out, sid.0));
    };
    match place {
        Place::Session(before) => {
            out.push(0);
            sid(*before, &mut out);
        }
        Place::Queue { before, sid: of, after } => {
            out.push(1);
            sid(*before, &mut out);
            put_varint(&mut out, of.0);
            put_varint(&mut out, *after);
        }
        Place::Retained(after) => {
            out.push(2);
            put_bytes(&mut out, after.as_deref().unwrap_or_default().as_bytes());
        }
        Place::Delayed(after) => {
            out.push(3);
            after.iter().for_each(|after| out.extend_from_slice(&encode_id(*after)));
        }
    }
    out
}

fn decode_cursor(cursor: &[u8]) -> Option<(Place, Contents)> {
    let mut reader = Reader::new(cursor);
    let mut number = || reader.varint().ok();
    let contents = Contents { sessions: number()?, messages: number()?, retained: number()?, delayed: number()? };
    let sid = |reader: &mut Reader<'_>| match reader.u8().ok()? {
        0 => Some(None),
        _ => reader.varint().ok().map(|sid| Some(Sid(sid))),
    };
    let place = match reader.u8().ok()? {
        0 => Place::Session(sid(&mut reader)?),
        1 => {
            let before = sid(&mut reader)?;
            Place::Queue { before, sid: Sid(reader.varint().ok()?), after: reader.varint().ok()? }
        }
        2 => Place::Retained(Some(reader.str().ok()?).filter(|topic| !topic.is_empty()).map(Into::into)),
        3 => Place::Delayed(decode_id(&mut reader).ok()),
        _ => return None,
    };
    Some((place, contents))
}
