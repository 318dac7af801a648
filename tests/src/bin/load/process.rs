//! What the kernel knows about a process: CPU time and memory. Reads `/proc` only.

use std::fs::read_to_string;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Nanoseconds of CPU that the process has used: all threads that live, to the nanosecond.
pub(crate) fn cpu_nanoseconds(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a broker that runs");
    let of_task = |path: PathBuf| read_to_string(path.join("schedstat")).ok();
    tasks
        .filter_map(|task| of_task(task.ok()?.path()))
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident: i64,
    /// What is not a copy of a file.
    pub(crate) anonymous: i64,
}

/// The memory of a process.
pub(crate) fn memory(pid: u32) -> Memory {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a broker that runs");
    let bytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).expect("a field of smaps_rollup");
        line.trim().trim_end_matches(" kB").parse::<i64>().expect("a number of kB") * 1024
    };
    Memory { resident: bytes("Rss:"), anonymous: bytes("Anonymous:") }
}

/// As many open files as the system lets us have.
pub(crate) fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
