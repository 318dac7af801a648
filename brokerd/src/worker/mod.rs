//! The threads that own connections and sessions. Never waits for a store, a peer or another worker.

mod attach;
mod auto_subscribe;
mod claims;
mod conn;
mod delayed;
mod exchange;
mod exclusive;
mod flush;
mod greet;
mod greeting;
mod groups;
mod mailbox;
mod partials;
mod query;
mod refusal;
mod review;
mod rewrite;
mod route;
mod shard;
mod start;
mod subscribe;
#[cfg(test)]
mod tests;
mod timers;
pub mod view;

pub use query::{Cursor, Page};
pub use review::Reviewed;
pub use start::{Parts, Workers};
