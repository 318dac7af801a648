//! Batches become one transaction: first who owns what is read and held, then all is written. It is held for this one
//! alone: a transaction that a lost connection left behind is over before the same sessions are written again. Never
//! writes for an owner who is one no more.

use std::sync::atomic::Ordering::Relaxed;

use super::plan::{Owner, Owners, Plan};
use super::server::{Fault, Server};
use super::statement::{Statement, signed};
use super::{Sql, rows};
use crate::op::{Op, Outcome};
use crate::record::Sid;

impl<S: Server> Sql<S> {
    pub(super) async fn apply_all(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, Fault> {
        let mut lane = self.lanes.writer().await;
        let mut sids: Vec<i64> = all(batches).filter_map(Op::owner).map(|(sid, _)| signed(sid.0)).collect();
        sids.sort_unstable();
        sids.dedup();
        let mut owners = Owners::default();
        let mut begin = vec![Statement::Begin { is_durable }];
        if !sids.is_empty() {
            begin.push(Statement::Owners(sids));
        }
        let mut replies = lane.run(&begin).await?;
        owners.extend(rows(&mut replies, 1).iter().map(|row| {
            let is_ours = self.node.get().is_none_or(|node| row.text(2).is_some_and(|owner| owner == *node));
            (Sid(row.int(0)), Owner { epoch: row.int(1), is_ours })
        }));
        let mut plan = Plan::default();
        let outcomes = batches.iter().map(|ops| plan.add(ops, &mut owners)).collect();
        let drops_any = !plan.dropped.is_empty();
        let (mut statements, message_at) = plan.into_statements(self.half_age());
        statements.push(Statement::Commit);
        let replies = lane.run(&statements).await?;
        lane.done();
        let added = message_at.and_then(|at| replies.get(at)).map_or(0, |reply| reply.changed);
        self.shared.fetch_add(added, Relaxed);
        if drops_any {
            self.has_garbage.store(true, Relaxed);
        }
        Ok(outcomes)
    }
}

fn all<'a>(batches: &'a [&'a [Op]]) -> impl Iterator<Item = &'a Op> {
    batches.iter().flat_map(|ops| ops.iter())
}
