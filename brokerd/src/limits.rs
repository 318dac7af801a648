//! What the machine allows the process. Owns the raise of the open-file limit at start, and advice about memory; never
//! decides how many connections are taken, or how much is kept.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one, and gives the soft limit before and after. Every connection is
/// an open file, and the customary soft limit of 1,024 is there for programs that use `select`.
///
/// No limit is `u64::MAX`. Where the kernel refuses, the two are equal.
#[must_use]
pub fn raise_open_files() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was, and that is what is then read and reported.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let after = getrlimit(Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), after.current.unwrap_or(u64::MAX))
}

/// The kernel's own default. Each allocation that is large (a message of 128 KiB, say) may be a mapping of its own.
const FEWEST_MAPS: u64 = 65_530;

/// What a store on disk is told of this machine, if anything: `needed` is how much memory its bounds add up to.
#[must_use]
pub fn memory_advice(needed: u64) -> Vec<String> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    advice(number("/proc/sys/vm/max_map_count"), [memory(), number("/sys/fs/cgroup/memory.max")], needed)
}

/// Bytes of the machine.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn advice(maps: Option<u64>, memory: [Option<u64>; 2], needed: u64) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(maps) = maps.filter(|maps| *maps < FEWEST_MAPS) {
        said.push(format!(
            "vm.max_map_count is {maps}: large messages that wait may find no memory; \
             `sysctl -w vm.max_map_count=262144` mends it"
        ));
    }
    if let Some(memory) = memory.into_iter().flatten().min().filter(|memory| *memory < needed) {
        said.push(format!(
            "persistence.disk.cache, persistence.pending_bytes and persistence.max_retained_bytes add up to {} MiB, and \
             there are {} MiB of memory: lower one, or give the process more",
            needed >> 20,
            memory >> 20
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one_and_never_falls() {
        let (before, after) = raise_open_files();
        assert!(before <= after, "{before} became {after}");
        assert_eq!(after, getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
        assert_eq!(raise_open_files(), (after, after), "a second raise changes nothing");
    }

    #[test]
    fn a_machine_that_is_too_small_is_said_with_what_mends_it() {
        let enough = [Some(4 << 30), None];
        assert_eq!(advice(Some(65_530), enough, 2 << 30), [""; 0]);
        assert_eq!(advice(None, [None, None], 2 << 30), [""; 0], "nothing is known");
        let said = advice(Some(1024), [Some(4 << 30), Some(1 << 30)], 2 << 30);
        assert!(said[0].contains("is 1024") && said[0].contains("sysctl -w vm.max_map_count="), "{said:?}");
        assert!(said[1].contains("2048 MiB") && said[1].contains("there are 1024 MiB"), "{said:?}");
    }
}
