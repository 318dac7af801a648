//! Where a way of discovery looks, behind one face: what is listed there, and whether it answers.

use std::net::SocketAddr;
use std::time::Duration;

use brokerd::cluster::discovery::{Discovery, Own, Seeds, by};
use brokerd::config;
use tests::discovery::{Etcd, Kubernetes, Names};
use tokio::sync::watch;

pub(crate) const NAME: &str = "brokerd.test";
pub(crate) const SERVICE: &str = "_gossip._udp.brokerd.test";
/// The C library refuses a label of 64 without asking anybody.
const NO_NAME: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.test:7946";

/// `127.0.0.number`, as nodes at one port have where a name lists addresses alone.
pub(crate) fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 7946))
}

pub(crate) fn own(address: SocketAddr) -> Own {
    Own { cluster: "c".into(), node: format!("n-{}", address.ip()), address }
}

pub(crate) enum Place {
    Seeds(watch::Sender<Vec<String>>),
    Addresses(Names),
    Services(Names),
    Etcd(Box<Etcd>, Vec<(SocketAddr, Box<dyn Discovery>)>),
    Kubernetes(Kubernetes),
}

pub(crate) fn dns(names: &Names, name: &str, record: config::DnsRecord) -> config::Dns {
    config::Dns {
        name: name.into(),
        port: 7946,
        record,
        period: Duration::from_secs(10),
        server: Some(names.address()),
    }
}

pub(crate) fn etcd(endpoints: Vec<String>) -> config::Discovery {
    let prefix = "/brokerd".to_owned();
    let ttl = Duration::from_secs(30);
    config::Discovery::Etcd(config::Etcd { endpoints, prefix, ttl, login: None, ca_file: None })
}

pub(crate) fn kubernetes(api: &Kubernetes) -> config::Kubernetes {
    config::Kubernetes {
        namespace: Some("mqtt".into()),
        service: "brokerd".into(),
        port_name: "gossip".into(),
        api: api.url(),
        token_file: api.file("token"),
        ca_file: api.file("ca.crt"),
        namespace_file: api.file("namespace"),
        period: Duration::from_secs(10),
    }
}

impl Place {
    /// What a node at `address` looks by.
    pub(crate) fn way(&self, address: SocketAddr) -> Box<dyn Discovery> {
        let settings = match self {
            Self::Seeds(seeds) => return Box::new(Seeds::new(seeds.subscribe())),
            Self::Addresses(names) => config::Discovery::Dns(dns(names, NAME, config::DnsRecord::A)),
            Self::Services(names) => config::Discovery::Dns(dns(names, SERVICE, config::DnsRecord::Srv)),
            Self::Etcd(server, _) => etcd(vec![server.url()]),
            Self::Kubernetes(api) => config::Discovery::Kubernetes(kubernetes(api)),
        };
        by(&settings, &own(address)).expect("a way")
    }

    /// These nodes are listed from now on.
    pub(crate) async fn list(&mut self, nodes: &[SocketAddr]) {
        match self {
            Self::Seeds(seeds) => drop(seeds.send_replace(nodes.iter().map(ToString::to_string).collect())),
            Self::Addresses(names) => {
                names.set_host(NAME, &nodes.iter().map(SocketAddr::ip).collect::<Vec<_>>());
            }
            Self::Services(names) => names.set_service(SERVICE, nodes),
            Self::Kubernetes(api) => api.set_nodes(nodes),
            Self::Etcd(server, listed) => {
                for (address, way) in listed.iter_mut() {
                    if !nodes.contains(address) {
                        way.withdraw().await;
                    }
                }
                listed.retain(|(address, _)| nodes.contains(address));
                for node in nodes {
                    if !listed.iter().any(|(address, _)| address == node) {
                        let mut way = by(&etcd(vec![server.url()]), &own(*node)).expect("a way");
                        assert_eq!(way.look().await.trouble, None);
                        listed.push((*node, way));
                    }
                }
            }
        }
    }

    /// It answers no more, or says that it cannot.
    pub(crate) async fn fail(&mut self) {
        match self {
            Self::Seeds(seeds) => drop(seeds.send_replace(vec![NO_NAME.into()])),
            Self::Addresses(names) | Self::Services(names) => names.set_broken(true),
            Self::Kubernetes(api) => api.set_broken(true),
            Self::Etcd(server, _) => server.down().await,
        }
    }

    /// It answers again; what is listed may have to be listed again.
    pub(crate) async fn mend(&mut self) {
        match self {
            Self::Seeds(_) => {}
            Self::Addresses(names) | Self::Services(names) => names.set_broken(false),
            Self::Kubernetes(api) => api.set_broken(false),
            Self::Etcd(server, _) => server.up().await,
        }
    }
}
