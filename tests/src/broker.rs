//! The broker that a test of plain MQTT runs against: a `brokerd` of its own, or, to prove the test itself, any broker
//! named by `BROKERD_TEST_BROKER=host:port`. Never decides what is right.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::node::{Node, NodeOptions};

/// A broker under test.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    node: Option<Node>,
    mark: String,
}

impl Broker {
    /// Starts one, or takes the one that is named.
    pub async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A foreign broker is shared by all tests: names carry a mark so that they do not meet.
        let mark = format!("{:x}{count:x}", now.as_nanos() as u64 & 0xff_ffff_ffff);
        if let Ok(named) = std::env::var("BROKERD_TEST_BROKER") {
            let address = named.to_socket_addrs().ok().and_then(|mut found| found.next());
            let address = address.unwrap_or_else(|| panic!("BROKERD_TEST_BROKER={named} is no address"));
            return Self { address, node: None, mark };
        }
        let node = Node::start(NodeOptions::alone("n1")).await;
        Self { address: node.mqtt(), node: Some(node), mark }
    }

    /// Where it serves MQTT.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A topic or client id of this test alone.
    #[must_use]
    pub fn own(&self, name: &str) -> String {
        format!("{}-{name}", self.mark)
    }

    /// The node, unless the broker is a foreign one.
    pub const fn node(&mut self) -> Option<&mut Node> {
        self.node.as_mut()
    }

    /// Checks the reason that a broker gave before it closed. A foreign one may close without a word: mosquitto 2.0 does
    /// at a takeover and at a second CONNECT.
    #[track_caller]
    pub fn assert_reason(&self, given: Option<u8>, expected: Option<u8>, about: &str) {
        let is_tolerable = self.is_foreign() && given.is_none();
        assert!(given == expected || is_tolerable, "{about}: closed with {given:02x?}, expected {expected:02x?}");
    }

    /// Whether the broker is a foreign one, whose choices within the specification may be others.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        self.node.is_none()
    }
}
