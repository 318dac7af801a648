//! The wills of this worker's clients: sent under an identity of their own, once, and entrusted to another node for as long
//! as they may have to be sent. Never decides when one is due: the session does, or the node that has it.

use std::sync::Arc;
use std::time::Duration;

use mqtt::Message;
use mqtt::session::{Negotiated, Will};

use super::shard::{Entry, Shard};
use super::start::Workers;
use crate::access::{Identity, Principal};
use crate::registry::{Epoch, LastWill, WillPage, will_id};

fn last_will(client_id: &Arc<str>, identity: &Identity, epoch: Epoch, will: &Will, session_expiry: u32) -> LastWill {
    let user = match &identity.principal {
        Principal::Anonymous => None,
        Principal::User(name) => Some(name.as_ref().into()),
    };
    let (client_id, will) = (client_id.clone(), will.clone());
    LastWill { client_id, epoch, user, ip: identity.ip(), will, session_expiry, due_in: None }
}

impl Shard {
    /// What another node is to hold of a CONNECT. A session in a store that all nodes share has its will there, and who
    /// adopts it sends that.
    pub(super) fn to_entrust(&self, negotiated: &Negotiated, identity: &Identity, epoch: Epoch) -> Option<LastWill> {
        let will = negotiated.will.as_ref()?;
        let is_adopted = self.journal.moves.is_shared && negotiated.session_expiry > 0;
        (!is_adopted).then(|| last_will(&negotiated.client_id, identity, epoch, will, negotiated.session_expiry))
    }

    /// The same of a session.
    fn entrusted(&self, entry: &Entry) -> Option<LastWill> {
        let session = &entry.session;
        let is_adopted = self.journal.moves.is_shared && entry.sid().is_some();
        let will = session.will().filter(|_| !is_adopted && !entry.is_departing)?;
        let mut last = last_will(session.client_id(), &entry.identity, entry.will_epoch, will, session.expiry());
        if session.connection().is_none() {
            let left = session.next_timeout().map(|at| at.since(self.shared.now()));
            last.due_in = left.map(Duration::from_millis);
        }
        Some(last)
    }

    /// The connection has ended, and the will waits for its delay.
    pub(super) fn will_waits(&self, slot: u32) {
        if let Some(last) = self.sessions.get(slot as usize).and_then(|entry| self.entrusted(entry)) {
            self.shared.elsewhere.will_waits(last);
        }
    }

    /// The will of a session is deleted, or another node's by now: nobody sends it for this node.
    pub(super) fn delete_will(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| entry.session.will().is_some()) else {
            return;
        };
        entry.session.cancel_will();
        self.shared.elsewhere.withdraw(entry.session.client_id(), entry.will_epoch);
    }

    /// Publishes the will of a client's connection, unless another node has, and if whose it is still may.
    pub(super) fn send_will(&mut self, client_id: &Arc<str>, identity: &Identity, epoch: Epoch, mut will: Message) {
        will.id = will_id(client_id, epoch);
        if self.shared.elsewhere.is_first_copy(will.id) {
            self.publish_late(client_id, identity, will);
        }
        self.shared.elsewhere.withdraw(client_id, epoch);
    }
}

impl Workers {
    /// See [`crate::registry::Owners::wills`].
    pub(super) async fn wills_page(&self, cursor: u64, limit: usize) -> WillPage {
        let worker = u16::try_from(cursor >> 32).unwrap_or(u16::MAX);
        let place = u32::try_from(cursor & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        if usize::from(worker) >= self.boxes.iter().len() {
            return (Vec::new(), None);
        }
        let question = move |shard: &mut Shard| {
            let mut wills = Vec::new();
            let next = shard.walk(place, limit, |_, entry| wills.extend(shard.entrusted(entry)));
            (wills, next)
        };
        let (wills, next) = self.ask(worker, question).await.unwrap_or_default();
        let next = next.map_or((u64::from(worker) + 1) << 32, |place| u64::from(worker) << 32 | u64::from(place));
        (wills, Some(next))
    }

    /// See [`crate::registry::Owners::send_will`].
    pub(super) fn send_will_of(&self, last: LastWill) {
        let principal = last.user.map_or(Principal::Anonymous, |name| Principal::User((&*name).into()));
        let (client_id, epoch, identity) = (last.client_id, last.epoch, Identity::new(principal, last.ip));
        let (worker, will) = (self.boxes.worker_of(&client_id), last.will);
        let send = move |shard: &mut Shard| {
            shard.begin_turn();
            let message = will.publish(shard.turn.now);
            shard.send_will(&client_id, &identity, epoch, message);
        };
        self.boxes.of(worker).post(super::mailbox::Mail::Ask(Box::new(send)));
    }
}
