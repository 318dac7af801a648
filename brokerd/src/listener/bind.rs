//! The sockets of listeners: bound first, listening later, so that until the node is ready clients are refused and not
//! kept waiting. Owns the file of a Unix socket.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::{Bind, Kind};

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("`listeners.{}.{name}.{key}` = `{value}`: {why}", kind.name())]
pub struct BindError {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) why: String,
}

/// A socket that holds its address but does not listen yet.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Socket,
    file: Option<SocketFile>,
}

/// The file of a Unix socket, removed when dropped unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|it| (it.dev(), it.ino()) == (self.device, self.inode));
        if is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, #[allow(dead_code, reason = "removes the file when dropped")] SocketFile),
}

pub(super) fn bind(to: &Bind) -> io::Result<Bound> {
    match to {
        Bind::Address(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&(*address).into())?;
            Ok(Bound { socket, file: None })
        }
        Bind::Path { path, mode } => {
            remove_dead(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.bind(&SockAddr::unix(path)?)?;
            let metadata = std::fs::symlink_metadata(path)?;
            let file = SocketFile { path: path.clone(), device: metadata.dev(), inode: metadata.ino() };
            // Nobody can connect before it listens, so that the mode is never wider than it should be.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))?;
            Ok(Bound { socket, file: Some(file) })
        }
    }
}

/// Removes a socket that nobody listens on.
fn remove_dead(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?; // a full backlog is an answer too
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "a process listens on it")),
    }
}

impl Bound {
    /// The real address.
    pub(super) fn resolved(&self, asked: Bind) -> Bind {
        match self.socket.local_addr().ok().and_then(|address| address.as_socket()) {
            Some(address) => Bind::Address(address),
            None => asked,
        }
    }

    pub(super) fn listen(self, backlog: u32) -> io::Result<Listening> {
        self.socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        match self.file {
            None => tokio::net::TcpListener::from_std(self.socket.into()).map(Listening::Tcp),
            Some(file) => Ok(Listening::Unix(tokio::net::UnixListener::from_std(self.socket.into())?, file)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(path: &Path) -> Bind {
        Bind::Path { path: path.to_owned(), mode: 0o600 }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_and_a_file_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mqtt.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the file of a dead process stays");
        let listening = bind(&at(&path)).unwrap().listen(1).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let error = bind(&at(&path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(listening);
        assert!(!path.exists(), "a closed listener takes its file along");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&at(&path)).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
