//! What the operator decided. Owns every key, its default and its check; reads the files that `cluster.secret_file`
//! and `password_file` name, and never opens or starts anything else.
//!
//! Default < file < environment < `--set` < `--node-name`, `--seed`. The later layer wins key by key.

mod discovery;
mod layers;
mod listeners;
mod network;
mod notation;
mod problem;
mod reader;
mod redis;
mod rows;
mod rules;
mod sections;
mod sources;
mod sql;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use discovery::{Discovery, Dns, DnsRecord, Etcd, Kubernetes};
pub use listeners::{Bind, Kind, Listener, Listeners, Tls};
pub use network::Network;
pub use problem::{Problem, Source};
pub use sources::{FileText, Machine, Sources};
pub use types::{
    Admin, Auth, AutoSubscribe, Backend, Cluster, Commit, Config, DefaultPriority, DenyAction, Disk, Endpoint, Health,
    Log, Mqtt, Node, Persistence, QueuePriority, Redis, Rewrite, RewriteAction, Secret, SharedStrategy, SqlServer,
    SqlTls, Sys, WhenFull,
};

use reader::Reader;

/// Resolves the configuration, or says everything that is wrong with it, in the order of the sources.
///
/// # Errors
/// One problem for each key that is unknown, of a wrong type, out of its range or at odds with another.
pub fn load(sources: &Sources) -> Result<Config, Vec<Problem>> {
    let (config, reader) = resolve(sources);
    let mut problems = reader.into_problems();
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by(|a, b| a.source.cmp(&b.source));
    Err(problems)
}

fn resolve(sources: &Sources) -> (Config, Reader) {
    let mut problems = Vec::new();
    let entries = layers::merge(sources, &mut problems);
    let mut reader = Reader::new(entries, problems);
    let mut config = sections::read(&mut reader, sources);
    rules::check(&mut reader, &mut config);
    reader.refuse_unknown(&sources.environment, sections::reserved);
    (config, reader)
}
