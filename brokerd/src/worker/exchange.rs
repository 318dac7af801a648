//! Enhanced authentication: the conversation of a client and a mechanism, before the CONNACK on the bare transport and
//! later between other packets. Never judges what is said (the mechanism does), nor whose turn it is (`mqtt` does).

use std::sync::Arc;
use std::time::Duration;

use mqtt::codec::{self, Limits, Violation};
use mqtt::packet::Packet;
use mqtt::session::{Authentication, Negotiated, Verdict};
use mqtt::{ReasonCode, Time, Version};
use tokio::time::{Instant, timeout, timeout_at};

use super::greet::is_servable;
use super::greeting::Greeting;
use super::mailbox::Mail;
use super::refusal::Refusal;
use super::shard::{Handle, Shard};
use crate::access::{Conversation, Mechanism, Principal, Step};
use crate::metrics::Metric;
use crate::registry::Epoch;
use crate::transport::Transport;

/// A client that has sent its CONNECT and gets no CONNACK before a mechanism knows it.
pub(super) struct Applicant<'a> {
    pub(super) transport: &'a Transport,
    pub(super) greeting: &'a mut Greeting,
    pub(super) limits: Limits,
    pub(super) negotiated: &'a mut Negotiated,
    /// The end of the time that a CONNECT has.
    pub(super) deadline: Instant,
}

impl Applicant<'_> {
    /// Has it prove who it is. What it sends is read no further than its turn goes: until the CONNACK it may say
    /// nothing but AUTH and DISCONNECT, and what came behind its last AUTH waits in the buffer.
    ///
    /// # Errors
    /// What to answer; `None` is to close without a word.
    pub(super) async fn prove(
        &mut self,
        shard: &Handle,
        mechanism: &dyn Mechanism,
        mut data: Option<Box<[u8]>>,
    ) -> Result<Principal, Option<Refusal>> {
        let limit = self.negotiated.maximum_packet_size;
        let mut exchange = Authentication::begin(mechanism.method().into(), data.as_deref(), Time::default());
        let mut conversation = mechanism.begin();
        loop {
            let step = timeout_at(self.deadline, conversation.step(data.as_deref())).await;
            match step.map_err(|_| refusal(ReasonCode::ServerBusy))? {
                Step::Continue(question) => {
                    let mut wire = Vec::new();
                    exchange.go_on(&question, limit, &mut wire).map_err(refusal)?;
                    shard.borrow().counters.inc(Metric::AuthSent);
                    shard.borrow().counters.inc(Metric::PacketsSent);
                    let written = timeout_at(self.deadline, self.transport.write_all(&wire)).await;
                    written.map_err(|_| None)?.map_err(|_| None)?;
                }
                Step::Success { principal, data } => {
                    self.negotiated.authentication_data = data;
                    if let Principal::User(name) = &principal {
                        self.negotiated.username = Some((&**name).into()); // not whom the CONNECT may name beside it
                    }
                    return if is_servable(self.negotiated) { Ok(principal) } else { Err(None) };
                }
                Step::Failure => return Err(refusal(ReasonCode::NotAuthorized)),
            }
            let answer = timeout_at(self.deadline, self.answer(shard, &mut exchange)).await;
            data = answer.map_err(|_| refusal(ReasonCode::NotAuthorized))??;
        }
    }

    /// Reads the next AUTH, and gives its data.
    async fn answer(
        &mut self,
        shard: &Handle,
        exchange: &mut Authentication,
    ) -> Result<Option<Box<[u8]>>, Option<Refusal>> {
        let violated = |violation: Violation| {
            shard.borrow().counters.inc(Metric::ProtocolErrors);
            refusal(violation)
        };
        let read = self.greeting.read(shard, self.transport, Some(Version::V5), &self.limits, may_come).await;
        let packet = read.map_err(|violation| violation.and_then(violated))?;
        shard.borrow().counters.inc(Metric::PacketsReceived);
        match codec::decode(Version::V5, packet, &self.limits).map_err(violated)? {
            Packet::Auth(auth) => {
                shard.borrow().counters.inc(Metric::AuthReceived);
                exchange.received(&auth, Time::default()).map_err(violated)?;
                Ok(auth.data.map(Into::into))
            }
            Packet::Disconnect(_) => {
                shard.borrow().counters.inc(Metric::DisconnectReceived);
                Err(None)
            }
            _ => Err(violated(Violation::BeforeConnack)),
        }
    }
}

