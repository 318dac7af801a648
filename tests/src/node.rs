//! One `brokerd` process and its temporary directory. Owns the process: what is dropped is killed, by its own pid, and
//! when the test is failing its log is printed. Never shares a port or a directory with another node.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use crate::ctl::Ctl;
use crate::startup::Reported;
use crate::{binaries, wait};

/// The secret of every cluster that a test starts.
pub const SECRET: &str = "a secret for tests, not for you";

/// From the start of the process to its `ready`. A joiner may wait `cluster.join_timeout` for silent seeds.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// `--node-name`
    pub name: String,
    /// `--seed`, each
    pub seeds: Vec<SocketAddr>,
    /// `cluster.secret`; none: a single node, nothing of the cluster is opened.
    pub secret: Option<String>,
    /// `cluster.bind`
    pub cluster_bind: SocketAddr,
    /// `listeners.tcp.default.bind`
    pub mqtt_bind: SocketAddr,
    /// More `--set`.
    pub sets: Vec<(String, String)>,
    /// What is mounted before it starts, for nobody else to see: see [`NodeOptions::mounting`].
    pub mounts: Option<String>,
    /// The network namespace it runs in, as a link under `/proc`; none: the test's own.
    pub network: Option<PathBuf>,
}

impl NodeOptions {
    /// A node on its own, on ports of the kernel's choice.
    #[must_use]
    pub fn alone(name: &str) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            name: name.into(),
            seeds: vec![],
            secret: None,
            cluster_bind: any,
            mqtt_bind: any,
            sets: vec![],
            mounts: None,
            network: None,
        }
    }

    /// A node that can be joined, and joins these seeds.
    #[must_use]
    pub fn clustered(name: &str, seeds: &[SocketAddr]) -> Self {
        Self { seeds: seeds.to_vec(), secret: Some(SECRET.into()), ..Self::alone(name) }
    }

    /// With one more `--set key=value`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.sets.push((key.into(), value.into()));
        self
    }

    /// In a mount namespace of its own, in which this shell script is run first; its `$DATA` is the node's data
    /// directory. Nothing it mounts outlives the process. Where [`mounts_are_allowed`] is false it cannot start.
    #[must_use]
    pub fn mounting(mut self, script: &str) -> Self {
        self.mounts = Some(script.into());
        self
    }

    fn program(&self, directory: &Path) -> Command {
        if let Some(network) = &self.network {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", network.display())).arg(binaries::brokerd());
            return command;
        }
        let Some(script) = &self.mounts else { return Command::new(binaries::brokerd()) };
        let mut command = unshare();
        command.args(["sh", "-ec", &format!("mkdir -p \"$DATA\"; {script}; exec \"$@\""), "sh"]);
        command.arg(binaries::brokerd()).env("DATA", directory.join("data"));
        command
    }

    fn command(&self, directory: &Path) -> Command {
        let mut command = self.program(directory);
        command.args(["--node-name", &self.name]);
        for seed in &self.seeds {
            command.args(["--seed", &seed.to_string()]);
        }
        let data = directory.join("data").display().to_string();
        let admin = format!("unix:{}", directory.join("admin.sock").display());
        let mut set = |key: &str, value: &str| {
            command.args(["--set", &format!("{key}={value}")]);
        };
        set("node.data_dir", &data);
        set("listeners.tcp.default.bind", &self.mqtt_bind.to_string());
        set("admin.listen", &admin);
        if let Some(secret) = &self.secret {
            set("cluster.bind", &self.cluster_bind.to_string());
            set("cluster.secret", secret);
        }
        for (key, value) in &self.sets {
            set(key, value);
        }
        command
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg(if rustix::process::geteuid().is_root() { "--mount" } else { "--map-root-user" }).arg("--mount");
    command
}

/// Whether a process may have mounts of its own here. Where not, tests that need it say that they are skipped.
#[must_use]
pub fn mounts_are_allowed() -> bool {
    let tried = unshare().args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null()).status();
    let is_allowed = tried.is_ok_and(|status| status.success());
    if !is_allowed {
        println!("SKIPPED: no mounts of one's own here");
    }
    is_allowed
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    directory: tempfile::TempDir,
    child: Option<Child>,
    reported: Reported,
}

impl Node {
    /// Starts it and waits until it is ready.
    pub async fn start(options: NodeOptions) -> Self {
        let mut node = Self::launch(options);
        node.wait_until_ready().await;
        node
    }

