//! A Redis server of Debian's package, for a test: its files are in a directory of its own, and it ends with the test.
//! Never on a port, but where a test asks for one.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) struct Server {
    directory: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Starts one that syncs before it answers.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same, with more arguments, of which the later win.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        let mut server = Self { directory: tempfile::tempdir().unwrap(), arguments, process: None };
        server.start_again();
        server
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// As in the configuration.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// On the same files, which it has read when this returns.
    pub(crate) fn start_again(&mut self) {
        let socket = self.socket();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--unixsocket"]).arg(&socket).arg("--dir").arg(self.directory.path());
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("redis-server is missing: apt-get install redis-server");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let is_ready = lines
            .by_ref()
            .inspect(|line| said.push(line.clone()))
            .any(|line| line.contains("eady to accept connections"));
        assert!(is_ready, "redis-server ended:\n{}", said.join("\n"));
        std::thread::spawn(move || lines.for_each(drop)); // a full pipe would stop it
        self.process = Some(process);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// Carries out a command, and answers its raw answer, which must be short.
    pub(crate) fn tell(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