fn refusal(why: impl Into<Refusal>) -> Option<Refusal> {
    Some(why.into())
}

/// Judged by its first byte: nothing else is waited for [MQTT-3.1.2-30].
fn may_come(first: u8) -> Result<(), Violation> {
    if matches!(first >> 4, 14 | 15) { Ok(()) } else { Err(Violation::BeforeConnack) }
}

impl Shard {
    /// A client that is connected said this to its mechanism. The answer comes by the letter box.
    pub(super) fn authenticate(&mut self, slot: u32, begins: bool, data: Option<Box<[u8]>>) {
        self.counters.inc(Metric::AuthReceived);
        let shared = self.shared.clone();
        let Some(entry) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let method = entry.session.connection().and_then(|connection| connection.authentication_method());
        let mechanism = method.and_then(|method| shared.access.mechanism(method));
        let kept = entry.conn.as_mut().and_then(|conn| conn.conversation.take().map(|conversation| *conversation));
        let conversation = if begins { mechanism.map(|mechanism| mechanism.begin()) } else { kept };
        let (incarnation, epoch) = (entry.incarnation, entry.epoch);
        let Some(mut conversation) = conversation else {
            return self.answered(slot, Verdict::Failure);
        };
        let (worker, most) = (self.worker, Duration::from_millis(shared.settings.session.auth_timeout));
        let asking = async move {
            let step = timeout(most, conversation.step(data.as_deref())).await.unwrap_or(Step::Failure);
            let tell = move |shard: &mut Self| shard.mechanism_said(slot, (incarnation, epoch), conversation, step);
            shared.boxes.of(worker).post(Mail::Ask(Box::new(tell)));
        };
        drop(tokio::task::spawn_local(asking)); // one a connection: an AUTH before its answer is out of turn
        self.arm(slot);
    }

    /// The mechanism has answered the client of this connection, if it is still there.
    fn mechanism_said(
        &mut self,
        slot: u32,
        (incarnation, epoch): (u32, Epoch),
        conversation: Box<dyn Conversation>,
        step: Step,
    ) {
        self.begin_turn();
        let entry = self.entry(slot, incarnation).filter(|entry| entry.epoch == epoch);
        let Some(entry) = entry else { return };
        let Some(conn) = &mut entry.conn else { return };
        let verdict = match step {
            Step::Continue(data) => {
                conn.conversation = Some(Box::new(conversation));
                Verdict::Continue(data)
            }
            // The session is its first owner's: nobody else carries it on.
            Step::Success { principal, data } if principal == entry.identity.principal => Verdict::Success(data),
            Step::Success { .. } | Step::Failure => Verdict::Failure,
        };
        self.answered(slot, verdict);
    }

    fn answered(&mut self, slot: u32, verdict: Verdict) {
        self.counters.inc(match &verdict {
            Verdict::Continue(_) => Metric::AuthSent,
            Verdict::Success(_) => Metric::AuthenticationSuccess,
            Verdict::Failure => Metric::AuthenticationFailure,
        });
        self.step(slot, |session, _, _, out| session.authenticated(verdict, out));
        self.carry_out(slot);
    }
}

/// Finds the mechanism of a CONNECT that names a method.
pub(super) fn mechanism(shard: &Shard, method: &str) -> Result<Arc<dyn Mechanism>, Refusal> {
    let found = shard.shared.access.mechanism(method).cloned();
    found.ok_or_else(|| Violation::AuthMethodRefused.into()) // [MQTT-4.12.0-1]
}
