//! One connection to the server: made when it is needed, given up at the first doubt. Never tries anything again: who asks
//! does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError,
    RedisResult, TlsCertificates, Value,
};
use tokio::sync::Mutex;

use super::RedisSettings;
use super::scripts::Script;
use crate::error::StoreError;

/// Bytes that gather before they are written.
const WRITE_BUFFER: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Link {
    address: String,
    client: Client,
    timeout: Duration,
    open: Mutex<Option<Open>>,
    opened: AtomicU64,
}

/// A connection that has the scripts.
#[derive(Clone, Debug)]
pub(super) struct Open {
    connection: MultiplexedConnection,
    /// In the order of [`Script::ALL`].
    digests: Arc<[String]>,
    number: u64,
}

impl Open {
    /// A call of a script; its first argument follows.
    pub(super) fn call(&self, script: Script, prefix: &str) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.digests[script as usize]).arg(1).arg(prefix);
        call
    }
}

/// Why one command of several was not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is no memory for it.
    Full(String),
    Other(StoreError),
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full(why) => Self::Unavailable(why),
            Refusal::Other(error) => error,
        }
    }
}

impl Link {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        let failed = |error: RedisError| StoreError::Open(settings.address.clone(), error.to_string());
        let info = settings.address.as_str().into_connection_info().map_err(failed)?;
        let mut us = info.redis_settings().clone().set_db(i64::from(settings.database));
        if let Some(user) = &settings.user {
            us = us.set_username(user);
        }
        if let Some(password) = &settings.password {
            us = us.set_password(password);
        }
        let info = info.set_redis_settings(us);
        // The client takes the process's provider of cryptography, and panics where there is none. Another's choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match &settings.authorities {
            Some(pem) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        };
        Ok(Self {
            address: settings.address.clone(),
            client: client.map_err(failed)?,
            timeout: settings.timeout,
            open: Mutex::new(None),
            opened: AtomicU64::new(0),
        })
    }

    /// The connection; a new one where there is none.
    pub(super) async fn open(&self) -> Result<Open, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let fresh = self.connect().await.map_err(|error| self.unavailable(&error))?;
        *open = Some(fresh.clone());
        Ok(fresh)
    }

    /// The first connection: what the server will not hear is not said again.
    pub(super) async fn first(&self) -> Result<Open, StoreError> {
        let fresh = self.connect().await.map_err(|error| match is_refusal(&error) {
            true => StoreError::Open(self.address.clone(), error.to_string()),
            false => self.unavailable(&error),
        })?;
        *self.open.lock().await = Some(fresh.clone());
        Ok(fresh)
    }

    async fn connect(&self) -> RedisResult<Open> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_write_backpressure_boundary(WRITE_BUFFER);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut load = redis::pipe();
        for script in Script::ALL {
            load.cmd("SCRIPT").arg("LOAD").arg(script.source());
        }
        let digests: Vec<String> = load.query_async(&mut connection).await?;
        let number = self.opened.fetch_add(1, Relaxed);
        Ok(Open { connection, digests: digests.into(), number })
    }

    /// One round trip. Answers what each command answered.
    pub(super) async fn run(
        &self,
        open: &Open,
        pipeline: &mut Pipeline,
    ) -> Result<Vec<Result<Value, Refusal>>, StoreError> {
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            pipeline.ignore_errors().query_async(&mut open.connection.clone()).await;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                self.give_up(open).await;
                return Err(self.unavailable(&error));
            }
        };
        let mut is_doubtful = false;
        let judge = |answer: RedisResult<Value>| {
            answer.map_err(|error| match error.code() {
                Some("OOM") => Refusal::Full(error.to_string()),
                _ => {
                    is_doubtful = true; // no script, a replica now, still loading: a new connection finds out
                    Refusal::Other(self.unavailable(&error))
                }
            })
        };
        let answers = answers.into_iter().map(judge).collect();
        if is_doubtful {
            self.give_up(open).await;
        }
        Ok(answers)
    }

    /// One round trip, of commands that are all carried out or an error.
    pub(super) async fn ask(&self, open: &Open, pipeline: &mut Pipeline) -> Result<Vec<Value>, StoreError> {
        let answers = self.run(open, pipeline).await?;
        answers.into_iter().map(|answer| answer.map_err(StoreError::from)).collect()
    }

    /// One command.
    pub(super) async fn one<T: FromRedisValue>(&self, open: &Open, command: Cmd) -> Result<T, StoreError> {
        let mut answers = self.ask(open, redis::pipe().add_command(command)).await?;
        self.read(answers.pop().unwrap_or(Value::Nil))
    }

    /// An answer, as what it should be.
    pub(super) fn read<T: FromRedisValue>(&self, answer: Value) -> Result<T, StoreError> {
        redis::from_redis_value(answer).map_err(|error| self.unavailable(&error.into()))
    }

    async fn give_up(&self, of: &Open) {
        let mut open = self.open.lock().await;
        if open.as_ref().is_some_and(|open| open.number == of.number) {
            *open = None;
        }
    }

    fn unavailable(&self, error: &RedisError) -> StoreError {
        StoreError::Unavailable(format!("redis at {}: {error}", self.address))
    }
}

/// Whether the server does not let us in, or has no such database. Of several commands the text has their errors.
fn is_refusal(error: &RedisError) -> bool {
    const SAID: [&str; 4] = ["NOAUTH", "NOPERM", "WRONGPASS", "refused to switch database"];
    let text = error.to_string();
    matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig)
        || SAID.iter().any(|said| text.contains(said))
}
