//! Nodes that know nothing but where to look, and how they are asked.

use std::net::SocketAddr;

use tests::cluster::Cluster;
use tests::discovery::{Etcd, Kubernetes, Names};
use tests::node::{Node, NodeOptions};
use tests::ports;

use crate::place::SERVICE;

/// A node that will gossip at a free port.
pub(crate) fn node(name: &str) -> NodeOptions {
    NodeOptions { cluster_bind: ports::free(), ..NodeOptions::clustered(name, &[]) }
}

pub(crate) fn by_dns(options: NodeOptions, names: &Names) -> NodeOptions {
    options
        .set("cluster.discovery", "dns")
        .set("cluster.dns.name", SERVICE)
        .set("cluster.dns.server", &names.address().to_string())
}

pub(crate) fn by_etcd(options: NodeOptions, etcd: &Etcd) -> NodeOptions {
    options.set("cluster.discovery", "etcd").set("cluster.etcd.endpoints", &etcd.url()).set("cluster.etcd.ttl", "3s")
}

pub(crate) fn by_kubernetes(options: NodeOptions, api: &Kubernetes) -> NodeOptions {
    options
        .set("cluster.discovery", "kubernetes")
        .set("cluster.kubernetes.api", &api.url())
        .set("cluster.kubernetes.namespace", "mqtt")
        .set("cluster.kubernetes.service", "brokerd")
        .set("cluster.kubernetes.token_file", &api.file("token").display().to_string())
        .set("cluster.kubernetes.ca_file", &api.file("ca.crt").display().to_string())
}

pub(crate) fn addresses(options: &[NodeOptions]) -> Vec<SocketAddr> {
    options.iter().map(|options| options.cluster_bind).collect()
}

/// All at the same moment; each is ready when this returns.
pub(crate) async fn start_all(options: Vec<NodeOptions>) -> Cluster {
    let mut nodes: Vec<_> = options.into_iter().map(Node::launch).collect();
    for node in &mut nodes {
        node.wait_until_ready().await;
    }
    Cluster { nodes }
}

/// What is wrong with this node, in its own words; empty if nothing is.
pub(crate) async fn trouble(node: &Node) -> String {
    let status = node.ctl().run(&["cluster", "status"]).await.ok();
    let members = status["nodes"].as_array().expect("members").clone();
    let own = members.iter().find(|member| member["name"] == node.name()).expect("itself");
    own["reason"].as_str().unwrap_or_default().to_owned()
}
