//! What the workers tell the management API about themselves. Never changes a session, but for a kick.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::Principal;
use crate::listener::{Connected, Listener};

/// A client as `brokerctl clients` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientView {
    /// Client id.
    pub client_id: Arc<str>,
    /// User name of the CONNECT, if any.
    pub username: Option<String>,
    /// `IP:port`; the last one if it is away.
    pub peername: String,
    /// `tcp:default` and the like.
    pub listener: String,
    /// 3, 4 or 5.
    pub protocol_level: u8,
    /// Clean Session or Clean Start.
    pub clean_start: bool,
    /// Seconds.
    pub keepalive: u16,
    /// Seconds.
    pub session_expiry_interval: u32,
    /// How many.
    pub subscriptions: u64,
    /// Unacknowledged at the client.
    pub inflight: u64,
    /// QoS 2 messages from the client that wait for PUBREL.
    pub awaiting_rel: u64,
    /// Publications sent to it.
    pub delivered_msgs: u64,
    /// Publications waiting.
    pub enqueued_msgs: u64,
    /// Bytes of them.
    pub enqueued_bytes: u64,
    /// Publications dropped by its queue.
    pub dropped_msgs: u64,
    /// Publications received from it.
    pub received_msgs: u64,
    /// Whether it has a connection.
    pub connected: bool,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// Milliseconds since 1970.
    pub connected_at: u64,
    /// Milliseconds since 1970; 0 while connected.
    pub disconnected_at: u64,
    /// Fencing epoch.
    pub epoch: u64,
    /// Where its session is: `memory`, or the backend that keeps it beyond the process.
    pub kept: &'static str,
    /// Seconds until its session ends; none while it is connected, and where it never does.
    pub expires_in: Option<u64>,
}

/// A subscription as `brokerctl subscriptions` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Whose.
    pub client_id: Arc<str>,
    /// The filter as the client wrote it.
    pub filter: Arc<str>,
    /// 0 to 2.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain Handling.
    pub retain_handling: u8,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Subscription Identifier; 0 is none.
    pub subscription_id: u32,
}

/// How many sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// With and without a connection.
    pub total: u64,
    /// With one.
    pub connected: u64,
}

/// What of a client's listing nobody else knows. It is part of every session: what can be asked for elsewhere is.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Milliseconds since 1970.
    pub(super) created_at: u64,
    /// When its connection began, or, where it has none, when the last one ended. Milliseconds since 1970.
    pub(super) since: u64,
    /// Publications received from it.
    pub(super) received: u64,
    /// Publications sent to it.
    pub(super) delivered: u64,
    /// Publications dropped by its queue.
    pub(super) dropped: u64,
    aside: Option<Box<Aside>>,
}

/// What few have.
#[derive(Debug, Default)]
struct Aside {
    /// The user name that it gave, where that is not the one that it is known by.
    username: Option<Option<Box<str>>>,
    last: Option<Last>,
}

/// What is remembered of the last connection of a client that is away.
#[derive(Debug)]
pub(super) struct Last {
    peer: SocketAddr,
    listener: Arc<Listener>,
    /// Milliseconds since 1970.
    pub(super) connected_at: u64,
    /// Seconds.
    pub(super) keep_alive: u16,
}

impl Last {
    /// `IP:port`, or `unix`.
    pub(super) fn peername(&self) -> String {
        self.listener.peername(self.peer)
    }

    /// `tcp:default` and the like.
    pub(super) fn listener(&self) -> String {
        self.listener.id()
    }
}

impl History {
    /// Of a session that begins, or ended its connection, at `since`.
    pub(super) fn new(created_at: u64, since: u64) -> Self {
        Self { created_at, since, ..Self::default() }
    }

    /// A connection begins: the counters go on.
    pub(super) fn connected(&mut self, now: u64, username: Option<Box<str>>, principal: &Principal) {
        let known_by = match principal {
            Principal::User(name) => Some(&**name),
            Principal::Anonymous => None,
        };
        let is_another = username.as_deref() != known_by;
        self.aside = is_another.then(|| Box::new(Aside { username: Some(username), last: None }));
        self.since = now;
    }

    /// Its connection is over, and the session stays.
    pub(super) fn disconnected(&mut self, now: u64, connected: &Connected, keep_alive: u16) {
        let listener = connected.through().clone();
        let last = Last { peer: connected.peer(), listener, connected_at: self.since, keep_alive };
        self.aside.get_or_insert_default().last = Some(last);
        self.since = now;
    }

    /// The user name that the client gave, or is known by.
    pub(super) fn username<'a>(&'a self, principal: &'a Principal) -> Option<&'a str> {
        match (self.aside.as_ref().and_then(|aside| aside.username.as_ref()), principal) {
            (Some(given), _) => given.as_deref(),
            (None, Principal::User(name)) => Some(name),
            (None, Principal::Anonymous) => None,
        }
    }

    /// What is known of its last connection, where it has none.
    pub(super) fn last(&self) -> Option<&Last> {
        self.aside.as_ref()?.last.as_ref()
    }
}
