//! Where the management API of a node is, as brokerd and brokerctl agree on it without being told. Owns the runtime
//! directory, the endpoint notation and the token files; never opens a connection.
#![warn(missing_docs, unreachable_pub, clippy::all)]

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The name of the Unix socket in the runtime directory.
pub const SOCKET: &str = "admin.sock";

/// An address of the management API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:PATH`
    Unix(PathBuf),
    /// `HOST:PORT`, loopback only: what is said there is not encrypted.
    Tcp(SocketAddr),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// What is wrong with the text of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEndpoint(String);

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadEndpoint {}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(BadEndpoint("`unix:` lacks its path, as in `unix:/run/brokerd/admin.sock`".into()));
            }
            return Ok(Self::Unix(path.into()));
        }
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
            None => text.parse().ok(),
        };
        let Some(address) = address else {
            return Err(BadEndpoint(format!("`{text}` is neither `unix:PATH` nor `HOST:PORT`")));
        };
        if !address.ip().is_loopback() {
            return Err(BadEndpoint(format!(
                "`{text}` is not a loopback address: the management API does not leave the machine"
            )));
        }
        Ok(Self::Tcp(address))
    }
}

/// The directory in which a broker of this user keeps its socket and tokens.
pub fn runtime_dir() -> PathBuf {
    runtime_dirs().swap_remove(0)
}

/// The socket of a broker of this user that was told nothing: where one is, or else where one would be. A shell may
/// lack the `XDG_RUNTIME_DIR` that the broker had, or have one that it had not.
pub fn default_socket() -> PathBuf {
    let mut sockets: Vec<PathBuf> = runtime_dirs().into_iter().map(|dir| dir.join(SOCKET)).collect();
    let found = sockets.iter().position(|socket| socket.exists()).unwrap_or(0);
    sockets.swap_remove(found)
}

fn runtime_dirs() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    candidates(uid, std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), &std::env::temp_dir())
}

/// Never empty; the first is the broker's.
fn candidates(uid: u32, xdg: Option<PathBuf>, temp: &Path) -> Vec<PathBuf> {
    if uid == 0 {
        return vec!["/run/brokerd".into()];
    }
    let xdg = xdg.filter(|dir| dir.is_absolute()).map(|dir| dir.join("brokerd"));
    let conventional = PathBuf::from(format!("/run/user/{uid}/brokerd"));
    let conventional = (xdg.is_none() && conventional.exists()).then_some(conventional);
    let fallback = temp.join(format!("brokerd-{uid}"));
    match xdg {
        Some(xdg) => vec![xdg, fallback],
        None => std::iter::once(fallback).chain(conventional).collect(),
    }
}

/// Makes the runtime directory for this user alone, or checks that it is so.
///
/// # Errors
/// Where it cannot be made, or is somebody else's: who owns it could put his own socket there.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(explain(dir, &error.to_string())),
        _ => check_private_dir(dir),
    }
}

/// Checks that a directory is this user's (or root's), no symbolic link, and not writable by others.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_private_dir(dir: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", dir.display())))?;
    let uid = rustix::process::geteuid().as_raw();
    if meta.file_type().is_symlink() {
        return Err(explain(dir, "is a symbolic link"));
    }
    if !meta.is_dir() {
        return Err(explain(dir, "is not a directory"));
    }
    if meta.uid() != uid && meta.uid() != 0 {
        return Err(explain(dir, &format!("belongs to user {}, not to {uid}", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(explain(dir, "is writable by other users"));
    }
    Ok(())
}

fn explain(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("`{}` {why}", path.display()))
}

/// Where the token of a TCP endpoint is.
pub fn token_file(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!("token-{port}"))
}

/// The token file of a broker of this user on `port`: where one is, or else where one would be.
pub fn default_token_file(port: u16) -> PathBuf {
    let mut files: Vec<PathBuf> = runtime_dirs().iter().map(|dir| token_file(dir, port)).collect();
    let found = files.iter().position(|file| file.exists()).unwrap_or(0);
    files.swap_remove(found)
}

/// Writes a token that its owner alone can read.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_token(path: &Path, token: &str) -> io::Result<()> {
    // A new file, so that one which another user made earlier, and holds open, is not written to.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(explain(path, &error.to_string())),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| explain(path, &error.to_string()))?;
    file.write_all(token.as_bytes())
}

/// Reads a token: one line, at most 4096 bytes.
///
/// # Errors
/// Where the file cannot be read, keeping the kind of the error.
pub fn read_token(path: &Path) -> io::Result<String> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
    let mut text = String::new();
    fs::File::open(path).map_err(explain)?.take(4096).read_to_string(&mut text).map_err(explain)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_runtime_directory_is_private_or_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        make_private_dir(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        make_private_dir(&dir).unwrap();
        let link = temp.path().join("link");
        symlink(&dir, &link).unwrap();
        assert!(make_private_dir(&link).unwrap_err().to_string().contains("symbolic link"));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o720)).unwrap();
        assert!(make_private_dir(&dir).unwrap_err().to_string().contains("writable by other users"));
    }

    #[test]
    fn a_token_reads_as_written_in_a_file_of_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let file = token_file(temp.path(), 7000);
        let elsewhere = temp.path().join("elsewhere");
        symlink(&elsewhere, &file).unwrap();
        write_token(&file, "secret").unwrap();
        assert!(!elsewhere.exists(), "the token was written through a symbolic link");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_token(&file).unwrap(), "secret");
        assert_eq!(read_token(&elsewhere).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn endpoints_read_as_they_print() {
        for text in ["unix:/run/brokerd/admin.sock", "127.0.0.1:7000", "[::1]:7000"] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("localhost:7000".parse(), Ok(Endpoint::Tcp(([127, 0, 0, 1], 7000).into())));
    }

    #[test]
    fn an_endpoint_that_leaves_the_machine_or_is_none_is_refused() {
        for text in
            ["unix:", "", "7000", "127.0.0.1", "localhost:x", "127.0.0.1:70000", "0.0.0.0:7000", "10.0.0.1:7000"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn each_user_has_a_runtime_directory_of_his_own() {
        let temp = Path::new("/tmp");
        assert_eq!(candidates(0, Some("/x".into()), temp), [PathBuf::from("/run/brokerd")]);
        assert_eq!(
            candidates(4_000_000, Some("/x".into()), temp),
            [PathBuf::from("/x/brokerd"), "/tmp/brokerd-4000000".into()]
        );
        assert_eq!(candidates(4_000_000, Some("x".into()), temp), [PathBuf::from("/tmp/brokerd-4000000")]);
    }
}
