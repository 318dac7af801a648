//! Reading back: queues, sessions, retained and delayed messages, page by page. A record that cannot be read is left
//! out and reported. Never changes anything.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mqtt::MessageId;
use mqtt::message::SharedMessage;

use super::Embedded;
use super::engine::Engine;
use super::keys::{self, OWNER, SESSION, Table};
use super::waiting::Unfinished;
use crate::backend::{Delayed, Page, Retained, SessionHead, Stored};
use crate::error::StoreError;
use crate::format::{self, DecodeError, Reader, put_bytes};
use crate::op::Body;
use crate::record::Sid;

/// Messages of a page that several entries name.
type Bodies = HashMap<MessageId, SharedMessage, RandomState>;

/// A row of owners: epoch, node, client.
pub(super) fn encode_owner(epoch: u64, node: &str, client_id: &str, out: &mut Vec<u8>) {
    out.push(format::VERSION);
    out.extend_from_slice(&epoch.to_be_bytes());
    put_bytes(out, node.as_bytes());
    put_bytes(out, client_id.as_bytes());
}

pub(super) fn decode_owner(bytes: &[u8]) -> Result<(u64, Box<str>, Box<str>), DecodeError> {
    let mut reader = Reader::versioned(bytes)?;
    let owner = (reader.u64()?, reader.str()?.into(), reader.str()?.into());
    reader.end().map(|()| owner)
}

impl<E: Engine> Embedded<E> {
    pub(super) fn fetch_page(
        &self,
        sid: Sid,
        after: u64,
        max_n: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut shared: Bodies = HashMap::default();
        let mut failed = None;
        let (from, to) = (keys::row(sid, after), keys::row(sid, u64::MAX));
        if max_n == 0 {
            return Ok(page);
        }
        self.engine.scan(Table::Queue, (Bound::Excluded(&from), Bound::Included(&to)), &mut |key, value| {
            match self.stored(key, value, &mut shared) {
                Ok(Some(stored)) => {
                    bytes += stored.message.heap_size();
                    page.push(stored);
                }
                Ok(None) => self.suspect(Table::Queue, key),
                Err(error) => failed = Some(error),
            }
            let is_done = failed.is_some() || page.len() >= max_n || bytes >= max_bytes;
            if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failed.map_or(Ok(page), Err)
    }

    /// `None` where it, or what it names, cannot be read.
    fn stored(&self, key: &[u8], value: &[u8], shared: &mut Bodies) -> Result<Option<Stored>, StoreError> {
        let Ok(entry) = format::decode_entry(value) else { return Ok(None) };
        let message = match &entry.body {
            Body::Inline(message) => message.clone(),
            Body::Shared(id, _) => match shared.get(id) {
                Some(message) => message.clone(),
                None => {
                    let body = self.engine.get(Table::Bodies, &format::encode_id(*id))?;
                    let Some(Ok(message)) = body.map(|body| format::decode_message(&body)) else { return Ok(None) };
                    shared.entry(*id).insert(Arc::new(message)).get().clone()
                }
            },
        };
        Ok(Some(Stored { seq: keys::of_row(key).1, entry, message }))
    }

    pub(super) fn session_page(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError> {
        let mut items: Vec<SessionHead> = Vec::new();
        let from = keys::tagged(OWNER, after.unwrap_or_default());
        let to = keys::tagged(OWNER, Sid(u64::MAX));
        self.engine.scan(Table::Sessions, (Bound::Excluded(&from), Bound::Included(&to)), &mut |key, value| {
            match decode_owner(value) {
                Ok((epoch, node, client_id)) => {
                    let sid = keys::of_tagged(key);
                    let (queue, received) = (Vec::new(), Vec::new());
                    items.push(SessionHead { sid, client_id, epoch, node, record: None, queue, received });
                }
                Err(_) => self.suspect(Table::Sessions, key),
            }
            if items.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let (Some(first), Some(last)) = (items.first().map(|one| one.sid), items.last().map(|one| one.sid)) else {
            return Ok(Page { items, next: None });
        };
        self.add_records(&mut items, first, last)?;
        if with_queues {
            let mut unfinished = self.unfinished(first, last)?;
            for item in &mut items {
                let Unfinished { queue, received } = unfinished.remove(&item.sid).unwrap_or_default();
                (item.queue, item.received) = (queue, received);
            }
        }
        let next = (items.len() >= limit).then_some(last);
        Ok(Page { items, next })
    }

    fn add_records(&self, items: &mut [SessionHead], first: Sid, last: Sid) -> Result<(), StoreError> {
        let mut at = items.iter_mut().peekable();
        let (from, to) = (keys::tagged(SESSION, first), keys::tagged(SESSION, last));
        self.engine.scan(Table::Sessions, (Bound::Included(&from), Bound::Included(&to)), &mut |key, value| {
            let sid = keys::of_tagged(key);
            while at.next_if(|item| item.sid < sid).is_some() {}
            if let Some(item) = at.next_if(|item| item.sid == sid) {
                item.record = format::decode_session(value).ok();
                if item.record.is_none() {
                    self.suspect(Table::Sessions, key);
                }
            }
            ControlFlow::Continue(())
        })
    }

    pub(super) fn retained_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Retained, Box<str>>, StoreError> {
        let mut items = Vec::new();
        let from = after.map_or(Bound::Unbounded, |topic| Bound::Excluded(topic.as_bytes()));
        self.engine.scan(Table::Retained, (from, Bound::Unbounded), &mut |key, value| {
            match format::decode_retained(key, value) {
                Ok(retained) => items.push(retained),
                Err(_) => self.suspect(Table::Retained, key),
            }
            if items.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let next = if items.len() >= limit { items.last().map(|one: &Retained| one.topic.clone()) } else { None };
        Ok(Page { items, next })
    }

    pub(super) fn delayed_page(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError> {
        let mut items = Vec::new();
        let from = after.map(format::encode_id);
        let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        self.engine.scan(Table::Delayed, (from, Bound::Unbounded), &mut |key, value| {
            match format::decode_delayed(key, value) {
                Ok(delayed) => items.push(delayed),
                Err(_) => self.suspect(Table::Delayed, key),
            }
            if items.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let next = if items.len() >= limit { items.last().map(|one: &Delayed| one.id) } else { None };
        Ok(Page { items, next })
    }
}
