//! Puts a checked archive into a store. A session counts once its record is saved, which is the last that is written of
//! it; where the store does not take everything, what it took is removed. Never replaces what has a higher epoch.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use mqtt::message::SharedMessage;

use super::check::Checked;
use super::frame::{Frame, Stage};
use super::read::Records;
use super::{ArchiveError, Contents};
use crate::backend::{Claim, Delayed, Retained};
use crate::error::{State, StoreError};
use crate::front::{Batch, Store};
use crate::op::{Body, Entry, Op};
use crate::record::{SessionRecord, Sid, Stamp};
use crate::stats::Stats;

/// Changes, and about how many bytes, that are committed together.
const OPS: usize = 1000;
const BYTES: usize = 1 << 20;
/// When what an archive retains was set: before anything that is set here.
const LONG_AGO: Stamp = Stamp { hlc: 1, node: 0 };

/// What the store has now, to be taken up by whoever serves it.
#[derive(Debug, Default)]
pub struct Applied {
    /// How much.
    pub contents: Contents,
    /// Sessions that were left out: their clients have newer ones.
    pub skipped: u64,
    /// The sessions.
    pub sids: Vec<Sid>,
    /// What is retained.
    pub retained: Vec<Retained>,
    /// What is delayed.
    pub delayed: Vec<Delayed>,
}

/// A session that is being written.
struct Open {
    sid: Sid,
    epoch: u64,
    record: Box<SessionRecord>,
}

struct Apply<'a> {
    store: &'a Store,
    node: &'a str,
    applied: Applied,
    open: Option<Open>,
    ops: Vec<Op>,
    bytes: usize,
}

/// Applies the archive that was checked. Its file is read in this call, which therefore blocks now and then. The same
/// again changes nothing, but for sessions that are newer: those stay.
///
/// # Errors
/// Where the store did not take everything: then everything was removed again, as far as the store lets it.
pub async fn apply(store: &Store, node: &str, path: &Path, checked: &Checked) -> Result<Applied, ArchiveError> {
    let before = losses(&store.stats());
    let (applied, open, ops, bytes) = (Applied::default(), None, Vec::new(), 0);
    let mut apply = Apply { store, node, applied, open, ops, bytes };
    let done = apply.all(path, checked).await;
    let done = done.and_then(|()| match store.state() {
        _ if losses(&store.stats()) != before => Err(ArchiveError::Refused("a change was not kept")),
        State::Ok => Ok(()),
        State::Full => Err(ArchiveError::Refused("there is no room")),
        State::Down(reason) => Err(StoreError::Down(reason).into()),
    });
    match done {
        Ok(()) => Ok(apply.applied),
        Err(error) => {
            apply.remove_again().await;
            Err(error)
        }
    }
}

/// What may be lost where nobody waits for the answer (`commit = none`).
const fn losses(stats: &Stats) -> (u64, u64) {
    (stats.full, stats.failed)
}

