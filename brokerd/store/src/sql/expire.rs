//! What has had its time leaves, the first first. Never ends a session that has a connection, and never takes a message
//! from a client that may have seen it.

use std::sync::atomic::Ordering::Relaxed;

use super::server::{Fault, Server};
use super::statement::{QUEUE, Statement, int, signed};
use super::write::{drop_sessions, ints};
use super::{Sql, rows};
use crate::backend::Expired;
use crate::record::{Sid, UnixMillis};

const SESSIONS: &str = "SELECT s.sid, s.client_id FROM brokerd_record r JOIN brokerd_session s ON s.sid = r.sid \
    WHERE r.ends_at <= ? ORDER BY r.ends_at LIMIT ? FOR UPDATE";
const ENTRIES: &str = "SELECT q.sid, q.seq FROM brokerd_queue q \
    LEFT JOIN brokerd_flight f ON f.sid = q.sid AND f.seq = q.seq \
    WHERE q.expires_at <= ? AND f.sid IS NULL ORDER BY q.expires_at LIMIT ?";

impl<S: Server> Sql<S> {
    pub(super) async fn expire_some(&self, now: UnixMillis, limit: usize) -> Result<Expired, Fault> {
        let mut lane = self.lanes.writer().await;
        let ask = |text| Statement::Text(text, vec![int(now), int(limit as u64)]);
        let begin = [Statement::Begin { is_durable: true }, ask(SESSIONS), ask(ENTRIES)];
        let mut replies = lane.run(&begin).await?;
        let (sessions, entries) = (rows(&mut replies, 1), rows(&mut replies, 2));
        let mut statements = Vec::new();
        drop_sessions(sessions.iter().map(|row| signed(row.int(0))), &mut statements);
        if !entries.is_empty() {
            let column = |at| ints(entries.iter().map(|row| signed(row.int(at))));
            statements.push(Statement::Delete(&QUEUE, vec![column(0), column(1)]));
        }
        statements.push(Statement::Commit);
        lane.run(&statements).await?;
        lane.done();
        if !sessions.is_empty() {
            self.has_garbage.store(true, Relaxed);
        }
        Ok(Expired {
            is_round: sessions.len() < limit && entries.len() < limit,
            sessions: sessions.iter().map(|row| (Sid(row.int(0)), row.text(1).unwrap_or_default())).collect(),
            messages: entries.iter().map(|row| (Sid(row.int(0)), row.int(1))).collect(),
        })
    }
}
