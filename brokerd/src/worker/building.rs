//! A session that comes from another node, until it has its place here: put together from pages, and into the store of
//! this node page by page. Never asks for a page, and never tells anybody that it is here before it is whole.

use std::sync::Arc;

use mqtt::PacketId;
use mqtt::session::{KeptMessage, Session, Stage};
use store::{Batch, Body, Claim, Entry, Op, SessionRecord, Sid, Store};
use tokio::sync::oneshot;

use super::marks::Marks;
use super::records::{self, WallClock};
use super::shard::{Handle, Shard};
use crate::access::Identity;
use crate::registry::{Epoch, Fetch, MovingMessage, MovingPage};

/// What the pages so far have made.
pub(super) struct Building<'a> {
    shard: &'a Handle,
    store: Option<Arc<Store>>,
    client_id: Arc<str>,
    epoch: Epoch,
    begun: Option<Begun>,
    after: u64,
    marks: Marks,
    /// Of a message that is larger than a page.
    piece: Vec<u8>,
}

struct Begun {
    session: Session,
    identity: Identity,
    record: SessionRecord,
    sid: Option<Sid>,
}

impl<'a> Building<'a> {
    pub(super) fn new(shard: &'a Handle, store: Option<Arc<Store>>, client_id: Arc<str>, epoch: Epoch) -> Self {
        Self { shard, store, client_id, epoch, begun: None, after: 0, marks: Marks::default(), piece: Vec::new() }
    }

    /// What is to be asked for.
    pub(super) fn next(&self) -> Fetch {
        Fetch {
            client_id: self.client_id.clone(),
            epoch: self.epoch,
            after: self.after,
            is_head: self.begun.is_none(),
            is_drained: false,
            offset: self.piece.len(),
        }
    }

    /// The name of the last message.
    pub(super) const fn last_seq(&self) -> u64 {
        self.after
    }

    /// Takes a page. The error says why not.
    pub(super) async fn add(&mut self, page: MovingPage) -> Result<(), &'static str> {
        let clock = WallClock { wall: page.wall, ..self.shard.borrow().shared.clock() };
        let mut ops = Vec::new();
        if self.begun.is_none() {
            ops = self.begin(&page, clock).await?;
            page.marks.iter().for_each(|id| self.marks.hear(*id));
        }
        let Some(begun) = &mut self.begun else { return Err("it has no beginning") };
        for message in page.messages {
            self.piece.extend_from_slice(&message.entry);
            if message.missing > 0 {
                return commit(self.store.as_deref(), ops).await;
            }
            let shard = self.shard.borrow();
            begun.append(&message, &std::mem::take(&mut self.piece), clock, &shard, self.epoch, &mut ops)?;
            self.after = message.seq;
        }
        self.after = self.after.max(page.up_to);
        if let (true, Some(sid)) = (page.is_last, begun.sid) {
            // The last: from here on it is a session of this node's.
            ops.push(Op::SaveSession { sid, epoch: self.epoch.0, record: Box::new(begun.record.clone()) });
        }
        commit(self.store.as_deref(), ops).await
    }

    async fn begin(&mut self, page: &MovingPage, clock: WallClock) -> Result<Vec<Op>, &'static str> {
        let mut record = store::decode_session(&page.record).map_err(|_| "its record cannot be read")?;
        if *record.client_id != *self.client_id {
            return Err("it is another client's");
        }
        let here = self.shard.borrow().shared.clock();
        let (identity, kept) = records::kept(record.clone(), clock);
        record.detached_at = Some(kept.detached_at.map_or(here.wall, |at| here.to_wall(at)));
        let received: Vec<PacketId> = page.received.iter().filter_map(|id| PacketId::new(*id)).collect();
        let mut session = Session::restore(self.client_id.clone(), kept, received.iter().copied(), [], clock.now);
        session.number();
        // One that went from here before is no use any more, and its place in the store is needed.
        self.shard.borrow_mut().drop_copy(&self.client_id);
        let mut ops = Vec::new();
        let sid = match &self.store {
            Some(store) => {
                let node = self.shard.borrow().shared.node.clone();
                let (client_id, epoch) = ((&*self.client_id).into(), self.epoch.0);
                let claim = Claim { client_id, epoch, node: (&*node).into(), is_clean: true, held: None };
                let sid = store.claim(claim).await.map_err(|_| "the store gives it no place")?.sid;
                ops.extend(received.into_iter().map(|packet_id| Op::Received { sid, epoch, packet_id }));
                Some(sid)
            }
            None => None,
        };
        self.begun = Some(Begun { session, identity, record, sid });
        Ok(ops)
    }

    /// It did not come to its end: nothing of it stays.
    pub(super) fn give_up(self) {
        if let Some(sid) = self.begun.and_then(|begun| begun.sid) {
            self.shard.borrow_mut().note(Op::DropSession { sid, epoch: self.epoch.0 });
        }
    }

    /// Gives it its place, unless a later one is there. Answers where, and the version of the routes that has it.
    pub(super) fn take_up(self) -> Option<(u32, u32, u64)> {
        let mut shard = self.shard.borrow_mut();
        shard.begin_turn();
        let Begun { session, identity, record, sid } = self.begun?;
        let existing = shard.slot_of(&self.client_id);
        let found = existing.and_then(|slot| Some((slot, shard.sessions.get(slot as usize)?)));
        if let Some((slot, entry)) = found {
            if entry.epoch > self.epoch {
                shard.journal_drop(sid, self.epoch);
                return None;
            }
            if entry.conn.is_some() {
                shard.say_and_drop(slot, mqtt::ReasonCode::SessionTakenOver);
            }
            if shard.slot_of(&self.client_id) == Some(slot) {
                shard.drop_moved(slot);
            }
        }
        let detached_at = record.detached_at.unwrap_or_default();
        let (slot, version) = shard.settle_in(session, identity, sid, self.epoch, detached_at);
        shard.arrived(slot, self.after, true);
        if let Some(arrival) = shard.arrival_mut(slot) {
            arrival.marks = self.marks;
        }
        let incarnation = shard.sessions.get(slot as usize)?.incarnation;
        Some((slot, incarnation, version))
    }
}

