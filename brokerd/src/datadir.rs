//! The directory `node.data_dir`. Owns its lock and the few small files that every node keeps; never session or message
//! data, which are `store`'s.
//!
//! All calls that write block for a sync of the disk: an async caller runs them on a blocking thread.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

const GENERATION: &str = "generation";
const HIGH_WATER: &str = "hlc";
/// Since when what was deleted is not retained, and until when deletions may be forgotten.
const RETAINED: &str = "retained";
const SEEDS: &str = "seeds";
/// Where the other nodes were when this one saw them last.
const PEERS: &str = "peers";
/// Seeds that are remembered, of which the oldest goes; and peers.
const MOST_SEEDS: usize = 64;
/// A host name has at most 253 bytes; with its port.
const LONGEST_SEED: usize = 260;
/// No file of ours is larger.
const LARGEST: u64 = (MOST_SEEDS * (LONGEST_SEED + 1)) as u64;

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A second process.
    #[error("node.data_dir = {path}: in use by another brokerd{}; give each node its own",
            .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// As the other wrote it into its lock.
        pid: Option<u32>,
    },
    /// The file system refuses.
    #[error("node.data_dir = {dir}: cannot {what} {file}: {error}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Not `host:port`.
    #[error("{0:?} is not HOST:PORT")]
    BadSeed(String),
}

/// An open data directory. The lock goes with it, also when the process dies.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
    /// What the files hold; held while one is written, so that writes keep their order.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    high_water: u64,
    retained: Option<(u64, u64)>,
    seeds: Vec<String>,
    peers: Vec<String>,
}

impl DataDir {
    /// Makes the directory (mode 0700) if it is missing, locks it, and reads what it holds. A file that makes no sense
    /// is reported, renamed to `.corrupt` and taken as empty: it never stops a start.
    ///
    /// # Errors
    /// Another process has it, or the file system refuses.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |what| move |error| Error::Io { dir: path.to_owned(), what, file: path.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make"))?;
        let lock = lock(path)?;
        let dir = Self { path: path.to_owned(), _lock: lock, state: Mutex::default() };
        let state = State {
            generation: dir.read(GENERATION, number)?.unwrap_or_default(),
            high_water: dir.read(HIGH_WATER, number)?.unwrap_or_default(),
            retained: dir.read(RETAINED, pair)?,
            seeds: dir.read(SEEDS, seeds)?.unwrap_or_default(),
            peers: dir.read(PEERS, seeds)?.unwrap_or_default(),
        };
        *dir.state.lock() = state;
        Ok(dir)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A generation above every earlier one of this directory: the time, or the last and one, if the clock went back.
    ///
    /// # Errors
    /// It could not be made durable; using it then would let a restart repeat it.
    pub fn next_generation(&self, now_ns: u64) -> Result<u64, Error> {
        let mut state = self.state.lock();
        let next = now_ns.max(state.generation.saturating_add(1));
        self.write(GENERATION, &format!("{next}\n"))?;
        state.generation = next;
        Ok(next)
    }

    /// The highest clock value that may have been given out before this start.
    pub fn high_water(&self) -> u64 {
        self.state.lock().high_water
    }

