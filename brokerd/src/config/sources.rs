//! Where configuration comes from, as plain values. Owns the reading of the file and of the machine's facts; never
//! interprets them.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Problem, Source};

/// Everything `load` looks at. The default is a machine with no file, no environment, no flags and no name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<FileText>,
    /// The environment; only `BROKERD_*`, `XDG_STATE_HOME` and `HOME` are looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// Each `--set`, as typed.
    pub set: Vec<String>,
    /// `--node-name`.
    pub node_name: Option<String>,
    /// Each `--seed`.
    pub seeds: Vec<String>,
    /// What defaults depend on.
    pub machine: Machine,
}

impl Sources {
    /// The value of an environment variable, where it is text and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(key, _)| key == OsStr::new(name));
        found.and_then(|(_, value)| value.to_str()).filter(|value| !value.is_empty())
    }
}

/// What defaults depend on.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The default of `node.name`.
    pub host_name: String,
    /// Whether the process runs as root, whose data is under `/var/lib`.
    pub root: bool,
}

impl Machine {
    /// This machine and this process.
    #[must_use]
    pub fn here() -> Self {
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host_name, root: rustix::process::geteuid().is_root() }
    }
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct FileText {
    /// As the operator wrote it.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

impl FileText {
    /// A configuration is a page or two; what is larger is another file.
    const MAX_BYTES: u64 = 1 << 20;

    /// Reads it.
    ///
    /// # Errors
    /// The file is missing, unreadable, over 1 MiB or not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let problem = |why: String| Problem {
            key: "--config".into(),
            value: Some(path.display().to_string()),
            source: Source::Flag("--config"),
            why,
        };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| problem(format!("cannot be opened: {error}")))?;
        let read = file.take(Self::MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| problem(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > Self::MAX_BYTES {
            return Err(problem("is over 1 MiB: this is not a configuration file".into()));
        }
        let text = String::from_utf8(bytes).map_err(|_| problem("is not UTF-8 text".into()))?;
        Ok(Self { path: path.to_owned(), text })
    }
}
