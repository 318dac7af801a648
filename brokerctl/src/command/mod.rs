//! The commands, one a file: its words, its help, its renderings and their tests. Never knows how a question travels.

mod alarms;
mod auth;
mod broker;
mod clients;
mod cluster;
mod data;
mod listeners;
mod node;
mod passwd;
mod rebalance;
mod retainer;
mod routes;
mod sessions;
mod status;
mod subscriptions;
mod tls;
mod topics;

use clap::Subcommand;

use crate::Session;
use crate::bench::Bench;
use crate::failure::Failure;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(status::Status),
    Broker(broker::Broker),
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    #[command(subcommand)]
    Node(node::Node),
    #[command(subcommand)]
    Rebalance(rebalance::Rebalance),
    #[command(subcommand)]
    Alarms(alarms::Alarms),
    #[command(subcommand)]
    Routes(routes::Routes),
    #[command(subcommand)]
    Clients(clients::Clients),
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    #[command(subcommand)]
    Subscriptions(subscriptions::Subscriptions),
    #[command(subcommand)]
    Topics(topics::Topics),
    #[command(subcommand)]
    Retainer(retainer::Retainer),
    #[command(subcommand)]
    Data(data::Data),
    Listeners(listeners::Listeners),
    #[command(subcommand)]
    Tls(tls::Tls),
    #[command(subcommand)]
    Auth(auth::Auth),
    Passwd(passwd::Passwd),
    #[command(subcommand)]
    Bench(Box<Bench>),
}

impl Command {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Status(status) => status.run(session).await,
            Self::Broker(broker) => broker.run(session).await,
            Self::Cluster(cluster) => cluster.run(session).await,
            Self::Node(node) => node.run(session).await,
            Self::Rebalance(rebalance) => rebalance.run(session).await,
            Self::Alarms(alarms) => alarms.run(session).await,
            Self::Routes(routes) => routes.run(session).await,
            Self::Clients(clients) => clients.run(session).await,
            Self::Sessions(sessions) => sessions.run(session).await,
            Self::Subscriptions(subscriptions) => subscriptions.run(session).await,
            Self::Topics(topics) => topics.run(session).await,
            Self::Retainer(retainer) => retainer.run(session).await,
            Self::Data(data) => data.run(session).await,
            Self::Listeners(listeners) => listeners.run(session).await,
            Self::Tls(tls) => tls.run(session).await,
            Self::Auth(auth) => auth.run(session).await,
            Self::Passwd(passwd) => passwd.run(session),
            Self::Bench(bench) => bench.run(session),
        }
    }
}

/// An answer that does not fit its question: a broker of another version.
pub(crate) fn unexpected() -> Failure {
    Failure::Failed("the broker gave an answer to another question".into())
}