    /// Raises the high water; a lower value changes nothing.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn save_high_water(&self, value: u64) -> Result<(), Error> {
        let mut state = self.state.lock();
        if value > state.high_water {
            self.write(HIGH_WATER, &format!("{value}\n"))?;
            state.high_water = value;
        }
        Ok(())
    }

    /// Since when the retained messages on disk lack what was deleted, and until when deletions may be forgotten; both by
    /// the hybrid clock. `None` where they were never compared with another node's.
    pub fn retained(&self) -> Option<(u64, u64)> {
        self.state.lock().retained
    }

    /// Keeps that, where it is new.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn save_retained(&self, since: u64, horizon: u64) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.retained != Some((since, horizon)) {
            self.write(RETAINED, &format!("{since} {horizon}\n"))?;
            state.retained = Some((since, horizon));
        }
        Ok(())
    }

    /// What `brokerctl cluster join` gave, the latest last.
    pub fn seeds(&self) -> Vec<String> {
        self.state.lock().seeds.clone()
    }

    /// Adds a seed, or moves it to the end.
    ///
    /// # Errors
    /// It is not `host:port`, or could not be made durable.
    pub fn remember_seed(&self, seed: &str) -> Result<(), Error> {
        if !is_seed(seed) {
            return Err(Error::BadSeed(seed.to_owned()));
        }
        let mut state = self.state.lock();
        let mut seeds = state.seeds.clone();
        seeds.retain(|known| known != seed);
        seeds.push(seed.to_owned());
        let excess = seeds.len().saturating_sub(MOST_SEEDS);
        seeds.drain(..excess);
        self.write(SEEDS, &(seeds.join("\n") + "\n"))?;
        state.seeds = seeds;
        Ok(())
    }

    /// Where the other nodes were when this one saw them last.
    pub fn peers(&self) -> Vec<String> {
        self.state.lock().peers.clone()
    }

    /// Keeps these instead of those of before, of many the first.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn remember_peers(&self, peers: &[String]) -> Result<(), Error> {
        let mut state = self.state.lock();
        let peers: Vec<String> = peers.iter().filter(|peer| is_seed(peer)).take(MOST_SEEDS).cloned().collect();
        if state.peers != peers {
            self.write(PEERS, &peers.iter().fold(String::new(), |text, peer| text + peer + "\n"))?;
            state.peers = peers;
        }
        Ok(())
    }

    /// For `brokerctl cluster leave`: nobody is looked for at the next start but whom the configuration names.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn forget_cluster(&self) -> Result<(), Error> {
        self.remember_peers(&[])?;
        let mut state = self.state.lock();
        self.write(SEEDS, "")?;
        state.seeds.clear();
        Ok(())
    }

    fn read<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let path = self.path.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("open", name, error)),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| self.failed("read", name, error))?;
        let fits = bytes.len() as u64 <= LARGEST;
        let parsed = std::str::from_utf8(&bytes).ok().filter(|_| fits).and_then(parse);
        if parsed.is_none() {
            let aside = self.path.join(format!("{name}.corrupt"));
            std::fs::rename(&path, &aside).map_err(|error| self.failed("set aside", name, error))?;
            tracing::error!(file = %path.display(), renamed_to = %aside.display(), "makes no sense: taken as empty");
        }
        Ok(parsed)
    }

    /// Either the old text or the new one is there after a crash, and the new one once this returns.
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|error| self.failed("write", name, error))
    }

    fn failed(&self, what: &'static str, name: &str, error: io::Error) -> Error {
        Error::Io { dir: self.path.clone(), what, file: self.path.join(name), error }
    }
}

/// The file holds the number of the process, for the message of the next one.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let failed = |what| {
        let (dir, file) = (dir.to_owned(), path.clone());
        move |error| Error::Io { dir, what, file, error }
    };
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(failed("open"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = (&mut file).take(20).read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(Error::Locked { path: dir.to_owned(), pid });
        }
        Err(error) => return Err(failed("lock")(error.into())),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed("write"))?;
    Ok(file)
}

/// Digits and a line end. The upper half of the range is nothing that a clock gave, and could not be raised further.
fn number(text: &str) -> Option<u64> {
    let number = text.strip_suffix('\n')?.parse().ok()?;
    (number <= u64::MAX / 2).then_some(number)
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let (since, horizon) = text.split_once(' ')?;
    Some((since.parse().ok()?, number(horizon)?))
}

fn seeds(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let lines = text.strip_suffix('\n')?.split('\n');
    lines.map(|line| is_seed(line).then(|| line.to_owned())).collect()
}

/// Enough for the file to be sound; whether a name resolves shows when it is dialled.
fn is_seed(text: &str) -> bool {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    printable && text.len() <= LONGEST_SEED && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests;
