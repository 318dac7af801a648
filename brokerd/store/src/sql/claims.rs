//! Taking many sessions in one transaction, where nothing is in the way. Never insists: what another node does meanwhile
//! is left to [`super::claim`], which takes one at a time.

use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::claim::{SPARE, TAKE, is_granted, is_of};
use super::lanes::Lane;
use super::plan::hash;
use super::server::{Fault, Server};
use super::statement::{Known, Row, SESSION, Statement, Value, int, signed};
use super::write::{blobs, drop_sessions, ints};
use super::{Sql, rows};
use crate::backend::{Claim, Claimed};
use crate::record::Sid;

type Key = [u8; 32];
type Found = HashMap<Key, Row, RandomState>;

/// What becomes of a claim.
enum Fate {
    /// The session is there, and taken.
    Taken(i64),
    /// There was none, or it is dropped.
    New(Key),
    Fenced(u64),
}

impl<S: Server> Sql<S> {
    /// Answers `None` for those that are to be taken one by one.
    pub(super) async fn claim_many(&self, claims: &[Claim]) -> Result<Vec<Option<Result<Claimed, Fault>>>, Fault> {
        let mut lane = self.lanes.writer().await;
        let keys: Vec<Key> = claims.iter().map(|claim| hash(&claim.client_id)).collect();
        let all = Statement::Clients(blobs(keys.iter().map(|key| key.to_vec())));
        let mut replies = lane.run(&[Statement::Begin { is_durable: true }, all]).await?;
        let known = found(rows(&mut replies, 1));
        let fates: Vec<Fate> = claims.iter().zip(&keys).map(|(claim, key)| fate(claim, *key, known.get(key))).collect();
        let made = self.carry_out(&mut lane, claims, &fates, &known).await?;
        let mut results = Vec::with_capacity(claims.len());
        for (claim, fate) in claims.iter().zip(fates) {
            results.push(match fate {
                Fate::Fenced(epoch) => Some(Err(Fault::Fenced(epoch))),
                Fate::Taken(sid) => Some(Ok(self.claimed(&mut lane, sid).await?)),
                Fate::New(key) => made.get(&key).filter(|row| is_of(row, claim)).map(|row| Ok(empty(row))),
            });
        }
        lane.done();
        Ok(results)
    }

    /// Answers the sessions that were made.
    async fn carry_out(
        &self,
        lane: &mut Lane<'_, S>,
        claims: &[Claim],
        fates: &[Fate],
        known: &Found,
    ) -> Result<Found, Fault> {
        let mut statements = Vec::new();
        let mut new: Vec<(Key, &Claim)> = Vec::new();
        for (claim, fate) in claims.iter().zip(fates) {
            match fate {
                Fate::Taken(sid) => {
                    let node = Value::Bytes(claim.node.as_bytes().to_vec());
                    statements.push(Statement::Text(TAKE, vec![int(claim.epoch), node, Value::Int(*sid)]));
                    statements.push(Statement::Text(SPARE, vec![Value::Int(*sid)]));
                }
                Fate::New(key) => new.push((*key, claim)),
                Fate::Fenced(_) => {}
            }
        }
        let old: Vec<i64> = new.iter().filter_map(|(key, _)| known.get(key)).map(sid).collect();
        if !old.is_empty() {
            self.has_garbage.store(true, Relaxed);
        }
        drop_sessions(old.into_iter(), &mut statements);
        if new.is_empty() {
            statements.push(Statement::Commit);
            lane.run(&statements).await?;
            return Ok(Found::default());
        }
        new.sort_unstable_by_key(|(key, _)| *key); // two nodes that make the same ones wait for each other, not in a ring
        let keys = || blobs(new.iter().map(|(key, _)| key.to_vec()));
        let columns = vec![
            keys(),
            blobs(new.iter().map(|(_, claim)| claim.client_id.as_bytes().to_vec())),
            ints(new.iter().map(|(_, claim)| signed(claim.epoch))),
            blobs(new.iter().map(|(_, claim)| claim.node.as_bytes().to_vec())),
        ];
        statements.push(Statement::Insert(&SESSION, Known::Stays, columns));
        let at = statements.len();
        statements.extend([Statement::Clients(keys()), Statement::Commit]);
        let mut replies = lane.run(&statements).await?;
        Ok(found(rows(&mut replies, at)))
    }
}

fn fate(claim: &Claim, key: Key, known: Option<&Row>) -> Fate {
    let Some(row) = known else { return Fate::New(key) };
    let epoch = row.int(1);
    if !is_granted(row, claim) {
        return Fate::Fenced(epoch);
    }
    if claim.is_clean { Fate::New(key) } else { Fate::Taken(sid(row)) }
}

fn found(rows: Vec<Row>) -> Found {
    let key = |row: &Row| row.bytes(3).and_then(|key| key.try_into().ok());
    rows.into_iter().filter_map(|row| Some((key(&row)?, row))).collect()
}

fn sid(row: &Row) -> i64 {
    signed(row.int(0))
}

fn empty(row: &Row) -> Claimed {
    Claimed { sid: Sid(row.int(0)), record: None, queue: Vec::new(), received: Vec::new() }
}
