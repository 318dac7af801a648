//! From the rooms' views to the wire. Never leaves a field out.

use proto::admin as wire;

use super::local::{Listener, Order};
use crate::cluster::{Link, Member, MemberState};
use crate::listener::Certificate;
use crate::worker::view::{ClientView, SubscriptionView};

pub(super) fn client(view: ClientView) -> wire::Client {
    wire::Client {
        client_id: view.client_id.to_string(),
        username: view.username,
        peername: view.peername,
        listener: view.listener,
        proto_ver: view.protocol_level.into(),
        clean_start: view.clean_start,
        keepalive: view.keepalive.into(),
        session_expiry_interval: view.session_expiry_interval,
        subscriptions: view.subscriptions,
        inflight: view.inflight,
        awaiting_rel: view.awaiting_rel,
        delivered_msgs: view.delivered_msgs,
        enqueued_msgs: view.enqueued_msgs,
        enqueued_bytes: view.enqueued_bytes,
        dropped_msgs: view.dropped_msgs,
        received_msgs: view.received_msgs,
        connected: view.connected,
        created_at: view.created_at,
        connected_at: view.connected_at,
        disconnected_at: view.disconnected_at,
        epoch: view.epoch,
        kept: view.kept.into(),
        expires_in: view.expires_in,
    }
}

pub(super) fn subscription(view: &SubscriptionView) -> wire::Subscription {
    wire::Subscription {
        client_id: view.client_id.to_string(),
        topic: view.filter.to_string(),
        qos: view.qos.into(),
        no_local: view.no_local,
        retain_handling: view.retain_handling.into(),
        retain_as_published: view.retain_as_published,
        subscription_id: view.subscription_id,
    }
}

pub(super) fn listener(view: Listener) -> wire::Listener {
    wire::Listener {
        kind: view.kind,
        name: view.name,
        listen_on: view.listen_on,
        running: view.running,
        current_conn: view.current_conn,
        max_conns: view.max_conns,
        accepted: view.accepted,
        refused: view.refused,
        proxy_protocol: view.proxy_protocol,
        state: view.state,
    }
}

pub(super) fn order(order: &wire::ListenerOrder) -> Option<Order> {
    Some(match wire::listener_order::What::try_from(order.what).ok()? {
        wire::listener_order::What::Start => Order::Start,
        wire::listener_order::What::Stop => Order::Stop,
        wire::listener_order::What::Drain => Order::Drain,
        wire::listener_order::What::Restart => Order::Restart,
        wire::listener_order::What::None => return None,
    })
}

pub(super) fn certificate(certificate: Certificate) -> wire::Certificate {
    wire::Certificate {
        listener: certificate.listener,
        file: certificate.file.display().to_string(),
        expires: certificate.expires,
    }
}

pub(super) fn member(member: Member) -> wire::Member {
    wire::Member {
        name: member.name,
        generation: member.generation,
        state: state(member.state).into(),
        address: member.address,
        version: member.version,
        secrets: member.secrets,
        is_self: member.is_self,
        routes: member.routes,
        route_version: member.route_version.0,
        route_version_known: member.route_version.1,
        reason: member.reason,
        since: member.since,
        link: member.link.map(link),
    }
}

fn link(link: Link) -> wire::Link {
    wire::Link {
        is_open: link.is_open,
        frame_age_ms: link.frame_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        queued: link.queued,
        queued_bytes: link.queued_bytes,
        gossip: link.gossip.into(),
    }
}

const fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Joining => "joining",
        MemberState::Up => "up",
        MemberState::Leaving => "leaving",
        MemberState::Down => "down",
    }
}

pub(super) fn numbers(numbers: Vec<(&'static str, u64)>) -> wire::Numbers {
    let number = |(name, value): (&'static str, u64)| wire::Number { name: name.into(), value };
    wire::Numbers { numbers: numbers.into_iter().map(number).collect() }
}
