//! What the workers tell the management API about themselves. Never changes a session, but for a kick.

use std::sync::Arc;

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
