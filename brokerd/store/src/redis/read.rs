//! Reading back: queues, sessions, retained and delayed messages, page by page, in one round trip or few. Never changes
//! anything; what cannot be read is left out and counted.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mqtt::{MessageId, PacketId, Qos};
use redis::Value;

use super::Server;
use super::rows::{self, Flight};
use super::scripts::Script;
use crate::backend::{Delayed, Page, Retained, SessionHead, Stored, Waiting};
use crate::error::StoreError;
use crate::format;
use crate::op::Body;
use crate::record::Sid;

/// Entries, or their heads, that one call of a script reads.
const PAGE: usize = 1000;
/// And bytes of messages, about.
const PAGE_BYTES: usize = 1 << 20;
/// Sessions that are read in one round trip.
const HEADS: usize = 100;

impl Server {
    pub(super) async fn fetch_page(
        &self,
        sid: Sid,
        after: u64,
        max_n: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let (mut page, mut bytes, mut after) = (Vec::new(), 0, rows::after(&after.to_be_bytes()));
        while page.len() < max_n && (bytes < max_bytes || page.is_empty()) {
            let open = self.reads.open().await?;
            let mut command = open.call(Script::Fetch, &self.prefix);
            let room = (max_bytes - bytes.min(max_bytes)).clamp(1, PAGE_BYTES);
            command.arg(rows::sid(sid)).arg(&after[..]).arg((max_n - page.len()).min(PAGE)).arg(room);
            let mut found: Vec<Vec<u8>> = match self.reads.one::<(u8, Vec<Vec<u8>>)>(&open, command).await? {
                (_, found) if found.is_empty() => break,
                (more, found) => {
                    let last = found.len().saturating_sub(2);
                    after = if more == 0 { Vec::new() } else { rows::after(&found[last][..8.min(found[last].len())]) };
                    found
                }
            };
            for pair in found.chunks_exact_mut(2) {
                if page.len() >= max_n || (bytes >= max_bytes && !page.is_empty()) {
                    break;
                }
                let Some(stored) = stored(&pair[0], &pair[1]) else {
                    self.suspect("entry", rows::sid(sid));
                    continue;
                };
                bytes += stored.message.heap_size();
                page.push(stored);
            }
            if after.is_empty() {
                break;
            }
        }
        Ok(page)
    }

    pub(super) async fn session_page(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, StoreError> {
        let from = after.map_or_else(|| b"-".to_vec(), |sid| [b"(", rows::sid(sid).as_bytes()].concat());
        let found: Vec<Vec<u8>> = self.range("sessions", &from, limit).await?;
        let sids: Vec<Sid> = found.iter().filter_map(|sid| rows::read_sid(sid)).collect();
        let next = sids.last().copied().filter(|_| found.len() >= limit);
        let mut items = Vec::with_capacity(sids.len());
        for some in sids.chunks(HEADS) {
            items.extend(self.heads(some, with_queues).await?);
        }
        Ok(Page { items, next })
    }

    /// Sessions as they are now; those that are gone are left out.
    pub(super) async fn heads(&self, sids: &[Sid], with_queues: bool) -> Result<Vec<SessionHead>, StoreError> {
        let open = self.reads.open().await?;
        let mut pipeline = redis::pipe();
        for sid in sids {
            let sid = rows::sid(*sid);
            let fields = ["epoch", "node", "client", "record"];
            pipeline.cmd("HMGET").arg(self.key("session:") + &sid).arg(&fields);
            if with_queues {
                let mut command = open.call(Script::Waiting, &self.prefix);
                command.arg(&sid).arg("-").arg(PAGE);
                pipeline.add_command(command);
                pipeline.cmd("HGETALL").arg(self.key("flight:") + &sid);
            }
        }
        let mut answers = self.reads.ask(&open, &mut pipeline).await?.into_iter();
        let mut heads = Vec::with_capacity(sids.len());
        for sid in sids {
            let head = self.head(*sid, answers.next().unwrap_or(Value::Nil))?;
            let queue = if with_queues { answers.next().zip(answers.next()) } else { None };
            let Some(mut head) = head else { continue };
            if let Some((waiting, flight)) = queue {
                let waiting = self.all_waiting(*sid, self.reads.read(waiting)?).await?;
                self.unfinished(&mut head, &waiting, &self.reads.read::<Vec<(Vec<u8>, Vec<u8>)>>(flight)?);
            }
            heads.push(head);
        }
        Ok(heads)
    }

    fn head(&self, sid: Sid, answer: Value) -> Result<Option<SessionHead>, StoreError> {
        type Row = (Option<u64>, Option<String>, Option<String>, Option<Vec<u8>>);
        let (Some(epoch), node, client_id, record): Row = self.reads.read(answer)? else { return Ok(None) };
        let record = record.and_then(|bytes| {
            let record = format::decode_session(&bytes);
            record.inspect_err(|_| self.suspect("session", rows::sid(sid))).ok()
        });
        let (node, client_id) = (node.unwrap_or_default().into(), client_id.unwrap_or_default().into());
        Ok(Some(SessionHead { sid, client_id, epoch, node, record, queue: Vec::new(), received: Vec::new() }))
    }

    /// The rest of a queue of which the first page is known.
    async fn all_waiting(&self, sid: Sid, mut found: Vec<(Vec<u8>, u64)>) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
        let mut is_full = found.len() >= PAGE;
        while let Some((last, _)) = found.last().filter(|_| is_full) {
            let after = rows::after(&last[..8.min(last.len())]);
            let open = self.reads.open().await?;
            let mut command = open.call(Script::Waiting, &self.prefix);
            command.arg(rows::sid(sid)).arg(after).arg(PAGE);
            let page: Vec<(Vec<u8>, u64)> = self.reads.one(&open, command).await?;
            is_full = page.len() >= PAGE;
            found.extend(page);
        }
        Ok(found)
    }

