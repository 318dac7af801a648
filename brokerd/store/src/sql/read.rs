//! Reading back, page by page. A record that cannot be read is left out and reported. Never changes anything.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mqtt::message::SharedMessage;
use mqtt::{MessageId, PacketId, Qos};

use super::lanes::Lane;
use super::plan::{hash, mid};
use super::server::{Fault, Server};
use super::statement::{Row, Statement, Value, int, signed};
use super::{Sql, rows};
use crate::backend::{Delayed, Page, Retained, SessionHead, Stored, Waiting};
use crate::format;
use crate::format::{decode_delayed, decode_retained};
use crate::op::Body;
use crate::record::Sid;

/// `size` sums up to what was asked for, so that no more than that and one entry leaves the server.
const FETCH: &str = "SELECT e.seq, e.body, m.mid, m.body FROM (SELECT seq, body, mid, SUM(size) OVER (ORDER BY seq) - size \
    AS above FROM (SELECT seq, size, body, mid FROM brokerd_queue WHERE sid = ? AND seq > ? ORDER BY seq LIMIT ?) n) e \
    LEFT JOIN brokerd_message m ON m.mid = e.mid WHERE e.above < ? ORDER BY e.seq";
const SESSIONS: &str = "SELECT s.sid, s.client_id, s.epoch, s.node, r.body FROM brokerd_session s \
    LEFT JOIN brokerd_record r ON r.sid = s.sid WHERE s.sid > ? ORDER BY s.sid LIMIT ?";
const WAITING: &str =
    "SELECT sid, seq, qos, size, expires_at FROM brokerd_queue WHERE sid BETWEEN ? AND ? ORDER BY sid, seq";
const IN_FLIGHT: &str = "SELECT sid, seq, packet_id, released FROM brokerd_flight WHERE sid BETWEEN ? AND ?";
const RECEIVED: &str = "SELECT sid, packet_id FROM brokerd_received WHERE sid BETWEEN ? AND ? ORDER BY sid, packet_id";
const RETAINED: &str = "SELECT topic, body FROM brokerd_retained WHERE topic_hash > ? ORDER BY topic_hash LIMIT ?";
const DELAYED: &str = "SELECT mid, body FROM brokerd_delayed WHERE mid > ? ORDER BY mid LIMIT ?";

/// Sessions that are read at a time together with their queues.
const WITH_QUEUES: usize = 100;

/// Deliveries of sessions, and packet ids that are not released.
pub(super) type Unfinished = HashMap<Sid, (Vec<Waiting>, Vec<PacketId>), RandomState>;

/// Messages of a page that several entries name.
type Bodies = HashMap<MessageId, SharedMessage, RandomState>;

