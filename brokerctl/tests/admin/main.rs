//! brokerctl against a served management API with fixed data behind it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod sockets;
mod stub;
mod unreachable;
