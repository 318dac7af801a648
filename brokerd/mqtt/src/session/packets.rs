//! What each packet of the client does to its session. Never reads from or writes to a socket.

use super::{Closing, Event, Outputs, Session, SessionLimits};
use crate::codec::{self, Recipient, Violation};
use crate::packet::{Ack, AckKind, Disconnect, Packet, Unsubscribe};
use crate::{ReasonCode, Time};

impl Session {
    /// Handles a packet of the client.
    pub fn packet(&mut self, packet: Packet<'_>, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        let Some(connection) = self.connection.as_mut() else { return };
        connection.heard_at = now; // any control packet counts [MQTT-3.1.2-22]
        let handled = match packet {
            Packet::Publish(publish) => {
                let allowed = limits.capabilities.check_publish(publish.qos, publish.retain);
                allowed.and_then(|()| self.inbound.publish(&publish, connection, now, out))
            }
            Packet::Ack(ack) => {
                let to = connection.recipient();
                self.ack(&ack, to, limits, now, out);
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                check_answer(connection.recipient(), subscribe.filters().count()).map(|()| {
                    let id = subscribe.subscription_id.unwrap_or(0);
                    let requested = self.subscriptions.request(subscribe.filters(), id, limits);
                    self.subscriptions.unanswered += 1;
                    out.events.push(Event::Subscribe(subscribe.packet_id, requested));
                })
            }
            Packet::Unsubscribe(unsubscribe) => {
                let to = connection.recipient();
                check_answer(to, unsubscribe.filters().count()).map(|()| self.unsubscribe(&unsubscribe, to, out))
            }
            Packet::PingReq => {
                codec::pingresp(&mut out.wire);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(&disconnect, out),
            Packet::Connect(_) => Err(Violation::SecondConnect),
            Packet::Auth(auth) => self.auth(&auth, limits, now, out),
        };
        if let Err(violation) = handled {
            out.events.push(Event::Close(Closing::Violation(violation)));
        }
    }

    fn ack(&mut self, ack: &Ack<'_>, to: Recipient, limits: &SessionLimits, now: Time, out: &mut Outputs) {
        if ack.kind == AckKind::PubRel {
            self.inbound.release(ack.packet_id, self.outbound.is_kept, to, out);
            return;
        }
        self.outbound.acknowledged(ack.kind, ack.packet_id, ack.reason, to, out);
        self.pump(limits, now, out);
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, to: Recipient, out: &mut Outputs) {
        let mut gone = Vec::new();
        let mut codes = Vec::new();
        for filter in unsubscribe.filters() {
            match self.subscriptions.remove(filter) {
                Some(granted) => {
                    gone.push(granted);
                    codes.push(ReasonCode::Success);
                }
                None => codes.push(ReasonCode::NoSubscriptionExisted),
            }
        }
        codec::unsuback(&mut out.wire, to, unsubscribe.packet_id, &codes);
        out.promises = true;
        if !gone.is_empty() {
            out.events.push(Event::Unsubscribe(gone));
        }
    }

    fn disconnect(&mut self, disconnect: &Disconnect<'_>, out: &mut Outputs) -> Result<(), Violation> {
        if let Some(expiry) = disconnect.session_expiry {
            if self.expiry == 0 && expiry != 0 {
                return Err(Violation::SessionExpiryRaised); // 5.0 section 3.14.2.2.2
            }
            let most = self.connection.as_ref().map_or(u32::MAX, |connection| connection.max_session_expiry);
            self.expiry = expiry.min(most);
        }
        let keeps_will = disconnect.reason != ReasonCode::Success;
        out.events.push(Event::Close(if keeps_will { Closing::WithWill } else { Closing::Normal }));
        Ok(())
    }
}

/// SUBACK and UNSUBACK must come [MQTT-3.8.4-1, 3.10.4-4], and must not be larger than the client takes [MQTT-3.1.2-24].
/// A client that asks for both is told so before anything is done, with 0x95.
const fn check_answer(to: Recipient, codes: usize) -> Result<(), Violation> {
    if codec::codes_fit(to, codes) { Ok(()) } else { Err(Violation::AnswerTooLarge) }
}
