//! From an accepted CONNECT to a session with a connection, and back. Owns the rules of takeover, resumption and end;
//! never decides which node owns a client id: the registry does.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mqtt::packet::Packet;
use mqtt::session::{Closing, Due, Event, Granted, Negotiated};
use mqtt::{ReasonCode, Version, codec};
use store::{Sid, StoreError};
use tokio::sync::oneshot;

use super::conn::{Conn, drive};
use super::following;
use super::refusal::{Refusal, refuse};
use super::shard::{Handle, Shard};
use super::taking;
use super::view::History;
use crate::access::Identity;
use crate::listener::Connected;
use crate::metrics::Metric;
use crate::registry::{Claim, Epoch, Grant, Loss};
use crate::transport::{Detached, Transport};

/// A connection whose CONNECT is understood, on its way to the session's worker.
pub(super) struct Handover {
    pub(super) transport: Detached,
    pub(super) negotiated: Negotiated,
    /// What the client sent behind its CONNECT.
    pub(super) rest: Vec<u8>,
    pub(super) connected: Connected,
    pub(super) identity: Identity,
}

/// Claims the client id, then gives the session its connection.
pub(super) async fn attach(shard: Handle, handover: Handover) {
    let Handover { transport, negotiated, rest, connected, identity } = handover;
    let Ok(transport) = transport.attach() else {
        return;
    };
    if !takes_bytes(&shard, &transport).await {
        return;
    }
    let (recipient, client_id) = (negotiated.recipient(), negotiated.client_id.clone());
    // Before the claim: who may not have the id must not take it from its owner.
    let is_refused = !shard.borrow().may_have(&client_id, &identity);
    if is_refused {
        return refuse(&shard, transport, recipient, &ReasonCode::NotAuthorized.into()).await;
    }
    let Taken { granted, place, entrusted, superseded } = take(&shard, &negotiated, &identity).await;
    let Ok(grant) = granted else {
        // Another's session has the id on another node, as it may have here.
        return refuse(&shard, transport, recipient, &ReasonCode::NotAuthorized.into()).await;
    };
    let given_up = || withdraw(&shard, &client_id, entrusted);
    if superseded > grant.epoch {
        // Another node got the id between the grant and now: this connection has lost already, and what came here of
        // the session goes on to that node.
        given_up();
        let loss = Loss { epoch: superseded, is_clean: false };
        return shard.borrow_mut().superseded(&client_id, loss, oneshot::channel().0);
    }
    if connected.is_cut_off() {
        given_up();
        return shard.borrow_mut().return_claim(&client_id, grant.epoch); // its listener was stopped meanwhile
    }
    let place = match place {
        Ok(place) => place,
        Err(error) => {
            tracing::debug!(%error, client = &*client_id, "the store could not give a session");
            shard.borrow_mut().return_claim(&client_id, grant.epoch);
            return refuse(&shard, transport, recipient, &ReasonCode::ServerUnavailable.into()).await;
        }
    };
    let attached = {
        let mut shard = shard.borrow_mut();
        shard.begin_turn();
        if shard.may_have(&client_id, &identity) {
            Ok(shard.attach(transport, negotiated, connected, identity, grant.epoch, place))
        } else {
            shard.return_claim(&client_id, grant.epoch); // another CONNECT, or a reload, came in between
            Err(transport)
        }
    };
    if !matches!(attached, Ok(Some(_))) {
        given_up();
    }
    begin(shard, attached, &rest, recipient).await;
}

/// What a CONNECT has once the client id is claimed.
struct Taken {
    granted: Result<Grant, crate::registry::Refusal>,
    /// In the store, of a session that begins.
    place: Result<Option<Sid>, StoreError>,
    /// By which epoch another node holds the will.
    entrusted: Epoch,
    /// The latest epoch that another node got it by meanwhile.
    superseded: Epoch,
}

/// Claims the client id, and has the store and the holder of the will ready.
async fn take(shard: &Handle, negotiated: &Negotiated, identity: &Identity) -> Taken {
    let client_id = &negotiated.client_id;
    let (shared, claim) = {
        let shard = shard.borrow();
        (shard.shared.clone(), shard.claim(negotiated, identity))
    };
    let ticket = {
        let mut shard = shard.borrow_mut();
        shard.pending_claims.begin(client_id);
        shard.takeovers.claims(client_id)
    };
    let mut granted = shared.elsewhere.claim(claim.clone()).await;
    shard.borrow_mut().takeovers.claimed(client_id, ticket);
    let place = match &mut granted {
        Ok(grant) => settle(shard, negotiated, claim, grant).await,
        Err(_) => Ok(None),
    };
    let entrusted = match (&granted, &place) {
        (Ok(grant), Ok(_)) => entrust(shard, negotiated, identity, grant.epoch).await,
        _ => Epoch::default(),
    };
    let granted_at = granted.as_ref().ok().map(|grant| grant.epoch);
    let superseded = shard.borrow_mut().pending_claims.end(client_id, granted_at);
    Taken { granted, place, entrusted, superseded }
}

