//! The open-file limit of the process. Owns the raise at start; never decides how many connections are taken.

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
}
