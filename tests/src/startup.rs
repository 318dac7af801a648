//! What `brokerd` says on stdout when it starts. The one place that knows these lines; never waits for them.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Addresses a node has reported.
#[derive(Clone, Debug, Default)]
pub struct Reported {
    /// MQTT listeners, as `("tcp:default", address)`.
    pub listeners: Vec<(String, SocketAddr)>,
    /// Gossip and peers.
    pub cluster: Option<SocketAddr>,
    /// The socket of the management API.
    pub admin_socket: Option<PathBuf>,
    /// The management API on TCP.
    pub admin_address: Option<SocketAddr>,
    /// Where load balancers ask.
    pub health: Option<SocketAddr>,
    /// Whether `ready` was said.
    pub ready: bool,
}

impl Reported {
    /// Takes in one line. Lines that mean nothing to us are left alone.
    ///
    /// ```text
    /// mqtt tcp:default listening on 127.0.0.1:41234
    /// cluster default listening on 127.0.0.1:7946 (gossip and peers)
    /// admin listening on unix:/run/user/1000/brokerd/admin.sock
    /// ready
    /// ```
    pub fn read(&mut self, line: &str) {
        let line = line.trim();
        if line == "ready" {
            self.ready = true;
            return;
        }
        let Some((who, address)) = line.split_once(" listening on ") else {
            return;
        };
        let address = address.split_whitespace().next().unwrap_or_default();
        if let Some(name) = who.strip_prefix("mqtt ") {
            self.listeners.extend(address.parse().map(|address| (name.to_owned(), address)));
        } else if who.starts_with("cluster ") {
            self.cluster = address.parse().ok();
        } else if who == "health" {
            self.health = address.parse().ok();
        } else if who == "admin" {
            self.admin_socket = address.strip_prefix("unix:").map(PathBuf::from);
            self.admin_address = address.parse().ok();
        }
    }

    /// The address of `tcp:default`.
    #[must_use]
    pub fn mqtt(&self) -> Option<SocketAddr> {
        let default = self.listeners.iter().find(|(name, _)| name == "tcp:default");
        default.map(|(_, address)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_start_are_understood() {
        let mut reported = Reported::default();
        reported.read("node n1 of cluster default");
        reported.read("mqtt tcp:default listening on 127.0.0.1:41234");
        reported.read("cluster default listening on 127.0.0.1:7946 (gossip and peers)");
        reported.read("admin listening on unix:/tmp/x/admin.sock");
        assert!(!reported.ready);
        reported.read("ready");
        assert!(reported.ready);
        assert_eq!(reported.mqtt(), Some(([127, 0, 0, 1], 41234).into()));
        assert_eq!(reported.cluster, Some(([127, 0, 0, 1], 7946).into()));
        assert_eq!(reported.admin_socket, Some(PathBuf::from("/tmp/x/admin.sock")));
    }
}
