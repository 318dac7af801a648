//! The broker as a library, for its binary and for tests that run many nodes in one process. Owns the rooms; see
//! `docs/architecture.md` for which may import which.

pub mod access;
pub mod admin;
pub mod alarms;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod datadir;
pub mod drain;
pub mod health;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod registry;
pub mod retain;
pub mod router;
pub mod shutdown;
pub mod sys;
pub mod telemetry;
pub mod transport;
pub mod worker;
