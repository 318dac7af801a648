//! Counters of the node, by the names of `emqx_ctl broker metrics`. Each thread counts in a block of its own; a reader
//! adds them up. Never locks on the path of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What is counted. The documentation of each is its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Metric { $(#[doc = $name] $variant,)* }

        /// The names, in the order of [`Metric`].
        pub const NAMES: &[&str] = &[$($name,)*];
    };
}

metrics! {
    BytesReceived = "bytes.received",
    BytesSent = "bytes.sent",
    PacketsReceived = "packets.received",
    PacketsSent = "packets.sent",
    ConnectReceived = "packets.connect.received",
    ConnackSent = "packets.connack.sent",
    ConnackError = "packets.connack.error",
    ConnackAuthError = "packets.connack.auth_error",
    PublishReceived = "packets.publish.received",
    PublishSent = "packets.publish.sent",
    PublishError = "packets.publish.error",
    PublishAuthError = "packets.publish.auth_error",
    PubackReceived = "packets.puback.received",
    PubackSent = "packets.puback.sent",
    PubackMissed = "packets.puback.missed",
    PubrecReceived = "packets.pubrec.received",
    PubrecSent = "packets.pubrec.sent",
    PubrecMissed = "packets.pubrec.missed",
    PubrelReceived = "packets.pubrel.received",
    PubrelSent = "packets.pubrel.sent",
    PubrelMissed = "packets.pubrel.missed",
    PubcompReceived = "packets.pubcomp.received",
    PubcompSent = "packets.pubcomp.sent",
    PubcompMissed = "packets.pubcomp.missed",
    SubscribeReceived = "packets.subscribe.received",
    SubscribeAuthError = "packets.subscribe.auth_error",
    SubackSent = "packets.suback.sent",
    ExclusiveRefused = "subscriptions.exclusive.refused",
    ExclusiveLost = "subscriptions.exclusive.lost",
    UnsubscribeReceived = "packets.unsubscribe.received",
    UnsubackSent = "packets.unsuback.sent",
    PingreqReceived = "packets.pingreq.received",
    PingrespSent = "packets.pingresp.sent",
    DisconnectReceived = "packets.disconnect.received",
    DisconnectSent = "packets.disconnect.sent",
    AuthReceived = "packets.auth.received",
    AuthSent = "packets.auth.sent",
    MessagesReceived = "messages.received",
    MessagesSent = "messages.sent",
    MessagesQos0Received = "messages.qos0.received",
    MessagesQos0Sent = "messages.qos0.sent",
    MessagesQos1Received = "messages.qos1.received",
    MessagesQos1Sent = "messages.qos1.sent",
    MessagesQos2Received = "messages.qos2.received",
    MessagesQos2Sent = "messages.qos2.sent",
    MessagesPublish = "messages.publish",
    MessagesDelivered = "messages.delivered",
    MessagesAcked = "messages.acked",
    MessagesForward = "messages.forward",
    MessagesForwardReceived = "messages.forward.received",
    MessagesForwardAcked = "messages.forward.acked",
    MessagesRetained = "messages.retained",
    RetainedFull = "messages.retained.full",
    RetainedUnbelieved = "messages.retained.unbelieved",
    RetainedSent = "cluster.retained.sent",
    RetainedReceived = "cluster.retained.received",
    RetainedBuried = "cluster.retained.buried",
    MessagesDelayed = "messages.delayed",
    MessagesDropped = "messages.dropped",
    DroppedNoSubscribers = "messages.dropped.no_subscribers",
    StoreRefused = "messages.dropped.not_kept",
    StoreLost = "delivery.dropped.not_found",
    DroppedDelayedFull = "messages.dropped.delayed_full",
    SharedRedispatched = "messages.shared.redispatched",
    DroppedPeerQueueFull = "messages.dropped.peer_queue_full",
    DroppedPeerDown = "messages.dropped.peer_down",
    DeliveryDropped = "delivery.dropped",
    DeliveryDroppedNoLocal = "delivery.dropped.no_local",
    DeliveryDroppedTooLarge = "delivery.dropped.too_large",
    DeliveryDroppedQos0 = "delivery.dropped.qos0_msg",
    DeliveryDroppedQueueFull = "delivery.dropped.queue_full",
    DeliveryDroppedExpired = "delivery.dropped.expired",
    DroppedSuperseded = "delivery.dropped.superseded",
    ClientConnected = "client.connected",
    ClientDisconnected = "client.disconnected",
    ClientSentAway = "client.sent_away",
    SessionCreated = "session.created",
    SessionResumed = "session.resumed",
    SessionRestored = "session.restored",
    SessionAdopted = "session.adopted",
    SessionMoved = "session.moved",
    SessionFollowed = "session.followed",
    TakeoverFailed = "session.takeover.failed",
    SessionFenced = "session.fenced",
    MessagesRelayed = "messages.relayed",
    SessionTakenover = "session.takenover",
    SessionDiscarded = "session.discarded",
    SessionTerminated = "session.terminated",
    ClientAuthenticate = "client.authenticate",
    ClientAuthAnonymous = "client.auth.anonymous",
    ClientAuthorize = "client.authorize",
    AuthenticationSuccess = "authentication.success",
    AuthenticationAnonymous = "authentication.success.anonymous",
    AuthenticationFailure = "authentication.failure",
    AuthenticationBusy = "authentication.busy",
    AuthorizationAllow = "authorization.allow",
    AuthorizationDeny = "authorization.deny",
    AuthorizationRevoked = "authorization.subscriptions_revoked",
    ProtocolErrors = "client.protocol_errors",
    PartialDropped = "client.partial_packets.dropped",
    AcceptRefused = "listener.refused",
    ProxyRefused = "listener.proxy.refused",
    TlsFull = "listener.tls.full",
    TlsResumed = "listener.tls.resumed",
    TlsFailed = "listener.tls.failed",
    TlsWaited = "listener.tls.waited",
    WebSocketRefused = "listener.websocket.refused",
    SubackTimedOut = "cluster.suback.timed_out",
    GossipRejected = "cluster.gossip.rejected",
    GossipStranger = "cluster.gossip.stranger",
    GossipReplayed = "cluster.gossip.replayed",
    DiscoveryLooks = "cluster.discovery.looks",
    DiscoveryFailures = "cluster.discovery.failures",
    PeerRefused = "cluster.peer.refused",
    RowsSent = "cluster.rows.sent",
    RowsReceived = "cluster.rows.received",
    Floods = "cluster.flooded",
    PeerDown = "cluster.peer.down",
    PeerForgotten = "cluster.peer.forgotten",
    LinkOpened = "cluster.link.opened",
    LinkLost = "cluster.link.lost",
    ClaimsGranted = "cluster.claims.granted",
    ClaimsTimedOut = "cluster.claims.timed_out",
    ClaimsRefused = "cluster.claims.refused",
    DelayedAdopted = "messages.delayed.adopted",
    StoreSessionsExpired = "store.expired.sessions",
    StoreMessagesExpired = "store.expired.messages",
    StoreLate = "store.late",
    StorePaused = "store.paused",
    WillsSent = "cluster.wills.sent",
    WillsCancelled = "cluster.wills.cancelled",
    WillsRefused = "cluster.wills.refused",
    DroppedRepeated = "messages.dropped.repeated",
}

