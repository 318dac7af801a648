//! PostgreSQL, from version 12 on. Never decides what is said: `sql` does.

mod link;
mod tls;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use crate::backend::Backend;
use crate::error::StoreError;
use crate::sql::server::{Fault, Server};
use crate::sql::{ServerSettings, Sql, Tls};
use link::PostgresLink;
use tls::Connector;

const PORT: u16 = 5432;

/// Opens the store in a database, and makes its tables where there are none.
///
/// # Errors
/// Where the server does not answer, does not let us in, or has tables that another version made.
pub async fn postgres(settings: &ServerSettings) -> Result<Arc<dyn Backend>, StoreError> {
    let refused = |reason: String| StoreError::Open(settings.address.clone(), reason);
    let server = Postgres::new(settings).map_err(refused)?;
    let opened = Sql::open(server, settings).await;
    Ok(Arc::new(opened.map_err(|fault| fault.at_start(Postgres::NAME, &settings.address))?))
}

/// How it is reached.
pub(crate) struct Postgres {
    config: Config,
    tls: Option<Connector>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive() // its configuration holds the password
    }
}

impl Postgres {
    fn new(settings: &ServerSettings) -> Result<Self, String> {
        let (host, port) = settings.target(PORT);
        let millis = settings.timeout.as_millis().max(1);
        let mut config = Config::new();
        config.host(host).port(port).dbname(&settings.database).user(&settings.user);
        if !settings.password.is_empty() {
            config.password(&settings.password);
        }
        config.application_name("brokerd").connect_timeout(settings.timeout).tcp_user_timeout(settings.timeout);
        // A node that is stopped in the midst of a transaction does not keep others from its sessions.
        config.options(format!(
            "-c statement_timeout={millis} -c idle_in_transaction_session_timeout={millis} \
             -c default_transaction_isolation=read\\ committed -c client_min_messages=warning"
        ));
        let tls = match &settings.tls {
            Tls::Off => None,
            Tls::Verified(authorities) => Some(Connector::new(authorities)?),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls })
    }
}

#[async_trait]
impl Server for Postgres {
    type Link = PostgresLink;
    const NAME: &'static str = "postgres";
    const LOCK: &'static str = "SELECT pg_advisory_lock(7093864113)";
    const UNLOCK: &'static str = "SELECT pg_advisory_unlock(7093864113)";
    const TABLES: &'static [&'static str] = &[
        "CREATE TABLE IF NOT EXISTS brokerd_session (sid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         client bytea NOT NULL UNIQUE, client_id bytea NOT NULL, epoch bigint NOT NULL, node bytea NOT NULL)",
        "CREATE TABLE IF NOT EXISTS brokerd_record (sid bigint PRIMARY KEY, ends_at bigint, body bytea NOT NULL)",
        "CREATE INDEX IF NOT EXISTS brokerd_record_ends ON brokerd_record (ends_at) WHERE ends_at IS NOT NULL",
        "CREATE TABLE IF NOT EXISTS brokerd_queue (sid bigint, seq bigint, qos smallint NOT NULL, \
         size integer NOT NULL, expires_at bigint, mid bytea, body bytea NOT NULL, PRIMARY KEY (sid, seq))",
        "CREATE INDEX IF NOT EXISTS brokerd_queue_expires ON brokerd_queue (expires_at) WHERE expires_at IS NOT NULL",
        "CREATE INDEX IF NOT EXISTS brokerd_queue_mid ON brokerd_queue (mid) WHERE mid IS NOT NULL",
        "CREATE TABLE IF NOT EXISTS brokerd_flight (sid bigint, seq bigint, packet_id integer NOT NULL, \
         released smallint NOT NULL, PRIMARY KEY (sid, seq))",
        "CREATE TABLE IF NOT EXISTS brokerd_received (sid bigint, packet_id integer, PRIMARY KEY (sid, packet_id))",
        "CREATE TABLE IF NOT EXISTS brokerd_message (mid bytea PRIMARY KEY, body bytea NOT NULL, \
         created_at bigint NOT NULL DEFAULT (extract(epoch from clock_timestamp()) * 1000)::bigint)",
        "CREATE TABLE IF NOT EXISTS brokerd_garbage (sid bigint PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS brokerd_retained (topic_hash bytea PRIMARY KEY, topic bytea NOT NULL, \
         stamp bytea NOT NULL, body bytea NOT NULL)",
        "CREATE TABLE IF NOT EXISTS brokerd_delayed (mid bytea PRIMARY KEY, body bytea NOT NULL)",
    ];

    async fn connect(&self) -> Result<PostgresLink, Fault> {
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|error| link::fault(&error))?;
                Ok(PostgresLink::new(client, connection))
            }
            Some(tls) => {
                let connecting = self.config.connect(tls.clone());
                let (client, connection) = connecting.await.map_err(|error| link::fault(&error))?;
                Ok(PostgresLink::new(client, connection))
            }
        }
    }
}
