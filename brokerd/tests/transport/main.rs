//! Every transport, from outside: real sockets, real TLS, on a node in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod control;
mod mqtt;
mod node;
mod proxy;
mod smoke;
mod tls;
mod web_socket;
