//! Cores of several nodes in one process, over real loopback streams, with gossip driven by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod groups;
mod late;
mod links;
mod messages;
mod node;
mod repair;
mod retained;
mod storm;
mod turnover;