    /// Starts it and does not wait: [`Node::wait_until_ready`] does.
    #[must_use]
    pub fn launch(options: NodeOptions) -> Self {
        let directory = tempfile::Builder::new().prefix("brokerd-test").tempdir().expect("a directory");
        let mut node = Self { options, directory, child: None, reported: Reported::default() };
        node.spawn();
        node
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = self.options.command(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.child = Some(child);
        self.reported = Reported::default();
    }

    /// Reads what the node reports until it says that it is ready.
    pub async fn wait_until_ready(&mut self) {
        let Some(stdout) = self.child.as_mut().and_then(|child| child.stdout.take()) else {
            return; // it was ready before
        };
        let (line_tx, mut line_rx) = mpsc::channel(256);
        let copy = self.directory.path().join("stdout.log");
        std::thread::spawn(move || forward_lines(stdout, &copy, &line_tx));
        let what = format!("{} says `ready`", self.options.name);
        let all = wait::within(START_DEADLINE, &what, async {
            while !self.reported.ready {
                let Some(line) = line_rx.recv().await else { return false };
                self.reported.read(&line);
            }
            true
        });
        assert!(all.await, "{} ended before it was ready\n{}", self.options.name, self.log());
        assert!(self.reported.mqtt().is_some(), "no MQTT address in {:?}", self.reported);
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where it serves MQTT over TCP.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.reported.mqtt().expect("an MQTT listener")
    }

    /// Where a listener is, by its id: `ws:default`.
    #[must_use]
    pub fn listener(&self, id: &str) -> SocketAddr {
        let listeners = &self.reported.listeners;
        listeners.iter().find(|(name, _)| name == id).unwrap_or_else(|| panic!("no {id} in {listeners:?}")).1
    }

    /// Where it gossips and serves peers.
    #[must_use]
    pub fn cluster(&self) -> SocketAddr {
        self.reported.cluster.expect("a cluster address")
    }

    /// Where load balancers ask after it.
    #[must_use]
    pub fn health(&self) -> SocketAddr {
        self.reported.health.expect("health.listen")
    }

    /// All it reported at its start.
    #[must_use]
    pub const fn reported(&self) -> &Reported {
        &self.reported
    }

    /// The management socket it was told to open.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The same with what is mounted there, for as long as it runs.
    #[must_use]
    pub fn mounted_data_dir(&self) -> PathBuf {
        let path = self.data_dir();
        Path::new("/proc").join(self.pid().to_string()).join("root").join(path.strip_prefix("/").unwrap_or(&path))
    }

    /// From its next start on it has these mounts: see [`NodeOptions::mounting`]. None where the script is empty.
    pub fn mount(&mut self, script: &str) {
        self.options.mounts = Some(script.to_owned()).filter(|script| !script.is_empty());
    }

    /// `brokerctl` pointed at this node.
    #[must_use]
    pub fn ctl(&self) -> Ctl {
        Ctl::at(&format!("unix:{}", self.admin_socket().display()))
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("stderr.log")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running node").id()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running node");
        kill_process(Pid::from_child(child), signal).expect("a signal to our own child");
    }

    /// Its resident memory in bytes.
    #[must_use]
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running node");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of VmRSS");
        let kibibytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok());
        kibibytes.expect("a number") * 1024
    }

    /// SIGHUP: it reads users and rules again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: it keeps its sockets and answers nothing.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and reaps it.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a signal to our own child");
            child.wait().expect("a child to reap");
        }
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let status = self.wait_for_exit().await;
        self.child = None;
        status
    }

    /// Waits for its end, whatever the cause.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let name = self.options.name.clone();
        let child = self.child.as_mut().expect("a running node");
        wait::eventually(wait::SOON, &format!("{name} ends"), async || {
            let ended = child.try_wait().expect("a child to wait for");
            ended.ok_or_else(|| "it is running".to_owned())
        })
        .await
    }

    /// Starts it again with the same name, data and ports, killing it first if it runs.
    pub async fn restart(&mut self) {
        self.start_again();
        self.wait_until_ready().await;
    }

    /// The same, without waiting until it is ready.
    pub fn start_again(&mut self) {
        self.options.mqtt_bind = self.mqtt();
        if let Some(cluster) = self.reported.cluster {
            self.options.cluster_bind = cluster;
        }
        self.kill9();
        self.spawn();
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        child.try_wait().expect("a child to ask")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let ended = self.exit_status();
        self.kill9();
        if std::thread::panicking() {
            let end =
                ended.map_or_else(|| "was running".to_owned(), |status| format!("{status} {:?}", status.signal()));
            eprintln!("--- log of {} ({end})\n{}---", self.options.name, tail(&self.log()));
        }
    }
}

/// The last lines, enough to explain a failure and not to bury it.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let from = lines.len().saturating_sub(60);
    lines[from..].iter().map(|line| format!("{line}\n")).collect()
}

/// Passes lines on while someone listens, and keeps the pipe empty for as long as the process writes.
fn forward_lines(stdout: ChildStdout, copy: &Path, line_tx: &mpsc::Sender<String>) {
    let mut copy = File::options().create(true).append(true).open(copy).expect("a file");
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let _ = writeln!(copy, "{line}");
        let _ = line_tx.try_send(line);
    }
}
