//! Requests and replies as bytes, each with the clock. Never believes a clock that is too far ahead.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt::session::Will;
use mqtt::{Message as MqttMessage, Qos, codec, topic};
use prost::Message;
use proto::claims::{self as pb, Refused, Reply, Request, reply, request};
use tokio::time::{Instant, timeout_at};

use super::Claims;
use super::executor::LARGEST;
use crate::cluster::versions;
use crate::registry::{Clock, Epoch, Holder, LastWill, Owned};

/// Ids in one request.
pub(super) const PAGE: usize = 1_000;

impl Claims {
    /// What a node answers, if it does by then and is to be believed.
    pub(super) async fn ask(&self, node: &str, what: request::What, until: Instant) -> Option<reply::What> {
        match self.ask_any(node, what, until).await? {
            reply::What::Refused(Refused { reason }) => {
                warn(node, &format!("refused: {reason}"));
                None
            }
            what => Some(what),
        }
    }

    /// The same, with a refusal: a node of an earlier version does not know every request.
    pub(super) async fn ask_any(&self, node: &str, what: request::What, until: Instant) -> Option<reply::What> {
        let request = Request { hlc: self.clock.now(), what: Some(what) };
        let patience = until.saturating_duration_since(Instant::now());
        if patience == Duration::ZERO {
            return None;
        }
        let answer = self.peers.request(node, Bytes::from(request.encode_to_vec()), patience);
        let bytes = match timeout_at(until, answer).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return quiet(node, &error),
            Err(_) => return quiet(node, &"no answer in time"),
        };
        let reply = Reply::decode(bytes).map_err(|error| warn(node, &error)).ok()?;
        self.clock.merge(reply.hlc).map_err(|error| warn(node, &error)).ok()?;
        reply.what
    }

    /// Reads a request of a peer; what is wrong with it is the error.
    pub(super) fn read(&self, body: Bytes) -> Result<request::What, String> {
        read(body, &self.clock, self.protocol)
    }

    pub(super) fn reply(&self, what: reply::What) -> Bytes {
        Bytes::from(Reply { hlc: self.clock.now(), what: Some(what) }.encode_to_vec())
    }
}

/// Reads a request as a node that speaks up to this version of the protocol.
pub(in crate::cluster) fn read(body: Bytes, clock: &Clock, protocol: u32) -> Result<request::What, String> {
    let request = Request::decode(body).map_err(|error| format!("unreadable: {error}"))?;
    clock.merge(request.hlc).map_err(|error| error.to_string())?;
    let is_known = |what: &request::What| protocol >= since(what);
    let what = request.what.filter(is_known).ok_or("unknown request")?;
    match &what {
        request::What::Claim(claim) => {
            check_id(&claim.client_id)?;
            clock.merge(claim.known).map_err(|error| format!("the known epoch: {error}"))?;
        }
        request::What::Superseded(superseded) => {
            clock.merge(superseded.epoch).map_err(|error| format!("the epoch: {error}"))?;
        }
        request::What::Announce(announce) => check_page(&announce.owned)?,
        request::What::Release(release) => check_page(&release.owned)?,
        request::What::Relay(relay) => check_id(&relay.client_id)?,
        request::What::LetGo(pb::LetGo { client_id, .. }) => check_id(client_id)?,
        request::What::Entrust(pb::Entrust { wills, withdrawn, .. }) => {
            check_page(withdrawn)?;
            if wills.len() > PAGE {
                return Err(format!("{} wills in one page", wills.len()));
            }
            for will in wills {
                clock.merge(will.epoch).map_err(|error| format!("the epoch: {error}"))?;
            }
        }
        request::What::Fetch(pb::Fetch { client_id, epoch, .. })
        | request::What::Take(pb::Take { client_id, epoch, .. }) => {
            check_id(client_id)?;
            clock.merge(*epoch).map_err(|error| format!("the epoch: {error}"))?;
        }
        request::What::Lookup(_)
        | request::What::AnnounceDone(_)
        | request::What::Drain(_)
        | request::What::Adopted(_) => {}
    }
    Ok(what)
}

