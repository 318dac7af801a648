//! How a server is reached. Never shows the password.

use std::path::PathBuf;
use std::time::Duration;

/// Whether a connection is encrypted, and who is believed to be the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It is not.
    Off,
    /// It is, and the server's certificate has to name it and come from one of these authorities (a PEM file).
    Verified(PathBuf),
}

/// How a server is reached.
#[derive(Clone)]
pub struct ServerSettings {
    /// `host:port`, or the path of a Unix socket (PostgreSQL: of the directory that it is in).
    pub address: String,
    /// The database, which has to be there.
    pub database: String,
    /// Who we are.
    pub user: String,
    /// Empty for none.
    pub password: String,
    /// Whether it is encrypted.
    pub tls: Tls,
    /// Connections for reads; there is one more for changes.
    pub readers: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How old messages that are stored once for many are removed, when nothing names them: longer than any transaction
    /// may take.
    pub age: Duration,
}

impl ServerSettings {
    /// One that is here, with what the configuration has as defaults.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self {
            address,
            database: "brokerd".into(),
            user: "brokerd".into(),
            password: String::new(),
            tls: Tls::Off,
            readers: 3,
            timeout: Duration::from_secs(5),
            age: Duration::from_mins(1),
        }
    }

    /// Host and port; the path, and no port, of a Unix socket.
    pub(crate) fn target(&self, port: u16) -> (&str, u16) {
        if self.address.starts_with('/') {
            return (&self.address, port);
        }
        let is_bare_v6 = self.address.matches(':').count() > 1 && !self.address.starts_with('[');
        let split = self.address.rsplit_once(':').filter(|_| !is_bare_v6);
        let (host, port) = match split.and_then(|(host, text)| Some((host, text.parse().ok()?))) {
            Some((host, port)) => (host, port),
            None => (&*self.address, port),
        };
        (host.trim_start_matches('[').trim_end_matches(']'), port)
    }
}

impl std::fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSettings")
            .field("address", &self.address)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
