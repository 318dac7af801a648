//! How the store of a node is opened: a server that does not answer is waited for, before anything is served. Never waits
//! where asking again is of no use.

use std::sync::Arc;
use std::time::Duration;

use store::{Backend, Commit, DiskSettings, Settings, Store, StoreError};
use tokio::runtime::Handle;

use crate::config::{self, Config};
use crate::health::Sign;
use crate::limits;

/// Between the first two attempts; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Asks until the store answers: a server may start later than this node, or go while it starts.
pub(super) async fn until_it_answers<T>(
    sign: &Sign,
    mut ask: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Err(StoreError::Unavailable(reason)) => {
                sign.is_not_ready("waiting for the store, which does not answer");
                tracing::warn!(reason, ?pause, "the store does not answer; nothing is served before it does");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => {
                sign.is_not_ready("starting");
                return answer;
            }
        }
    }
}

/// Opens the store, if the configuration asks for one.
pub(super) async fn open(config: &Config, sign: &Sign) -> anyhow::Result<Option<Arc<Store>>> {
    let persistence = &config.persistence;
    let commit = match persistence.commit {
        config::Commit::Group => Commit::Group,
        config::Commit::Every => Commit::Every,
        config::Commit::None => Commit::None,
    };
    let settings = Settings {
        commit,
        max_bytes: persistence.pending_bytes,
        timeout: timeout(persistence).unwrap_or(Settings::default().timeout),
        ..Settings::default()
    };
    let store = match persistence.backend {
        config::Backend::Memory => return Ok(None),
        config::Backend::Disk => Store::embedded(disk(config)?, settings)?,
        config::Backend::Redis => Store::remote(redis(&persistence.redis, sign).await?, settings, &Handle::current()),
        config::Backend::Postgres => {
            Store::remote(postgres(&persistence.postgres, sign).await?, settings, &Handle::current())
        }
        config::Backend::Mysql => Store::remote(mysql(&persistence.mysql, sign).await?, settings, &Handle::current()),
    };
    Ok(Some(Arc::new(store)))
}

/// How long a change is tried again: as long as the server may take to answer.
const fn timeout(persistence: &config::Persistence) -> Option<Duration> {
    match persistence.backend {
        config::Backend::Memory | config::Backend::Disk => None,
        config::Backend::Redis => Some(persistence.redis.timeout),
        config::Backend::Postgres => Some(persistence.postgres.timeout),
        config::Backend::Mysql => Some(persistence.mysql.timeout),
    }
}

fn disk(config: &Config) -> anyhow::Result<Arc<dyn Backend>> {
    let persistence = &config.persistence;
    let disk = &persistence.disk;
    let bounds = disk.cache.saturating_add(persistence.pending_bytes as u64);
    for advice in limits::memory_advice(bounds.saturating_add(persistence.max_retained_bytes as u64)) {
        tracing::warn!("{advice}");
    }
    let settings = DiskSettings {
        reserve: disk.reserve,
        cache: disk.cache,
        journal: disk.journal,
        ..DiskSettings::new(config.node.data_dir.join("store"))
    };
    store::disk(&settings).map_err(|error| anyhow::anyhow!("persistence.backend: {error}"))
}

#[cfg(feature = "redis")]
async fn redis(redis: &config::Redis, sign: &Sign) -> anyhow::Result<Arc<dyn Backend>> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| anyhow::anyhow!("persistence.redis.tls_ca: {}: {error}", path.display()))
    };
    let settings = store::RedisSettings {
        address: redis.address.clone(),
        user: redis.user.clone(),
        password: redis.password.as_ref().map(|password| password.expose().to_owned()),
        database: redis.database,
        prefix: redis.prefix.clone(),
        timeout: redis.timeout,
        authorities: redis.tls_ca.as_ref().map(read).transpose()?,
    };
    let opened = until_it_answers(sign, async || store::redis(&settings).await).await;
    opened.map_err(|error| anyhow::anyhow!("persistence.redis.address: {error}"))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &config::Redis, _: &Sign) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("persistence.backend: this program was built without redis")
}

#[cfg(feature = "postgres")]
async fn postgres(server: &config::SqlServer, sign: &Sign) -> anyhow::Result<Arc<dyn Backend>> {
    let settings = sql(server);
    let opened = until_it_answers(sign, async || store::postgres(&settings).await).await;
    opened.map_err(|error| anyhow::anyhow!("persistence.postgres.address: {error}"))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_: &config::SqlServer, _: &Sign) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("persistence.backend: this program was built without postgres")
}

#[cfg(feature = "mysql")]
async fn mysql(server: &config::SqlServer, sign: &Sign) -> anyhow::Result<Arc<dyn Backend>> {
    let settings = sql(server);
    let opened = until_it_answers(sign, async || store::mysql(&settings).await).await;
    opened.map_err(|error| anyhow::anyhow!("persistence.mysql.address: {error}"))
}

#[cfg(not(feature = "mysql"))]
async fn mysql(_: &config::SqlServer, _: &Sign) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("persistence.backend: this program was built without mysql")
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
fn sql(server: &config::SqlServer) -> store::ServerSettings {
    let tls = if server.is_encrypted() { store::Tls::Verified(server.tls_ca.clone()) } else { store::Tls::Off };
    store::ServerSettings {
        database: server.database.clone(),
        user: server.user.clone(),
        password: server.password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default(),
        tls,
        readers: server.readers,
        timeout: server.timeout,
        ..store::ServerSettings::new(server.address.clone())
    }
}
