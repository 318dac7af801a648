//! What brokerd, its peers and brokerctl say to each other. Owns the generated types; never interprets them.
#![allow(missing_docs, unreachable_pub, clippy::all)]
/// The management API.
pub mod admin {
    tonic::include_proto!("brokerd.admin.v1");
}
/// Frames between nodes.
pub mod peer {
    tonic::include_proto!("brokerd.peer.v1");
}
/// Claims of client ids between nodes.
pub mod claims {
    tonic::include_proto!("brokerd.claims.v1");
}
