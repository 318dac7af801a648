//! What changes the store: each call of a script is numbered, so that what a lost connection delivers late is refused.
//! Never tries again: the committer does, with the same batches.

use std::sync::atomic::Ordering::Relaxed;

use redis::{Cmd, Value};

use super::calls::{self, Call};
use super::link::{Open, Refusal};
use super::scripts::Script;
use super::{Server, rows};
use crate::backend::Expired;
use crate::error::StoreError;
use crate::op::{Op, Outcome};
use crate::record::UnixMillis;

/// Entries of a session that is gone that are removed at a time.
const SWEEP: usize = 500;
/// Sessions that are fenced at a time.
const FENCE: usize = 500;
/// Sessions and entries that are looked at in one call, at most.
const EXPIRE: usize = 500;

impl Server {
    /// A call of a script that writes.
    pub(super) fn numbered(&self, open: &Open, script: Script) -> Cmd {
        let number = self.calls.fetch_add(1, Relaxed) + 1;
        let mut command = open.call(script, &self.prefix);
        command.arg(&self.writer).arg(number).arg(self.node.get().map_or("", |node| &**node));
        command
    }

    pub(super) async fn apply_all(&self, batches: &[&[Op]]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = vec![Outcome::default(); batches.len()];
        let mut calls = calls::of(batches);
        let open = self.changes.open().await?;
        let answers = self.send(&open, Script::Apply, &calls).await?;
        let done = answers.iter().position(|answer| matches!(answer, Err(Refusal::Full(_)))).unwrap_or(calls.len());
        self.note(&calls[..done], answers, &mut outcomes)?;
        if done < calls.len() {
            self.is_full.store(true, Relaxed);
            // All that follow too, though some may have been carried out: their order is the batches'.
            for call in &mut calls[done..] {
                call.lessen().into_iter().for_each(|batch| outcomes[batch].is_full = true);
            }
            let answers = self.send(&open, Script::Lessen, &calls[done..]).await?;
            self.note(&calls[done..], answers, &mut outcomes)?;
        } else if self.is_full.load(Relaxed) {
            self.look_for_room(&open, &calls).await?;
        }
        if batches.iter().flat_map(|ops| ops.iter()).any(|op| matches!(op, Op::DropSession { .. })) {
            self.is_untidy.store(true, Relaxed);
        }
        for outcome in &mut outcomes {
            outcome.fenced.sort_unstable();
            outcome.fenced.dedup();
        }
        Ok(outcomes)
    }

    /// One round trip, also where there is nothing to do: it tells whether the server is there.
    async fn send(
        &self,
        open: &Open,
        script: Script,
        calls: &[Call<'_>],
    ) -> Result<Vec<Result<Value, Refusal>>, StoreError> {
        let mut pipeline = redis::pipe();
        for call in calls {
            let mut command = self.numbered(open, script);
            call.write(&mut command);
            pipeline.add_command(command);
        }
        pipeline.cmd("HLEN").arg(self.key("bodies"));
        let mut answers = self.changes.run(open, &mut pipeline).await?;
        let shared = answers.pop().unwrap_or(Ok(Value::Nil))?;
        self.shared.store(self.changes.read(shared)?, Relaxed);
        Ok(answers)
    }

    fn note(
        &self,
        calls: &[Call<'_>],
        answers: Vec<Result<Value, Refusal>>,
        outcomes: &mut [Outcome],
    ) -> Result<(), StoreError> {
        for (call, answer) in calls.iter().zip(answers) {
            let refused: Vec<i64> = self.changes.read(answer?)?;
            for place in refused {
                let part = usize::try_from(place.unsigned_abs()).ok().and_then(|at| call.part(at));
                match part {
                    Some((batch, _)) if place < 0 => outcomes[batch].is_unreceived = true,
                    Some((batch, sid)) => outcomes[batch].fenced.push(sid),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Whoever asks is refused while there is no room, so nothing would be tried: the server is asked instead.
    async fn look_for_room(&self, open: &Open, calls: &[Call<'_>]) -> Result<(), StoreError> {
        let has_room = calls.iter().any(Call::grows) || {
            let mut info = redis::cmd("INFO");
            info.arg("memory");
            let text: String = self.changes.one(open, info).await?;
            let value = |name| super::promises::number(&text, name);
            let (used, most) = (value("used_memory"), value("maxmemory"));
            most.is_none_or(|most| most == 0 || used.is_some_and(|used| used < most))
        };
        self.is_full.store(!has_room, Relaxed);
        Ok(())
    }

    /// From here on only this process writes for the node: one step, so that a batch of the one before is in whole or not at
    /// all. Then claims all that is the node's under the next epoch, many at a time, so that whoever was about to take it
    /// does not. What another node has taken meanwhile stays its.
    pub(super) async fn fence_node(&self, node: &str) -> Result<(), StoreError> {
        let mut process = redis::cmd("SET");
        process.arg(self.key(&format!("process:{node}"))).arg(&self.writer);
        let () = self.changes.one(&self.changes.open().await?, process).await?;
        let _ = self.node.set(node.into()); // the same each time
        let mut after = None;
        loop {
            let page = self.session_page(after, FENCE, false).await?;
            let mut pipeline = redis::pipe();
            let open = self.changes.open().await?;
            for head in page.items.iter().filter(|head| *head.node == *node) {
                let mut command = self.numbered(&open, Script::Claim);
                command.arg(&*head.client_id).arg(rows::epoch(head.epoch + 1)).arg(node).arg(0).arg("");
                pipeline.add_command(command);
            }
            if !pipeline.is_empty() {
                for answer in self.changes.run(&open, &mut pipeline).await? {
                    answer?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    pub(super) async fn expire_some(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        let open = self.changes.open().await?;
        let mut command = open.call(Script::Expire, &self.prefix);
        command.arg(now).arg(limit.clamp(1, EXPIRE));
        type Answer = (Vec<(Vec<u8>, String)>, Vec<(Vec<u8>, Vec<u8>)>, u8);
        let (ended, gone, is_round): Answer = self.changes.one(&open, command).await?;
        if !ended.is_empty() {
            self.is_untidy.store(true, Relaxed);
        }
        let entry =
            |(sid, seq): (Vec<u8>, Vec<u8>)| Some((rows::read_sid(&sid)?, u64::from_be_bytes(seq.try_into().ok()?)));
        if is_round != 0 {
            self.is_untidy.store(true, Relaxed); // what a node that died has left
        }
        Ok(Expired {
            sessions: ended.into_iter().filter_map(|(sid, id)| Some((rows::read_sid(&sid)?, id.into()))).collect(),
            messages: gone.into_iter().filter_map(entry).collect(),
            is_round: is_round != 0,
        })
    }

    /// Removes some of what sessions that are gone have left.
    pub(super) async fn sweep(&self) -> Result<bool, StoreError> {
        if !self.is_untidy.load(Relaxed) {
            return Ok(false);
        }
        let open = self.changes.open().await?;
        let mut command = open.call(Script::Sweep, &self.prefix);
        command.arg(SWEEP);
        let (more, shared): (u8, u64) = self.changes.one(&open, command).await?;
        self.shared.store(shared, Relaxed);
        self.is_untidy.store(more != 0, Relaxed);
        Ok(more != 0)
    }

    pub(super) fn confused(&self, by: &str) -> StoreError {
        StoreError::Unavailable(format!("redis at {}: the answer to {by} is not understood", self.address))
    }
}
