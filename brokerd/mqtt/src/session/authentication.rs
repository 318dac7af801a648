//! Enhanced authentication (5.0 section 4.12): which method, whose turn it is, and how much more may be said. Never
//! judges what is said: a mechanism does.

use std::sync::Arc;

use super::{Closing, Event, Outputs, Session, SessionLimits};
use crate::codec::{self, AuthOut, Violation};
use crate::packet::Auth;
use crate::{ReasonCode, Time};

/// Packets of the client in one exchange, CONNECT included. Known mechanisms need two or three.
const MAX_ROUNDS: u8 = 16;
/// Bytes of Authentication Data in one exchange, both ways together.
const MAX_BYTES: usize = 128 * 1024;

/// What a mechanism answers to what the client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client is to say more.
    Continue(Box<[u8]>),
    /// The client is who it says, and this is the last word.
    Success(Option<Box<[u8]>>),
    /// It is not.
    Failure,
}

/// The method of one connection, from CONNECT to its end, and the exchange under way.
#[derive(Debug)]
pub struct Authentication {
    method: Arc<str>,
    exchange: Option<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    /// Whether the mechanism is at work: the client has to wait.
    is_at_work: bool,
    rounds: u8,
    bytes: usize,
    deadline: Time,
}

impl Authentication {
    /// The exchange that a CONNECT with a method begins: the mechanism is at work on its data.
    #[must_use]
    pub fn begin(method: Arc<str>, data: Option<&[u8]>, deadline: Time) -> Self {
        let bytes = data.map_or(0, <[u8]>::len);
        Self { method, exchange: Some(Exchange { is_at_work: true, rounds: 1, bytes, deadline }) }
    }

    /// Of a connection whose client is authenticated.
    pub(super) const fn done(method: Arc<str>) -> Self {
        Self { method, exchange: None }
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// AUTH came: if it is in turn, its data is for the mechanism.
    ///
    /// # Errors
    /// It is not, or enough was said.
    pub fn received(&mut self, auth: &Auth<'_>, deadline: Time) -> Result<(), Violation> {
        if auth.method != Some(&*self.method) {
            return Err(Violation::AuthMethodChanged); // [MQTT-4.12.0-5, 4.12.1-1]
        }
        let bytes = auth.data.map_or(0, <[u8]>::len);
        match (auth.reason, &mut self.exchange) {
            (ReasonCode::ReAuthenticate, None) => {
                self.exchange = Some(Exchange { is_at_work: true, rounds: 1, bytes, deadline });
                Ok(())
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) if !exchange.is_at_work => {
                exchange.is_at_work = true;
                exchange.rounds += 1;
                exchange.add(bytes)
            }
            _ => Err(Violation::UnexpectedAuth),
        }
    }

    /// The mechanism asks for more: appends AUTH, and it is the client's turn.
    ///
    /// # Errors
    /// Enough was said, or the client does not take so large a packet.
    pub fn go_on(&mut self, data: &[u8], limit: Option<u32>, wire: &mut Vec<u8>) -> Result<(), Violation> {
        let exchange = self.exchange.as_mut().ok_or(Violation::UnexpectedAuth)?;
        exchange.is_at_work = false;
        exchange.add(data.len())?;
        self.say(ReasonCode::ContinueAuthentication, Some(data), limit, wire)
    }

    fn say(
        &self,
        reason: ReasonCode,
        data: Option<&[u8]>,
        limit: Option<u32>,
        wire: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let auth = AuthOut { reason, method: &self.method, data };
        if codec::auth(wire, &auth, limit) { Ok(()) } else { Err(Violation::AnswerTooLarge) }
    }

    /// When the exchange under way has taken too long.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.exchange.as_ref().map(|exchange| exchange.deadline)
    }

    fn is_at_work(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.is_at_work)
    }
}

impl Exchange {
    const fn add(&mut self, bytes: usize) -> Result<(), Violation> {
        self.bytes += bytes;
        if self.rounds > MAX_ROUNDS || self.bytes > MAX_BYTES { Err(Violation::AuthTooLong) } else { Ok(()) }
    }
}

impl Session {
    pub(super) fn auth(
        &mut self,
        auth: &Auth<'_>,
        limits: &SessionLimits,
        now: Time,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let connection = self.connection.as_mut();
        let authentication = connection.and_then(|connection| connection.authentication.as_mut());
        // [MQTT-4.12.0-7]
        authentication.ok_or(Violation::UnexpectedAuth)?.received(auth, now.after_millis(limits.auth_timeout))?;
        let begins = auth.reason == ReasonCode::ReAuthenticate;
        out.events.push(Event::Authenticate { begins, data: auth.data.map(Into::into) });
        Ok(())
    }

    /// The mechanism has answered what [`Event::Authenticate`] brought it.
    pub fn authenticated(&mut self, verdict: Verdict, out: &mut Outputs) {
        let Some(connection) = self.connection.as_mut() else { return };
        let limit = Some(connection.maximum_packet_size);
        let Some(authentication) = connection.authentication.as_mut().filter(|it| it.is_at_work()) else { return };
        let answered = match verdict {
            Verdict::Continue(data) => authentication.go_on(&data, limit, &mut out.wire),
            Verdict::Success(data) => {
                authentication.exchange = None;
                authentication.say(ReasonCode::Success, data.as_deref(), limit, &mut out.wire)
            }
            Verdict::Failure => {
                out.events.push(Event::Close(Closing::Server(ReasonCode::NotAuthorized))); // [MQTT-4.12.1-2]
                return;
            }
        };
        if let Err(violation) = answered {
            out.events.push(Event::Close(Closing::Violation(violation)));
        }
    }
}
