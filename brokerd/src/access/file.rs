//! Reading the files of this room: bounded, refused where others could change what they say, and errors that name key,
//! file and line. Never interprets a line.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of a password file: two million users.
const LARGEST_PASSWORDS: u64 = 256 << 20;
/// Of an ACL file.
const LARGEST_ACL: u64 = 16 << 20;
/// Mode bits by which every user of the machine may read.
const OTHERS_READ: u32 = 0o004;
/// Mode bits by which every user of the machine may write.
const OTHERS_WRITE: u32 = 0o002;

/// A line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(super) struct BadLine {
    /// From 1.
    pub(super) line: usize,
    pub(super) why: String,
}

/// Why users and rules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file is wrong.
    #[error("`{key}` = `{}`: {why}", path.display())]
    File {
        /// That names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// With the line, where it is one line's fault.
        why: String,
    },
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

pub(super) fn read_passwords<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, BadLine>) -> Result<T, AccessError> {
    read(path, LARGEST_PASSWORDS, OTHERS_READ | OTHERS_WRITE, parse).map_err(|why| AccessError::File {
        key: "auth.password_file",
        path: path.to_owned(),
        why,
    })
}

pub(super) fn read_acl<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, BadLine>) -> Result<T, AccessError> {
    read(path, LARGEST_ACL, OTHERS_WRITE, parse).map_err(|why| AccessError::File {
        key: "auth.acl_file",
        path: path.to_owned(),
        why,
    })
}

fn read<T>(
    path: &Path,
    largest: u64,
    forbidden: u32,
    parse: impl FnOnce(&str) -> Result<T, BadLine>,
) -> Result<T, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Before the open, because opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a regular file".into());
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & forbidden != 0 {
        let (may, mend) = if forbidden & OTHERS_READ == 0 { ("write", "o-w") } else { ("read or write", "o-rw") };
        return Err(format!("every user of this machine may {may} it (mode {mode:04o}): chmod {mend} it"));
    }
    let mut text = String::new();
    file.take(largest + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > largest {
        return Err(format!("is over {} MiB", largest >> 20));
    }
    parse(&text).map_err(|bad| bad.to_string())
}
