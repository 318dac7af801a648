//! Random lives of a cluster, from a seed: a story is played on real nodes, what happened is recorded, and every promise is
//! held against the record, one file each. Owns the stories and the record; looks at nodes as clients and operators do.

mod client;
mod facts;
mod generate;
mod play;
mod promises;
mod record;
mod shrink;
mod step;
#[cfg(test)]
mod tests;
mod views;

pub use generate::{Weather, generate};
pub use play::{Theatre, replay};
pub use promises::{Broken, Promise};
pub use shrink::shrink;
pub use step::{Step, Story};

/// What the cluster can do, where that is not settled by its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// A session is handed over to the node that its client goes to, though the nodes share no store.
    pub sessions_follow: bool,
}

impl Abilities {
    /// Of this version.
    pub const NOW: Self = Self { sessions_follow: true };
}
