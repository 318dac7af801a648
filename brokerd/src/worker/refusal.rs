//! Saying no, and why: the words of a CONNACK or DISCONNECT that tells of an error. Never decides that it is one.

use std::time::Duration;

use mqtt::ReasonCode;
use mqtt::codec::{self, ConnAck, Recipient, Violation};
use tokio::time::timeout;

use super::shard::Handle;
use crate::metrics::Metric;
use crate::transport::Transport;

/// Why a client is not let in or sent away.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: ReasonCode,
    /// The reason string.
    pub(super) text: String,
}

impl From<ReasonCode> for Refusal {
    fn from(reason: ReasonCode) -> Self {
        Self { reason, text: reason.text().to_owned() }
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self { reason: violation.reason(), text: violation.to_string() }
    }
}

/// Says no and closes. The answer is one small packet into an empty socket buffer: it is not waited for long.
pub(super) async fn refuse(shard: &Handle, transport: Transport, to: Recipient, refusal: &Refusal) {
    let reason = refusal.reason;
    let connack = ConnAck { reason_string: Some(&refusal.text), ..ConnAck::new(reason, false) };
    let mut answer = Vec::new();
    codec::connack(&mut answer, to.version, &connack, Some(to.maximum_packet_size));
    {
        let shard = shard.borrow();
        shard.counters.inc(Metric::ConnackError);
        let is_about_rights = matches!(reason, ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized);
        shard.counters.add(Metric::ConnackAuthError, u64::from(is_about_rights));
    }
    let _ = timeout(Duration::from_secs(1), transport.write_all(&answer)).await;
    transport.close();
}