/// The version of the peer protocol that a request came with.
const fn since(what: &request::What) -> u32 {
    match what {
        request::What::Fetch(_) | request::What::Take(_) | request::What::Entrust(_) => versions::MOVING,
        _ => versions::OLDEST,
    }
}

fn check_id(client_id: &str) -> Result<(), String> {
    // [MQTT-1.5.3]: a string has at most 65,535 bytes.
    let fits = client_id.len() <= usize::from(u16::MAX);
    fits.then_some(()).ok_or_else(|| "a client id that MQTT does not have".to_owned())
}

fn check_page(owned: &[pb::Owned]) -> Result<(), String> {
    if owned.len() > PAGE {
        return Err(format!("{} ids in one page", owned.len()));
    }
    owned.iter().try_for_each(|owned| check_id(&owned.client_id))
}

pub(super) fn to_wire(owned: impl IntoIterator<Item = Owned>) -> Vec<pb::Owned> {
    let to_wire = |Owned { client_id, epoch, holder }: Owned| {
        let client_id = client_id.to_string();
        pb::Owned { client_id, epoch: epoch.0, holder: holder.0 }
    };
    owned.into_iter().map(to_wire).collect()
}

pub(in crate::cluster) fn from_wire(owned: Vec<pb::Owned>) -> Vec<Owned> {
    let from_wire = |pb::Owned { client_id, epoch, holder }| {
        let client_id = Arc::from(client_id);
        Owned { client_id, epoch: Epoch(epoch), holder: Holder(holder) }
    };
    owned.into_iter().map(from_wire).collect()
}

pub(super) fn to_will(last: &LastWill) -> pb::Will {
    let LastWill { client_id, epoch, user, ip, will, session_expiry, due_in } = last;
    let message = &will.message;
    pb::Will {
        client_id: client_id.to_string(),
        epoch: epoch.0,
        user: user.as_ref().map(ToString::to_string),
        ip: match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        },
        topic: message.topic().to_owned(),
        payload: message.payload().to_vec(),
        properties: message.properties().to_vec(),
        qos: message.qos as u32,
        retain: message.retain,
        delay: will.delay,
        expiry: will.expiry,
        session_expiry: *session_expiry,
        due_in: due_in.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// A will as a peer gives it: checked again, for it is published to clients.
pub(in crate::cluster) fn from_will(sent: pb::Will) -> Result<LastWill, String> {
    let why = |what: &str| format!("a will with {what}");
    check_id(&sent.client_id)?;
    check_id(sent.user.as_deref().unwrap_or_default())?;
    if sent.topic.len() + sent.payload.len() + sent.properties.len() > LARGEST {
        return Err(why("too many bytes"));
    }
    if !topic::valid_name(&sent.topic) || !codec::check_forwardable(&sent.properties) {
        return Err(why("a topic or properties that no PUBLISH has"));
    }
    let ip = match *sent.ip.as_slice() {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        ref bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).map_err(|_| why("no address"))?),
    };
    let mut message = MqttMessage::new(&sent.topic, &sent.properties, &sent.payload);
    message.qos = u8::try_from(sent.qos).ok().and_then(Qos::from_bits).ok_or_else(|| why("no QoS"))?;
    message.retain = sent.retain;
    Ok(LastWill {
        client_id: sent.client_id.into(),
        epoch: Epoch(sent.epoch),
        user: sent.user.map(Into::into),
        ip,
        will: Will { message, delay: sent.delay, expiry: sent.expiry },
        session_expiry: sent.session_expiry,
        // What is longer than any delay is not believed, and could not be added to a time.
        due_in: sent.due_in.map(|left| Duration::from_millis(left.min(u64::from(u32::MAX) * 1000))),
    })
}

fn warn(node: &str, why: &dyn std::fmt::Display) {
    tracing::warn!(node, %why, "an answer about a client id is not used");
}

fn quiet(node: &str, why: &dyn std::fmt::Display) -> Option<reply::What> {
    tracing::debug!(node, %why, "no answer about a client id");
    None
}