impl<S: Server> Sql<S> {
    pub(super) async fn fetch_page(
        &self,
        sid: Sid,
        mut after: u64,
        max_n: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, Fault> {
        let (mut page, mut bytes, mut bodies) = (Vec::new(), 0, Bodies::default());
        let mut lane = self.lanes.reader().await?;
        // A page of nothing but broken records is not the end.
        while page.is_empty() && max_n > 0 {
            let values = vec![int(sid.0), int(after), int(max_n as u64), int(max_bytes.max(1) as u64)];
            let reply = lane.one(Statement::Text(FETCH, values)).await?;
            let Some(last) = reply.rows.last() else { break };
            after = last.int(0);
            for row in reply.rows {
                match stored(&row, &mut bodies) {
                    Some(stored) => {
                        bytes += stored.message.heap_size();
                        page.push(stored);
                    }
                    None => self.suspect("queue", &row),
                }
                if bytes >= max_bytes {
                    break;
                }
            }
        }
        lane.done();
        Ok(page)
    }

    pub(super) async fn session_page(
        &self,
        after: Option<Sid>,
        limit: usize,
        with_queues: bool,
    ) -> Result<Page<SessionHead, Sid>, Fault> {
        let limit = if with_queues { limit.min(WITH_QUEUES) } else { limit };
        let mut lane = self.lanes.reader().await?;
        let values = vec![int(after.unwrap_or_default().0), int(limit as u64)];
        let reply = lane.one(Statement::Text(SESSIONS, values)).await?;
        let mut items: Vec<SessionHead> = reply.rows.iter().filter_map(|row| self.head(row)).collect();
        let last = reply.rows.last().map(|row| row.int(0));
        if let (Some(first), Some(last), true) = (reply.rows.first(), last, with_queues) {
            let mut unfinished = self.unfinished(&mut lane, signed(first.int(0)), signed(last)).await?;
            for item in &mut items {
                (item.queue, item.received) = unfinished.remove(&item.sid).unwrap_or_default();
            }
        }
        lane.done();
        Ok(Page { items, next: last.filter(|_| reply.rows.len() >= limit).map(Sid) })
    }

    fn head(&self, row: &Row) -> Option<SessionHead> {
        let (Some(client_id), Some(node)) = (row.text(1), row.text(3)) else {
            self.suspect("session", row);
            return None;
        };
        let record = row.bytes(4).and_then(|body| format::decode_session(body).ok());
        if record.is_none() && row.bytes(4).is_some() {
            self.suspect("record", row);
        }
        let (sid, epoch) = (Sid(row.int(0)), row.int(2));
        Some(SessionHead { sid, client_id, epoch, node, record, queue: Vec::new(), received: Vec::new() })
    }

    /// Of all sessions from `first` to `last` that have any.
    pub(super) async fn unfinished(&self, lane: &mut Lane<'_, S>, first: i64, last: i64) -> Result<Unfinished, Fault> {
        let ask = |text| Statement::Text(text, vec![Value::Int(first), Value::Int(last)]);
        let mut replies = lane.run(&[ask(WAITING), ask(IN_FLIGHT), ask(RECEIVED)]).await?;
        let mut found = Unfinished::default();
        let mut sent: HashMap<(Sid, u64), (PacketId, bool), RandomState> = HashMap::default();
        for row in rows(&mut replies, 1) {
            if let Some(id) = packet_id(row.int(2)) {
                sent.insert((Sid(row.int(0)), row.int(1)), (id, row.int(3) != 0));
            }
        }
        for row in rows(&mut replies, 0) {
            let (sid, seq) = (Sid(row.int(0)), row.int(1));
            let packet_id = sent.remove(&(sid, seq)).map(|(id, _)| id);
            let Some(qos) = Qos::from_bits(row.int(2) as u8) else { continue };
            let size = u32::try_from(row.int(3)).unwrap_or(u32::MAX);
            let waiting = Waiting { seq, qos, size, expires_at: row.maybe_int(4), packet_id, is_released: false };
            found.entry(sid).or_default().0.push(waiting);
        }
        // What is in flight, has no message any more and was not released cannot be sent again.
        for ((sid, seq), (packet_id, _)) in sent.into_iter().filter(|(_, (_, is_released))| *is_released) {
            let queue = &mut found.entry(sid).or_default().0;
            let at = queue.partition_point(|waiting| waiting.seq < seq);
            let (qos, packet_id) = (Qos::ExactlyOnce, Some(packet_id));
            queue.insert(at, Waiting { seq, qos, size: 0, expires_at: None, packet_id, is_released: true });
        }
        for row in rows(&mut replies, 2) {
            found.entry(Sid(row.int(0))).or_default().1.extend(packet_id(row.int(1)));
        }
        Ok(found)
    }

    pub(super) async fn retained_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Retained, Box<str>>, Fault> {
        let after = after.map(|topic| hash(topic).to_vec()).unwrap_or_default();
        let rows = self.scan(RETAINED, after, limit).await?;
        let decode = |row: &Row| decode_retained(row.bytes(0)?, row.bytes(1)?).ok();
        let items = self.decoded("retained", &rows, decode);
        let next = rows.last().filter(|_| rows.len() >= limit).and_then(|row| row.text(0));
        Ok(Page { items, next })
    }

    pub(super) async fn delayed_page(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Page<Delayed, MessageId>, Fault> {
        let rows = self.scan(DELAYED, after.map(mid).unwrap_or_default(), limit).await?;
        let items = self.decoded("delayed", &rows, |row| decode_delayed(row.bytes(0)?, row.bytes(1)?).ok());
        let id = |row: &Row| format::decode_id(&mut format::Reader::new(row.bytes(0)?)).ok();
        let next = rows.last().filter(|_| rows.len() >= limit).and_then(id);
        Ok(Page { items, next })
    }

    async fn scan(&self, text: &'static str, after: Vec<u8>, limit: usize) -> Result<Vec<Row>, Fault> {
        let mut lane = self.lanes.reader().await?;
        let reply = lane.one(Statement::Text(text, vec![Value::Bytes(after), int(limit as u64)])).await?;
        lane.done();
        Ok(reply.rows)
    }

    fn decoded<T>(&self, table: &str, rows: &[Row], decode: impl Fn(&Row) -> Option<T>) -> Vec<T> {
        let one = |row| {
            decode(row).or_else(|| {
                self.suspect(table, row);
                None
            })
        };
        rows.iter().filter_map(one).collect()
    }
}

/// `None` where it, or what it names, cannot be read.
fn stored(row: &Row, bodies: &mut Bodies) -> Option<Stored> {
    let entry = format::decode_entry(row.bytes(1)?).ok()?;
    let message = match &entry.body {
        Body::Inline(message) => message.clone(),
        Body::Shared(id, _) => match bodies.get(id) {
            Some(message) => message.clone(),
            None => {
                let message = Arc::new(format::decode_message(row.bytes(3)?).ok()?);
                bodies.entry(*id).insert(message).get().clone()
            }
        },
    };
    Some(Stored { seq: row.int(0), entry, message })
}

fn packet_id(value: u64) -> Option<PacketId> {
    PacketId::new(u16::try_from(value).ok()?)
}
