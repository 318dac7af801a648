//! MySQL from version 8.0.13 on, and MariaDB from 10.3 on. Never decides what is said: `sql` does.

mod link;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};

use crate::backend::Backend;
use crate::error::StoreError;
use crate::sql::server::{Fault, Server};
use crate::sql::{ServerSettings, Sql, Tls};
use link::MysqlLink;

const PORT: u16 = 3306;

/// Opens the store in a database, and makes its tables where there are none.
///
/// # Errors
/// Where the server does not answer, does not let us in, or has tables that another version made.
pub async fn mysql(settings: &ServerSettings) -> Result<Arc<dyn Backend>, StoreError> {
    let opened = Sql::open(Mysql::new(settings), settings).await;
    Ok(Arc::new(opened.map_err(|fault| fault.at_start(Mysql::NAME, &settings.address))?))
}

/// How it is reached.
pub(crate) struct Mysql(Opts);

impl std::fmt::Debug for Mysql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mysql").finish_non_exhaustive() // its options hold the password
    }
}

impl Mysql {
    fn new(settings: &ServerSettings) -> Self {
        let seconds = settings.timeout.as_secs().max(1);
        let (host, port) = settings.target(PORT);
        let (host, socket) = if host.starts_with('/') { ("localhost", Some(host)) } else { (host, None) };
        let ssl = match &settings.tls {
            Tls::Off => None,
            Tls::Verified(authorities) => {
                let roots = vec![authorities.clone().into()];
                Some(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots))
            }
        };
        // A node that is stopped in the midst of a transaction does not keep others from its sessions, where the
        // server can tell; nor does a statement of ours wait longer than we do.
        let init = vec![
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
            format!(
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES', autocommit = 1, innodb_lock_wait_timeout = {seconds} \
                 /*M!100300 , idle_transaction_timeout = {seconds}, max_statement_time = {seconds} */"
            ),
        ];
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .socket(socket)
            .prefer_socket(false)
            .user(Some(&settings.user))
            .pass(Some(&settings.password).filter(|password| !password.is_empty()))
            .db_name(Some(&settings.database))
            .ssl_opts(ssl)
            .init(init);
        Self(options.into())
    }
}

#[async_trait]
impl Server for Mysql {
    type Link = MysqlLink;
    const NAME: &'static str = "mysql";
    const LOCK: &'static str = "SELECT GET_LOCK(CONCAT('brokerd.', LEFT(DATABASE(), 50)), 3)";
    const UNLOCK: &'static str = "SELECT RELEASE_LOCK(CONCAT('brokerd.', LEFT(DATABASE(), 50)))";
    const TABLES: &'static [&'static str] = &[
        "CREATE TABLE IF NOT EXISTS brokerd_session (sid bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         client binary(32) NOT NULL UNIQUE, client_id mediumblob NOT NULL, epoch bigint NOT NULL, \
         node varbinary(1024) NOT NULL) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_record (sid bigint NOT NULL PRIMARY KEY, ends_at bigint, \
         body longblob NOT NULL, KEY (ends_at)) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_queue (sid bigint NOT NULL, seq bigint NOT NULL, qos smallint NOT NULL, \
         size bigint NOT NULL, expires_at bigint, mid varbinary(18), body longblob NOT NULL, PRIMARY KEY (sid, seq), \
         KEY (expires_at), KEY (mid)) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_flight (sid bigint NOT NULL, seq bigint NOT NULL, \
         packet_id int NOT NULL, released smallint NOT NULL, PRIMARY KEY (sid, seq)) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_received (sid bigint NOT NULL, packet_id int NOT NULL, \
         PRIMARY KEY (sid, packet_id)) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_message (mid varbinary(18) NOT NULL PRIMARY KEY, body longblob NOT NULL, \
         created_at bigint NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_garbage (sid bigint NOT NULL PRIMARY KEY) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_retained (topic_hash binary(32) NOT NULL PRIMARY KEY, \
         topic mediumblob NOT NULL, stamp binary(16) NOT NULL, body longblob NOT NULL) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS brokerd_delayed (mid varbinary(18) NOT NULL PRIMARY KEY, body longblob NOT NULL) \
         ENGINE=InnoDB",
    ];

    async fn connect(&self) -> Result<MysqlLink, Fault> {
        Conn::new(self.0.clone()).await.map(MysqlLink).map_err(|error| link::fault(&error))
    }
}
