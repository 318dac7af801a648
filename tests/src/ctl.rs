//! Runs `brokerctl` and reads what it prints. Owns the process of one call; never interprets an answer.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::{binaries, wait};

/// `brokerctl` pointed at one endpoint.
#[derive(Clone, Debug)]
pub struct Ctl {
    endpoint: String,
}

/// What a call gave.
#[derive(Debug)]
pub struct Answer {
    /// Exit code; -1 when it was killed.
    pub code: i32,
    /// stdout as JSON; `Null` when it is not exactly one document.
    pub json: Value,
    /// stdout
    pub stdout: String,
    /// stderr
    pub stderr: String,
}

impl Answer {
    /// The JSON of a call that exited with 0.
    #[track_caller]
    #[allow(clippy::must_use_candidate, reason = "often only that it succeeded matters")]
    pub fn ok(self) -> Value {
        assert_eq!(self.code, 0, "brokerctl failed\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.json.is_null(), "stdout is not one JSON document: {:?}", self.stdout);
        self.json
    }
}

impl Ctl {
    /// At `unix:PATH` or `HOST:PORT`.
    #[must_use]
    pub fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned() }
    }

    /// With `-o json`.
    pub async fn run(&self, arguments: &[&str]) -> Answer {
        self.run_as(&["-o", "json"], arguments).await
    }

    /// As a person would read it.
    pub async fn table(&self, arguments: &[&str]) -> Answer {
        self.run_as(&["-o", "table"], arguments).await
    }

    async fn run_as(&self, output: &[&str], arguments: &[&str]) -> Answer {
        let mut command = Command::new(binaries::brokerctl());
        command.args(["--endpoint", &self.endpoint]).args(output).args(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let what = format!("an answer to brokerctl {arguments:?}");
        let output = wait::within(3 * wait::SOON, &what, command.output()).await.expect("brokerctl runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Answer {
            code: output.status.code().unwrap_or(-1),
            json: serde_json::from_str(&stdout).unwrap_or(Value::Null),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            stdout,
        }
    }
}
