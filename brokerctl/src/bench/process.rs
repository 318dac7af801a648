//! What the kernel knows about a process: CPU time and memory. Reads `/proc` only.

use std::fs::read_to_string;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::failure::Failure;

/// Nanoseconds of the clock that all processes of this machine share.
pub(crate) fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds of CPU that this process has used.
pub(crate) fn own_cpu() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The broker, as processes of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    pids: Vec<u32>,
}

impl Broker {
    /// These processes, which must be there.
    pub(crate) fn of(pids: &[u32]) -> Result<Self, Failure> {
        for pid in pids {
            if read_to_string(format!("/proc/{pid}/stat")).is_err() {
                return Err(Failure::Usage(format!("--pid {pid}: no such process")));
            }
        }
        Ok(Self { pids: pids.to_vec() })
    }

    /// Nanoseconds of CPU that it has used: all threads that live, to the nanosecond. `None` if no process was named.
    pub(crate) fn cpu(&self) -> Option<u64> {
        (!self.pids.is_empty()).then(|| self.pids.iter().map(|pid| cpu_of(*pid)).sum())
    }

    /// Its memory. `None` if no process was named.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let each = self.pids.iter().filter_map(|pid| memory_of(*pid));
        each.reduce(|one, other| Memory {
            resident: one.resident + other.resident,
            anonymous: one.anonymous + other.anonymous,
        })
    }
}

fn cpu_of(pid: u32) -> u64 {
    let of_task = |path: PathBuf| read_to_string(path.join("schedstat")).ok();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    tasks
        .filter_map(|task| of_task(task.ok()?.path()))
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident: i64,
    /// What is not a copy of a file.
    pub(crate) anonymous: i64,
}

fn memory_of(pid: u32) -> Option<Memory> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let bytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().trim_end_matches(" kB").parse::<i64>().ok()? * 1024)
    };
    Some(Memory { resident: bytes("Rss:")?, anonymous: bytes("Anonymous:")? })
}

/// Asks for as many open files as the system lets us have; an error where they are too few.
pub(crate) fn need_open_files(connections: usize) -> Result<(), Failure> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Beside the connections: streams, polls, /proc.
    if connections as u64 + 64 > limit {
        return Err(Failure::Usage(format!(
            "{connections} connections at a time need more open files than the limit of {limit}: raise `ulimit -n`"
        )));
    }
    Ok(())
}