impl Shard {
    fn journal_drop(&mut self, sid: Option<Sid>, epoch: Epoch) {
        if let Some(sid) = sid {
            self.note(Op::DropSession { sid, epoch: epoch.0 });
        }
    }
}

impl Begun {
    fn append(
        &mut self,
        message: &MovingMessage,
        bytes: &[u8],
        clock: WallClock,
        shard: &Shard,
        epoch: Epoch,
        ops: &mut Vec<Op>,
    ) -> Result<(), &'static str> {
        let (seq, id, limits) = (message.seq, PacketId::new(message.packet_id), &shard.shared.settings.session);
        let entry = if message.is_released { None } else { Some(read(bytes)?) };
        let stage = match id {
            None => Stage::Queued,
            Some(id) if message.is_released => Stage::Released(id),
            Some(id) => Stage::Sent(id),
        };
        let delivery = entry.map(|(entry, message)| records::delivery(store::Stored { seq, entry, message }, clock));
        // Released is QoS 2 alone.
        let qos = delivery.as_ref().map_or(mqtt::Qos::ExactlyOnce, |delivery| delivery.qos);
        if let Some(sid) = self.sid.filter(|_| qos != mqtt::Qos::AtMostOnce) {
            let epoch = epoch.0;
            let here = shard.shared.clock();
            ops.extend(delivery.clone().map(|delivery| Op::Enqueue {
                sid,
                epoch,
                seq,
                entry: records::entry(delivery, here),
            }));
            match stage {
                Stage::Queued => {}
                Stage::Sent(packet_id) => ops.push(Op::Sent { sid, epoch, seq, packet_id }),
                Stage::Released(packet_id) => ops.push(Op::Released { sid, epoch, seq, packet_id }),
            }
        }
        let expires_at = delivery.as_ref().and_then(|delivery| delivery.message.expires_at);
        let kept = KeptMessage { seq, qos, size: 0, expires_at, stage };
        self.session.append(kept, delivery, limits);
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<(Entry, mqtt::message::SharedMessage), &'static str> {
    let entry = store::decode_entry(bytes).map_err(|_| "a message cannot be read")?;
    let Body::Inline(message) = &entry.body else { return Err("a message has no body") };
    let message = message.clone();
    Ok((entry, message))
}

/// Waits until the store has it, so that no more than a page is on its way to it.
async fn commit(store: Option<&Store>, ops: Vec<Op>) -> Result<(), &'static str> {
    let Some(store) = store.filter(|_| !ops.is_empty()) else { return Ok(()) };
    let (answer, answered) = oneshot::channel();
    let done = Box::new(move |result| drop(answer.send(result)));
    store.submit(Batch { ops, done }).map_err(|_| "the store is behind")?;
    match answered.await {
        Ok(Ok(outcome)) if !outcome.is_full && outcome.fenced.is_empty() => Ok(()),
        _ => Err("the store has not kept it"),
    }
}
