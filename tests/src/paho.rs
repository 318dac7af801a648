//! Runs a script with paho-mqtt in it. Owns the choice of interpreter; never installs anything.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::binaries;
use crate::wait::within;

/// Runs `tests/paho/<script>` to its end. What it prints is shown when it fails.
pub async fn run(script: &str, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("paho").join(script);
    let mut command = Command::new(python());
    command.arg(&path).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(Duration::from_secs(60), script, command.output()).await;
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", python().display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{script} {arguments:?}: {}\n{said}{complained}", output.status);
}

/// `BROKERD_TEST_PYTHON`, or that of the virtual environment which `tests/run` makes beside the binaries, or the PATH's.
fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("BROKERD_TEST_PYTHON") {
        return named.into();
    }
    let made = binaries::directory().join("../tests-venv/bin/python");
    if made.exists() { made } else { "python3".into() }
}
