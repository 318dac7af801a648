//! What is fuzzed: one function a target, which takes any bytes and panics where a promise is broken. Never needs
//! libFuzzer: the corpus runs through the same functions as a plain test.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a target speaks

mod access;
mod config;
mod decode;
mod network;
mod session;
mod topics;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Name and function of each target; the name is that of its folder in `corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("acl", access::acl),
    ("claims", brokerd::cluster::fuzz::claims),
    ("config", config::target),
    ("decode", decode::target),
    ("gossip", brokerd::cluster::fuzz::gossip),
    ("handshake", brokerd::cluster::fuzz::peer_handshake),
    ("passwords", access::passwords),
    ("peer", brokerd::cluster::fuzz::peer_link),
    ("proxy", network::proxy),
    ("session", session::target),
    ("topics", topics::target),
    ("upgrade", network::upgrade),
    ("web_socket", network::web_socket),
];