    fn unfinished(&self, head: &mut SessionHead, waiting: &[(Vec<u8>, u64)], flight: &[(Vec<u8>, Vec<u8>)]) {
        let mut sent: HashMap<u64, (PacketId, bool), RandomState> = HashMap::default();
        for (field, value) in flight {
            match rows::flight(field, value) {
                Some(Flight::Sent { seq, packet_id, is_released }) => drop(sent.insert(seq, (packet_id, is_released))),
                Some(Flight::Received(id)) => head.received.push(id),
                None => self.suspect("flight", rows::sid(head.sid)),
            }
        }
        head.received.sort_unstable();
        for (member, size) in waiting {
            match waits(member, *size, &mut sent) {
                Some(waiting) => head.queue.push(waiting),
                None => self.suspect("entry", rows::sid(head.sid)),
            }
        }
        // As in the embedded stores: what is in flight without an entry was released.
        for (seq, (packet_id, _)) in sent.into_iter().filter(|(_, (_, is_released))| *is_released) {
            let (qos, packet_id) = (Qos::ExactlyOnce, Some(packet_id));
            head.queue.push(Waiting { seq, qos, size: 0, expires_at: None, packet_id, is_released: true });
        }
        head.queue.sort_unstable_by_key(|waiting| waiting.seq);
    }

    pub(super) async fn retained_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Retained, Box<str>>, StoreError> {
        let from = after.map_or_else(|| b"-".to_vec(), |topic| [b"(", topic.as_bytes()].concat());
        let topics: Vec<Vec<u8>> = self.range("topics", &from, limit).await?;
        let Some(last) = topics.last() else { return Ok(Page { items: Vec::new(), next: None }) };
        let next = Some(String::from_utf8_lossy(last).into()).filter(|_| topics.len() >= limit);
        let open = self.reads.open().await?;
        let mut command = redis::cmd("HMGET");
        command.arg(self.key("retained")).arg(&topics);
        let records: Vec<Option<Vec<u8>>> = self.reads.one(&open, command).await?;
        let mut items = Vec::with_capacity(records.len());
        for (topic, record) in topics.iter().zip(records) {
            match record.map(|record| format::decode_retained(topic, &record)) {
                Some(Ok(retained)) => items.push(retained),
                Some(Err(_)) => self.suspect("retained", String::from_utf8_lossy(topic)),
                None => {} // dropped meanwhile
            }
        }
        Ok(Page { items, next })
    }

    pub(super) async fn delayed_page(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, StoreError> {
        let from = after.map_or_else(|| b"-".to_vec(), |id| rows::after(&format::encode_id(id)));
        let members: Vec<Vec<u8>> = self.range("delayed", &from, limit).await?;
        let mut items = Vec::with_capacity(members.len());
        for (key, record) in members.iter().filter_map(|member| member.split_at_checked(18)) {
            match format::decode_delayed(key, record) {
                Ok(delayed) => items.push(delayed),
                Err(_) => self.suspect("delayed", "of a message"),
            }
        }
        let last = members.last().filter(|_| members.len() >= limit);
        let next = last.and_then(|last| format::decode_id(&mut format::Reader::new(last)).ok());
        Ok(Page { items, next })
    }

    async fn range(&self, name: &str, from: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let open = self.reads.open().await?;
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(self.key(name)).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        self.reads.one(&open, command).await
    }
}

/// A member of a queue and the message that it names, if it names one.
fn stored(member: &[u8], body: &[u8]) -> Option<Stored> {
    let (seq, entry) = member.split_at_checked(8)?;
    let entry = format::decode_entry(entry).ok()?;
    let message = match &entry.body {
        Body::Inline(message) => message.clone(),
        Body::Shared(..) => Arc::new(format::decode_message(body).ok()?),
    };
    Some(Stored { seq: u64::from_be_bytes(seq.try_into().ok()?), entry, message })
}

/// The beginning of a member of a queue, and its size.
fn waits(member: &[u8], size: u64, sent: &mut HashMap<u64, (PacketId, bool), RandomState>) -> Option<Waiting> {
    let (seq, entry) = member.split_at_checked(8)?;
    let seq = u64::from_be_bytes(seq.try_into().ok()?);
    let (qos, named, expires_at) = format::head(entry).ok()?;
    let inline = || u32::try_from(size.saturating_sub(8)).unwrap_or(u32::MAX);
    let size = if format::shared_id(entry).is_some() { named } else { inline() };
    let packet_id = sent.remove(&seq).map(|(id, _)| id);
    Some(Waiting { seq, qos, size, expires_at, packet_id, is_released: false })
}
