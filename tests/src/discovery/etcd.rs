//! A real etcd of one member, from Debian's package etcd-server, with a directory of its own. What is dropped is killed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::ports;
use crate::wait::{SOON, eventually};

/// An etcd, running or not.
#[derive(Debug)]
pub struct Etcd {
    clients: SocketAddr,
    peers: SocketAddr,
    child: Option<Child>,
    directory: tempfile::TempDir,
}

impl Etcd {
    /// One that does not run yet, but whose address is known.
    #[must_use]
    pub fn prepare() -> Self {
        let directory = tempfile::Builder::new().prefix("brokerd-test").tempdir().expect("a directory");
        Self { clients: ports::free(), peers: ports::free(), child: None, directory }
    }

    /// Starts it and waits until it serves.
    pub async fn start() -> Self {
        let mut etcd = Self::prepare();
        etcd.up().await;
        etcd
    }

    /// For `cluster.etcd.endpoints`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.clients)
    }

    /// Starts it, with what it knew when it was killed, and waits until it serves.
    pub async fn up(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a file");
        let (clients, peers) = (self.url(), format!("http://{}", self.peers));
        let mut command = Command::new(program());
        command.args(["--name", "one", "--initial-cluster", &format!("one={peers}")]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        // Soon a leader, and leases of two seconds.
        command.args(["--heartbeat-interval", "50", "--election-timeout", "500", "--data-dir"]);
        command.arg(self.directory.path().join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it")));
        eventually(SOON * 2, "etcd serves", async || {
            let health = self.health().await?;
            if health.contains("\"true\"") { Ok(()) } else { Err(format!("{health}\n{}", self.log())) }
        })
        .await;
    }

    /// Kills it, and keeps its directory.
    pub async fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("a signal to our own child");
        }
    }

    /// From now on it answers only to `root` with this password.
    pub async fn lock(&self, password: &str) {
        let steps = [
            ("role/add", r#"{"name":"root"}"#.to_owned()),
            ("user/add", format!(r#"{{"name":"root","password":"{password}"}}"#)),
            ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
            ("enable", "{}".to_owned()),
        ];
        for (step, body) in steps {
            let head = format!("POST /v3/auth/{step} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
            let answer = self.exchange(&(head + &body)).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.0 200"), "{step}: {answer}");
        }
    }

    async fn health(&self) -> Result<String, String> {
        self.exchange("GET /health HTTP/1.0\r\n\r\n").await
    }

    async fn exchange(&self, request: &str) -> Result<String, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(self.clients).await.map_err(wrong)?;
        stream.write_all(request.as_bytes()).await.map_err(wrong)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(wrong)?;
        Ok(answer)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }
}

fn program() -> &'static str {
    ["/usr/bin/etcd", "/usr/local/bin/etcd"].into_iter().find(|path| Path::new(path).exists()).unwrap_or("etcd")
}
