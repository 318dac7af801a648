//! Hosts on one bridge, and what happens to packets between them. Owns the namespaces and the rules of nftables; never
//! touches what clients send, who come from the street itself.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use super::namespace::{Namespace, finish};

/// Host and host, by number from 0: what the first sends to the second.
pub type Way = (usize, usize);

/// Where clients are, and relays.
const STREET: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 254);
/// The first port of relays.
const RELAYS: u16 = 8000;

/// The bridge and its hosts.
#[derive(Debug)]
pub struct Street {
    hosts: Vec<Namespace>,
    faults: Mutex<Faults>,
    _own: Namespace,
}

#[derive(Debug, Default)]
struct Faults {
    cut: BTreeSet<Way>,
    /// Percent of the packets between hosts.
    lost: u8,
}

impl Street {
    /// Enters the street.
    pub(super) fn lay(hosts: usize) -> Self {
        let own = Namespace::new();
        own.enter();
        own.run(&format!(
            "ip link set lo up; ip link add br0 type bridge; ip addr add {STREET}/24 dev br0; ip link set br0 up"
        ));
        let hosts: Vec<Namespace> = (0..hosts).map(|_| Namespace::new()).collect();
        for (number, host) in hosts.iter().enumerate() {
            let pid = host.pid();
            own.run(&format!(
                "ip link add v{number} type veth peer name eth0 netns {pid}; ip link set v{number} master br0 up"
            ));
            let address = address(number);
            host.run(&format!("ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up"));
        }
        Self { hosts, faults: Mutex::default(), _own: own }
    }

    /// How many hosts.
    #[must_use]
    pub const fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The namespace of a host.
    pub(super) fn host(&self, number: usize) -> PathBuf {
        self.hosts[number].path()
    }

    /// Packets these ways are dropped without a word.
    pub fn cut(&self, ways: &[Way]) {
        self.change(|faults| faults.cut.extend(ways));
    }

    /// So many percent of the packets between hosts are lost.
    pub fn lose(&self, percent: u8) {
        self.change(|faults| faults.lost = percent);
    }

    /// Every packet comes.
    pub fn heal(&self) {
        self.change(|faults| *faults = Faults::default());
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.lock().expect("nobody panics with it");
        change(&mut faults);
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        finish(command, &faults.rules());
    }
}

impl Faults {
    /// All rules anew, in one transaction.
    fn rules(&self) -> String {
        let loss = match self.lost {
            0 => String::new(),
            percent => format!("numgen random mod 100 < {percent} drop;"),
        };
        let mut cuts = String::new();
        for (from, to) in &self.cut {
            let _ = write!(cuts, "ip saddr {} ip daddr {} drop; ", address(*from), address(*to));
        }
        let relays = format!("{}-{}", RELAYS, RELAYS + 99);
        let to_relay =
            |kind: &str| if loss.is_empty() { String::new() } else { format!("{kind} dport {relays} {loss}") };
        format!(
            "add table bridge faults\ndelete table bridge faults\ntable bridge faults {{\n\
             chain forward {{ type filter hook forward priority 0; {cuts}{loss} }}\n\
             chain input {{ type filter hook input priority 0; {} {} }}\n}}\n",
            to_relay("tcp"),
            to_relay("udp")
        )
    }
}

/// The address of a host.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 66, 0, u8::try_from(number + 1).expect("few hosts"))
}

/// Where a node gossips and serves peers.
pub(super) fn cluster(number: usize) -> SocketAddr {
    (address(number), 7946).into()
}

/// Where a node serves MQTT.
pub(super) fn mqtt(number: usize) -> SocketAddr {
    (address(number), 1883).into()
}

/// Where the relay of a node is.
pub(super) fn relay(number: usize) -> SocketAddr {
    (STREET, RELAYS + u16::try_from(number).expect("few hosts")).into()
}

/// Every pair of nodes of different groups.
#[must_use]
pub fn between(groups: &[&[usize]]) -> Vec<Way> {
    let mut pairs = vec![];
    for (at, group) in groups.iter().enumerate() {
        for other in &groups[at + 1..] {
            pairs.extend(group.iter().flat_map(|one| other.iter().map(|other| (*one, *other))));
        }
    }
    pairs
}

/// Every pair that a node is in.
#[must_use]
pub fn all_pairs(node: usize, of: usize) -> Vec<Way> {
    (0..of).filter(|other| *other != node).map(|other| (node, other)).collect()
}
