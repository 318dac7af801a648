//! Taking a session: who may, and what there is to take. Never chooses an epoch: the registrar does.

use std::sync::atomic::Ordering::Relaxed;

use super::lanes::Lane;
use super::plan::hash;
use super::server::{Fault, Server};
use super::statement::{Column, Known, Reply, Row, SESSION, Statement, Value, int, signed};
use super::write::{blobs, drop_sessions, ints};
use super::{Sql, rows};
use crate::backend::{Claim, Claimed};
use crate::format;
use crate::record::Sid;

const FIND: &str = "SELECT sid, epoch, node FROM brokerd_session WHERE client = ? FOR UPDATE";
pub(super) const TAKE: &str = "UPDATE brokerd_session SET epoch = ?, node = ? WHERE sid = ?";
/// The new owner has a minute to say that the session has a connection: so long nobody ends it.
pub(super) const SPARE: &str =
    "UPDATE brokerd_record SET ends_at = GREATEST(ends_at, {now} + 60000) WHERE sid = ? AND ends_at IS NOT NULL";
const RECORD: &str = "SELECT sid, body FROM brokerd_record WHERE sid = ?";

const FENCE: &str = "UPDATE brokerd_session SET epoch = epoch + 1 WHERE node = ?";

/// Other nodes may make the same session in between: they need an epoch each, so it ends.
const ATTEMPTS: usize = 8;

impl<S: Server> Sql<S> {
    pub(super) async fn claim_session(&self, claim: &Claim) -> Result<Claimed, Fault> {
        let mut lane = self.lanes.writer().await;
        for _ in 0..ATTEMPTS {
            if let Some(sid) = self.take(&mut lane, claim).await? {
                let claimed = self.claimed(&mut lane, sid).await?;
                lane.done();
                return Ok(claimed);
            }
        }
        lane.done();
        Err(Fault::Failed(format!("the session of {:?} changes hands too fast", claim.client_id)))
    }

    /// Waits for the transactions of the process before, by the locks they hold on their owners.
    pub(super) async fn fence_node(&self, node: &str) -> Result<(), Fault> {
        let mut last = Fault::Lost("the sessions of this node are locked".into());
        for _ in 0..ATTEMPTS {
            let mut lane = self.lanes.writer().await;
            let fence = Statement::Text(FENCE, vec![Value::Bytes(node.as_bytes().to_vec())]);
            match lane.run(&[Statement::Begin { is_durable: true }, fence, Statement::Commit]).await {
                Ok(_) => {
                    lane.done();
                    let _ = self.node.set(node.into()); // the same each time
                    return Ok(());
                }
                Err(fault) => last = fault, // a deadlock with one of them: it has ended by that
            }
        }
        Err(last)
    }

    /// `None` where another node was faster: then there is something else to be found.
    async fn take(&self, lane: &mut Lane<'_, S>, claim: &Claim) -> Result<Option<i64>, Fault> {
        let client = hash(&claim.client_id).to_vec();
        let find = Statement::Text(FIND, vec![Value::Bytes(client.clone())]);
        let mut replies = lane.run(&[Statement::Begin { is_durable: true }, find.clone()]).await?;
        let known = rows(&mut replies, 1).into_iter().next();
        let epoch = known.as_ref().map_or(0, |row| row.int(1));
        if known.as_ref().is_some_and(|row| !is_granted(row, claim)) {
            lane.run(&[Statement::Rollback]).await?;
            return Err(Fault::Fenced(epoch));
        }
        let mut statements = Vec::new();
        if let Some(row) = known {
            let sid = signed(row.int(0));
            if !claim.is_clean {
                let node = Value::Bytes(claim.node.as_bytes().to_vec());
                statements.push(Statement::Text(TAKE, vec![int(claim.epoch), node, Value::Int(sid)]));
                statements.push(Statement::Text(SPARE, vec![Value::Int(sid)]));
                statements.push(Statement::Commit);
                lane.run(&statements).await?;
                return Ok(Some(sid));
            }
            drop_sessions(std::iter::once(sid), &mut statements);
            self.has_garbage.store(true, Relaxed);
        }
        statements.push(Statement::Insert(&SESSION, Known::Stays, session_row(claim, client)));
        let at = statements.len();
        statements.extend([find, Statement::Commit]);
        let mut replies = lane.run(&statements).await?;
        let made = rows(&mut replies, at).into_iter().find(|row| is_of(row, claim));
        Ok(made.map(|row| signed(row.int(0))))
    }

    pub(super) async fn claimed(&self, lane: &mut Lane<'_, S>, sid: i64) -> Result<Claimed, Fault> {
        let record = lane.one(Statement::Text(RECORD, vec![Value::Int(sid)])).await?;
        let mut unfinished = self.unfinished(lane, sid, sid).await?;
        let sid = Sid(sid.unsigned_abs());
        let (queue, received) = unfinished.remove(&sid).unwrap_or_default();
        Ok(Claimed { sid, record: self.first_record(&record), queue, received })
    }

    fn first_record(&self, reply: &Reply) -> Option<crate::SessionRecord> {
        let row = reply.rows.first()?;
        let record = row.bytes(1).and_then(|body| format::decode_session(body).ok());
        if record.is_none() {
            self.suspect("record", row);
        }
        record
    }
}

pub(super) fn is_of(row: &Row, claim: &Claim) -> bool {
    claim.is_again(row.int(1), &row.text(2).unwrap_or_default())
}

pub(super) fn is_granted(row: &Row, claim: &Claim) -> bool {
    claim.is_granted(row.int(1), &row.text(2).unwrap_or_default())
}

fn session_row(claim: &Claim, client: Vec<u8>) -> Vec<Column> {
    let blob = |bytes: Vec<u8>| blobs(std::iter::once(bytes));
    vec![
        blob(client),
        blob(claim.client_id.as_bytes().to_vec()),
        ints(std::iter::once(signed(claim.epoch))),
        blob(claim.node.as_bytes().to_vec()),
    ]
}
