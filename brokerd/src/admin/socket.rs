//! Binds the endpoint of the management API, and removes what it left in the file system. Never accepts.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::endpoint::{self, Endpoint};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::incoming::Listener;
use crate::config;

/// A broker that lives takes a connection at once; one that is stopped has a queue for it.
const PROBE: Duration = Duration::from_secs(1);

/// Why the management API is not served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process serves it.
    #[error("`admin.listen = \"unix:{0}\"`: another process listens there")]
    Live(PathBuf),
    /// A file of another kind is in the way.
    #[error("`admin.listen = \"unix:{0}\"`: that is a file, and not a socket")]
    NotASocket(PathBuf),
    /// It would be reachable from outside, in the clear.
    #[error("`admin.listen = \"{0}\"` is not a loopback address")]
    NotLoopback(SocketAddr),
    /// Anything else.
    #[error("`admin.listen = \"{endpoint}\"`: {error}")]
    Io {
        /// As it would be written.
        endpoint: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A bound endpoint.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: Listener,
    pub(super) endpoint: Endpoint,
    /// What a caller must present; `None` on a Unix socket.
    pub(super) token: Option<String>,
    pub(super) files: Files,
}

/// Removes a file on drop, if it is still the one that was made.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Files {
    fn new(path: PathBuf) -> Self {
        let identity = identity(&path);
        Self { path, identity }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Binds what `admin.listen` says.
pub(super) async fn bind(listen: &config::Endpoint, runtime_dir: &Path) -> Result<Bound, StartError> {
    match listen {
        config::Endpoint::Auto => {
            let path = runtime_dir.join(endpoint::SOCKET);
            endpoint::make_private_dir(runtime_dir).map_err(|error| unix_error(&path, error))?;
            unix(&path).await
        }
        config::Endpoint::Unix(path) => {
            make_parent(path).map_err(|error| unix_error(path, error))?;
            unix(path).await
        }
        config::Endpoint::Tcp(address) => tcp(*address, runtime_dir).await,
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)
        }
        _ => Ok(()),
    }
}

async fn unix(path: &Path) -> Result<Bound, StartError> {
    clear(path).await?;
    let listener = UnixListener::bind(path).map_err(|error| unix_error(path, error))?;
    let files = Files::new(path.to_owned());
    // Whoever connects before this line is checked by his user id all the same.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| unix_error(path, error))?;
    Ok(Bound { listener: Listener::Unix(listener), endpoint: Endpoint::Unix(path.to_owned()), token: None, files })
}

/// Removes the socket of a process that is no more.
async fn clear(path: &Path) -> Result<(), StartError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unix_error(path, error)),
    };
    if !meta.file_type().is_socket() {
        return Err(StartError::NotASocket(path.to_owned()));
    }
    match tokio::time::timeout(PROBE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| unix_error(path, error))
        }
        // A full queue (EAGAIN) is the sign of a live process too.
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(unix_error(path, error)),
        _ => Err(StartError::Live(path.to_owned())),
    }
}

async fn tcp(address: SocketAddr, runtime_dir: &Path) -> Result<Bound, StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    let failed = |error| StartError::Io { endpoint: address.to_string(), error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    endpoint::make_private_dir(runtime_dir).map_err(failed)?;
    let token = random_hex().map_err(failed)?;
    let path = endpoint::token_file(runtime_dir, address.port());
    endpoint::write_token(&path, &token).map_err(failed)?;
    let files = Files::new(path);
    Ok(Bound { listener: Listener::Tcp(listener), endpoint: Endpoint::Tcp(address), token: Some(token), files })
}

/// 32 random bytes in hex.
fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unix_error(path: &Path, error: io::Error) -> StartError {
    StartError::Io { endpoint: format!("unix:{}", path.display()), error }
}