/// One thread's block.
#[derive(Debug)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    /// Adds. One thread writes a block, so a load and a store do, without a locked instruction.
    pub fn add(&self, metric: Metric, n: u64) {
        let cell = &self.0[metric as usize];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
    /// Adds one.
    pub fn inc(&self, metric: Metric) {
        self.add(metric, 1);
    }
    /// What was counted in this block.
    pub fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize].load(Ordering::Relaxed)
    }
}

/// All blocks of the node.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Vec<Arc<Counters>>>>);

impl Metrics {
    /// A new block. A block is for one thread at a time: share it between threads and counts are lost.
    #[must_use]
    pub fn block(&self) -> Arc<Counters> {
        let block = Arc::new(Counters(std::array::from_fn(|_| AtomicU64::new(0))));
        self.0.lock().push(block.clone());
        block
    }
    /// The sum over all blocks, by name, in the order of [`Metric`].
    #[must_use]
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        let blocks = self.0.lock();
        let sum = |index: usize| blocks.iter().map(|block| block.0[index].load(Ordering::Relaxed)).sum();
        NAMES.iter().enumerate().map(|(index, name)| (*name, sum(index))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_the_blocks_up() {
        let metrics = Metrics::default();
        metrics.block().add(Metric::BytesSent, 3);
        metrics.block().add(Metric::BytesSent, 4);
        assert!(metrics.totals().contains(&("bytes.sent", 7)));
    }
}
