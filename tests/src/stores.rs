//! The stores that a node may keep its sessions in, each with a server of its own where it needs one: real ones of Debian's
//! packages, stopped, continued, killed and started by the test. Never decides what is kept.

use crate::node::NodeOptions;

#[path = "../../brokerd/store/tests/redis/server.rs"]
#[allow(dead_code, reason = "the tests of the backend use the rest of it")]
mod redis;
#[path = "../../brokerd/store/src/contract/servers.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the tests of the backends use the rest of it")]
mod sql;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The node's own disk.
    Disk,
    /// Redis with `appendfsync always`.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// MariaDB, by the backend `mysql`.
    Mariadb,
}

/// A store for the nodes of one test, gone with it.
#[derive(Debug)]
pub struct StoreServer {
    server: Server,
    database: String,
}

#[derive(Debug)]
enum Server {
    None,
    Redis(Box<redis::Server>),
    Sql(sql::Kind, Box<sql::Server>),
}

impl std::fmt::Debug for redis::Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl StoreServer {
    /// Starts what the backend needs.
    #[must_use]
    pub fn start(backend: Backend) -> Self {
        let start = |kind| {
            let server = sql::Server::start(kind);
            (server.database(), Server::Sql(kind, Box::new(server)))
        };
        let (database, server) = match backend {
            Backend::Disk => (String::new(), Server::None),
            Backend::Redis => (String::new(), Server::Redis(Box::new(redis::Server::start()))),
            Backend::Postgres => start(sql::Kind::Postgres),
            Backend::Mariadb => start(sql::Kind::Mariadb),
        };
        Self { server, database }
    }

    /// Whether nodes share it, and none needs a directory of its own for it.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        !matches!(self.server, Server::None)
    }

    /// `persistence.backend`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.server {
            Server::None => "disk",
            Server::Redis(_) => "redis",
            Server::Sql(sql::Kind::Postgres, _) => "postgres",
            Server::Sql(sql::Kind::Mariadb, _) => "mysql",
        }
    }

    /// A node that keeps its sessions there.
    #[must_use]
    pub fn options(&self, node: NodeOptions) -> NodeOptions {
        let key = |name: &str| format!("persistence.{}.{name}", self.name());
        let node = node.set("persistence.backend", self.name());
        match &self.server {
            Server::None => node,
            Server::Redis(server) => node.set(&key("address"), &server.address()),
            Server::Sql(_, server) => node
                .set(&key("address"), &server.address())
                .set(&key("database"), &self.database)
                .set(&key("user"), server.user()),
        }
    }

    /// SIGSTOP for all of the server.
    pub fn stop(&self) {
        match &self.server {
            Server::None => {}
            Server::Redis(server) => server.stop(),
            Server::Sql(_, server) => server.signal_all("STOP"),
        }
    }

    /// SIGCONT
    pub fn cont(&self) {
        match &self.server {
            Server::None => {}
            Server::Redis(server) => server.go_on(),
            Server::Sql(_, server) => server.signal_all("CONT"),
        }
    }

    /// kill -9
    pub fn kill(&mut self) {
        match &mut self.server {
            Server::None => {}
            Server::Redis(server) => server.kill(),
            Server::Sql(_, server) => server.kill(),
        }
    }

    /// Starts it again on what it has, and waits until it answers.
    pub fn start_again(&mut self) {
        match &mut self.server {
            Server::None => {}
            Server::Redis(server) => server.start_again(),
            Server::Sql(_, server) => server.go_on(),
        }
    }
}
