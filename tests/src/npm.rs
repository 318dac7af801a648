//! Runs a script with the `mqtt` of npm in it. Owns the choice of interpreter; never installs anything.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::binaries;
use crate::wait::within;

/// Runs `tests/npm/<script>` to its end. What it prints is shown when it fails.
pub async fn run(script: &str, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("npm").join(script);
    // `tests/run` installs it there; a script finds by this what is not in a folder above it.
    let modules = binaries::directory().join("../tests-npm/node_modules");
    let mut command = Command::new("node");
    command.arg(&path).args(arguments).env("NODE_PATH", &modules).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(Duration::from_secs(60), script, command.output()).await;
    let output = output.unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{script} {arguments:?}: {}\n{said}{complained}", output.status);
}
