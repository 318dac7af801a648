//! Taking sessions: one round trip for many, and one more that reads what there is to take. Never chooses an epoch: the
//! registrar does.

use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use redis::Value;

use super::link::Refusal;
use super::scripts::Script;
use super::{Server, rows};
use crate::backend::{Claim, Claimed, SessionHead};
use crate::error::StoreError;
use crate::record::Sid;

type Granted = Result<Sid, StoreError>;

impl Server {
    /// One answer a claim; an error where none has one.
    pub(super) async fn claim_sessions(
        &self,
        claims: &[Claim],
    ) -> Result<Vec<Result<Claimed, StoreError>>, StoreError> {
        let open = self.changes.open().await?;
        let mut pipeline = redis::pipe();
        for claim in claims {
            let mut command = self.numbered(&open, Script::Claim);
            command.arg(&*claim.client_id).arg(rows::epoch(claim.epoch)).arg(&*claim.node);
            command.arg(u8::from(claim.is_clean)).arg(claim.held.map(rows::epoch).unwrap_or_default());
            pipeline.add_command(command);
        }
        let answers = self.changes.run(&open, &mut pipeline).await?;
        if claims.iter().any(|claim| claim.is_clean) {
            self.is_untidy.store(true, Relaxed);
        }
        let granted: Vec<Granted> = answers.into_iter().map(|answer| self.granted(answer)).collect();
        if let Some(Err(error @ StoreError::Unavailable(_))) = granted.iter().find(|one| is_unavailable(one)) {
            return Err(error.clone());
        }
        // Nobody else changes the sessions from here on.
        let sids: Vec<Sid> = granted.iter().filter_map(|one| one.as_ref().ok()).copied().collect();
        let heads = if sids.is_empty() { Vec::new() } else { self.heads(&sids, true).await? };
        let mut heads: HashMap<Sid, SessionHead, RandomState> =
            heads.into_iter().map(|head| (head.sid, head)).collect();
        let mut claimed = |sid: Sid| match heads.remove(&sid) {
            Some(head) => Claimed { sid, record: head.record, queue: head.queue, received: head.received },
            None => Claimed { sid, record: None, queue: Vec::new(), received: Vec::new() },
        };
        Ok(granted.into_iter().map(|one| one.map(&mut claimed)).collect())
    }

    fn granted(&self, answer: Result<Value, Refusal>) -> Granted {
        let (is_granted, answer): (u8, Vec<u8>) = self.changes.read(answer?)?;
        if is_granted == 0 {
            let stored = std::str::from_utf8(&answer).ok().and_then(|text| text.parse().ok());
            return Err(StoreError::Fenced { stored: stored.unwrap_or(u64::MAX) });
        }
        rows::read_sid(&answer).ok_or_else(|| self.confused("a claim"))
    }
}

const fn is_unavailable(granted: &Granted) -> bool {
    matches!(granted, Err(StoreError::Unavailable(_)))
}
