//! Where the compiled binaries are. Builds them once if they are missing; never rebuilds what is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `brokerd`.
#[must_use]
pub fn brokerd() -> PathBuf {
    directory().join("brokerd")
}

/// The path of `brokerctl`.
#[must_use]
pub fn brokerctl() -> PathBuf {
    directory().join("brokerctl")
}

/// `target/<profile>`, two above a test executable (`target/<profile>/deps/name-hash`), one above another binary.
#[must_use]
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let executable = std::env::current_exe().expect("the path of this executable");
        let mut directory = executable.parent().expect("a directory").to_path_buf();
        if directory.ends_with("deps") {
            directory.pop();
        }
        let is_complete = ["brokerd", "brokerctl"].iter().all(|name| directory.join(name).exists());
        if !is_complete {
            build(directory.ends_with("release"));
        }
        directory
    })
}

fn build(is_release: bool) {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--quiet", "-p", "brokerd", "-p", "brokerctl"]);
    if is_release {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "`cargo build -p brokerd -p brokerctl` failed: {status}");
}