impl Apply<'_> {
    async fn all(&mut self, path: &Path, checked: &Checked) -> Result<(), ArchiveError> {
        let mut records = Records::new(BufReader::new(File::open(path)?));
        let (mut session, mut retained) = (0, 0);
        while let Some(frame) = records.next()? {
            match frame {
                Frame::Session { epoch, received, record } => {
                    self.save_open();
                    if !checked.lost_sessions.contains(&session) {
                        self.begin(epoch, record).await?;
                        self.receive(received);
                    }
                    session += 1;
                }
                Frame::Entry { seq, stage, is_shared, entry } => self.enqueue(seq, stage, is_shared, entry),
                Frame::Retained(one) => {
                    if !checked.lost_retained.contains(&retained) {
                        self.retain(one);
                    }
                    retained += 1;
                }
                Frame::Delayed(delayed) => {
                    self.applied.delayed.push((*delayed).clone());
                    self.push(Op::PutDelayed(delayed));
                }
                Frame::Head(_) | Frame::End(_) => {}
            }
            if self.ops.len() >= OPS || self.bytes >= BYTES {
                self.commit().await?;
            }
        }
        self.save_open();
        self.commit().await?;
        self.applied.contents.retained = self.applied.retained.len() as u64;
        self.applied.contents.delayed = self.applied.delayed.len() as u64;
        Ok(self.store.flush().await?)
    }

    async fn begin(&mut self, epoch: u64, record: Box<SessionRecord>) -> Result<(), StoreError> {
        let claim =
            Claim { client_id: record.client_id.clone(), epoch, node: self.node.into(), is_clean: true, held: None };
        match self.store.claim(claim).await {
            Ok(claimed) => {
                self.applied.sids.push(claimed.sid);
                self.applied.contents.sessions += 1;
                self.open = Some(Open { sid: claimed.sid, epoch, record });
                Ok(())
            }
            Err(StoreError::Fenced { .. }) => {
                self.applied.skipped += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self, received: Vec<mqtt::PacketId>) {
        let Some(Open { sid, epoch, .. }) = self.open else { return };
        for packet_id in received {
            self.push(Op::Received { sid, epoch, packet_id });
        }
    }

    fn enqueue(&mut self, seq: u64, stage: Stage, is_shared: bool, entry: Option<Entry>) {
        let Some(Open { sid, epoch, .. }) = self.open else { return };
        if let Some(mut entry) = entry {
            if let Some((message, size)) = shared(&entry).filter(|_| is_shared) {
                entry.body = Body::Shared(message.id, size);
                self.push(Op::PutMessage(message.id, message));
            }
            self.push(Op::Enqueue { sid, epoch, seq, entry });
        }
        match stage {
            Stage::Waits => {}
            Stage::Sent(packet_id) => self.push(Op::Sent { sid, epoch, seq, packet_id }),
            Stage::Released(packet_id) => self.push(Op::Released { sid, epoch, seq, packet_id }),
        }
        self.applied.contents.messages += 1;
    }

    fn retain(&mut self, retained: Retained) {
        let Retained { topic, message, expires_at, .. } = retained.clone();
        self.push(Op::PutRetained { topic, stamp: LONG_AGO, message, expires_at });
        self.applied.retained.push(retained);
    }

    /// The last of a session: from here on it is one.
    fn save_open(&mut self) {
        if let Some(Open { sid, epoch, record }) = self.open.take() {
            self.push(Op::SaveSession { sid, epoch, record });
        }
    }

    fn push(&mut self, op: Op) {
        self.bytes += op.size();
        self.ops.push(op);
    }

    async fn commit(&mut self) -> Result<(), ArchiveError> {
        self.bytes = 0;
        let outcome = commit(self.store, std::mem::take(&mut self.ops)).await?;
        if outcome.is_full {
            return Err(ArchiveError::Refused("there is no room"));
        }
        // Whoever came meanwhile has a session of his own.
        let before = self.applied.sids.len();
        self.applied.sids.retain(|sid| outcome.fenced.binary_search(sid).is_err());
        let skipped = (before - self.applied.sids.len()) as u64;
        self.applied.skipped += skipped;
        self.applied.contents.sessions -= skipped;
        Ok(())
    }

    async fn remove_again(&mut self) {
        let sessions = std::mem::take(&mut self.applied.sids);
        let drop_session = |sid| Op::DropSession { sid, epoch: u64::MAX };
        let retained = std::mem::take(&mut self.applied.retained);
        let drop_retained = |one: Retained| Op::DropRetained { topic: one.topic, stamp: LONG_AGO };
        let delayed = std::mem::take(&mut self.applied.delayed);
        let ops = sessions.into_iter().map(drop_session);
        let ops = ops.chain(retained.into_iter().map(drop_retained));
        let ops: Vec<Op> = ops.chain(delayed.into_iter().map(|one| Op::DropDelayed(one.id))).collect();
        for ops in ops.chunks(OPS) {
            if let Err(error) = commit(self.store, ops.to_vec()).await {
                tracing::error!(%error, "an import that failed could not be removed from the store");
                return;
            }
        }
    }
}

/// The message of an entry, and its size, where it has an identity to be stored by.
fn shared(entry: &Entry) -> Option<(SharedMessage, u32)> {
    let Body::Inline(message) = &entry.body else { return None };
    let size = u32::try_from(message.heap_size()).unwrap_or(u32::MAX);
    Some((message.clone(), size))
}

async fn commit(store: &Store, ops: Vec<Op>) -> Result<crate::op::Outcome, StoreError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    store.flush().await?; // so that there is room in the queue, whatever else goes on
    let done = Box::new(move |result| drop(answer.send(result)));
    store.submit(Batch { ops, done }).map_err(|_| StoreError::Full)?;
    answered.await.unwrap_or_else(|_| Err(StoreError::Down("it is closed".into())))
}
