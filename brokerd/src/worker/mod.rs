//! The threads that own connections and sessions. Never waits for a store, a peer or another worker.

mod attach;
mod auto_subscribe;
mod claims;
mod conn;
mod delayed;
mod deliver;
mod depart;
mod exchange;
mod exclusive;
mod flush;
mod following;
mod greet;
mod greeting;
mod groups;
mod held;
mod joint;
mod journal;
mod keeping;
mod mailbox;
mod manage;
mod moving;
mod partials;
mod query;
mod records;
mod refusal;
mod relay;
mod restore;
mod review;
mod rewrite;
mod route;
mod shard;
mod start;
mod subscribe;
mod sweep;
#[cfg(test)]
mod tests;
mod timers;
mod turn;
pub mod view;

pub use depart::{Places, Redirect};
pub use manage::Cleaned;
pub use query::{Cursor, Page};
pub use restore::Restored;
pub use review::Reviewed;
pub use start::{Parts, Workers};