/// Has another node hold the will of a CONNECT before this is answered. Answers the epoch that it was entrusted with.
async fn entrust(shard: &Handle, negotiated: &Negotiated, identity: &Identity, epoch: Epoch) -> Epoch {
    let (will, elsewhere) = {
        let shard = shard.borrow();
        (shard.to_entrust(negotiated, identity, epoch), shard.shared.elsewhere.clone())
    };
    let Some(will) = will else { return Epoch::default() };
    elsewhere.entrust(will).await;
    epoch
}

/// The connection of a CONNECT has not come about: its will is nobody's.
fn withdraw(shard: &Handle, client_id: &Arc<str>, entrusted: Epoch) {
    if entrusted != Epoch::default() {
        shard.borrow().shared.elsewhere.withdraw(client_id, entrusted);
    }
}

/// Waits until this runtime knows that the socket takes bytes. What is behind the CONNECT may end the connection at once,
/// and the CONNACK and the reason would find no way out.
async fn takes_bytes(shard: &Handle, transport: &Transport) -> bool {
    let patience = shard.borrow().shared.settings.connect_timeout;
    let ready = std::future::poll_fn(|cx| transport.poll_write_ready(cx));
    matches!(tokio::time::timeout(patience, ready).await, Ok(Ok(())))
}

/// Gives a connection its session, and the task that drives it.
async fn begin(
    shard: Handle,
    attached: Result<Option<(std::rc::Rc<Transport>, u32, u32)>, Transport>,
    rest: &[u8],
    recipient: codec::Recipient,
) {
    match attached {
        Ok(Some((transport, slot, incarnation))) => {
            tokio::task::spawn_local(drive(shard.clone(), transport, slot, incarnation));
            shard.borrow_mut().auto_subscribe(slot);
            if !rest.is_empty() {
                shard.borrow_mut().first_packets(slot, rest);
            }
        }
        Ok(None) => {}
        Err(transport) => refuse(&shard, transport, recipient, &ReasonCode::NotAuthorized.into()).await,
    }
}

/// Has the store ready for the session that this CONNECT begins or resumes.
async fn settle(
    shard: &Handle,
    negotiated: &Negotiated,
    claim: Claim,
    grant: &mut Grant,
) -> Result<Option<Sid>, StoreError> {
    let (store, is_far_behind) = {
        let shard = shard.borrow();
        (shard.shared.store.clone(), shard.is_far_behind())
    };
    match store {
        // Who needs nothing of it is served all the same.
        Some(_) if negotiated.session_expiry > 0 && is_far_behind => Err(StoreError::Full),
        Some(store) if store.caps().is_shared => following::ready(shard, &store, negotiated, claim, grant).await,
        store => taking::ready(shard, store.as_ref(), negotiated, grant).await,
    }
}

impl Shard {
    /// Answers the connection to be driven; `None` where a later CONNECT of the same client id came first.
    fn attach(
        &mut self,
        transport: Transport,
        mut negotiated: Negotiated,
        connected: Connected,
        identity: Identity,
        epoch: Epoch,
        place: Option<Sid>,
    ) -> Option<(std::rc::Rc<Transport>, u32, u32)> {
        let existing = self.slot_of(&negotiated.client_id);
        if existing.and_then(|slot| self.sessions.get(slot as usize)).is_some_and(|entry| entry.epoch > epoch) {
            self.counters.inc(Metric::SessionDiscarded);
            return None;
        }
        // A place in the store was claimed for a session that begins: what another CONNECT began meanwhile is not it.
        let is_new = negotiated.clean_start || place.is_some();
        let resumed = existing.and_then(|slot| self.prepare_existing(slot, is_new));
        let now = wall_millis();
        let slot = match resumed {
            Some(slot) => {
                self.counters.inc(Metric::SessionResumed);
                slot
            }
            None => self.create(&negotiated.client_id, negotiated.version, identity.clone(), History::new(now, now)),
        };
        let terms = negotiated.clone();
        let (connack, limit) = (terms.connack(resumed.is_some()), terms.maximum_packet_size);
        let entry = self.sessions.get_mut(slot as usize)?;
        let conn = Conn::new(transport, connected);
        let transport = conn.transport.clone();
        entry.conn = Some(conn);
        (entry.epoch, entry.will_epoch) = (epoch, epoch);
        entry.history.connected(now, negotiated.username.clone(), &identity.principal);
        entry.clean_start = negotiated.clean_start;
        entry.identity = identity;
        let incarnation = entry.incarnation;
        let version = negotiated.version;
        if resumed.is_some() {
            self.revoke_subscriptions(slot);
            self.members_return(slot);
        }
        self.keep(slot, place, negotiated.session_expiry > 0);
        self.step(slot, |session, limits, now, out| {
            out.promises = true; // that there is a session, or that there is none any more
            codec::connack(&mut out.wire, version, &connack, limit);
            session.attach(&mut negotiated, limits, now, out);
        });
        for metric in [Metric::ConnackSent, Metric::PacketsSent, Metric::ClientConnected] {
            self.counters.inc(metric);
        }
        self.save(slot);
        self.arm(slot);
        Some((transport, slot, incarnation))
    }

