//! Messages from publishers to subscribers: a plan, the threads that carry it out, and what came of it. Never knows a
//! scenario by name.

mod deliveries;
mod outcome;
mod plan;
mod publisher;
mod run;
mod shard;
mod state;
mod summary;

pub(crate) use plan::{Filters, Pace, Plan, Until};
pub(crate) use run::{pause, run};
pub(crate) use summary::summary;
