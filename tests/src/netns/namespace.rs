//! A network namespace without a name. Owns the process that holds it, which ends when its input does: with this process
//! at the latest. Never decides what is in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// One namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    holder: Child,
}

impl Namespace {
    pub(super) fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare runs");
        let stdout = holder.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut String::new());
        assert!(read.is_ok_and(|length| length == 1), "no network namespace");
        Self { holder }
    }

    /// As other processes find it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    pub(super) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// This thread is in it from here on, and so are the threads and processes that it begins.
    pub(super) fn enter(&self) {
        let link = File::open(self.path()).expect("the link of a namespace");
        move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).expect("a namespace of ours");
    }

    /// Runs a script of `sh` in it.
    pub(super) fn run(&self, script: &str) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).args(["sh", "-ec", script]);
        finish(command, "");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = (self.holder.kill(), self.holder.wait()); // it may have ended
    }
}

/// Runs it with this input, and panics with what it said where it failed.
pub(super) fn finish(mut command: Command, input: &str) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("a child that reads");
    drop(stdin);
    let output = child.wait_with_output().expect("a child of ours");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}\n{input}");
}