    /// Readies the session that a CONNECT found: takes it over from its connection, and ends it where the client wants
    /// to start clean. Answers its place if it lives on.
    fn prepare_existing(&mut self, slot: u32, clean_start: bool) -> Option<u32> {
        let entry = self.sessions.get(slot as usize)?;
        if entry.conn.is_some() {
            self.counters.inc(Metric::SessionTakenover);
            self.say_and_drop(slot, ReasonCode::SessionTakenOver); // [MQTT-3.1.4-3]
        } else {
            self.session_due(slot); // its will or its end may be due, and its timer not have run
        }
        // A session of expiry 0 ended with its connection just now.
        self.sessions.get(slot as usize)?;
        if clean_start {
            self.end(slot, Metric::SessionDiscarded);
            return None;
        }
        self.delete_will(slot);
        self.offline = self.offline.saturating_sub(1);
        Some(slot)
    }

    /// Handles what came behind the CONNECT.
    fn first_packets(&mut self, slot: u32, bytes: &[u8]) {
        self.begin_turn();
        let used = self.packets(slot, bytes);
        self.keep_partial(slot, &bytes[used..], true);
    }

    /// Hands a packet to its session and carries out what the session asks for.
    pub(super) fn handle_packet(&mut self, slot: u32, packet: Packet<'_>) {
        self.count_packet(&packet);
        self.step(slot, |session, limits, now, out| session.packet(packet, limits, now, out));
        self.carry_out(slot);
    }

    /// Carries out what a step of a session asked for.
    pub(super) fn carry_out(&mut self, slot: u32) {
        let mut events = std::mem::take(&mut self.out.events);
        for event in events.drain(..) {
            match event {
                Event::Publish(message, token) => self.publish(slot, message, token),
                Event::Subscribe(packet_id, requested) => self.subscribe(slot, Some(packet_id), requested),
                Event::Unsubscribe(gone) => self.unsubscribe(slot, &gone),
                Event::Authenticate { begins, data } => self.authenticate(slot, begins, data),
                Event::Close(Closing::Violation(violation)) => self.violated(slot, violation),
                Event::Close(closing) => self.close(slot, closing),
            }
        }
        self.out.events = events;
    }

