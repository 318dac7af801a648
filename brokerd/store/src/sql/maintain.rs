//! What is done behind the scenes: rows of sessions that are gone, and messages that nothing names. Never removes a
//! message that is young: another node may be about to name it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Sql;
use super::server::{Fault, Server};
use super::statement::{FLIGHT, GARBAGE, QUEUE, Statement, Value, signed};
use super::write::ints;

/// Rows looked at in a piece.
const PIECE: u64 = 1000;

const NEXT_GARBAGE: &str = "SELECT sid FROM brokerd_garbage ORDER BY sid LIMIT 1";
const PIECE_OF_QUEUE: &str = "SELECT seq FROM brokerd_queue WHERE sid = ? ORDER BY seq LIMIT ?";
const NEXT_MESSAGES: &str = "SELECT mid FROM brokerd_message WHERE mid > ? ORDER BY mid LIMIT ?";
const SWEEP: &str = "DELETE FROM brokerd_message WHERE mid > ? AND mid <= ? AND created_at <= {now} - ? \
    AND NOT EXISTS (SELECT 1 FROM brokerd_queue q WHERE q.mid = brokerd_message.mid)";
const COUNT: &str = "SELECT COUNT(*) FROM brokerd_message";

/// Where the rounds over messages are.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The last that was looked at in this round.
    after: Vec<u8>,
    /// When the last round ended.
    ended: Option<Instant>,
}

impl<S: Server> Sql<S> {
    pub(super) async fn maintain_some(&self) -> Result<bool, Fault> {
        if self.has_garbage.load(Relaxed) {
            self.collect_piece().await?;
            return Ok(true);
        }
        let is_due = self.rounds.lock().ended.is_none_or(|at| at.elapsed() >= self.age);
        if !is_due {
            return Ok(false);
        }
        let is_round = self.sweep_piece().await?;
        if is_round {
            self.has_garbage.store(!self.age.is_zero(), Relaxed); // other nodes may have left some
        }
        Ok(!is_round)
    }

    /// A piece of the rows of one session that is gone.
    async fn collect_piece(&self) -> Result<(), Fault> {
        let mut lane = self.lanes.writer().await;
        let next = lane.one(Statement::Text(NEXT_GARBAGE, Vec::new())).await?;
        match next.rows.first().map(|row| signed(row.int(0))) {
            None => self.has_garbage.store(false, Relaxed),
            Some(sid) => {
                let piece = Statement::Text(PIECE_OF_QUEUE, vec![Value::Int(sid), Value::Int(signed(PIECE))]);
                let rows = lane.one(piece).await?.rows;
                let (sids, last) = (ints(std::iter::once(sid)), rows.last().map_or(0, |row| signed(row.int(0))));
                let is_last = (rows.len() as u64) < PIECE;
                let last = if is_last { i64::MAX } else { last };
                let range = vec![sids.clone(), ints(std::iter::once(0)), ints(std::iter::once(last))];
                let mut statements = vec![Statement::Begin { is_durable: false }];
                statements.push(Statement::DeleteRanges(&QUEUE, range.clone()));
                if is_last {
                    statements.push(Statement::DeleteRanges(&FLIGHT, range));
                    let received = "DELETE FROM brokerd_received WHERE sid = ?";
                    statements.push(Statement::Text(received, vec![Value::Int(sid)]));
                    statements.push(Statement::Delete(&GARBAGE, vec![sids]));
                }
                statements.push(Statement::Commit);
                lane.run(&statements).await?;
            }
        }
        lane.done();
        Ok(())
    }

    /// A piece of the messages; whether it was the last of a round.
    async fn sweep_piece(&self) -> Result<bool, Fault> {
        let after = self.rounds.lock().after.clone();
        let mut lane = self.lanes.writer().await;
        let ask = vec![Value::Bytes(after.clone()), Value::Int(signed(PIECE))];
        let page = lane.one(Statement::Text(NEXT_MESSAGES, ask)).await?.rows;
        let last = page.last().and_then(|row| row.bytes(0)).map(<[u8]>::to_vec);
        if let Some(last) = &last {
            let age = i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX);
            let values = vec![Value::Bytes(after), Value::Bytes(last.clone()), Value::Int(age)];
            lane.one(Statement::Text(SWEEP, values)).await?;
        }
        lane.done();
        let is_round = (page.len() as u64) < PIECE;
        if is_round {
            self.count_messages().await?;
        }
        let mut rounds = self.rounds.lock();
        rounds.after = last.filter(|_| !is_round).unwrap_or_default();
        rounds.ended = is_round.then(Instant::now).or(rounds.ended);
        Ok(is_round)
    }

    pub(super) async fn count_messages(&self) -> Result<(), Fault> {
        let mut lane = self.lanes.writer().await;
        let counted = lane.one(Statement::Text(COUNT, Vec::new())).await?;
        lane.done();
        self.shared.store(counted.rows.first().map_or(0, |row| row.int(0)), Relaxed);
        Ok(())
    }

    /// Milliseconds after which a message that is named anew is made young again.
    pub(super) fn half_age(&self) -> i64 {
        i64::try_from(self.age.as_millis() / 2).unwrap_or(i64::MAX)
    }
}
