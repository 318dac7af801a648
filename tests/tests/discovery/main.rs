//! How nodes find each other: one contract for all ways, what only one of them has, and whole nodes that know nothing but
//! a name or an etcd.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod nodes;
mod outcomes;
mod particular;
mod place;