    /// Closes a connection: 5.0 is told why, and the buffer is flushed. What the kernel does not take now is not waited
    /// for: whoever does not read could keep a connection for good.
    pub(super) fn close(&mut self, slot: u32, closing: Closing) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if entry.conn.is_none() {
            return;
        }
        let mut is_unanswered = false;
        if let Some(conn) = &mut entry.conn {
            conn.drop_held();
            is_unanswered = conn.is_unanswered();
        }
        let version = entry.session.version();
        let said = match closing {
            Closing::Violation(violation) => Some(Refusal::from(violation)),
            Closing::Server(reason) => Some(Refusal::from(reason)),
            Closing::Normal | Closing::WithWill | Closing::Lost => None,
        };
        if let Some(Refusal { reason, text }) = said.filter(|_| version == Version::V5 && !is_unanswered) {
            self.counters.inc(Metric::DisconnectSent);
            self.counters.inc(Metric::PacketsSent);
            self.step(slot, |session, _, _, out| {
                let limit = session.connection().map(|connection| connection.maximum_packet_size);
                codec::disconnect(&mut out.wire, Version::V5, reason, Some(&text), limit);
            });
        }
        self.write(slot);
        self.drop_conn(slot, closing);
    }

    /// Closes for a reason of the server's.
    pub(super) fn say_and_drop(&mut self, slot: u32, reason: ReasonCode) {
        self.close(slot, Closing::Server(reason));
    }

    /// The connection is over: the socket goes, the session stays or ends by its expiry.
    fn drop_conn(&mut self, slot: u32, closing: Closing) {
        let now = self.turn.now;
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let Some(mut conn) = entry.conn.take() else { return };
        conn.kick(); // its task finds it gone and ends
        conn.transport.close();
        if let Some(ticket) = conn.partial.take().and_then(|partial| partial.ticket) {
            self.partials.borrow_mut().release(ticket);
        }
        self.offline += 1;
        let keep_alive = entry.session.connection().map_or(0, |connection| connection.keep_alive);
        entry.history.disconnected(wall_millis(), &conn.connected, keep_alive);
        let (client_id, identity) = (entry.session.client_id().clone(), entry.identity.clone());
        let (had_will, epoch) = (entry.session.will().is_some(), entry.will_epoch);
        let will = entry.session.detach(closing, now);
        let will_is_deleted = had_will && will.is_none() && entry.session.will().is_none();
        let is_over = entry.session.expiry() == 0;
        self.counters.inc(Metric::ClientDisconnected);
        self.recycle(std::mem::take(&mut conn.wire));
        drop(conn);
        match will {
            Some(will) => self.send_will(&client_id, &identity, epoch, will),
            None if will_is_deleted => self.shared.elsewhere.withdraw(&client_id, epoch),
            None => self.will_waits(slot),
        }
        // Who is taken over is back already, and takes no other's place.
        let is_staying = closing != Closing::Server(ReasonCode::SessionTakenOver);
        if is_over || (is_staying && self.offline > self.shared.settings.max_offline_sessions) {
            self.end(slot, Metric::SessionTerminated);
        } else {
            if is_staying {
                self.members_away(slot);
                self.unload(slot);
            }
            self.save(slot);
            self.arm(slot);
        }
    }

    /// Ends a session without a connection: its will goes out if it has not, its subscriptions go.
    pub(super) fn end(&mut self, slot: u32, why: Metric) {
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let will = entry.session.take_will(self.turn.now);
        let (client_id, identity) = (entry.session.client_id().clone(), entry.identity.clone());
        let filters: Vec<Arc<str>> = entry.session.subscriptions().map(|granted| granted.filter.clone()).collect();
        let shared: Vec<Granted> = entry.session.shared_subscriptions().cloned().collect();
        let (epoch, will_epoch) = (entry.epoch, entry.will_epoch);
        self.turn.paused.remove(&(slot, entry.incarnation));
        let left = self.reclaim(slot, shared, true);
        self.forget(slot);
        for filter in &filters {
            self.unindex(slot, filter);
        }
        self.sessions.remove(slot as usize);
        self.by_id.remove(&client_id, slot);
        self.offline = self.offline.saturating_sub(1);
        self.counters.inc(why);
        self.shared.elsewhere.release(&client_id, epoch);
        self.pass_on(left);
        if let Some(will) = will {
            self.send_will(&client_id, &identity, will_epoch, will);
        }
        self.sweep_timers();
    }

    /// A session's timer has run out.
    pub(super) fn session_due(&mut self, slot: u32) {
        let now = self.turn.now;
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|entry| !entry.is_departing) else {
            return;
        };
        match entry.session.due(now) {
            Due::Nothing => {}
            // A client that we do not read is not silent.
            Due::KeepAlive if entry.conn.as_ref().is_some_and(Conn::is_paused) => entry.session.heard(now),
            Due::KeepAlive => self.close(slot, Closing::Server(ReasonCode::KeepAliveTimeout)),
            Due::Unauthenticated => self.close(slot, Closing::Server(ReasonCode::NotAuthorized)),
            Due::Will(message) => {
                let (client_id, identity) = (entry.session.client_id().clone(), entry.identity.clone());
                let epoch = entry.will_epoch;
                self.send_will(&client_id, &identity, epoch, message);
                self.save(slot);
            }
            Due::Expired => self.end(slot, Metric::SessionTerminated),
        }
    }

    pub(super) fn client_id(&self, slot: u32) -> Arc<str> {
        self.sessions.get(slot as usize).map_or_else(|| Arc::from(""), |entry| entry.session.client_id().clone())
    }

    fn count_packet(&self, packet: &Packet<'_>) {
        use mqtt::packet::AckKind;
        self.counters.inc(match packet {
            Packet::Ack(ack) => match ack.kind {
                AckKind::PubAck => Metric::PubackReceived,
                AckKind::PubRec => Metric::PubrecReceived,
                AckKind::PubRel => Metric::PubrelReceived,
                AckKind::PubComp => Metric::PubcompReceived,
            },
            Packet::Unsubscribe(_) => Metric::UnsubscribeReceived,
            Packet::PingReq => Metric::PingreqReceived,
            Packet::Disconnect(_) => Metric::DisconnectReceived,
            Packet::Connect(_) => Metric::ConnectReceived,
            Packet::Publish(_) | Packet::Subscribe(_) | Packet::Auth(_) => return, // counted where they are handled
        });
        match packet {
            Packet::Unsubscribe(_) => self.counters.inc(Metric::UnsubackSent),
            Packet::PingReq => self.counters.inc(Metric::PingrespSent),
            _ => return,
        }
        self.counters.inc(Metric::PacketsSent);
    }
}

/// Milliseconds since 1970.
pub(super) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
